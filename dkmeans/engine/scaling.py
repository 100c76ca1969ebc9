"""Rows shifted and scaled as they are read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import dask.array as da
import numpy as np

from dkmeans._typing import AnyArray, Floats
from dkmeans.data.blocks import Reader, from_dask
from dkmeans.data.source import Source, center_dtype
from dkmeans.engine.trees import map_lazily


@dataclass(frozen=True)
class Scaling:
    """``(x - mean) / scale`` of each feature, or back again (``inverse``).

    Parameters
    ----------
    mean, scale : (d,) float64.
    """

    mean: Floats
    scale: Floats
    inverse: bool = False

    def in_place(self, X: AnyArray) -> None:
        """Scale rows of float32 or float64, C-contiguous."""
        from dkmeans.engine import feature_kernels

        change = feature_kernels.restore if self.inverse else feature_kernels.standardize
        change(X, self.mean, self.scale)

    def rows(self, X: AnyArray, offset: int | None = None) -> Floats:
        """Scaled copies of rows, float32 for float32 and else float64."""
        out = np.array(X, dtype=center_dtype(X.dtype), order="C")
        self.in_place(out)
        return out

    def source(self, source: Source) -> Source:
        """The source with its rows scaled after they are read, where they are."""
        dtype, rows = center_dtype(source.dtype), source.rows
        scaled: Reader | da.Array
        if isinstance(rows, Reader):
            scaled = ScaledRows(rows, self, dtype)
        else:
            scaled = map_lazily(from_dask(rows, None), self, "rows", dtype, source.n_features)
        how = "scaled back" if self.inverse else "scaled"
        return replace(source, where=f"{source.where}, {how}", dtype=dtype, rows=scaled)


class ScaledRows(Reader):
    """Rows of a reader, scaled in the memory that they are read into."""

    def __init__(self, reader: Reader, scaling: Scaling, dtype: np.dtype[Any]) -> None:
        self.reader, self.scaling, self.dtype = reader, scaling, dtype
        self.shape, self.unit, self.read_bytes = reader.shape, reader.unit, reader.read_bytes

    def read(self, start: int, stop: int, out: AnyArray) -> None:
        """Write the scaled rows to ``out``."""
        self.reader.read(start, stop, out)
        self.scaling.in_place(out)
