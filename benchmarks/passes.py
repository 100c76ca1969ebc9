"""One pass over a compressed Zarr store against one that only reads it, and what a block costs."""

from __future__ import annotations

import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec

import dkmeans
from benchmarks.report import Section, spread
from dkmeans.data.blocks import Blocks, Reader, cut, from_dask, from_reader
from dkmeans.data.sources import open_source
from dkmeans.data.synthetic import Blobs
from dkmeans.engine.lloyd import LloydStep
from dkmeans.engine.passes import Passes
from dkmeans.engine.survey import SurveyStep, survey_streams

THREADS = 2
MIB = 2**20
CODECS: dict[str, Any] = {
    "zstd (Zarr's default)": "auto",
    "Blosc, lz4": BloscCodec(cname="lz4", shuffle="shuffle"),
}


@dataclass(frozen=True)
class Size:
    """What is read, and how often."""

    rows: int
    chunk_rows: int
    repeats: int
    blocks: int  # tiny ones, whose cost is the overhead
    features: int = 16
    clusters: int = 16
    memory_limit: int = 400 * MIB


FULL = Size(8_000_000, 65_536, 5, 2_000)
QUICK = Size(40_000, 4_096, 2, 300)


@dataclass(frozen=True)
class Nothing:
    """The part of a step that looks at nothing."""

    @staticmethod
    def combine(parts: Sequence[Nothing]) -> Nothing:
        """Put parts together."""
        return parts[0]


def do_nothing(X: Any, weights: Any, offset: int, block: int) -> Nothing:
    """A step: the pass only reads and decompresses."""
    return Nothing()


class Ones(Reader):
    """Rows that cost nothing to read."""

    dtype = np.dtype(np.float32)

    def __init__(self, n_rows: int) -> None:
        self.shape = (n_rows, 16)

    def read(self, start: int, stop: int, out: npt.NDArray[np.float32]) -> None:
        """Write ones."""
        out[:] = 1


@dataclass
class Pass:
    """One way over the data, with what its runs gave."""

    name: str
    run: Callable[[], object]
    seconds: list[float] = field(default_factory=list)
    faults: list[int] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)  # seconds of all threads

    def measure(self) -> None:
        """Run once."""
        before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        self.run()
        after = resource.getrusage(resource.RUSAGE_SELF)
        self.seconds.append(time.perf_counter() - start)
        self.faults.append(after.ru_minflt - before.ru_minflt)
        self.busy.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)


def make_store(path: Path, size: Size, codec: Any) -> None:
    """Write Gaussian clusters, measured to 1/64 of their spread."""
    blobs = Blobs(size.rows, size.features, 2 * size.clusters)
    shape, chunks = (size.rows, size.features), (size.chunk_rows, size.features)
    array = zarr.create_array(path, shape=shape, chunks=chunks, dtype="float32", compressors=codec)
    for start in range(0, size.rows, size.chunk_rows):
        rows = blobs.rows(start, min(size.rows, start + size.chunk_rows))
        array[start : start + len(rows)] = np.round(rows * 64) / 64


def lloyd_step(X: npt.NDArray[np.float32], k: int) -> LloydStep:
    """A step in the middle of a fit: centers that one iteration has moved, no inertia."""
    survey = SurveyStep(survey_streams([0]), k)(X, np.empty(0), 0, 0)
    model = dkmeans.KMeans(k, init="random", n_init=1, max_iter=2, random_state=0).fit(X)
    return LloydStep(model.cluster_centers_.astype(np.float64), survey.grid, measure=False)


def ways(path: Path, size: Size) -> list[Pass]:
    """Reading as zarr-python does, reading as dkmeans does, and a Lloyd iteration."""
    model = dkmeans.KMeans(size.clusters, memory_limit=size.memory_limit, residency="stream")
    plan = model.plan(path)
    blocks = open_source(path).blocks(plan.block_rows)
    array, passes = zarr.open_array(path, mode="r"), Passes(THREADS)
    step = lloyd_step(array[: size.chunk_rows], size.clusters)
    starts = range(0, size.rows, size.chunk_rows)

    def zarr_alone() -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            for _ in pool.map(lambda start: len(array[start : start + size.chunk_rows]), starts):
                pass

    return [
        Pass("reading with zarr-python alone", zarr_alone),
        Pass("a pass that only reads", lambda: passes.run(blocks, do_nothing, "read")),
        Pass("a Lloyd pass", lambda: passes.run(blocks, step, "lloyd")),
    ]


def compare(codec: str, size: Size) -> list[tuple[str, ...]]:
    """Rows of the table for one way to compress."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "X.zarr")
        make_store(path, size, CODECS[codec])
        stored = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        found = ways(path, size)
        for turn in range(size.repeats + 1):
            for way in found:
                way.measure()
                if turn == 0:  # compiles, and takes the memory that serves from here on
                    way.seconds, way.faults, way.busy = [], [], []
    decoded = size.rows * size.features * 4
    middle = [statistics.median(way.seconds) for way in found]
    return [
        (
            f"{codec}, {decoded / stored:.1f} to 1: {way.name}",
            f"{seconds * 1000:.0f}",
            spread(way.seconds),
            f"{seconds / middle[1]:.2f}",
            f"{seconds / middle[0]:.2f}",
            f"{decoded / seconds / 1e9:.2f}",
            f"{statistics.median(way.busy) / size.rows * 1e9:.0f}",
            f"{statistics.median(way.faults):.0f}",
        )
        for way, seconds in zip(found, middle, strict=True)
    ]


def overhead(n_blocks: int) -> list[str]:
    """Milliseconds a block, of tiny blocks from a reader and from a dask array."""
    sizes = cut(4 * n_blocks, 4)
    chunks = da.ones((4 * n_blocks, 16), chunks=(sizes, 16), dtype=np.float32)
    kinds = {"a reader": from_reader(Ones(4 * n_blocks), sizes, None)}
    kinds["a dask array"] = from_dask(chunks, None)

    def cost(blocks: Blocks, passes: Passes) -> str:
        times = []
        for _ in range(3):
            start = time.perf_counter()
            passes.run(blocks, do_nothing, "nothing")
            times.append(time.perf_counter() - start)
        return f"{statistics.median(times[1:]) / n_blocks * 1000:.3f}"

    from distributed import Client, LocalCluster

    on_threads = {kind: cost(blocks, Passes(THREADS)) for kind, blocks in kinds.items()}
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    with LocalCluster(processes=True, **options) as cluster, Client(cluster):
        on_cluster = {kind: cost(blocks, Passes()) for kind, blocks in kinds.items()}
    return [
        f"{n_blocks:,} blocks of 4 rows from {kind}, ms a block and pass: {on_threads[kind]} on"
        f" {THREADS} threads, {on_cluster[kind]} on a cluster of two worker processes"
        for kind in kinds
    ]


def run(*, quick: bool = False) -> Section:
    """Measure by turns."""
    size = QUICK if quick else FULL
    rows = [row for codec in CODECS for row in compare(codec, size)]
    settings = (
        f"{size.rows:,} rows x {size.features} float32 features of Gaussian clusters, rounded to"
        f" 1/64 of their spread, in chunks of {size.chunk_rows:,} rows on a local disk; the files"
        f" are in the system's memory, the arrays do not fit in memory_limit ="
        f" {size.memory_limit // MIB} MiB. k = {size.clusters}. {size.repeats} runs by turns,"
        " medians. Busy time is that of all threads. A Lloyd pass is one in the middle of a fit of"
        " algorithm='lloyd': labels and sums, from which the inertia follows without distances."
    )
    header = (
        "pass", "ms", "spread", "times only reading", "times zarr-python", "GB/s",
        "busy ns a row", "page faults",
    )  # fmt: skip
    packages = ("zarr", "numcodecs", "dask", "distributed", "numpy", "numba")
    notes = overhead(size.blocks)
    return Section("Pass", settings, packages, THREADS, header, rows, notes)
