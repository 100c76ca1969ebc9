"""Fits in a process of their own, with the peak of its memory: ``python -m benchmarks.worker``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from benchmarks.contenders import Fitted, Job, fit

ROOT = Path(__file__).parents[1]
MARK = "fitted: "  # before each result; libraries may print lines of their own


@dataclass(frozen=True)
class Run:
    """A fit and its memory, that of its child processes included.

    Parameters
    ----------
    peak : most bytes resident while it ran.
    growth : the same above what was resident before it.
    """

    fitted: Fitted
    peak: int
    growth: int


def run(jobs: Sequence[Job], warm: Job | None = None) -> Iterator[Run]:
    """Run the jobs one after the other in a new process, after ``warm``, which is not reported.

    Raises
    ------
    RuntimeError
        With the end of what the process wrote, if it fails.
    """
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    given = json.dumps({"warm": warm and asdict(warm), "jobs": [asdict(job) for job in jobs]})
    command = [sys.executable, "-m", "benchmarks.worker", given]
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as errors,
        subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        for line in process.stdout or ():
            if line.startswith(MARK):
                found = json.loads(line.removeprefix(MARK))
                yield Run(Fitted(**found["fitted"]), found["peak"], found["growth"])
        if code := process.wait():
            errors.seek(0)
            raise RuntimeError(f"a fit ended with {code}:\n{errors.read()[-4000:]}")


@contextmanager
def _watched() -> Iterator[list[int]]:
    """Resident bytes before, and the most while the context lasts."""
    seen = [_resident()] * 2
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            seen[1] = max(seen[1], _resident())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
        seen[1] = max(seen[1], _resident())


def _resident() -> int:
    """Resident bytes of this process and all below it."""
    total, me = 0, psutil.Process()
    for process in [me, *me.children(recursive=True)]:
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def main() -> None:
    """Do what :func:`run` asks, a line of JSON for each fit."""
    given = json.loads(sys.argv[1])
    if given["warm"]:
        fit(Job(**given["warm"]))
    for job in given["jobs"]:
        with _watched() as seen:
            fitted = fit(Job(**job))
        result = {"fitted": asdict(fitted), "peak": seen[1], "growth": seen[1] - seen[0]}
        print(MARK + json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
