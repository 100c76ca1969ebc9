"""Dask clusters of real processes, which tests may kill, stop and cut off."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np

from dkmeans.data.blocks import Reader
from dkmeans.data.source import Source
from dkmeans.engine.progress import watching

ROOT = Path(__file__).parents[1]
PATIENCE = 60.0  # seconds for what takes a few
OPTIONS = {
    "random_state": 0,
    "init": "k-means||",
    "algorithm": "lloyd",
    "max_iter": 4,
    "residency": "stream",
}
IMPATIENT = {  # of dask's configuration: what takes minutes to be noticed takes seconds
    "dkmeans.no-workers-timeout": "4s",
    "dkmeans.scheduler-timeout": "8s",
    "distributed.comm.timeouts.connect": "5s",
    "distributed.comm.timeouts.tcp": "12s",
    "distributed.scheduler.worker-ttl": "10s",
}


def environment(**more):
    """Of a process that can import dkmeans; keywords are added, with None removed."""
    paths = [str(ROOT), str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]
    quick = {_variable(name): value for name, value in IMPATIENT.items()}
    merged = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **quick, **more}
    return {name: value for name, value in merged.items() if value is not None}


def _variable(name):
    """Environment variable that sets a value of dask's configuration."""
    return "DASK_" + name.replace(".", "__").replace("-", "_").upper()


class Process:
    """A command, with what it prints in a file."""

    def __init__(self, command, log, *, host=None, **more):
        inside = [] if host is None else ["ip", "netns", "exec", host]
        self.log = Path(log)
        with self.log.open("ab") as file:
            self.popen = subprocess.Popen(
                [*inside, *map(str, command)],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment(**more),
                start_new_session=True,
                cwd=self.log.parent,
            )

    @property
    def text(self):
        """What it has printed."""
        return self.log.read_text(errors="replace")

    def wait_for(self, pattern):
        """The match of a pattern in what it prints, once that is there."""
        end = time.monotonic() + PATIENCE
        while not (found := re.search(pattern, self.text)):
            assert self.popen.poll() is None, self.text
            assert time.monotonic() < end, self.text
            time.sleep(0.02)
        return found

    def signal(self, number):
        """Send a signal to the process and all that it started, if it is still there."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, number)

    def kill(self):
        """End it at once, with all that it started."""
        self.signal(signal.SIGKILL)
        self.popen.wait(PATIENCE)


@dataclass
class DaskCluster:
    """A scheduler and workers, each a process of its own.

    Parameters
    ----------
    folder : for their files.
    host : name or address at which the scheduler listens.
    tls : arguments that give certificates, for all of them.
    more : environment of all of them.
    namespace : of the scheduler.
    """

    folder: Path
    host: str = "127.0.0.1"
    tls: tuple[str, ...] = ()
    more: dict[str, str] = field(default_factory=dict)
    namespace: str | None = None
    processes: list[Process] = field(default_factory=list)
    scheduler: Process | None = None
    address: str = ""

    def __enter__(self):
        try:
            self.start_scheduler("--preload=dkmeans.data.old_spans", namespace=self.namespace)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error):
        for process in reversed(self.processes):
            process.kill()

    def start(self, *command, namespace=None, **more):
        """Start a command of dask, such as a worker."""
        log = self.folder / f"{command[0]}-{len(self.processes)}.log"
        command = [sys.executable, "-m", "dask", *command]
        process = Process(command, log, host=namespace, **{**self.more, **more})
        self.processes.append(process)
        return process

    def start_scheduler(self, *options, port=0, namespace=None, **more):
        """Start the scheduler, and learn where it listens."""
        self.scheduler = self.start(
            "scheduler", f"--host={self.host}", f"--port={port}", "--no-dashboard",
            *self.tls, *options, namespace=namespace, **more,
        )  # fmt: skip
        self.address = self.scheduler.wait_for(r"Scheduler at:\s+(\S+)")[1]

    def start_worker(self, *options, nanny=False, threads=1, memory="1GiB", namespace=None, **more):
        """Start a worker, and wait until it has joined."""
        worker = self.start(
            "worker", self.address, f"--nthreads={threads}", f"--memory-limit={memory}",
            "--nanny" if nanny else "--no-nanny", "--no-dashboard",
            f"--local-directory={self.folder}", *self.tls, *options,
            namespace=namespace, **more,
        )  # fmt: skip
        worker.wait_for(r"Registered to:\s+\S+")
        return worker

    def client(self, **options):
        """A client of the cluster."""
        from distributed import Client

        return Client(self.address, timeout=10, **options)

    def dkmeans(self, *args, namespace=None, **more):
        """Start a command of dkmeans on the cluster."""
        log = self.folder / f"client-{len(self.processes)}.log"
        command = [sys.executable, "-m", "dkmeans", *args, f"--scheduler={self.address}"]
        process = Process(command, log, host=namespace, **{**self.more, **more})
        self.processes.append(process)
        return process


N, D, UNIT = 40_000, 4, 1000


def made(start, stop):
    """Rows of overlapping clusters, each a function of its number."""
    rows = np.arange(start, stop, dtype=np.uint64)[:, None]
    bits = (rows * np.uint64(D) + np.arange(D, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
    bits ^= bits >> np.uint64(29)
    bits *= np.uint64(0xBF58476D1CE4E5B9)
    bits ^= bits >> np.uint64(32)
    noise = (bits >> np.uint64(40)).astype(np.float32) / 2**24
    return (noise + 0.7 * (rows % 5)).astype(np.float32)


class Rigged(Reader):
    """Rows made as they are read; a file ``FAULT-UNIT`` in ``folder`` breaks one read of a unit."""

    shape, dtype, unit = (N, D), np.dtype(np.float32), UNIT

    def __init__(self, folder, seconds=0.0):
        self.folder, self.seconds = Path(folder), seconds

    def read(self, start, stop, out):
        time.sleep(self.seconds)
        for unit in range(start // UNIT, -(-stop // UNIT)):
            for name, fault in FAULTS.items():
                if _taken(self.folder / f"{name}-{unit}"):
                    fault()
        out[:] = made(start, stop)

    @property
    def source(self):
        """What a fit takes."""
        units = (UNIT,) * (N // UNIT)
        return Source("zarr", "rigged rows", units, D, self.dtype, None, self)


def _taken(file):
    """Whether the file was there; it is not any more, so only one process sees it."""
    try:
        file.unlink()
    except FileNotFoundError:
        return False
    return True


def _hog():
    """Take memory until somebody ends this."""
    held = []
    while True:
        held.append(np.ones(2**24))
        time.sleep(0.02)


FAULTS = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "hog": _hog,
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
}


@dataclass
class At:
    """Calls ``act`` when the pass of this number begins, from 1."""

    number: int
    act: object
    passes: int = 0

    def pass_started(self, name, blocks):
        self.passes += 1
        if self.passes == self.number:
            self.act()

    def resumed(self, how, passes):
        """Nothing."""

    def block_done(self, rows, read_bytes):
        """Nothing."""

    def sample_drawn(self, sample, n_rows):
        """Nothing."""

    def iteration_done(self, iteration):
        """Nothing."""


def at_pass(number, act):
    """Call ``act`` when the pass of this number begins, while the context lasts."""
    return watching(At(number, act))


def main(address, folder, output):
    """Fit rigged rows on a cluster, say when each pass begins, and save the model."""
    from distributed import Client

    from dkmeans import KMeans
    from dkmeans.errors import ClusterError

    class Told(At):
        def pass_started(self, name, blocks):
            self.passes += 1
            click.echo(f"pass {self.passes} begins")

    with Client(address, timeout=20), watching(Told(0, None)):
        try:
            model = KMeans(6, **OPTIONS).fit(Rigged(folder, seconds=0.1).source)
        except ClusterError as error:
            click.echo(f"ended: {error}")
            return
        model.save(output)
        click.echo("ended: done")


if __name__ == "__main__":
    from tests import clusters

    clusters.main(*sys.argv[1:])  # whose classes workers can import
