"""Rows of a table as a sequence of blocks, in memory or as a dask array."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any

import dask.array as da
import numpy as np

from dkmeans._typing import AnyArray
from dkmeans.data.graphs import lazy_of
from dkmeans.errors import DataError

READ_BYTES = 4 * 2**20  # asked of storage at once, unless a chunk has more: bounds its copies


class Reader(ABC):
    """Rows in storage, which can be read a block at a time.

    ``shape`` (n_rows, n_features) and ``dtype`` are what :meth:`read` writes; ``unit`` rows are
    what storage hands out at least, and about ``read_bytes`` are asked of it at once.
    """

    ndim = 2
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    unit: int = 1
    read_bytes: int = READ_BYTES

    @abstractmethod
    def read(self, start: int, stop: int, out: AnyArray) -> None:
        """Write rows start .. stop to ``out`` (stop - start, n_features), which is C-contiguous."""

    def __getitem__(self, key: tuple[slice, slice]) -> AnyArray:
        """Rows as a new array; the columns are all of them."""
        start, stop, _ = key[0].indices(self.shape[0])
        out = np.empty((stop - start, self.shape[1]), dtype=self.dtype)
        self.read(start, stop, out)
        return out


@dataclass(frozen=True)
class Blocks:
    """Row blocks of X, with their weights where there are any.

    Parameters
    ----------
    X : the blocks themselves, a reader of them, or a dask array of one column chunk.
    weights : likewise, each block (rows,) or (rows, 1); None for unit weights.
    sizes : rows of each block, or None where only a read can tell.
    resident : whether the rows are in memory, of this process or of the cluster.
    counted : whether these are distinct rows, and their weights say how many rows are each.
    """

    X: tuple[AnyArray, ...] | Reader | da.Array
    weights: tuple[AnyArray, ...] | da.Array | None
    sizes: tuple[int, ...] | None
    n_features: int
    dtype: np.dtype[Any]
    resident: bool = False
    counted: bool = False

    @property
    def in_memory(self) -> bool:
        """Whether the blocks are arrays of this process."""
        return isinstance(self.X, tuple)

    @property
    def count(self) -> int:
        """Number of blocks."""
        return len(self.sizes) if self.sizes is not None else int(self.array.numblocks[0])

    @property
    def n_rows(self) -> int | None:
        """Number of rows, where known."""
        return None if self.sizes is None else sum(self.sizes)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.n_features * self.dtype.itemsize

    @property
    def offsets(self) -> tuple[int, ...] | None:
        """Global index of the first row of each block."""
        if self.sizes is None:
            return None
        return tuple(accumulate(self.sizes, initial=0))[:-1]

    @property
    def array(self) -> da.Array:
        """The rows as a dask array, a chunk a block."""
        if isinstance(self.X, da.Array):
            return self.X
        meta = np.empty((0, 0), dtype=self.dtype)
        chunks = (self.sizes, (self.n_features,))
        return da.from_array(
            self.X, chunks, name=False, asarray=False, inline_array=True, getitem=_rows, meta=meta
        )

    def with_sizes(self, sizes: Sequence[int]) -> Blocks:
        """The same blocks, once a read has told their sizes."""
        if self.sizes is not None:
            return self
        known = tuple(int(s) for s in sizes)
        X, weights = _with_rows(self.X, known), self.weights
        if isinstance(weights, da.Array):
            weights = _with_rows(weights, known)
        return replace(self, X=X, weights=weights, sizes=known)


def _rows(reader: Reader, key: tuple[slice, slice]) -> AnyArray:
    """A block; dask would let a slice of its own getter's result reach the reader."""
    return reader[key]


def _with_rows(array: da.Array, sizes: tuple[int, ...]) -> da.Array:
    chunks = (sizes, *array.chunks[1:])
    return da.Array(array.dask, array.name, chunks, dtype=array.dtype, meta=array._meta)


def group(units: Sequence[int], target: int, *, split: bool = False) -> tuple[int, ...]:
    """Join neighbouring units of rows into blocks of about ``target`` rows.

    Units of more rows are blocks of their own, or with ``split`` several of at most the target.
    """
    sizes: list[int] = []
    current = 0
    for unit in units:
        if current and current + unit > target:
            sizes.append(current)
            current = 0
        if split and unit > target:
            pieces = -(-unit // max(1, target))
            sizes.extend(cut(unit, -(-unit // pieces)))
        else:
            current += unit
    return (*sizes, current) if current or not sizes else tuple(sizes)


def cut(n_rows: int, target: int) -> tuple[int, ...]:
    """Cut ``n_rows`` into blocks of ``target`` rows and a last one of what remains."""
    target = max(1, target)
    whole, rest = divmod(n_rows, target)
    return (target,) * whole + ((rest,) if rest or not whole else ())


def from_array(X: AnyArray, weights: AnyArray | None, target_rows: int) -> Blocks:
    """Blocks that are views of an array in memory."""
    sizes = cut(len(X), target_rows)
    starts = tuple(accumulate(sizes, initial=0))
    spans = list(pairwise(starts))
    return Blocks(
        tuple(X[a:b] for a, b in spans),
        None if weights is None else tuple(weights[a:b] for a, b in spans),
        sizes,
        X.shape[1],
        X.dtype,
        resident=True,
    )


def from_dask(X: da.Array, weights: Any | None) -> Blocks:
    """Blocks of a dask array of one column chunk, with weights aligned to it."""
    known = not any(np.isnan(X.chunks[0]))
    sizes = tuple(int(s) for s in X.chunks[0]) if known else None
    aligned = None if weights is None else _aligned(weights, sizes, int(X.numblocks[0]))
    return Blocks(X, aligned, sizes, X.shape[1], X.dtype)


def from_reader(reader: Reader, sizes: tuple[int, ...], weights: Any | None) -> Blocks:
    """Blocks of these sizes that are read when they are needed."""
    aligned = None if weights is None else _aligned(weights, sizes, len(sizes))
    return Blocks(reader, aligned, sizes, reader.shape[1], reader.dtype)


def _aligned(weights: Any, sizes: tuple[int, ...] | None, count: int) -> da.Array:
    """Weights as a dask array (rows, 1) in blocks of these sizes, or of as many where unknown."""
    if hasattr(weights, "to_dask_array"):
        weights = weights.to_dask_array()
    if not isinstance(weights, da.Array):
        weights = np.asarray(weights, dtype=np.float64)
        if sizes is None:
            raise DataError(
                "sample_weight is an array in memory but the rows of X are not known before it is"
                " read; pass sample_weight as a dask array with the chunks of X, or call"
                " X.compute_chunk_sizes() first"
            )
    if weights.ndim != 1:
        raise DataError(f"sample_weight must be 1D, got an array of {weights.ndim} dimensions")
    if sizes is None:
        if weights.numblocks[0] != count:
            raise DataError(
                f"sample_weight has {weights.numblocks[0]} blocks, X has {count}; where sizes are"
                " unknown they must be chunked alike"
            )
    elif weights.shape[0] != sum(sizes):
        raise DataError(f"sample_weight.shape == {weights.shape}, expected ({sum(sizes)},)")
    elif isinstance(weights, da.Array):
        weights = weights.rechunk((sizes,))
    else:
        weights = lazy_of(weights, (sizes,))
    return weights.astype(np.float64)[:, None]
