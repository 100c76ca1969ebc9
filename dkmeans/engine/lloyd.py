"""Lloyd's iterations, one pass each, to strict convergence, the tolerance, or ``max_iter``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dkmeans._typing import AnyArray, Floats, Ints
from dkmeans.data.blocks import Blocks
from dkmeans.engine.grid import Grid, grid_for, to_floats, to_ints
from dkmeans.engine.partial import BadValue, Partial, rows_of
from dkmeans.engine.passes import Passes
from dkmeans.engine.survey import Survey
from dkmeans.engine.update import update
from dkmeans.record.history import Iteration

MAX_RELOCATED = 64  # empty clusters that one iteration can move; any others wait for the next


@dataclass(frozen=True)
class LloydStep:
    """Assign the rows of a block to their nearest centers (k, d) and sum them."""

    centers: Floats
    grid: Grid
    want_labels: bool = False

    def __call__(self, X: AnyArray, weights: Floats, offset: int, block: int) -> Partial:
        from dkmeans.engine import kernels

        k, d = self.centers.shape
        sums, masses = np.zeros((k, 2, d)), np.zeros((k, 2))
        counts = np.zeros(k, np.int64)
        most = min(k, MAX_RELOCATED)
        keys, rows = np.empty(most), np.empty(most, np.int64)
        labels = np.empty(len(X) if self.want_labels else 0, np.int32)
        scorer = kernels.prepare(self.centers)
        high, low, size, bad = kernels.lloyd(
            X, weights, scorer, self.grid, sums, masses, counts, keys, rows, labels
        )
        return Partial(
            to_ints(sums.transpose(0, 2, 1), self.grid.magics),
            to_ints(masses, self.grid.weight_magic),
            counts,
            to_ints(np.array([high, low]), self.grid.sq_magic),
            rows_of(X, weights, offset, keys[:size], rows[:size]),
            None if bad < 0 else bad_value(X, offset, bad),
            (labels,) if self.want_labels else (),
        )


def bad_value(X: AnyArray, offset: int, row: int) -> BadValue:
    """The first value of a row that is not finite."""
    column = int(np.argmin(np.isfinite(X[row])))
    return BadValue(row + offset, column, float(X[row, column]))


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


def center_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Type of the centers for data of this type: float32 for float32, else float64."""
    return np.dtype(np.float32 if dtype == np.float32 else np.float64)


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
    allowed = np.nan
    reason, n_iter = "max_iter", 0
    for n_iter in range(1, stop.max_iter + 1):
        partial, grid = _assign(passes, blocks, survey, centers, "lloyd", want_labels)
        found = update(partial, grid, centers, dtype, blocks.weights is not None)
        inertia = float(to_floats(partial.inertia, grid.sq_magic))
        shift = float(np.sqrt(found.sq_shift))
        record(_iteration("lloyd", run, n_iter, passes, centers, inertia, shift, partial, dtype))
        if n_iter == 1:
            allowed = stop.tol * _mean_variance(partial, grid, centers, inertia, blocks)
        if found.sq_shift == 0:
            return Fit(centers, inertia, partial.counts, n_iter, "converged", _labels(partial))
        centers = found.centers
        if found.sq_shift <= allowed:
            reason = "tol"
            break
    partial, grid = _assign(passes, blocks, survey, centers, "final", want_labels)
    inertia = float(to_floats(partial.inertia, grid.sq_magic))
    record(_iteration("final", run, 1, passes, centers, inertia, 0.0, partial, dtype))
    return Fit(centers, inertia, partial.counts, n_iter, reason, _labels(partial))


def _assign(
    passes: Passes, blocks: Blocks, survey: Survey, centers: Floats, name: str, want_labels: bool
) -> tuple[Partial, Grid]:
    grid = grid_for(survey.low, survey.high, survey.heaviest, centers)
    return passes.run(blocks, LloydStep(centers, grid, want_labels), name), grid


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
    partial: Partial, grid: Grid, centers: Floats, inertia: float, blocks: Blocks
) -> float:
    """Mean variance of the features, from the sums of any one assignment.

    With rows ``v`` and centers ``c`` relative to the origin of the grid,
    ``sum |v|^2 = inertia + 2 sum_j c_j.S_j - sum_j m_j |c_j|^2`` for the sums S and masses m.
    """
    if blocks.weights is not None:
        mass = to_floats(partial.masses, grid.weight_magic)
    else:
        mass = partial.counts.astype(np.float64)
    moved, sums = centers - grid.origin, to_floats(partial.sums, grid.magics)
    total = float(mass.sum())
    squares = inertia + 2 * float(np.sum(moved * sums)) - float(np.sum(mass @ (moved * moved)))
    mean = sums.sum(axis=0) / total
    return max(0.0, squares / total - float(np.dot(mean, mean))) / len(mean)
