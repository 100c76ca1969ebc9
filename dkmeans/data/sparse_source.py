"""Sparse matrices as tables of rows, which are made dense a block at a time."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np

from dkmeans._typing import AnyArray
from dkmeans.data.blocks import READ_BYTES, Reader, cut
from dkmeans.data.source import Source, check_table, working_dtype


class CsrRows(Reader):
    """Rows of a matrix in compressed sparse row format."""

    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix
        self.shape, self.dtype = matrix.shape, working_dtype(matrix.dtype)

    def read(self, start: int, stop: int, out: AnyArray) -> None:
        """Write the rows, zeros included, to ``out``."""
        rows = self.matrix[start:stop]
        if rows.dtype == out.dtype:
            rows.toarray(out=out)
        else:
            out[:] = rows.toarray()


def open_csr(matrix: Any) -> Source:
    """A SciPy matrix or array in CSR format."""
    check_table(matrix.shape, matrix.dtype, "X")
    reader = CsrRows(matrix)
    unit = max(1, READ_BYTES // (reader.shape[1] * reader.dtype.itemsize))
    units = cut(reader.shape[0], unit)
    return Source(
        "csr", "a sparse matrix", units, reader.shape[1], reader.dtype, None, reader, True
    )


def is_sparse(X: Any) -> bool:
    """Whether X is a SciPy matrix or array, or a dask array of such."""
    from scipy.sparse import issparse

    return bool(issparse(X._meta if isinstance(X, da.Array) else X))


def densified(X: da.Array) -> da.Array:
    """A dask array of sparse blocks as one of dense blocks."""
    meta = np.empty((0, 0), dtype=X.dtype)
    return X.map_blocks(_dense, dtype=X.dtype, meta=meta)


def _dense(block: Any) -> AnyArray:
    dense: AnyArray = block.toarray() if hasattr(block, "toarray") else np.asarray(block)
    return dense
