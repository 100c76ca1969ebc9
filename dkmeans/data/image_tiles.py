"""The pixels of an image as threads of this process read them: blocks, without a task graph."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate, product
from typing import Any

import numpy as np

from dkmeans._typing import AnyArray
from dkmeans.data.blocks import Blocks, Reader


class Tiles(Reader):
    """Pixels as rows (n_pixels, bands), block after block, not line after line.

    Parameters
    ----------
    array : (height, width[, bands]), of which a slice is an ndarray; where it has ``read_into``, it
        writes one to memory at hand.
    heights, widths : of the blocks, from the top down and from left to right.
    dtype : in which pixels are read.
    """

    def __init__(
        self, array: Any, heights: tuple[int, ...], widths: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self._array, self._flat = array, array.ndim == 2
        self.dtype = dtype
        self.shape = (sum(heights) * sum(widths), 1 if self._flat else array.shape[2])
        self.down, self.across = len(heights), len(widths)
        self.sizes = tuple(h * w for h, w in product(heights, widths))
        self._tops, self._lefts = (tuple(accumulate(s, initial=0)) for s in (heights, widths))
        self._starts = tuple(accumulate(self.sizes, initial=0))

    def blocks(self) -> Blocks:
        """All blocks: views of an array in memory that has them as they are, or to be read."""
        if isinstance(self._array, np.ndarray) and self.across == 1:
            views = [self._array[self._key(at)] for at in range(self.down)]
            if self._array.dtype == self.dtype and all(v.flags.c_contiguous for v in views):
                rows = tuple(view.reshape(-1, self.shape[1]) for view in views)
                return Blocks(rows, None, self.sizes, self.shape[1], self.dtype, resident=True)
        return Blocks(self, None, self.sizes, self.shape[1], self.dtype)

    def span(self, row: int, column: int) -> tuple[slice, slice]:
        """Lines and columns of a block."""
        return (
            slice(self._tops[row], self._tops[row + 1]),
            slice(self._lefts[column], self._lefts[column + 1]),
        )

    @property
    def row_bytes(self) -> int:
        """Bytes of a pixel."""
        return self.shape[1] * self.dtype.itemsize

    @property
    def block_bytes(self) -> int:
        """Bytes of the largest block."""
        return max(self.sizes) * self.row_bytes

    def block(self, row: int, column: int, out: AnyArray) -> AnyArray:
        """A block (height, width, bands), read to the beginning of ``out`` (bytes,) uint8."""
        at = row * self.across + column
        pixels = out[: self.sizes[at] * self.row_bytes].view(self.dtype)
        self._fill(at, pixels)
        lines, _ = self.span(row, column)
        return pixels.reshape(lines.stop - lines.start, -1, self.shape[1])

    def read(self, start: int, stop: int, out: AnyArray) -> None:
        """Write the rows of whole blocks."""
        at = bisect_right(self._starts, start) - 1
        while start < stop:
            end = start + self.sizes[at]
            if start != self._starts[at] or end > stop:
                raise ValueError(f"rows {start} to {stop} are not those of whole blocks")
            self._fill(at, out[: self.sizes[at]])
            at, start, out = at + 1, end, out[self.sizes[at] :]

    def _key(self, at: int) -> tuple[slice, ...]:
        span = self.span(*divmod(at, self.across))
        return span if self._flat else (*span, slice(None))

    def _fill(self, at: int, pixels: AnyArray) -> None:
        """Write a block to ``pixels``, contiguous and of its size."""
        key = self._key(at)
        shape = tuple(part.stop - part.start for part in key[:2])
        out = pixels.reshape(shape if self._flat else (*shape, self.shape[1]))
        if hasattr(self._array, "read_into") and self._array.dtype == self.dtype:
            self._array.read_into(key[:2], out)
        else:
            out[...] = self._array[key]
