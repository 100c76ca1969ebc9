"""One Lloyd iteration of a block in memory: dkmeans against scikit-learn's compiled loop."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.cluster._k_means_lloyd import lloyd_iter_chunked_dense
from threadpoolctl import threadpool_limits

from benchmarks.report import Section, by_turns, spread
from dkmeans.data.source import kernel_view
from dkmeans.engine.lloyd import LloydStep
from dkmeans.engine.survey import SurveyStep, survey_streams
from dkmeans.engine.update import update

SHAPES = ((3, 16), (3, 256), (8, 32), (16, 64), (64, 256), (128, 1024), (784, 10), (784, 256))
REPEATS = 11
WORK = 2_000_000_000  # features x clusters x rows of a step, within the bounds on rows
QUICK_WORK = 20_000_000

Floats32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """Rows and centers of one cell of the table."""

    X: Floats32
    centers: Floats32


def make_case(d: int, k: int, work: int, overlap: float) -> Case:
    """Gaussian clusters whose spread is ``overlap`` times that of their centers."""
    random = np.random.default_rng([d, k])
    n = int(np.clip(work // (d * k), 2048, 1_000_000))
    middles = random.standard_normal((k, d), dtype=np.float32)
    X = middles[random.integers(k, size=n)]
    X += np.float32(overlap) * random.standard_normal((n, d), dtype=np.float32)
    X -= X.mean(axis=0)  # as scikit-learn does before its loop
    centers = X[random.choice(n, size=k, replace=False)].copy()
    return Case(X, centers)


def ours(case: Case) -> Callable[[], Floats32]:
    """Assignment, sums, counts, inertia, farthest rows, and the new centers."""
    exact = case.centers.astype(np.float64)
    X, no_weights = kernel_view(case.X), np.empty(0)
    grid = SurveyStep(survey_streams([0]), len(exact))(X, no_weights, 0, 0).grid  # once a fit

    def step() -> Floats32:
        partial = LloydStep(exact, grid)(X, no_weights, 0, 0)
        found = update(partial, grid, exact, case.X.dtype, False)
        return found.centers.astype(np.float32)

    return step


def theirs(case: Case) -> Callable[[], Floats32]:
    """Assignment, sums, counts and the new centers; scikit-learn sums no inertia here."""
    n, k = len(case.X), len(case.centers)
    weights, labels = np.ones(n, np.float32), np.empty(n, np.int32)
    new, in_clusters = np.empty_like(case.centers), np.empty(k, np.float32)
    shift = np.empty(k, np.float32)

    def step() -> Floats32:
        lloyd_iter_chunked_dense(case.X, weights, case.centers, new, in_clusters, labels, shift, 1)
        return new

    return step


def run(*, quick: bool = False) -> Section:
    """Time every shape on separate and on overlapping clusters."""
    work, repeats = (QUICK_WORK, 3) if quick else (WORK, REPEATS)
    rows = []
    for d, k in SHAPES:
        for data, overlap in (("separate", 0.2), ("overlapping", 1.0)):
            case = make_case(d, k, work, overlap)
            rows.append(_row(case, data, repeats))
            print(" ".join(rows[-1]), flush=True)
    settings = (
        "A whole Lloyd iteration of float32 rows in memory, from centers to new centers, as both"
        f" libraries run it on each block; {repeats} repeats by turns, medians. dkmeans also sums"
        " the inertia, keeps the farthest rows, and its sums are exact; scikit-learn also writes"
        " labels. GFLOP/s counts 2 x rows x features x clusters. The ratio is scikit-learn's time"
        " divided by that of dkmeans: above 1, dkmeans is faster; **bold** where it is slower."
    )
    header = (
        "features, clusters, data", "rows", "dkmeans ms", "spread", "scikit-learn ms", "spread",
        "dkmeans GFLOP/s", "scikit-learn GFLOP/s", "ratio",
    )  # fmt: skip
    packages = ("numpy", "numba", "scikit-learn")
    return Section("Kernels", settings, packages, 1, header, rows)


def _row(case: Case, data: str, repeats: int) -> tuple[str, ...]:
    n, d = case.X.shape
    k = len(case.centers)
    mine, other = ours(case), theirs(case)
    with threadpool_limits(1):
        np.testing.assert_allclose(mine(), other(), rtol=1e-3, atol=1e-3)  # also warms both up
        a, b = by_turns([mine, other], repeats)
    t_mine, t_other = statistics.median(a), statistics.median(b)
    flops = 2e-9 * n * d * k
    ratio = f"{t_other / t_mine:.2f}"
    return (
        f"{d}, {k}, {data}", f"{n:,}", f"{1e3 * t_mine:.1f}", spread(a), f"{1e3 * t_other:.1f}",
        spread(b), f"{flops / t_mine:.1f}", f"{flops / t_other:.1f}",
        ratio if t_mine <= t_other else f"**{ratio}**",
    )  # fmt: skip
