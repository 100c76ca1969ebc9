"""Rows that are often the same, counted in the survey: a fit of the distinct ones is in memory.

The bytes of a row are a few numbers, its *code*. Counting ends at once where a block, or several
together, have more distinct rows than the budget, because all of them have more then. So whether
there are few enough depends on the rows alone, and not on how they are cut.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dkmeans._typing import AnyArray, Floats, Ints
from dkmeans.data.blocks import Blocks, from_array
from dkmeans.data.source import kernel_view

MOST = 2**18  # distinct rows of one number, which are held while blocks are counted
WIDE_BYTES = 2**18  # of codes of more numbers and their counts: reserved though they seldom pay
LEAST_ROWS = 2**16  # below which a fit is quick as it is
_REPEATS = 4  # times that a row must be there, on average, for the distinct ones to pay
_WORD = 8  # bytes of a number of a code


def words(row_bytes: int) -> int:
    """Numbers of the code of a row."""
    return -(-row_bytes // _WORD)


def pair_bytes(row_bytes: int) -> int:
    """Bytes of a code and its count."""
    return _WORD * words(row_bytes) + 8


def budget(n_rows: int | None, dtype: np.dtype[Any], n_features: int, *, weighted: bool) -> int:
    """Distinct rows up to which a fit is one of these; 0 where they are not to be counted."""
    if weighted or n_rows is None or n_rows < LEAST_ROWS:
        return 0
    row_bytes = dtype.itemsize * n_features
    most = MOST if row_bytes <= _WORD else WIDE_BYTES // pair_bytes(row_bytes)
    return min(most, n_rows // _REPEATS)


@dataclass(frozen=True)
class Distinct:
    """Codes (m, words) uint64, each once, and how many rows have each, (m,).

    Their order depends on the codes alone. None where there are too many.
    """

    codes: Ints | None
    counts: Ints
    most: int

    @staticmethod
    def of(codes: Ints, counts: Ints, most: int) -> Distinct:
        """Add the counts of equal codes."""
        keys = codes[:, 0] if codes.shape[1] == 1 else _hashes(codes)
        order = np.argsort(keys)
        starts = _starts(codes[order])
        if np.count_nonzero(starts) > np.count_nonzero(_starts(keys[order, None])):
            order = np.lexsort(codes.T)  # some have the same hash and are not the same
            starts = _starts(codes[order])
        first = np.flatnonzero(starts)
        if len(first) > most:
            return too_many(most)
        return Distinct(codes[order[first]], np.add.reduceat(counts[order], first), most)

    @staticmethod
    def combine(parts: Sequence[Distinct]) -> Distinct:
        """Add the counts of equal codes."""
        if len(parts) == 1:
            return parts[0]
        most = parts[0].most
        known = [part.codes for part in parts if part.codes is not None]
        if len(known) < len(parts):
            return too_many(most)
        counts = np.concatenate([part.counts for part in parts])
        return Distinct.of(np.concatenate(known), counts, most)

    def blocks(self, n_features: int, dtype: np.dtype[Any], target_rows: int) -> Blocks:
        """The rows as blocks in memory, with their counts as weights."""
        assert self.codes is not None
        values = self.codes.view(np.uint8)
        values = np.ascontiguousarray(values[:, : n_features * dtype.itemsize]).view(dtype)
        rows = kernel_view(values.reshape(-1, n_features))
        blocks = from_array(rows, self.counts.astype(np.float64), target_rows)
        return replace(blocks, counted=True)


def too_many(most: int) -> Distinct:
    """What is known of more distinct rows than the budget."""
    return Distinct(None, np.empty(0, np.int64), most)


@dataclass
class DistinctStep:
    """Count the distinct rows of a block, until a process has seen more than ``most``.

    Parameters
    ----------
    row_bytes : of each row.
    """

    most: int
    row_bytes: int
    _given_up: bool = field(default=False, repr=False)
    _rows: int = field(default=0, repr=False)
    _seen: list[Distinct] = field(default_factory=list, repr=False)
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    def __call__(self, X: AnyArray, weights: Floats, offset: int, block: int) -> Distinct:
        if self._given_up:
            return too_many(self.most)
        part = self._counted(X)
        if self._too_many(part, len(X)):
            self._given_up = True
        return part

    def _counted(self, X: AnyArray) -> Distinct:
        """A piece of the block at a time, so that one of too many is left early."""
        part, size = self._of(X[:0]), 2 * self.most  # copies of the budget, however wide the rows
        for start in range(0, len(X), size):
            part = Distinct.combine([part, self._of(X[start : start + size])])
            if part.codes is None:
                break
        return part

    def _of(self, X: AnyArray) -> Distinct:
        """The distinct ones of a few rows."""
        padded = np.zeros((len(X), _WORD * words(self.row_bytes)), np.uint8)
        rows = np.ascontiguousarray(X).view(np.uint8).reshape(len(X), self.row_bytes)
        padded[:, : self.row_bytes] = rows
        codes = padded.view(np.uint64)
        if codes.shape[1] > 1:
            return Distinct.of(codes, np.ones(len(X), np.int64), self.most)
        codes.sort(axis=0)  # which takes half the time of finding their order
        first = np.flatnonzero(_starts(codes))
        if len(first) > self.most:
            return too_many(self.most)
        return Distinct(codes[first], np.diff(first, append=len(codes)), self.most)

    def _too_many(self, part: Distinct, rows: int) -> bool:
        """Whether the first blocks have too many together: what others have is found in the end."""
        if part.codes is None or self._rows > _REPEATS * self.most:
            return part.codes is None
        with self._lock:
            self._rows += rows
            self._seen = [Distinct.combine([*self._seen, part])]
            found = self._seen[0].codes is None
            if found or self._rows > _REPEATS * self.most:
                self._seen = []
        return found

    def __reduce__(self) -> Any:
        return DistinctStep, (self.most, self.row_bytes)


def _starts(codes: Ints) -> AnyArray:
    """Whether each code (n, words) differs from the one before it; the first does."""
    differs = np.ones(len(codes), bool)
    differs[1:] = (codes[1:] != codes[:-1]).any(axis=1)
    return differs


def _hashes(codes: Ints) -> Ints:
    """A number (n,) uint64 for each code, as good as always another one for another code."""
    random = np.random.default_rng(0)
    odd = random.integers(0, 2**63, codes.shape[1], np.uint64) * np.uint64(2) + np.uint64(1)
    keys = np.zeros(len(codes), np.uint64)
    for word, factor in zip(codes.T, odd, strict=True):
        keys += (word ^ word >> np.uint64(29)) * factor
    return keys
