"""Whole fits of one Zarr store: dkmeans, dask-ml, scikit-learn."""

from __future__ import annotations

import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dask
import numpy as np
import zarr
from sklearn.metrics import pairwise_distances_argmin_min
from threadpoolctl import threadpool_limits
from zarr.storage import LocalStore, WrapperStore

import dkmeans
from benchmarks.report import Section


@dataclass(frozen=True)
class Size:
    """What is fitted, and how often."""

    rows: int
    features: int
    clusters: int
    chunk_rows: int
    repeats: int
    threads: int = 2
    tol: float = 1e-4
    max_iter: int = 300


FULL = Size(1_000_000, 16, 32, 50_000, 5)
QUICK = Size(20_000, 8, 8, 5_000, 2)
WARM = Size(4_000, 16, 4, 2_000, 1)


class CountingStore(WrapperStore[LocalStore]):
    """Counts the reads of chunks and their stored bytes."""

    def __init__(self, store: LocalStore) -> None:
        super().__init__(store)
        self.lock = threading.Lock()
        self.reads = self.read_bytes = 0

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """Read, and count what is not metadata."""
        value = await super().get(key, prototype, byte_range)
        if value is not None and not key.endswith(".json"):
            with self.lock:
                self.reads += 1
                self.read_bytes += len(value)
        return value


@dataclass
class Contender:
    """One way to fit, with what its runs gave."""

    name: str
    fit: Callable[[zarr.Array, int], tuple[Any, int]]  # (store, seed) -> centers, iterations
    seconds: list[float] = field(default_factory=list)
    inertia: list[float] = field(default_factory=list)
    iterations: list[int] = field(default_factory=list)
    reads: list[int] = field(default_factory=list)
    read_bytes: list[int] = field(default_factory=list)


def contenders(size: Size, mean_variance: float) -> tuple[list[Contender], list[str]]:
    """All that can be imported, and a note for each that cannot."""
    common = {"max_iter": size.max_iter, "tol": size.tol}

    def ours(residency: str) -> Callable[[zarr.Array, int], tuple[Any, int]]:
        def fit(X: zarr.Array, seed: int) -> tuple[Any, int]:
            model = dkmeans.KMeans(
                size.clusters, random_state=seed, residency=residency, **common
            ).fit(X)
            return model.cluster_centers_, model.n_iter_

        return fit

    def sklearn_full(X: zarr.Array, seed: int) -> tuple[Any, int]:
        from sklearn.cluster import KMeans

        model = KMeans(size.clusters, n_init=1, random_state=seed, **common).fit(X[:])
        return model.cluster_centers_, model.n_iter_

    def sklearn_batches(X: zarr.Array, seed: int) -> tuple[Any, int]:
        from sklearn.cluster import MiniBatchKMeans

        model = MiniBatchKMeans(size.clusters, n_init=1, random_state=seed)
        for start in range(0, X.shape[0], size.chunk_rows):
            model.partial_fit(X[start : start + size.chunk_rows])
        return model.cluster_centers_, model.n_steps_

    found = [
        Contender("dkmeans, stream", ours("stream")),
        Contender("dkmeans, memory", ours("memory")),
        Contender("scikit-learn KMeans on the loaded array", sklearn_full),
        Contender("scikit-learn MiniBatchKMeans.partial_fit, one epoch", sklearn_batches),
    ]
    try:
        from dask_ml.cluster import KMeans as DaskMLKMeans
    except ImportError as error:
        return found, [f"dask-ml is missing: {error}"]

    def dask_ml_fit(X: zarr.Array, seed: int) -> tuple[Any, int]:
        import dask.array as da

        model = DaskMLKMeans(
            size.clusters, random_state=seed, max_iter=size.max_iter, tol=size.tol * mean_variance
        ).fit(da.from_zarr(X))
        return model.cluster_centers_, model.n_iter_

    found.insert(2, Contender("dask-ml KMeans", dask_ml_fit))
    return found, []


def make_store(folder: Path, size: Size) -> float:
    """Write overlapping Gaussian clusters, two for each center; return the mean variance."""
    random = np.random.default_rng(0)
    middles = random.standard_normal((2 * size.clusters, size.features), dtype=np.float32)
    shape = (size.rows, size.features)
    chunks = (size.chunk_rows, size.features)
    X = zarr.create_array(LocalStore(folder), shape=shape, chunks=chunks, dtype="float32")
    sums, squares = np.zeros(size.features), np.zeros(size.features)
    for start in range(0, size.rows, size.chunk_rows):
        n = min(size.chunk_rows, size.rows - start)
        block = middles[random.integers(len(middles), size=n)]
        block += random.standard_normal((n, size.features), dtype=np.float32)
        X[start : start + n] = block
        sums += block.sum(axis=0, dtype=np.float64)
        squares += np.square(block, dtype=np.float64).sum(axis=0)
    return float(np.mean(squares / size.rows - np.square(sums / size.rows)))


def cost(X: zarr.Array, centers: Any, chunk_rows: int) -> float:
    """Inertia of all rows, by the same code for every contender."""
    centers, total = np.asarray(centers, dtype=np.float64), 0.0
    for start in range(0, X.shape[0], chunk_rows):
        block = X[start : start + chunk_rows].astype(np.float64)
        total += float(pairwise_distances_argmin_min(block, centers, metric="sqeuclidean")[1].sum())
    return total


def measure(contender: Contender, folder: Path, seed: int, size: Size) -> None:
    """One fit by one contender."""
    store = CountingStore(LocalStore(folder, read_only=True))
    X = zarr.open_array(store, mode="r")
    own_blas = size.threads if contender.name.startswith("scikit-learn") else 1
    with dask.config.set(scheduler="threads", num_workers=size.threads):
        with threadpool_limits(own_blas):
            start = time.perf_counter()
            centers, iterations = contender.fit(X, seed)
            contender.seconds.append(time.perf_counter() - start)
        contender.reads.append(store.reads)
        contender.read_bytes.append(store.read_bytes)
        contender.iterations.append(iterations)
        contender.inertia.append(cost(X, centers, size.chunk_rows))


def run(*, quick: bool = False) -> Section:
    """Fit with every contender by turns, a new seed each turn."""
    size = QUICK if quick else FULL
    shm = Path("/dev/shm")
    in_shm = shm.is_dir() and shutil.disk_usage(shm).free > 2 * size.rows * size.features * 4
    with (
        tempfile.TemporaryDirectory(dir=shm if in_shm else None) as folder,
        zarr.config.set({"async.concurrency": size.threads}),
    ):
        _warm_up(Path(folder))
        store = Path(folder, "X.zarr")
        found, notes = contenders(size, make_store(store, size))
        for seed in range(size.repeats):
            for contender in found:
                measure(contender, store, seed, size)
                print(f"{contender.name}: {contender.seconds[-1]:.2f} s", flush=True)
    return _section(size, found, notes, "in tmpfs" if in_shm else "on disk")


def _warm_up(folder: Path) -> None:
    """Compile and import what each contender needs, on a few rows."""
    store = folder / "warm.zarr"
    for contender in contenders(WARM, make_store(store, WARM))[0]:
        measure(contender, store, 0, WARM)


def _section(size: Size, found: list[Contender], notes: list[str], where: str) -> Section:
    chunks = -(-size.rows // size.chunk_rows)
    reference = statistics.median(found[0].seconds)
    best = min(min(c.inertia) for c in found)
    rows = [_row(c, reference, best, chunks) for c in found]
    settings = (
        f"{size.rows:,} rows x {size.features} float32 features of {2 * size.clusters} Gaussian"
        f" clusters that overlap, in a Zarr store of {chunks} chunks {where}. k = {size.clusters},"
        f" tol = {size.tol:g} of the mean variance (converted for dask-ml, whose tol is absolute),"
        f" max_iter = {size.max_iter}, each library's default initialisation, one start. Each fit"
        f" is from the store to the centers; {size.repeats} seeds by turns, medians. Inertia is of"
        " all rows under the final centers, by the same code for all, relative to the best fit of"
        " the run. A pass is a read of as many chunks as the store has."
    )
    header = (
        "fit", "seconds", "least", "most", "times dkmeans, stream", "iterations", "inertia",
        "worst inertia", "passes read", "MB read",
    )  # fmt: skip
    packages = ("dask-ml", "scikit-learn", "dask", "zarr", "numpy", "numba")
    notes = [
        "scikit-learn's KMeans needs the whole array in memory; the others do not.",
        "Iterations of MiniBatchKMeans are batches. Its one epoch does not go on to convergence.",
        *notes,
    ]
    return Section("Fit", settings, packages, size.threads, header, rows, notes)


def _row(c: Contender, reference: float, best: float, chunks: int) -> tuple[str, ...]:
    seconds = statistics.median(c.seconds)
    return (
        c.name, f"{seconds:.2f}", f"{min(c.seconds):.2f}", f"{max(c.seconds):.2f}",
        f"{seconds / reference:.2f}", f"{statistics.median(c.iterations):g}",
        f"{statistics.median(c.inertia) / best:.4f}", f"{max(c.inertia) / best:.4f}",
        f"{statistics.median(c.reads) / chunks:.1f}",
        f"{statistics.median(c.read_bytes) / 1e6:.0f}",
    )  # fmt: skip
