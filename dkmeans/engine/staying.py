"""Iterations on kept rows that stay on the workers of a cluster that read them.

Unlike in ``bounds.py``, nothing is remembered from one iteration to the next: which rows can have
changed sides since the pass, and what that changes in the sums, is found from the labels and
margins of the pass and the centers of now. So an iteration is a small pass over the rows, which
may be repeated, or be done anew by another worker, like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from dkmeans._typing import Floats, Ints
from dkmeans.data.threads import in_order
from dkmeans.engine.bounds import apart_from, assign_due, lengths_of, rounding
from dkmeans.engine.grid import Grid, levels_of
from dkmeans.engine.kept import Chunk, Kept

if TYPE_CHECKING:
    from dkmeans.engine.settle import Sums


@dataclass(frozen=True)
class Moved:
    """By how much sums of clusters have grown since the pass, and how many rows were assigned."""

    sums: Ints
    masses: Ints
    counts: Ints
    assigned: int

    @staticmethod
    def combine(parts: Sequence[Moved]) -> Moved:
        """Add the parts up."""
        return Moved(
            np.sum([p.sums for p in parts], axis=0),
            np.sum([p.masses for p in parts], axis=0),
            np.sum([p.counts for p in parts], axis=0),
            sum(p.assigned for p in parts),
        )


@dataclass(frozen=True)
class FollowStep:
    """Assign rows to centers (k, d), and sum up which clusters they have left and joined.

    Parameters
    ----------
    due : (k,) margins at the pass up to which rows of a cluster can have changed sides.
    """

    centers: Floats
    due: Floats
    grid: Grid

    def __call__(self, chunks: Sequence[Chunk], threads: int) -> Moved:
        shares = [chunks[at::threads] for at in range(max(1, min(threads, len(chunks))))]
        found = in_order(lambda at: self._moved(shares[at]), len(shares), threads)
        return Moved.combine(list(found))

    @cached_property
    def scorer(self) -> Any:
        """The centers as the kernels take them, prepared once for all rows of a worker."""
        from dkmeans.engine import kernels

        return kernels.prepare(self.centers)

    def _moved(self, chunks: Sequence[Chunk]) -> Moved:
        from dkmeans.engine import sum_kernels

        k, d = self.centers.shape
        bits = np.zeros((k, len(self.grid.rows), d), np.int64)
        masses = np.zeros((k, len(self.grid.weights)), np.int64)
        counts, assigned = np.zeros(k, np.int64), 0
        for chunk in chunks:
            X, weights, labels = chunk.X, chunk.weights, chunk.labels.copy()
            now, bounds = Chunk(X, weights, labels, chunk.margins), chunk.margins.copy()
            rows, old, _, many = assign_due(now, bounds, self.due, np.zeros(k), self.scorer, k)
            sum_kernels.move(X, weights, rows, old, labels, self.grid, bits, masses, counts)
            assigned += many
        return Moved(levels_of(bits, np.zeros_like(counts), self.grid), masses, counts, assigned)


class StayingRows:
    """The kept rows, where they are; in the place of :class:`~dkmeans.engine.bounds.KeptRows`."""

    def __init__(self, kept: Kept, centers: Floats) -> None:
        self._kept, self._at_pass = kept, centers
        self.assigned = 0  # rows, the last time

    def follow(self, centers: Floats, sums: Sums) -> bool:
        """Assign the rows to ``centers``; False if others may have changed sides as well."""
        moves = lengths_of(centers - self._at_pass)
        reach = self._kept.reach + moves
        moves = moves + rounding(centers, reach)
        shrunk = moves[:, None] + moves[None, :]
        shrunk[apart_from(centers, reach)] = -np.inf
        np.fill_diagonal(shrunk, -np.inf)
        due = shrunk.max(axis=1)
        if not (due < self._kept.floor).all():
            return False
        assert self._kept.away is not None
        moved: Moved = self._kept.away(FollowStep(centers, due, sums.grid))
        sums.put(moved)
        self.assigned = moved.assigned
        return True
