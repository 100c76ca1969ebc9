"""What each library runs for one Lloyd iteration, or one assignment, of rows in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.cluster._k_means_lloyd import lloyd_iter_chunked_dense

from dkmeans.data.source import center_dtype, kernel_view
from dkmeans.engine import kernels
from dkmeans.engine.grid import Grid
from dkmeans.engine.lloyd import LloydStep
from dkmeans.engine.survey import SurveyStep
from dkmeans.engine.update import update

Array = npt.NDArray[Any]
Step = Callable[[], Array]
NO_WEIGHTS = np.empty(0)
SGEMM = 1024


@dataclass(frozen=True)
class Case:
    """Rows and centers of one cell of a table."""

    X: Array
    centers: Array

    @property
    def name(self) -> str:
        """Features and clusters, for the table."""
        return f"{self.X.shape[1]}, {len(self.centers)}"

    @property
    def flops(self) -> float:
        """Floating-point operations of the products of rows and centers."""
        return 2.0 * self.X.size * len(self.centers)


def make_case(d: int, k: int, rows: int, dtype: Any = np.float32) -> Case:
    """Gaussian clusters as wide as the distribution of their centers, so that they overlap."""
    random = np.random.default_rng([d, k])
    X = random.standard_normal((k, d), dtype=np.float32)[random.integers(k, size=rows)]
    X += random.standard_normal((rows, d), dtype=np.float32)
    if dtype == np.uint8:
        X = np.clip(128 + 32 * X, 0, 255).round()
    else:
        X -= X.mean(axis=0)  # as scikit-learn does before its loop
    X = X.astype(dtype)
    return Case(X, X[random.choice(rows, size=k, replace=False)].copy())


def grid_of(case: Case) -> Grid:
    """The grid of the sums, which a fit makes once."""
    return SurveyStep((), 0)(kernel_view(case.X), NO_WEIGHTS, 0, 0).grid


def ours(case: Case) -> Step:
    """Assignment, exact sums, counts, and the new centers."""
    exact, X, grid = case.centers.astype(np.float64), kernel_view(case.X), grid_of(case)
    dtype = center_dtype(X.dtype)

    def step() -> Array:
        partial = LloydStep(exact, grid, measure=False)(X, NO_WEIGHTS, 0, 0)
        return update(partial, grid, exact, dtype, False).centers.astype(dtype)

    return step


def ours_assign(case: Case) -> Step:
    """Labels, the centers prepared each time."""
    exact, X = case.centers.astype(np.float64), kernel_view(case.X)
    labels = np.empty(len(X), np.int32)

    def step() -> Array:
        kernels.assign(X, kernels.prepare(exact), labels)
        return labels

    return step


def sklearn(case: Case, threads: int = 1) -> Step:
    """Assignment, labels, sums, counts and the new centers, of floats as scikit-learn has them."""
    X = case.X if case.X.dtype == np.float32 else case.X.astype(np.float64)
    centers, k = case.centers.astype(X.dtype), len(case.centers)
    weights, labels = np.ones(len(X), X.dtype), np.empty(len(X), np.int32)
    new, in_clusters, shift = np.empty_like(centers), np.empty(k, X.dtype), np.empty(k, X.dtype)

    def step() -> Array:
        lloyd_iter_chunked_dense(X, weights, centers, new, in_clusters, labels, shift, threads)
        return new

    return step


def intelex(case: Case, iterations: int = 1) -> Step:
    """A fit of some iterations by scikit-learn-intelex, from given centers, with all it does."""
    from sklearnex.cluster import KMeans

    model = KMeans(
        len(case.centers),
        init=case.centers,
        n_init=1,
        max_iter=iterations,
        tol=0,
        algorithm="lloyd",
        n_jobs=1,
    )

    def step() -> Array:
        return model.fit(case.X).cluster_centers_

    return step


def faiss_iteration(case: Case) -> Step:
    """``faiss.Kmeans.train`` of one iteration from given centers, its check for NaN included."""
    import faiss

    d, k = case.X.shape[1], len(case.centers)
    faiss.omp_set_num_threads(1)
    all_rows = {"max_points_per_centroid": 10**9, "min_points_per_centroid": 1}

    def step() -> Array:
        model = faiss.Kmeans(d, k, niter=1, **all_rows)
        model.train(case.X, init_centroids=case.centers)
        return model.centroids

    return step


def faiss_assign(case: Case) -> Step:
    """``IndexFlatL2.search`` of one neighbour, the centers added each time."""
    import faiss

    faiss.omp_set_num_threads(1)

    def step() -> Array:
        index = faiss.IndexFlatL2(case.X.shape[1])
        index.add(case.centers)
        return index.search(case.X, 1)[1][:, 0]

    return step


def sgemm() -> Step:
    """A product of two float32 matrices by NumPy's BLAS."""
    random = np.random.default_rng(0)
    a, b = (random.standard_normal((SGEMM, SGEMM), dtype=np.float32) for _ in range(2))
    out = np.empty_like(a)
    return lambda: np.matmul(a, b, out=out)
