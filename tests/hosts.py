"""Test hosts: network namespaces with a link each, which can be cut."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

NAMES = ("scheduler", "worker1", "worker2")


def can_make_hosts():
    """Whether this process may make network namespaces."""
    if os.name != "posix" or os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"dk{os.getpid()}-try"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
    if made.returncode == 0:
        subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
    return made.returncode == 0


class Hosts:
    """Hosts 10.77.0.1 and up on one bridge, each with the names of all in its /etc/hosts.

    What ``socket.gethostname`` says, which is the same on all, is the host's own address, as in a
    container: distributed 2025.1 does not start where its own name has none.

    Parameters
    ----------
    aliases : further names of the first host.
    """

    def __init__(self, aliases=()):
        self._tag = f"dk{os.getpid()}"
        self._aliases = " ".join(aliases)
        self._hub = f"{self._tag}-hub"

    def namespace(self, name):
        """The namespace that is the host."""
        return f"{self._tag}-{name}"

    def address(self, name):
        """Its address."""
        return f"10.77.0.{NAMES.index(name) + 1}"

    def __enter__(self):
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _make(self):
        _ip("netns", "add", self._hub)
        _ip("-n", self._hub, "link", "add", "br0", "type", "bridge")
        _ip("-n", self._hub, "link", "set", "br0", "up")
        lines = [f"{self.address(name)} {name}" for name in NAMES]
        table = "\n".join(["127.0.0.1 localhost", f"{lines[0]} {self._aliases}", *lines[1:], ""])
        for name in NAMES:
            host = self.namespace(name)
            _ip("netns", "add", host)
            peer = ["peer", "name", "eth0", "netns", host]
            _ip("-n", self._hub, "link", "add", name, "type", "veth", *peer)
            _ip("-n", self._hub, "link", "set", name, "master", "br0", "up")
            _ip("-n", host, "address", "add", f"{self.address(name)}/24", "dev", "eth0")
            _ip("-n", host, "link", "set", "eth0", "up")
            _ip("-n", host, "link", "set", "lo", "up")
            own = Path("/etc/netns", host)  # what `ip netns exec` puts over /etc
            own.mkdir(parents=True)
            (own / "hosts").write_text(f"{table}{self.address(name)} {socket.gethostname()}\n")

    def __exit__(self, *error):
        for name in (*NAMES, "hub"):
            host = self.namespace(name)
            subprocess.run(["ip", "netns", "delete", host], capture_output=True, check=False)
            shutil.rmtree(Path("/etc/netns", host), ignore_errors=True)

    def cut(self, name):
        """Take the link of a host down; what it sends and is sent is lost."""
        _ip("-n", self._hub, "link", "set", name, "down")

    def mend(self, name):
        """Bring it up again."""
        _ip("-n", self._hub, "link", "set", name, "up")


def _ip(*arguments):
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (arguments, done.stderr)
