"""Rows that a pass keeps, because they may change sides before the next one.

A row of cluster j whose margin at the pass is more than ``D_j + D_i``, the distances by which the
centers j and i have moved since, is still nearer to j than to i. So rows of large margin need not
be looked at again for a while; it is enough to know the least margin among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dkmeans._typing import AnyArray, Floats, Ints
from dkmeans.engine.jobs import Away

BINS = 64  # half octaves of margins that are told apart: from the span of the data down to 2**-32


@dataclass(frozen=True)
class Chunk:
    """Rows (m, d) with their weights (or none), labels (m,) int32 and margins (m,) float32."""

    X: AnyArray
    weights: Floats
    labels: Ints
    margins: Floats

    def __sizeof__(self) -> int:
        """Bytes, by which a cluster knows what it would be to move the rows."""
        return sum(a.nbytes for a in (self.X, self.weights, self.labels, self.margins))

    def take(self, rows: AnyArray) -> Chunk:
        """Some of the rows, copied."""
        weights = self.weights[rows] if len(self.weights) else self.weights
        return Chunk(self.X[rows], weights, self.labels[rows], self.margins[rows])


@dataclass(frozen=True)
class Choice:
    """Which rows to keep.

    Parameters
    ----------
    most : rows in all; None to keep every row, where it is, because it is in memory already.
    share : of the rows of one block that are kept at most.
    cuts : (k,) margins up to which rows are kept.
    unit : what margins are counted in.
    """

    most: int | None
    share: float
    cuts: Floats
    unit: float


def no_choice(k: int, unit: float) -> Choice:
    """To keep none, and only learn how margins are distributed."""
    return Choice(0, 0.0, np.full(k, -1.0), unit)


@dataclass(frozen=True)
class Kept:
    """Rows kept, and what is known of all others.

    Parameters
    ----------
    floor : (k,) least margin of a row of each cluster that was not kept.
    reach : (k,) no row of a cluster is farther from its center.
    spread : (k, BINS) rows by half octaves of their margins, all rows counted.
    away : does a step on the rows, where they stay on the workers that read them.
    """

    chunks: tuple[Chunk, ...]
    floor: Floats
    reach: Floats
    spread: Ints
    choice: Choice
    away: Away | None = None

    @property
    def n_rows(self) -> int:
        """Rows kept."""
        return sum(len(c.labels) for c in self.chunks)

    @property
    def whole(self) -> tuple[Chunk, ...]:
        """All of the rows as one chunk, or none."""
        return (_joined(self.chunks),) if len(self.chunks) > 1 else self.chunks

    @property
    def tells_nothing(self) -> bool:
        """Whether no row was kept, and some other could change sides at once."""
        return not self.chunks and self.away is None and not (self.floor > 0).all()

    @property
    def labels(self) -> tuple[Ints, ...]:
        """Labels of all rows, a block at a time, if all were kept."""
        return tuple(c.labels for c in self.chunks) if self.choice.most is None else ()

    @staticmethod
    def combine(parts: Sequence[Kept]) -> Kept:
        """All of the rows, or those of the smallest margins where they are too many."""
        kept = Kept(
            tuple(c for p in parts for c in p.chunks),
            np.min([p.floor for p in parts], axis=0),
            np.max([p.reach for p in parts], axis=0),
            np.sum([p.spread for p in parts], axis=0),
            parts[0].choice,
        )
        most = kept.choice.most
        return kept if most is None or kept.n_rows <= most else _trimmed(kept, most)

    def gathered(self) -> Kept:
        """The same with the rows in a few chunks, where they came in many small ones."""
        most = self.choice.most
        if most is None or not self.chunks:
            return self
        if self.n_rows > most:  # of a single block
            return _trimmed(self, most).gathered()
        whole = _joined(self.chunks)
        pieces = np.array_split(np.arange(len(whole.labels)), max(1, len(whole.labels) // 2**16))
        return replace(self, chunks=tuple(_view(whole, p[0], p[-1] + 1) for p in pieces if len(p)))


def _joined(chunks: Sequence[Chunk]) -> Chunk:
    columns = zip(*((c.X, c.weights, c.labels, c.margins) for c in chunks), strict=True)
    return Chunk(*(np.concatenate(c) for c in columns))


def _view(chunk: Chunk, start: int, stop: int) -> Chunk:
    X, weights, labels, margins = chunk.X, chunk.weights, chunk.labels, chunk.margins
    return Chunk(X[start:stop], weights[start:stop], labels[start:stop], margins[start:stop])


def _trimmed(kept: Kept, most: int) -> Kept:
    """The rows with the smallest margins in proportion to the cut of their cluster."""
    whole = _joined(kept.chunks)
    order = np.argpartition(whole.margins / kept.choice.cuts[whole.labels], most)
    floor = kept.floor.copy()
    left_out = order[most:]
    np.minimum.at(floor, whole.labels[left_out], whole.margins[left_out])
    return replace(kept, chunks=(whole.take(np.sort(order[:most])),), floor=floor)


def keep(chunk: Chunk, reach: Floats, choice: Choice) -> Kept:
    """What is kept of one block."""
    from dkmeans.engine import margin_kernels

    k, n = len(reach), len(chunk.labels)
    floor, spread = np.full(k, np.inf), np.zeros((k, BINS), np.int64)
    if choice.most is None:
        return Kept((chunk,) if n else (), floor, reach, spread, choice)
    rows = np.empty(min(n, int(choice.share * n) + 64), np.int64)
    count = margin_kernels.choose(
        chunk.labels, chunk.margins, chunk.weights, choice.cuts, choice.unit, rows, floor, spread
    )
    chunks = (chunk.take(rows[:count]),) if count else ()
    return Kept(chunks, floor, reach, spread, choice)


def cuts_for(spread: Ints, unit: float, drops: Floats, most: int) -> Floats | None:
    """Margins (k,) up to which to keep rows, or None where it would save no pass.

    Rows are kept in proportion to ``drops`` (k,), by which margins are expected to shrink in an
    iteration, for as many iterations as ``most`` rows allow, or for a part of one, since moves tend
    to become shorter; ``spread`` is that of an earlier pass.
    """
    drops = np.maximum(drops, unit * 2.0 ** (-BINS / 2))
    half_octaves = np.arange(BINS) - BINS + 1
    upper = unit * np.where(half_octaves % 2, 2.0, 1.5) * 2.0 ** (half_octaves // 2)  # of each bin
    for times in 2.0 ** np.arange(6.0, -6.5, -0.5):
        within = np.minimum(np.searchsorted(upper, times * drops) + 1, BINS)
        if int(sum(s[:w].sum() for s, w in zip(spread, within, strict=True))) <= most:
            cuts: Floats = times * drops
            return cuts
    return None
