"""Storage for the tests: an S3 server, a web server of ranges, and a file system that errs."""

from __future__ import annotations

import http.server
import os
import random
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from fsspec.implementations.local import LocalFileOpener, LocalFileSystem

KEYS = {"key": "test", "secret": "test"}


class Server:
    """A module that serves on loopback, in a process of its own."""

    module, page = "", ""
    command: tuple[str, ...] = ()

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.log = open(folder / f"{self.module}.log", "wb")  # noqa: SIM115
        command = [sys.executable, "-m", self.module, *(a.format(port=port) for a in self.command)]
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env=env)

    def wait(self) -> None:
        end = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/{self.page}", timeout=5).close()
                return
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    raise
                time.sleep(0.1)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        self.log.close()


class GCS(Server):
    """An emulator of Google Cloud Storage, with one bucket in memory."""

    module, page = "gcp_storage_emulator", "storage/v1/b"
    command = (
        "start",
        "--host=127.0.0.1",
        "--port={port}",
        "--in-memory",
        "--default-bucket=bucket",
    )


class S3(Server):
    """moto's server."""

    module, page = "moto.server", "moto-api/"
    command = ("-H", "127.0.0.1", "-p", "{port}")

    @property
    def options(self) -> dict[str, str]:
        """What fsspec is told."""
        return {**KEYS, "endpoint_url": self.url}

    @property
    def arguments(self) -> list[str]:
        """The options of the storage for the command line."""
        pairs = [
            f"{name}={value}" for name, value in self.options.items() if isinstance(value, str)
        ]
        return [word for pair in pairs for word in ("--storage-option", pair)]

    @property
    def environment(self) -> dict[str, str]:
        """The options of the storage as the tools of AWS take them."""
        return {
            "AWS_ACCESS_KEY_ID": KEYS["key"],
            "AWS_SECRET_ACCESS_KEY": KEYS["secret"],
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.url,
        }


class _Ranges(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, whole or a range of bytes."""

    protocol_version = "HTTP/1.1"
    failing = re.compile("$^")  # paths that are answered by 503

    def log_message(self, *args) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if self.failing.search(self.path):
            self.send_error(503)
            return
        if not path.is_file():
            super().do_GET()
            return
        data, match = (
            path.read_bytes(),
            re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""),
        )
        first, last = 0, len(data) - 1
        if match:
            first, last = int(match[1]), min(int(match[2] or last), last)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        self.wfile.write(data[first : last + 1])


@contextmanager
def web_server(folder: Path, *, certificate: Path | None = None, failing: str = "$^"):
    """Serve a folder on loopback, encrypted where there is a certificate; gives the URL."""
    handler = type("Handler", (_Ranges,), {"failing": re.compile(failing)})
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), lambda *args: handler(*args, directory=str(folder))
    )
    server.daemon_threads = True
    scheme = "http"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"{scheme}://localhost:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Flaky(LocalFileSystem):
    """Local files, of which every so many reads fail, chosen by a seed; as ``flaky://``."""

    protocol = "flaky"
    cachable = False
    rate, seed, broken = 0.0, 0, "$^"
    errors = 0
    _random, _guard = random.Random(0), threading.Lock()

    @classmethod
    def arm(cls, rate: float, seed: int = 0, broken: str = "$^") -> None:
        """Fail this share of all reads, and all of paths that match ``broken``."""
        cls.rate, cls.errors, cls.broken, cls._random = rate, 0, broken, random.Random(seed)

    @classmethod
    def strike(cls, path: str) -> None:
        """Raise one of the errors that pass, or nothing."""
        kinds = (ConnectionResetError, TimeoutError, OSError(5, "Input/output error"))
        with cls._guard:
            if re.search(cls.broken, path):
                raise OSError(5, "Input/output error")
            if cls._random.random() < cls.rate:
                cls.errors += 1
                raise cls._random.choice(kinds)

    @classmethod
    def _strip_protocol(cls, path):
        return LocalFileSystem._strip_protocol(str(path).replace("flaky://", "file://"))

    def cat_file(self, path, start=None, end=None, **kwargs):
        self.strike(path)
        return super().cat_file(path, start, end, **kwargs)

    def _open(self, path, mode="rb", block_size=None, **kwargs):
        path = self._strip_protocol(path)
        return _FlakyFile(path, mode, fs=self, **kwargs)


class _FlakyFile(LocalFileOpener):
    def read(self, *args):
        if self.mode == "rb":
            Flaky.strike(self.path)
        return self.f.read(*args)
