"""Exact counts of the distinct rows of small unsigned bytes, and values looked up by row.

A row of up to three bytes is one number below 2^24, its *code*. Where there are few rows, each
block is sorted and counted on its own, so that what is added to the total is seldom longer than a
fraction of the block. Many are counted in tables of all codes, in the order of ``count_kernels``.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from dkmeans._typing import AnyArray, Floats, Ints
from dkmeans.data.nodata import taking_part
from dkmeans.data.source import kernel_view

MAX_COLUMNS = 3  # of a row that has a code
CELL_BITS = 2  # of each byte, in which rows of a cell may differ
_CARRIED = 2**15  # counts that have come to 256 in a block, before they are added to the total
PAIR_BYTES = 36  # of a code and its count, while those of blocks are added up


def pack(rows: AnyArray) -> Ints:
    """Codes (n,) uint32 of rows (n, d) uint8; the first column is the most significant byte."""
    codes = rows[:, 0].astype(np.uint32)
    for column in range(1, rows.shape[1]):
        codes <<= np.uint32(8)
        codes |= rows[:, column]
    return codes


def unpack(codes: Ints, columns: int) -> AnyArray:
    """Rows (n, columns) uint8 of codes (n,); the inverse of :func:`pack`."""
    rows = np.empty((len(codes), columns), np.uint8)
    for column in range(columns):
        rows[:, column] = (codes >> np.uint32(8 * (columns - 1 - column))) & np.uint32(255)
    return rows


@cache
def spread(columns: int) -> Ints:
    """What each byte of a row gives to its place in a table of all codes, (columns, 256) uint32.

    Bits are interleaved; in each group of bits the first column has the most significant one.
    """
    values, parts = np.arange(256, dtype=np.uint32), np.zeros((columns, 256), np.uint32)
    for column in range(columns):
        for bit in range(8):
            parts[column] |= (values >> bit & 1) << (bit * columns + columns - 1 - column)
    return parts


def places(codes: Ints, columns: int) -> Ints:
    """Where codes are in a table of all of them, (n,) uint32."""
    parts = spread(columns)
    found = np.zeros(len(codes), np.uint32)
    for column in range(columns):
        found |= parts[column][codes >> np.uint32(8 * (columns - 1 - column)) & np.uint32(255)]
    return found


@dataclass(frozen=True)
class Counts:
    """Codes (m,) uint32 in ascending order, and how many rows have each, (m,) int64."""

    codes: Ints
    counts: Ints

    def __len__(self) -> int:
        return len(self.codes)

    def listed(self) -> Counts:
        """These."""
        return self

    def table(self, columns: int) -> Ints:
        """Counts of all codes there can be, (256**columns,), in the order of tables."""
        dense = np.zeros(256**columns, np.int64 if self.counts.sum() >= 2**32 else np.uint32)
        dense[places(self.codes, columns)] = self.counts
        return dense

    @staticmethod
    def of(codes: Ints) -> Counts:
        """Count codes (n,), which are sorted in place."""
        codes.sort()
        starts = np.flatnonzero(np.diff(codes, prepend=~codes[:1]))
        return Counts(codes[starts], np.diff(starts, append=len(codes)))

    @staticmethod
    def combine(parts: Sequence[Counts]) -> Counts:
        """Add the counts of equal codes."""
        parts = [part for part in parts if len(part.codes)] or [parts[0]]
        if len(parts) == 1:
            return parts[0]
        codes, at = np.unique(np.concatenate([p.codes for p in parts]), return_inverse=True)
        counts = np.zeros(len(codes), np.int64)
        np.add.at(counts, at, np.concatenate([p.counts for p in parts]))
        return Counts(codes, counts)


@dataclass(frozen=True)
class Table:
    """Counts of all codes there can be, (256**columns,), in the order of tables.

    Parameters
    ----------
    n : codes whose count is not 0.
    """

    dense: Ints
    columns: int
    n: int

    def __len__(self) -> int:
        return self.n

    def listed(self) -> Counts:
        """Those that are not 0."""
        from dkmeans.engine import count_kernels

        counts = Counts(np.empty(len(self), np.uint32), np.empty(len(self), np.int64))
        count_kernels.gather(self.dense, spread(self.columns), counts.codes, counts.counts)
        return counts

    def table(self, columns: int) -> Ints:
        """These."""
        return self.dense


class Total:
    """Counts of this process, to which its threads add, however many blocks there are.

    Each block at work has a table of bytes, which is shorter to go through; what comes to 256 there
    is carried to the one table of all.

    Parameters
    ----------
    columns : bytes of a row.
    n_rows : rows that are counted at most.
    """

    def __init__(self, columns: int, n_rows: int) -> None:
        self._columns = columns
        self._dense = np.zeros(256**columns, np.uint32 if n_rows < 2**32 else np.uint64)
        self._tables: list[AnyArray] = []  # of no block just now
        self._lock = threading.Lock()

    @staticmethod
    def pays(columns: int, n_rows: int) -> bool:
        """Whether an array of all codes is smaller than a list of as many as there can be."""
        return Total.n_bytes(columns) < PAIR_BYTES * n_rows

    @staticmethod
    def n_bytes(columns: int) -> int:
        """Bytes of such an array, for fewer than 2^32 rows."""
        return 4 * Total.block_bytes(columns)

    @staticmethod
    def block_bytes(columns: int) -> int:
        """Bytes of the table of a block at work."""
        return int(256**columns)

    def add(self, X: AnyArray, *, skip_zero: bool) -> None:
        """Count the rows of a block."""
        from dkmeans.engine import count_kernels

        with self._lock:
            table = self._tables.pop() if self._tables else None
        if table is None:
            table = np.zeros(256**self._columns, np.uint8)
        rows, width, parts = kernel_view(X).reshape(-1), X.shape[1], spread(self._columns)
        carried, start = np.empty(_CARRIED, np.uint32), 0
        while start < len(X):
            start, many = count_kernels.count(rows, width, start, parts, skip_zero, table, carried)
            if many:
                with self._lock:
                    np.add.at(self._dense, carried[:many], self._dense.dtype.type(256))
        with self._lock:
            self._tables.append(table)

    def counted(self) -> Table:
        """What was added in all, once no block is at work."""
        from dkmeans.engine import count_kernels

        for table in self._tables:
            count_kernels.add(table, self._dense)
        return Table(self._dense, self._columns, int(np.count_nonzero(self._dense)))


def cell_means(rows: AnyArray, points: AnyArray, weights: Floats) -> tuple[Floats, Floats]:
    """Weighted means (m, d) of ``points`` whose ``rows`` of bytes are alike, and their masses (m,).

    Alike are rows that differ in the last ``CELL_BITS`` bits of each byte at most.
    """
    from dkmeans.engine import count_kernels

    most = 1 << (8 - CELL_BITS) * rows.shape[1]
    cells = np.full(most, -1, np.int32)
    sums, masses = np.zeros((most, points.shape[1])), np.zeros(most)
    many = count_kernels.add_cells(rows, points, weights, CELL_BITS, cells, sums, masses)
    return sums[:many] / masses[:many, None], masses[:many]


@dataclass(frozen=True)
class CountStep:
    """Count the distinct rows of a block.

    Parameters
    ----------
    columns : leading columns that make a row.
    skip_zero : whether rows are left out where the column after these is 0.
    total : where this process adds up; None has each block return its own counts. A copy for
        another process has none, so nothing is lost and nothing is counted twice.
    nodata : rows are left out that have it in any of these columns; or None.
    """

    columns: int
    skip_zero: bool = False
    total: Total | None = None
    nodata: Any = None

    def __call__(self, X: AnyArray, weights: Floats, offset: int, block: int) -> Counts:
        if self.nodata is not None:
            X = X[taking_part(X, self.columns, False, self.nodata)]
        if self.total is not None:
            self.total.add(X, skip_zero=self.skip_zero)
            return _NOTHING
        rows = X[X[:, self.columns] > 0] if self.skip_zero else X
        return Counts.of(pack(rows[:, : self.columns]))

    def finish(self, whole: Counts, threads: int) -> Counts | Table:
        """All counts."""
        if self.total is None:
            return whole
        counted = self.total.counted()
        return Counts.combine([whole, counted.listed()]) if len(whole) else counted

    def __reduce__(self) -> Any:
        return CountStep, (self.columns, self.skip_zero, None, self.nodata)


_NOTHING = Counts(np.empty(0, np.uint32), np.empty(0, np.int64))


def label_dtype(k: int) -> np.dtype[Any]:
    """The shortest type of ``k`` labels and of -1, which is none."""
    return np.min_scalar_type(-k)


@dataclass
class Lookup:
    """Labels of rows by their codes, which become a table of all codes once a process needs it.

    Parameters
    ----------
    codes : (m,) of the distinct rows; None where ``values`` are that table.
    values : (m,) the label of each.
    columns : bytes of a row.
    k : labels there are.
    """

    codes: Ints | None
    values: Ints
    columns: int
    k: int
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    @staticmethod
    def of(codes: Ints, values: Ints, columns: int, k: int) -> Lookup:
        """With the table at once, where it is the smaller of both."""
        lookup = Lookup(codes, values, columns, k)
        if codes.nbytes + values.nbytes > values.itemsize * 256**columns:
            lookup._all()
        return lookup

    def labels(self, X: AnyArray, offset: int | None = 0) -> Ints:
        """Label of each row (n, columns), (n,); any where it was not counted."""
        from dkmeans.engine import count_kernels

        table = self._all()
        labels: Ints = np.empty(len(X), label_dtype(self.k))
        rows = kernel_view(X).reshape(-1)
        count_kernels.look_up(rows, spread(self.columns), table, labels)
        return labels

    def _all(self) -> Ints:
        with self._lock:
            if self.codes is not None:
                table = np.zeros(256**self.columns, self.values.dtype)
                table[places(self.codes, self.columns)] = self.values
                self.codes, self.values = None, table
            return self.values

    def __reduce__(self) -> Any:
        return Lookup, (self.codes, self.values, self.columns, self.k)
