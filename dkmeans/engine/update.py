"""From the sums of a pass to new centers; empty clusters; the shift."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dkmeans._typing import Floats, Ints
from dkmeans.engine.grid import (
    Grid,
    levels_of,
    sums_to_floats,
    weights_to_floats,
)
from dkmeans.engine.partial import Partial


@dataclass(frozen=True)
class Update:
    """New centers (k, d), and how far they moved."""

    centers: Floats
    sq_shift: float


def masses_of(counts: Ints, masses: Ints, grid: Grid, weighted: bool) -> Floats:
    """Weight of each cluster, (k,)."""
    return weights_to_floats(masses, grid) if weighted else counts.astype(np.float64)


def update(
    partial: Partial, grid: Grid, centers: Floats, dtype: np.dtype[Any], weighted: bool
) -> Update:
    """Means of the clusters, rounded to the type of the centers.

    Each empty cluster is moved to one of the rows farthest from their centers, as in
    scikit-learn's ``_relocate_empty_clusters_dense``; that row leaves its own cluster.
    """
    sums, masses, counts = partial.sums, partial.masses, partial.counts
    relocated = _relocated(partial)
    if relocated:
        gained = _relocate(partial, relocated, grid, centers, weighted)
        sums, masses, counts = sums + gained[0], masses + gained[1], counts + gained[2]
    weight = masses_of(counts, masses, grid, weighted)[:, None]
    total = sums_to_floats(sums, grid)
    filled = weight[:, 0] > 0
    new = centers.copy()
    new[filled] = grid.origin + total[filled] / weight[filled]
    new = new.astype(dtype).astype(np.float64)
    return Update(new, float(np.square(new - centers).sum()))


def _relocated(partial: Partial) -> int:
    """How many empty clusters can be moved: to rows that are not on their centers already."""
    empty = int((partial.counts == 0).sum())
    away = int((partial.far.keys < 0).sum())
    return min(empty, away)


def _relocate(
    partial: Partial, many: int, grid: Grid, centers: Floats, weighted: bool
) -> tuple[Ints, Ints, Ints]:
    """By how much sums, masses and counts grow when so many rows move to empty clusters."""
    from dkmeans.engine import kernels, sum_kernels

    k, d = centers.shape
    far, empty = partial.far.take(slice(0, many)), np.flatnonzero(partial.counts == 0)[:many]
    owners = np.empty(many, np.int32)
    kernels.assign(far.values, kernels.prepare(centers), owners)
    bits, masses = np.zeros((k, len(grid.rows), d), np.int64), np.zeros_like(partial.masses)
    counts = np.zeros(k, np.int64)
    weights = far.weights if weighted else far.weights[:0]
    rows, labels = np.arange(many), empty.astype(np.int32)
    sum_kernels.move(far.values, weights, rows, owners, labels, grid, bits, masses, counts)
    return levels_of(bits, np.zeros_like(counts), grid), masses, counts
