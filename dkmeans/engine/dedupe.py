"""Rows that are often the same, counted in the survey: a fit of the distinct ones is in memory.

A row of up to eight bytes is one number, its *code*. Counting ends at once where a block, or
several together, have more distinct rows than the budget, because all of them have more then. So
whether there are few enough depends on the rows alone, and not on how they are cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dkmeans._typing import AnyArray, Floats, Ints
from dkmeans.data.blocks import Blocks, from_array
from dkmeans.data.source import kernel_view

MOST = 2**18  # distinct rows, which are held while blocks are counted
LEAST_ROWS = 2**16  # below which a fit is quick as it is
PAIR_BYTES = 16  # of a code and its count
_REPEATS = 4  # times that a row must be there, on average, for the distinct ones to pay
_CODE_BYTES = 8


def budget(n_rows: int | None, dtype: np.dtype[Any], n_features: int, *, weighted: bool) -> int:
    """Distinct rows up to which a fit is one of these; 0 where they are not to be counted."""
    short = dtype.itemsize * n_features <= _CODE_BYTES
    if weighted or n_rows is None or n_rows < LEAST_ROWS or not short:
        return 0
    return min(MOST, n_rows // _REPEATS)


@dataclass(frozen=True)
class Distinct:
    """Codes (m,) in ascending order, and how many rows have each, (m,); None where too many."""

    codes: Ints | None
    counts: Ints
    most: int

    @staticmethod
    def combine(parts: Sequence[Distinct]) -> Distinct:
        """Add the counts of equal codes."""
        if len(parts) == 1:
            return parts[0]
        most = parts[0].most
        known = [part.codes for part in parts if part.codes is not None]
        if len(known) < len(parts):
            return too_many(most)
        codes, at = np.unique(np.concatenate(known), return_inverse=True)
        if len(codes) > most:
            return too_many(most)
        counts = np.zeros(len(codes), np.int64)
        np.add.at(counts, at, np.concatenate([part.counts for part in parts]))
        return Distinct(codes, counts, most)

    def blocks(self, n_features: int, dtype: np.dtype[Any], target_rows: int) -> Blocks:
        """The rows as blocks in memory, with their counts as weights."""
        assert self.codes is not None
        values = self.codes.view(np.uint8).reshape(-1, _CODE_BYTES)
        values = np.ascontiguousarray(values[:, : n_features * dtype.itemsize]).view(dtype)
        rows = kernel_view(values.reshape(-1, n_features))
        blocks = from_array(rows, self.counts.astype(np.float64), target_rows)
        return replace(blocks, counted=True)


def too_many(most: int) -> Distinct:
    """What is known of more distinct rows than the budget."""
    return Distinct(None, np.empty(0, np.int64), most)


@dataclass
class DistinctStep:
    """Count the distinct rows of a block, until a process has seen more than ``most``."""

    most: int
    _given_up: bool = field(default=False, repr=False)

    def __call__(self, X: AnyArray, weights: Floats, offset: int, block: int) -> Distinct:
        if self._given_up:
            return too_many(self.most)
        part = self._counted(X)
        self._given_up = part.codes is None
        return part

    def _counted(self, X: AnyArray) -> Distinct:
        """A piece of the block at a time, so that one of too many is left early."""
        part = Distinct(np.empty(0, np.uint64), np.empty(0, np.int64), self.most)
        for start in range(0, len(X), 2 * self.most):
            codes = _codes(X[start : start + 2 * self.most])
            codes.sort()
            starts = np.flatnonzero(np.diff(codes, prepend=~codes[:1]))
            piece = Distinct(codes[starts], np.diff(starts, append=len(codes)), self.most)
            part = Distinct.combine([part, piece])
            if part.codes is None:
                break
        return part

    def __reduce__(self) -> Any:
        return DistinctStep, (self.most,)


def _codes(X: AnyArray) -> Ints:
    """Codes (n,) uint64 of rows: their bytes, and zeros."""
    padded = np.zeros((len(X), _CODE_BYTES), np.uint8)
    row_bytes = X.shape[1] * X.itemsize
    padded[:, :row_bytes] = np.ascontiguousarray(X).view(np.uint8).reshape(len(X), row_bytes)
    return padded.view(np.uint64).reshape(-1)
