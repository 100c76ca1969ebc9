"""Two workers against one on streamed data, what tasks cost, and what follows for more of both."""

from __future__ import annotations

import math
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import numpy.typing as npt

import dkmeans
from benchmarks.passes import Ones, Size, do_nothing, make_store
from benchmarks.report import Section, Table, spread, tell
from dkmeans.data.blocks import Blocks, Reader, cut, from_dask, from_reader
from dkmeans.data.cluster import OWN_WORKERS
from dkmeans.engine import passes as engine_passes
from dkmeans.engine.memory import BLOCK_BYTES
from dkmeans.engine.passes import CLUSTER_TASK_BYTES, TASKS_PER_THREAD, Passes

MIB, GB, TB = 2**20, 10**9, 10**12
WANTED = 1.7  # times faster with two workers
ITERATIONS = 4
FEATURES, CLUSTERS = 16, 64
DOCUMENT = "docs/scaling.md"


@dataclass(frozen=True)
class Amount:
    """How much is measured."""

    rows: int  # of the larger store; the smaller has half
    chunk_rows: int
    repeats: int
    blocks: int  # whose tasks are counted
    wide_blocks: int  # of blocks of 32 MiB that nobody writes


FULL = Amount(16_000_000, 65_536, 5, 10_000, 100_000)
QUICK = Amount(60_000, 8_192, 1, 300, 1_000)


class Untouched(Reader):
    """Rows that are not even written, so that blocks of any size cost nothing but their tasks."""

    dtype = np.dtype(np.float32)

    def __init__(self, n_rows: int) -> None:
        self.shape = (n_rows, FEATURES)

    def read(self, start: int, stop: int, out: npt.NDArray[np.float32]) -> None:
        """Do nothing."""


@dataclass
class Fits:
    """Whole fits of one store on so many workers."""

    workers: int
    rows: int
    path: Path
    small: Path

    def take(self) -> float:
        """Seconds of one on workers that start for it: idle ones would take time from others."""
        with workers(self.workers) as client:
            self._fit(client, self.small)  # compiled, or read from where that is kept
            start = time.perf_counter()
            self._fit(client, self.path)
            return time.perf_counter() - start

    def _fit(self, client: Any, path: Path) -> None:
        with client.as_current():
            model = dkmeans.KMeans(
                CLUSTERS,
                init="k-means||",
                algorithm="lloyd",
                max_iter=ITERATIONS,
                tol=0.0,
                random_state=0,
                residency="stream",
            ).fit(path)
        self.passes = model.history_.passes


@contextmanager
def workers(count: int) -> Iterator[Any]:
    """A client of so many worker processes of one thread each."""
    from distributed import Client, LocalCluster

    options = {"threads_per_worker": 1, "memory_limit": "3GiB", "dashboard_address": ":0"}
    with (
        dask.config.set(OWN_WORKERS),
        LocalCluster(n_workers=count, processes=True, **options) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def fits(amount: Amount) -> tuple[list[tuple[str, ...]], float]:
    """Rows of the table, and decoded bytes that a worker of two gets through in a second."""
    half = amount.rows // 2
    with tempfile.TemporaryDirectory() as folder:
        small = 4 * amount.chunk_rows
        paths = {rows: Path(folder, f"{rows}.zarr") for rows in (small, half, amount.rows)}
        for rows, path in paths.items():
            make_store(path, Size(rows, amount.chunk_rows, 0, 0, FEATURES, CLUSTERS), "auto")
        found = [
            Fits(count, rows, paths[rows], paths[small])
            for count, rows in ((1, amount.rows), (2, amount.rows), (1, half))
        ]
        turns = [[fit.take() for fit in found] for _ in range(amount.repeats)]
        times = [list(seconds) for seconds in zip(*turns, strict=True)]
    middle = [statistics.median(seconds) for seconds in times]
    lines = [
        (
            f"{fit.workers}, {fit.rows:,} rows",
            f"{seconds:.2f}",
            spread(taken),
            str(fit.passes),
            f"{1000 * seconds / fit.passes:.0f}",
            f"{_rate(fit, seconds) / GB:.2f}",
        )
        for fit, seconds, taken in zip(found, middle, times, strict=True)
    ]
    strong, weak = middle[0] / middle[1], middle[2] / middle[1]
    bold = "**" if strong < WANTED else ""
    lines.append(("2 over 1, same rows", f"{bold}{strong:.2f}{bold} times faster", *[""] * 4))
    lines.append(("2 over 1, rows a worker", f"{100 * weak:.0f} % efficient", *[""] * 4))
    return lines, _rate(found[1], middle[1])


def _rate(fit: Fits, seconds: float) -> float:
    """Decoded bytes that one worker gets through in a second."""
    return fit.passes * fit.rows * FEATURES * 4 / seconds / fit.workers


@dataclass(frozen=True)
class Cost:
    """A pass over blocks that cost nothing."""

    name: str
    blocks: int
    tasks: int
    seconds: float
    grown_bytes: int

    @property
    def line(self) -> tuple[str, ...]:
        """Of the table."""
        return (
            self.name,
            f"{self.blocks:,}",
            f"{self.tasks:,}",
            f"{self.seconds:.2f}",
            f"{1000 * self.seconds / self.blocks:.3f}",
            f"{1000 * self.seconds / self.tasks:.2f}",
            f"{self.grown_bytes / MIB:.0f}",
        )


def tasks(amount: Amount) -> list[Cost]:
    """What tasks cost on two workers, the last kind with a task for each block."""
    n, wide = amount.blocks, amount.wide_blocks
    sizes, large = cut(4 * n, 4), BLOCK_BYTES // (4 * FEATURES)
    chunks = da.ones((4 * n, FEATURES), chunks=(sizes, FEATURES), dtype=np.float32)
    kinds = {
        "a reader, 4 rows a block": from_reader(Ones(4 * n), sizes, None),
        "a dask array, 4 rows a chunk": from_dask(chunks, None),
        "a reader, 32 MiB a block": from_reader(Untouched(large * wide), (large,) * wide, None),
    }
    with workers(2) as client, client.as_current():
        cost("warm", kinds["a dask array, 4 rows a chunk"])
        found = [cost(name, blocks) for name, blocks in kinds.items()]
        together = engine_passes.CLUSTER_TASK_BYTES
        engine_passes.CLUSTER_TASK_BYTES = 0
        try:
            alone = from_reader(Untouched(4 * n), sizes, None)
            found.append(cost("a reader, each block a task", alone))
        finally:
            engine_passes.CLUSTER_TASK_BYTES = together
    return found


def cost(name: str, blocks: Blocks) -> Cost:
    """One pass, on workers that have taken others."""
    tell(f"tasks: {name}")
    passes = Passes()
    before, start = _peak(), time.perf_counter()
    passes.run(blocks, do_nothing, "nothing")
    seconds = time.perf_counter() - start
    together = passes._together(blocks)
    return Cost(name, blocks.count, math.ceil(blocks.count / together), seconds, _peak() - before)


def _peak() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def projection(rate: float, task_seconds: float) -> Table:
    """Seconds of a pass over 10 TB by 100 workers, of so many threads each."""
    lines = []
    for threads in (1, 4, 8):
        at_work, blocks = 100 * threads, math.ceil(10 * TB / BLOCK_BYTES)
        fair = blocks // (TASKS_PER_THREAD * at_work)
        together = max(1, min(fair, CLUSTER_TASK_BYTES // BLOCK_BYTES))
        count = math.ceil(blocks / together)
        read, scheduled = 10 * TB / (rate * at_work), count * task_seconds
        lines.append(
            (
                f"100 of {threads}",
                f"{rate * at_work / GB:.0f}",
                f"{read:.0f}",
                f"{count:,}",
                f"{scheduled:.0f}",
                f"{max(read, scheduled):.0f}",
                "the scheduler" if scheduled > read else "reading and arithmetic",
            )
        )
    settings = (
        f"Computed, not measured, for 10 TB of decoded rows, {FEATURES} features, {CLUSTERS}"
        f" clusters: *read* is 10 TB / (workers x threads x {rate / GB:.2f} GB/s), the rate of a"
        f" thread of two workers above; *scheduler* is tasks x {1000 * task_seconds:.2f} ms, the"
        " cost above of a task with nothing to do. The two go on at the same time: a pass takes the"
        " longer one."
    )
    header = ("workers, threads", "GB/s asked of storage", "read s", "tasks", "scheduler s",
              "pass s", "limited by")  # fmt: skip
    return Table(settings, header, lines)


def run(*, quick: bool = False) -> Section:
    """Measure by turns."""
    amount = QUICK if quick else FULL
    lines, rate = fits(amount)
    costs = tasks(amount)
    settings = (
        f"Whole fits from a Zarr store, {FEATURES} float32 features, k = {CLUSTERS},"
        f' {ITERATIONS} iterations, a pass each, residency="stream"; the files are in the system\'s'
        " memory. Workers are processes of one thread on this machine, which the scheduler and the"
        " client share; they are started for each turn, as `--workers` does, and warmed."
        f" {amount.repeats} runs by turns, medians. GB/s are decoded bytes a worker."
        " In the last line two workers have twice the rows of the one."
    )
    header = ("workers", "s", "spread", "passes", "ms a pass", "GB/s a worker")
    of_tasks = Table(
        "A pass over blocks that cost nothing, on two workers of one thread; MiB are those by which"
        " the process of client and scheduler grew.",
        ("blocks of", "blocks", "tasks", "s", "ms a block", "ms a task", "MiB"),
        [found.line for found in costs],
    )
    planned = projection(rate, costs[-1].seconds / costs[-1].tasks)
    packages = ("dask", "distributed", "zarr", "numpy", "numba")
    quoted = Section(
        "The numbers", planned.settings, packages, 1, planned.header, planned.rows,
        more=[Table(settings, header, lines), of_tasks],
    )  # fmt: skip
    return Section(
        "Scaling", settings, packages, 1, header, lines,
        more=[of_tasks, planned], quoted={DOCUMENT: quoted},
    )  # fmt: skip
