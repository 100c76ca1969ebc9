"""Compiling on two processors, which Numba's lock keeps threads of one process from.

The first fit ever compiles for many seconds: about half of that is the search for centers, and half
what the passes after it call. While this process compiles the one and searches, another compiles
the other and leaves it in Numba's cache. Where that process fails, all is compiled here.
"""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np

from dkmeans.engine.machine import in_cache, memory_limit
from dkmeans.engine.passes import default_threads

ROOM_BYTES = 2 * 2**30  # of memory at hand below which no other process is started
MOST_SECONDS = 60.0  # that are waited for it once the search has ended
_CODE = "import sys; sys.path[:] = sys.argv[2:]; from dkmeans.engine import ahead; ahead.main()"


@contextlib.contextmanager
def compiling(dtype: np.dtype[Any]) -> Iterator[None]:
    """Have what passes over rows of this type call compiled by the end of the block, if it pays."""
    other = _started(dtype) if _pays() else None
    if other is None:
        yield
        return
    collects = gc.isenabled()
    gc.disable()  # what the compiler leaves behind takes an eighth of its time to look through
    try:
        yield
        with contextlib.suppress(subprocess.TimeoutExpired):
            other.wait(MOST_SECONDS)
    finally:
        if collects:
            gc.enable()
        other.kill()  # nothing, if it has ended
        other.wait()


def _pays() -> bool:
    """Whether there is code to compile, a processor and memory for it, and nobody minds."""
    if in_cache() or not dask.config.get("dkmeans.compile-ahead", True) or default_threads() < 2:
        return False
    return memory_limit(None) >= ROOM_BYTES


def _started(dtype: np.dtype[Any]) -> subprocess.Popen[bytes] | None:
    """Another interpreter like this one, at work; None where this is part of another program."""
    name = Path(sys.executable or "").name.lower()
    if not name.startswith("python") or getattr(sys, "frozen", False):
        return None
    with contextlib.suppress(OSError):
        return subprocess.Popen(
            [sys.executable, "-c", _CODE, dtype.name, *sys.path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    return None


def main() -> None:
    """Take a pass over a few rows of the type that is named first, and iterate on them."""
    from dkmeans.data.source import center_dtype, kernel_view
    from dkmeans.engine.grid import grid_for
    from dkmeans.engine.kept import Choice
    from dkmeans.engine.lloyd import LloydStep, RunStep
    from dkmeans.engine.settle import Course, Rules, Stop

    gc.disable()
    X = kernel_view(np.arange(64).reshape(32, 2).astype(sys.argv[1]))
    rows = X.astype(np.float64)
    grid = grid_for(rows[0], rows[-1], rows, (1.0, 1.0), short=False)
    choice = Choice(None, 1.0, np.full(2, np.inf), 1.0)
    rules = Rules(grid, center_dtype(X.dtype), weighted=False, stop=Stop(10, 0.0))
    assign = LloydStep(rows[:2], grid, choice=choice)
    step = RunStep(assign, Course(rows[:2]), rules)
    step.finish(step(X, np.empty(0), 0, 0), 1)
