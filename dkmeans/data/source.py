"""What every kind of input becomes: a table of rows that is not in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import dask.array as da
import numpy as np

from dkmeans._typing import AnyArray
from dkmeans.data import blocks as _blocks
from dkmeans.data.blocks import Blocks, Reader
from dkmeans.errors import DataError, SourceError

MOST_ROWS = 2**34  # of which the sums are exact
MOST_UNITS = 2**24  # pieces that storage reads whole, of which a list is kept


@dataclass(frozen=True)
class Source:
    """A table of numbers that is not in memory.

    Parameters
    ----------
    kind : "dask", "zarr", "parquet" or "csr".
    where : path, URI or description, for people.
    units : rows of each piece that is read whole (a Zarr chunk or shard, a Parquet row group, a
        dask chunk), or None where only a read can tell.
    names : names of the columns, where they have any.
    rows : the rows themselves, as a reader or a dask array of one column chunk.
    local : whether the rows are in this process, so that what is said of each is no lazy array.
    """

    kind: str
    where: str
    units: tuple[int, ...] | None
    n_features: int
    dtype: np.dtype[Any]
    names: tuple[str, ...] | None
    rows: Reader | da.Array
    local: bool = False

    @property
    def n_rows(self) -> int | None:
        """Number of rows, where known without reading."""
        return None if self.units is None else sum(self.units)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row in memory."""
        return self.n_features * self.dtype.itemsize

    def sizes(self, target_rows: int | None) -> tuple[int, ...] | None:
        """Rows of each block when units are joined, or split if they can be, toward a target."""
        if self.units is None or target_rows is None:
            return None
        return _blocks.group(self.units, target_rows, split=not isinstance(self.rows, Reader))

    def blocks(self, target_rows: int | None, sample_weight: Any | None = None) -> Blocks:
        """The rows as blocks of about ``target_rows``; what is read whole is never split."""
        sizes = self.sizes(target_rows)
        if sizes is None:
            return _blocks.from_dask(cast(da.Array, self.rows), sample_weight)
        if isinstance(self.rows, Reader):
            return _blocks.from_reader(self.rows, sizes, sample_weight)
        return _blocks.from_dask(self.rows.rechunk((sizes, self.n_features)), sample_weight)


def check_table(shape: tuple[int, ...], dtype: np.dtype[Any], where: str) -> None:
    """Raise a DataError unless this is the shape and type of a table of real numbers."""
    if len(shape) != 2:
        hint = (
            "Reshape your data either using array.reshape(-1, 1) if your data has a single feature"
            " or array.reshape(1, -1) if it contains a single sample."
            if len(shape) == 1
            else "Give each row its own line, such as array.reshape(-1, n_features)."
        )
        raise DataError(f"Expected 2D array, got {len(shape)}D array instead in {where}. {hint}")
    if np.issubdtype(dtype, np.complexfloating):
        raise DataError(f"Complex data not supported: {where} has dtype {dtype}")
    if dtype.kind not in "fiub":
        raise DataError(f"Expected numbers in {where}, got dtype {dtype}; select numeric columns")
    if shape[1] == 0:
        raise DataError(f"Found array with 0 feature(s) (shape={shape}) in {where}")


def check_size(n_rows: int, n_units: int, where: str) -> None:
    """Raise a DataError for more rows, or pieces of them, than a fit can number."""
    if n_rows > MOST_ROWS:
        raise DataError(f"{where} says that it has {n_rows:,} rows; {MOST_ROWS:,} can be clustered")
    if n_units > MOST_UNITS:
        raise DataError(
            f"{where} says that it has {n_units:,} chunks of rows; {MOST_UNITS:,} can be read:"
            " store it in larger ones"
        )


def working_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Type in which blocks are handed to the kernels: their own wherever these can read it."""
    native = dtype.newbyteorder("=")
    if native.kind == "b":
        return np.dtype(np.uint8)
    if native.kind == "f" and native.itemsize not in (4, 8):
        return np.dtype(np.float32 if native.itemsize < 4 else np.float64)
    return native


def center_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Type of the centers for data of this type: float32 for float32, else float64."""
    return np.dtype(np.float32 if dtype == np.float32 else np.float64)


def pick_columns(wanted: Sequence[str], available: Sequence[Any], where: str) -> list[str]:
    """The wanted columns as a list, or a SourceError that names what is missing."""
    missing = [c for c in wanted if c not in available]
    if missing:
        have = ", ".join(str(c) for c in list(available)[:20])
        raise SourceError(f"no column {missing[0]!r} in {where}; it has {have}")
    if len(set(wanted)) < len(wanted):
        raise SourceError(f"a column of {where} is asked for twice: {', '.join(map(str, wanted))}")
    return list(wanted)


def kernel_view(X: AnyArray) -> AnyArray:
    """A block as the kernels read it: C-contiguous and read-only, so that they compile once."""
    view = np.ascontiguousarray(X, dtype=working_dtype(X.dtype)).view()
    view.flags.writeable = False
    return view
