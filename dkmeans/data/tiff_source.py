"""TIFF, BigTIFF and OME-TIFF as arrays of which only the tiles or strips asked for are read."""

from __future__ import annotations

import threading
import weakref
from typing import Any

import numpy as np

from dkmeans._typing import AnyArray
from dkmeans.data.blocks import READ_BYTES
from dkmeans.data.geotiff import TAGS
from dkmeans.data.image_axes import Reordered, find_axes
from dkmeans.data.nodata import GDAL_TAG
from dkmeans.errors import SourceError

_ALPHA = (1, 2)  # associated or not, in the tag ExtraSamples


class TiffPixels:
    """The first image of a TIFF at its full resolution, (height, width[, bands]).

    Parameters
    ----------
    path : of the file, which stays open while this lives, once a block was read.
    channel_axis : axis of the bands among those that the file has, if not as their names say.

    Attributes
    ----------
    chunk : height and width of a tile, or of strips.
    alpha : whether the last band is alpha, as the file says.
    attributes : nodata, where GDAL's tag tells it.
    placed : whether the file says where on Earth it is.
    """

    def __init__(self, path: str, channel_axis: int | str | None = None) -> None:
        import tifffile

        self.path, self.channel_axis = path, channel_axis
        self._lock = threading.Lock()
        self._array: Any = None
        with tifffile.TiffFile(path) as file:
            series = file.series[0]
            page = series.keyframe
            if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
                raise SourceError(f"{path} has a palette of its own; save it as RGB first")
            self._axes = find_axes(series.shape, tuple(series.axes), channel_axis, path)
            self._mapped = page.is_memmappable and series.dataoffset is not None
            self.shape = tuple(int(size) for size in self._axes.of(series.shape))
            self.dtype = np.dtype(series.dtype).newbyteorder("=")
            self.alpha = bool(page.extrasamples) and page.extrasamples[-1] in _ALPHA
            told = page.tags.get(GDAL_TAG)
            self.attributes = {} if told is None else {"nodata": str(told.value).strip("\0 ")}
            self.placed = any(tag in page.tags for tag in TAGS)
            self.chunk = self._segment = (int(page.tilelength), int(page.tilewidth))
            if not page.is_tiled:
                strip = 1 if self._mapped else int(page.rowsperstrip)
                self.chunk, self._segment = self._lines(strip), (strip, self.shape[1])
        self.ndim = len(self.shape)

    def _lines(self, strip: int) -> tuple[int, int]:
        """Height and width of as many strips as are read at once."""
        line_bytes = int(np.prod(self.shape[1:])) * self.dtype.itemsize
        lines = max(1, READ_BYTES // (strip * line_bytes)) * strip
        return min(lines, self.shape[0]), self.shape[1]

    def __getitem__(self, key: tuple[slice, ...]) -> AnyArray:
        spans = [part.indices(size) for part, size in zip(key[:2], self.shape[:2], strict=True)]
        shape = [stop - start for start, stop, _ in spans]
        block = np.empty((*shape, *self.shape[2:]), self.dtype)
        self.read_into(tuple(slice(start, stop) for start, stop, _ in spans), block)
        steps = [slice(None, None, step) for _, _, step in spans]
        return np.ascontiguousarray(block[*steps, *key[2:]])

    def read_into(self, key: tuple[slice, ...], block: AnyArray) -> None:
        """Write the lines and columns of a key, of all bands."""
        try:
            array = self._open()
            if self._axes.plain and not self._mapped:
                self._decode(array, key, block)
            else:
                bands = (slice(None),) * (self.ndim - 2)
                block[...] = Reordered(array, self._axes)[*key, *bands]
        except Exception as error:
            lines = f"lines {key[0].start} to {key[0].stop}"
            raise SourceError(f"cannot read {lines} of {self.path}: {error}") from error

    def _decode(self, page: Any, key: tuple[slice, ...], block: AnyArray) -> None:
        """Write what tiles or strips have of the lines and columns."""
        (top, bottom), (left, right) = ((part.start, part.stop) for part in key)
        height, width = self._segment
        across = -(-self.shape[1] // width)
        for row in range(top // height, -(-bottom // height)):
            for column in range(left // width, -(-right // width)):
                segment = self._segment_of(page, row * across + column)
                y, x = row * height - top, column * width - left
                place = block[max(0, y) : y + height, max(0, x) : x + width]
                if segment is None:  # sparse: not in the file, and 0
                    place[...] = 0
                    continue
                part = segment[max(0, -y) :, max(0, -x) :][: len(place), : place.shape[1]]
                place[...] = part.reshape(place.shape)

    def _segment_of(self, page: Any, index: int) -> AnyArray | None:
        """One tile or strip (height, width, bands), decoded."""
        size = page.databytecounts[index]
        if size == 0:
            return None
        with self._lock:
            page.parent.filehandle.seek(page.dataoffsets[index])
            data = page.parent.filehandle.read(size)
        decoded, _, shape = page.decode(data, index, jpegtables=page.jpegtables)
        segment: AnyArray = decoded[0, : shape[1], : shape[2]]
        return segment

    def _open(self) -> Any:
        """What blocks are read from, as long as this lives: an array, or the page that has them.

        Tiles and strips of all bands are decoded here, as a Zarr view costs more than that.
        """
        import tifffile

        with self._lock:
            if self._array is None and self._mapped:
                self._array = tifffile.memmap(self.path, series=0, level=0, mode="r")
            elif self._array is None and not self._axes.plain:
                import zarr

                store = tifffile.imread(self.path, aszarr=True, series=0, level=0)
                self._array = zarr.open_array(store, mode="r")
                weakref.finalize(self, store.close)
            elif self._array is None:
                file = tifffile.TiffFile(self.path)
                self._array = file.series[0].keyframe
                weakref.finalize(self, file.close)
            return self._array

    def __reduce__(self) -> Any:
        return TiffPixels, (self.path, self.channel_axis)
