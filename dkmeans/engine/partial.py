"""What one block returns, and how the returns of many blocks become one.

All sums are exact (see ``grid.py`` and ``exact.py``), so ``combine`` may take the parts in any
order and any grouping.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dkmeans._typing import AnyArray, Floats, Ints
from dkmeans.engine import exact
from dkmeans.engine.jobs import Away
from dkmeans.engine.kept import Chunk, Kept


@dataclass(frozen=True)
class Rows:
    """A few rows of the data, those with the smallest keys.

    Parameters
    ----------
    keys : (m,) ascending; equal keys are ordered by row.
    index : (m,) global row numbers.
    values : (m, d) float64, or in the type of the data.
    weights : (m,) float64.
    """

    keys: Floats
    index: Ints
    values: AnyArray
    weights: Floats

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, chosen: AnyArray | slice) -> Rows:
        """The rows at these positions."""
        return Rows(
            self.keys[chosen], self.index[chosen], self.values[chosen], self.weights[chosen]
        )


def rows_of(X: AnyArray, weights: AnyArray, offset: int, keys: Floats, index: Ints) -> Rows:
    """Rows of one block from a heap of (key, row within the block)."""
    order = np.lexsort((index, keys))
    keys, index = keys[order], index[order]
    values = X[index].astype(np.float64)
    return Rows(
        keys, index + offset, values, weights[index] if len(weights) else np.ones(len(index))
    )


def join_rows(parts: Sequence[Rows]) -> Rows:
    """All rows of all parts."""
    if len(parts) == 1:
        return parts[0]
    return Rows(
        np.concatenate([p.keys for p in parts]),
        np.concatenate([p.index for p in parts]),
        np.concatenate([p.values for p in parts]),
        np.concatenate([p.weights for p in parts]),
    )


def merge_rows(parts: Sequence[Rows], most: int) -> Rows:
    """The ``most`` rows with the smallest keys of all parts."""
    joined = join_rows(parts)
    return joined.take(np.lexsort((joined.index, joined.keys))[:most])


def least_keys(keys: Floats, index: Ints, most: int) -> Ints:
    """Where the ``most`` smallest keys are, ascending; of equal keys those of the first rows."""
    chosen = np.flatnonzero(keys <= np.partition(keys, most - 1)[most - 1])
    if len(chosen) > most:
        order = np.lexsort((index[chosen], keys[chosen]))
        chosen = np.sort(chosen[order[:most]])
    return chosen


@dataclass(frozen=True)
class SampleSpec:
    """The ``most`` rows with the smallest keys of a stream; no key of them is above ``limit``."""

    stream: np.uint64
    most: int
    limit: float


@dataclass(frozen=True)
class Drawn:
    """The ``most`` rows with the smallest keys."""

    rows: Rows
    most: int

    @staticmethod
    def combine(parts: Sequence[Drawn]) -> Drawn:
        """Keep the smallest keys."""
        most = parts[0].most
        return Drawn(merge_rows([p.rows for p in parts], most), most)


def draw_by_cost(
    X: AnyArray, weights: Floats, offset: int, centers: Floats, labels: Ints, spec: SampleSpec
) -> Drawn:
    """Rows of one block drawn by their share of the cost under their centers."""
    from dkmeans.engine import seeding_kernels

    most = min(spec.most, len(X))
    keys, rows = np.empty(most), np.empty(most, np.int64)
    size = seeding_kernels.draw_by_cost(
        X, weights, centers, labels, offset, spec.stream, spec.limit, keys, rows
    )
    return Drawn(rows_of(X, weights, offset, keys[:size], rows[:size]), spec.most)


@dataclass(frozen=True)
class BadValue:
    """The first value that is not finite: global row, column and what it is."""

    row: int
    column: int
    value: float


def bad_value(X: AnyArray, offset: int, row: int) -> BadValue:
    """The first value of a row that is not finite."""
    column = int(np.argmin(np.isfinite(X[row])))
    return BadValue(row + offset, column, float(X[row, column]))


@dataclass(frozen=True)
class Partial:
    """Assignment and sums of some rows.

    Parameters
    ----------
    sums : (k, d, levels) int64, of weight * (x - origin).
    masses : (k, levels) int64, of the weights.
    counts : (k,) int64, rows with a positive weight.
    inertia : exact sum of weight * squared distance.
    far : the ``most`` rows farthest from their centers; keys are minus the squared distance.
    bad : the first row that is not finite, if any.
    measured : whether ``inertia`` and ``far`` were asked for; else they are empty.
    labels : (rows,) int32 of each block, where they were asked for.
    kept : rows kept for the iterations that follow, where they were asked for.
    drawn : rows drawn by their share of the inertia, where they were asked for.
    """

    sums: Ints
    masses: Ints
    counts: Ints
    inertia: Ints
    far: Rows
    most: int
    bad: BadValue | None
    measured: bool = True
    labels: tuple[Ints, ...] = ()
    kept: Kept | None = None
    drawn: Drawn | None = None

    @staticmethod
    def combine(parts: Sequence[Partial]) -> Partial:
        """Add the parts up."""
        first = parts[0]
        if len(parts) == 1:
            return first
        sums, masses = first.sums.copy(), first.masses.copy()
        counts = first.counts.copy()
        for part in parts[1:]:
            sums += part.sums
            masses += part.masses
            counts += part.counts
        return Partial(
            sums,
            masses,
            counts,
            exact.combine([p.inertia for p in parts]),
            merge_rows([p.far for p in parts], first.most),
            first.most,
            first_bad([p.bad for p in parts]),
            first.measured,
            tuple(label for p in parts for label in p.labels),
            None if first.kept is None else Kept.combine([p.kept for p in parts if p.kept]),
            None if first.drawn is None else Drawn.combine([p.drawn for p in parts if p.drawn]),
        )

    def split_off(self) -> tuple[Chunk, ...]:
        """The rows that were kept, as one chunk."""
        return () if self.kept is None else self.kept.whole

    def without_rows(self) -> Partial:
        """The same without the rows that were kept."""
        return self if self.kept is None else replace(self, kept=replace(self.kept, chunks=()))

    def with_rows(self, away: Away) -> Partial:
        """The same where the rows that were kept are elsewhere."""
        if self.kept is None or not self.kept.choice.most:
            return self
        return replace(self, kept=replace(self.kept, away=away))


def first_bad(found: Sequence[BadValue | None]) -> BadValue | None:
    """The one with the lowest row."""
    bad = [b for b in found if b is not None]
    return min(bad, key=lambda b: b.row) if bad else None
