"""Which rows can have changed sides when the centers move.

The bounds are those of Hamerly 2010 ("Making k-means even faster"), with the largest move taken
over the centers that are near enough to matter (Ryšavý and Hamerly 2016).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dkmeans._typing import AnyArray, Floats, Ints
from dkmeans.data.threads import in_order
from dkmeans.engine.kept import Chunk, Kept

if TYPE_CHECKING:
    from dkmeans.engine.settle import Sums

_GATHERED = 2**22  # bytes of rows that are put together to be assigned anew
_ALONE = 2**22  # rows x centers x features up to which one thread is faster than several
_MOST_STALE = 0.5  # share of a chunk from which all of it is assigned anew where it is


class KeptRows:
    """The kept rows, whose labels follow the centers.

    ``_limits`` (k,) is by how much margins of rows of each cluster have shrunk at most since the
    pass. A row is due when that has reached its bound.
    """

    def __init__(self, kept: Kept, centers: Floats, threads: int) -> None:
        self._kept = kept.gathered()
        self._at_pass = self._centers = centers
        self._reach = kept.reach.copy()
        self._limits = np.zeros(len(centers))
        self._near = ~apart_from(centers, self._reach)  # each is near itself
        self.assigned = 0  # rows, the last time
        self._bounds = [c.margins.copy() for c in self._kept.chunks]
        self._threads = threads if self._kept.n_rows * centers.size > _ALONE else 1

    def follow(self, centers: Floats, sums: Sums) -> bool:
        """Assign the rows to ``centers``; False if others may have changed sides as well."""
        moves = lengths_of(centers - self._centers)
        self._reach += moves
        apart = apart_from(centers, self._reach)
        if not self._others_stay(centers, apart):
            return False
        back = (~apart & ~self._near).any(axis=1)  # clusters that others have come near to
        self._near[back] |= ~apart[back]
        self._limits += moves + _largest_near(moves, self._near)
        due = self._limits + rounding(centers, self._reach)
        due[back] = np.inf
        self._centers = centers
        self._assign(due, sums)
        return True

    def _others_stay(self, centers: Floats, apart: AnyArray) -> bool:
        """Whether no row that was not kept can have changed sides since the pass."""
        if np.isinf(self._kept.floor).all():
            return True
        moves = lengths_of(centers - self._at_pass) + rounding(centers, self._reach)
        holds = moves[:, None] + moves[None, :] < self._kept.floor[:, None]
        np.fill_diagonal(holds, True)
        return bool((holds | apart).all())

    def _assign(self, due: Floats, sums: Sums) -> None:
        from dkmeans.engine import kernels

        scorer = kernels.prepare(self._centers)

        def one(at: int) -> tuple[Ints, Ints, Floats, int]:
            chunk, bounds = self._kept.chunks[at], self._bounds[at]
            return assign_due(chunk, bounds, due, self._limits, scorer, len(self._centers))

        found = in_order(one, len(self._kept.chunks), self._threads)
        self.assigned = 0
        for chunk, (rows, old, reach, assigned) in zip(self._kept.chunks, found, strict=True):
            self.assigned += assigned
            np.maximum(self._reach, reach, out=self._reach)
            if len(rows):
                sums.move(chunk, rows, old)
        sums.measured = False


def assign_due(
    chunk: Chunk, bounds: Floats, due: Floats, limits: Floats, scorer: Any, k: int
) -> tuple[Ints, Ints, Floats, int]:
    """Assign the rows that are due: those that changed sides, their old labels, reach, how many."""
    from dkmeans.engine import margin_kernels, sum_kernels

    n, reach = len(chunk.labels), np.zeros(k)
    rows = np.empty(n, np.int64)
    rows = rows[: margin_kernels.stale(chunk.labels, bounds, due, rows)]
    if len(rows) > _MOST_STALE * n:
        rows = np.arange(n)
    labels, margins = np.empty(len(rows), np.int32), np.empty(len(rows), np.float32)
    step = len(rows) if len(rows) == n else max(1, _GATHERED // max(1, chunk.X[:1].nbytes))
    for start in range(0, len(rows), max(1, step)):
        piece = slice(start, start + step)
        X = chunk.X if len(rows) == n else chunk.X[rows[piece]]
        X = X.view()
        X.flags.writeable = False
        sum_kernels.reassign(X, scorer, labels[piece], margins[piece], reach)
    moved, old = np.empty(len(rows), np.int64), np.empty(len(rows), np.int32)
    many = margin_kernels.settle_rows(
        rows, labels, margins, limits, chunk.labels, bounds, moved, old
    )
    return moved[:many].copy(), old[:many].copy(), reach, len(rows)


def lengths_of(vectors: Floats) -> Floats:
    """Euclidean lengths (k,) of vectors (k, d), not less than they are."""
    lengths: Floats = np.sqrt(np.square(vectors).sum(axis=1)) * (1 + 1e-12)
    return lengths


def drops_of(moves: Floats) -> Floats:
    """By how much margins in each cluster can shrink when the centers move so far (k,)."""
    others = np.full_like(moves, moves.max())
    if len(moves) > 1:
        top = int(np.argmax(moves))
        others[top] = np.delete(moves, top).max()
    return moves + others


def _largest_near(values: Floats, near: AnyArray) -> Floats:
    """For each of ``values`` (k,) the largest of those near it (k, k), itself left out."""
    considered = np.where(near, values, 0.0)
    np.fill_diagonal(considered, 0.0)
    largest: Floats = considered.max(axis=1)
    return largest


def rounding(centers: Floats, reach: Floats) -> float:
    """More than what the direct formula in float64 can be wrong in a difference of distances."""
    return float(2.0**-50 * (centers.shape[1] + 16) * reach.max())


def apart_from(centers: Floats, reach: Floats) -> AnyArray:
    """Pairs (k, k) so far apart that no row of the first, within its reach, is near the second."""
    moved = centers - centers.mean(axis=0)
    sq_norms = np.square(moved).sum(axis=1)
    sq = sq_norms[:, None] + sq_norms[None, :] - 2 * moved @ moved.T
    sq -= 2.0**-48 * (centers.shape[1] + 16) * (sq_norms[:, None] + sq_norms[None, :])
    far = 2 * reach * (1 + 1e-9) + rounding(centers, reach)
    apart: AnyArray = sq > np.square(far)[:, None]
    return apart
