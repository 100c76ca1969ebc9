"""From the sums of a pass to new centers; empty clusters; the shift."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dkmeans._typing import Floats, Ints
from dkmeans.engine.grid import (
    Grid,
    levels_of_rows,
    levels_of_weights,
    sums_to_floats,
    weights_to_floats,
)
from dkmeans.engine.partial import Partial, Rows


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
    relocated = _relocated(partial, centers)
    if relocated:
        sums, masses, counts = sums.copy(), masses.copy(), counts.copy()
        rows = partial.far.take(slice(0, relocated))
        weights = rows.weights if weighted else None
        _relocate(rows, weights, grid, centers, sums, masses, counts)
    weight = masses_of(counts, masses, grid, weighted)[:, None]
    total = sums_to_floats(sums, grid)
    filled = weight[:, 0] > 0
    new = centers.copy()
    new[filled] = grid.origin + total[filled] / weight[filled]
    new = new.astype(dtype).astype(np.float64)
    return Update(new, float(np.square(new - centers).sum()))


def _relocated(partial: Partial, centers: Floats) -> int:
    """How many empty clusters can be moved: to rows that are not on their centers already."""
    empty = int((partial.counts == 0).sum())
    away = int((partial.far.keys < 0).sum())
    return min(empty, away)


def _relocate(
    far: Rows,
    weights: Floats | None,
    grid: Grid,
    centers: Floats,
    sums: Ints,
    masses: Ints,
    counts: Ints,
) -> None:
    """Move the farthest rows from their clusters to empty ones; writes the last three."""
    from dkmeans.engine import kernels

    owners = np.empty(len(far), dtype=np.int32)
    kernels.assign(far.values, kernels.prepare(centers), owners)
    moved_sums = levels_of_rows(far.values, weights, grid)
    moved_mass = levels_of_weights(far.weights, grid)
    for i, j in enumerate(np.flatnonzero(counts == 0)[: len(far)]):
        sums[owners[i]] -= moved_sums[i]
        masses[owners[i]] -= moved_mass[i]
        counts[owners[i]] -= 1
        sums[j], masses[j], counts[j] = moved_sums[i], moved_mass[i], 1
