"""Lloyd's iterations, one pass each, to strict convergence, the tolerance, or ``max_iter``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dkmeans._typing import AnyArray, Floats, Ints
from dkmeans.data.blocks import Blocks
from dkmeans.data.source import center_dtype
from dkmeans.engine import exact
from dkmeans.engine.grid import Grid, levels_of, sums_to_floats
from dkmeans.engine.partial import Partial, bad_value, rows_of
from dkmeans.engine.passes import Passes
from dkmeans.engine.survey import Survey
from dkmeans.engine.update import masses_of, update
from dkmeans.record.history import Iteration

MAX_RELOCATED = 64  # empty clusters that one iteration can move; any others wait for the next


@dataclass(frozen=True)
class LloydStep:
    """Assign the rows of a block to their nearest centers (k, d) and sum them.

    ``measure`` adds the inertia and the farthest rows; without, the one is zero, the other none.
    """

    centers: Floats
    grid: Grid
    want_labels: bool = False
    measure: bool = True

    def __call__(self, X: AnyArray, weights: Floats, offset: int, block: int) -> Partial:
        from dkmeans.engine import kernels, sum_kernels

        k, d = self.centers.shape
        bits = np.zeros((k, len(self.grid.rows), d), np.int64)
        masses = np.zeros((k, len(self.grid.weights)), np.int64)
        counts, inertia = np.zeros(k, np.int64), exact.zeros()
        most = min(k, MAX_RELOCATED)
        keys, rows = np.empty(most), np.empty(most, np.int64)
        labels = np.empty(len(X) if self.want_labels else 0, np.int32)
        scorer = kernels.prepare(self.centers)
        size, bad = sum_kernels.lloyd(
            X,
            weights,
            scorer,
            self.grid,
            bits,
            masses,
            counts,
            inertia,
            keys,
            rows,
            labels,
            self.measure,
        )
        return Partial(
            levels_of(bits, counts, self.grid),
            masses,
            counts,
            inertia,
            rows_of(X, weights, offset, keys[:size], rows[:size]),
            most,
            None if bad < 0 else bad_value(X, offset, bad),
            (labels,) if self.want_labels else (),
        )


@dataclass(frozen=True)
class Fit:
    """Where Lloyd's iterations ended.

    Parameters
    ----------
    centers : (k, d) float64, with the digits of the data's own type.
    inertia : of all rows to these centers.
    counts : (k,) rows of each cluster.
    stop_reason : "converged", "tol" or "max_iter".
    labels : (n,) int32, where they were asked for.
    """

    centers: Floats
    inertia: float
    counts: Ints
    n_iter: int
    stop_reason: str
    labels: Ints | None


@dataclass(frozen=True)
class Stop:
    """When to stop: scikit-learn's ``max_iter``, and ``tol`` relative to the mean variance."""

    max_iter: int
    tol: float


def lloyd(
    passes: Passes,
    blocks: Blocks,
    survey: Survey,
    centers: Floats,
    stop: Stop,
    record: Callable[[Iteration], None],
    *,
    run: int = 0,
    want_labels: bool = False,
) -> Fit:
    """Iterate from ``centers`` (k, d); each iteration is one pass.

    The sums are exact, so centers that do not move at all are the sign that no label changed:
    this is scikit-learn's strict convergence, found without keeping labels.
    """
    dtype = center_dtype(blocks.dtype)
    centers = centers.astype(dtype).astype(np.float64)
    allowed, grid, weighted = np.nan, survey.grid, blocks.weights is not None
    reason, n_iter = "max_iter", 0
    for n_iter in range(1, stop.max_iter + 1):
        partial = passes.run(blocks, LloydStep(centers, grid, want_labels), "lloyd")
        found = update(partial, grid, centers, dtype, weighted)
        inertia = exact.to_float(partial.inertia)
        shift = float(np.sqrt(found.sq_shift))
        record(_iteration("lloyd", run, n_iter, passes, centers, inertia, shift, partial, dtype))
        if n_iter == 1:
            allowed = stop.tol * _mean_variance(partial, grid, centers, inertia, weighted)
        if found.sq_shift == 0:
            return Fit(centers, inertia, partial.counts, n_iter, "converged", _labels(partial))
        centers = found.centers
        if found.sq_shift <= allowed:
            reason = "tol"
            break
    partial = passes.run(blocks, LloydStep(centers, grid, want_labels), "final")
    inertia = exact.to_float(partial.inertia)
    record(_iteration("final", run, 1, passes, centers, inertia, 0.0, partial, dtype))
    return Fit(centers, inertia, partial.counts, n_iter, reason, _labels(partial))


def _labels(partial: Partial) -> Ints | None:
    return np.concatenate(partial.labels) if partial.labels else None


def _iteration(
    phase: str,
    run: int,
    step: int,
    passes: Passes,
    centers: Floats,
    inertia: float,
    shift: float,
    partial: Partial,
    dtype: np.dtype[Any],
) -> Iteration:
    spent = passes.lap()
    return Iteration(
        phase,
        run,
        step,
        centers.astype(dtype),
        inertia,
        shift,
        tuple(int(c) for c in partial.counts),
        spent.seconds,
        spent.passes,
        spent.bytes_read,
        spent.rows,
    )


def _mean_variance(
    partial: Partial, grid: Grid, centers: Floats, inertia: float, weighted: bool
) -> float:
    """Mean variance of the features, from the sums of any one assignment.

    With rows ``v`` and centers ``c`` relative to the origin of the grid,
    ``sum |v|^2 = inertia + 2 sum_j c_j.S_j - sum_j m_j |c_j|^2`` for the sums S and masses m.
    """
    mass = masses_of(partial.counts, partial.masses, grid, weighted)
    moved, sums = centers - grid.origin, sums_to_floats(partial.sums, grid)
    total = float(mass.sum())
    squares = inertia + 2 * float(np.sum(moved * sums)) - float(np.sum(mass @ (moved * moved)))
    mean = sums.sum(axis=0) / total
    return max(0.0, squares / total - float(np.dot(mean, mean))) / len(mean)
