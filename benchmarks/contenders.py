"""Whole fits of a store by each library, from the store to the centers."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import dask
import numpy as np
import zarr
from threadpoolctl import threadpool_limits

import dkmeans
from benchmarks import spark
from benchmarks.stores import Stored

STRICT = 0.0  # as ``tol``: until no label changes


@dataclass(frozen=True)
class Job:
    """One fit.

    Parameters
    ----------
    peer : a key of ``FITS``.
    tol : relative to the mean variance of the features, as dkmeans and scikit-learn have it;
        converted for the others.
    options : further ones of the library.
    counted : whether the store counts the reads of its chunks, which makes it another store than
        the plain one; else the bytes are those that the process read from files.
    """

    peer: str
    folder: str
    k: int
    seed: int
    max_iter: int = 300
    tol: float = 1e-4
    threads: int = 2
    options: dict[str, Any] = field(default_factory=dict)
    counted: bool = False


@dataclass(frozen=True)
class Fitted:
    """What a fit gave and cost; a pass reads as many bytes as the store has."""

    centers: list[list[float]]
    iterations: int
    seconds: float
    passes: float
    read_bytes: int


@dataclass
class Contender:
    """One way to fit, with what its runs gave on one kind of data."""

    name: str
    peer: str
    options: dict[str, Any]
    runs: list[Fitted] = field(default_factory=list)
    inertia: list[float] = field(default_factory=list)

    def all(self, what: str) -> list[float]:
        """Of each run."""
        return [getattr(run, what) for run in self.runs]

    def median(self, what: str) -> float:
        """Of all runs."""
        return statistics.median(self.all(what))


def fit(job: Job) -> Fitted:
    """Fit in this process."""
    stored = Stored.load(job.folder)
    if job.peer == "pyspark":
        return Fitted(*spark.fit(stored, job))
    X, read = stored.open() if job.counted else stored.open_plain()
    own_blas = job.threads if job.peer.startswith("scikit-learn") else 1
    with (
        dask.config.set(scheduler="threads", num_workers=job.threads),
        zarr.config.set({"async.concurrency": job.threads}),
        threadpool_limits(own_blas),
    ):
        before, start = read(), time.perf_counter()
        centers, iterations = FITS[job.peer](X, stored, job)
        seconds = time.perf_counter() - start
        read_bytes = read() - before
    found = np.asarray(centers, dtype=np.float64).tolist()
    return Fitted(found, iterations, seconds, read_bytes / stored.stored_bytes, read_bytes)


def _dkmeans(X: zarr.Array, stored: Stored, job: Job) -> tuple[Any, int]:
    model = dkmeans.KMeans(
        job.k, random_state=job.seed, max_iter=job.max_iter, tol=job.tol, **job.options
    ).fit(X)
    return model.cluster_centers_, model.n_iter_


def _dask_ml(X: zarr.Array, stored: Stored, job: Job) -> tuple[Any, int]:
    import dask.array as da
    from dask_ml.cluster import KMeans

    # its tol is absolute, and the squared shift must be below it
    tol = job.tol * stored.mean_variance or sys.float_info.min
    model = KMeans(job.k, random_state=job.seed, max_iter=job.max_iter, tol=tol, **job.options).fit(
        da.from_zarr(X)
    )
    return model.cluster_centers_, model.n_iter_


def _sklearn(X: zarr.Array, stored: Stored, job: Job) -> tuple[Any, int]:
    from sklearn.cluster import KMeans

    model = KMeans(
        job.k, n_init=1, random_state=job.seed, max_iter=job.max_iter, tol=job.tol, **job.options
    ).fit(X[:])
    return model.cluster_centers_, model.n_iter_


def _mini_batches(X: zarr.Array, stored: Stored, job: Job) -> tuple[Any, int]:
    """Feed chunks to ``partial_fit`` for some epochs, or until an epoch moves the centers little.

    ``partial_fit`` has no stop rule of its own: this is that of the other fits.
    """
    from sklearn.cluster import MiniBatchKMeans

    model = MiniBatchKMeans(job.k, n_init=1, random_state=job.seed)
    before: Any = np.inf
    for _ in range(job.options["epochs"]):
        for start in range(0, stored.rows, stored.chunk_rows):
            model.partial_fit(X[start : start + stored.chunk_rows])
        shift = float(np.square(model.cluster_centers_ - before).sum())
        before = model.cluster_centers_.copy()
        if shift <= job.tol * stored.mean_variance:
            break
    return model.cluster_centers_, model.n_steps_


FITS: dict[str, Callable[[zarr.Array, Stored, Job], tuple[Any, int]]] = {
    "dkmeans": _dkmeans,
    "dask-ml": _dask_ml,
    "scikit-learn": _sklearn,
    "scikit-learn batches": _mini_batches,
}
