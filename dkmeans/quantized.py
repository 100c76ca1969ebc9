"""What quantizing found: a palette, and which pixel has which of its colours."""

from __future__ import annotations

import math
import os
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
from dask.utils import format_bytes

from dkmeans._typing import AnyArray, Floats, Ints
from dkmeans.data import image_sinks
from dkmeans.data.dithering import DITHER_BYTES, dithered
from dkmeans.data.image_sinks import Picture
from dkmeans.data.image_source import Image
from dkmeans.data.outputs import check_output, replacing
from dkmeans.engine.machine import memory_limit as limit_of
from dkmeans.engine.painting import Painter
from dkmeans.engine.passes import default_threads
from dkmeans.errors import DataError, MemoryLimitError, OutputError
from dkmeans.palettes import Palette
from dkmeans.writing import Output, computed, painted, write_outputs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INDICES = 256  # colours of a PNG with a palette, at most


@dataclass(frozen=True, eq=False, repr=False)
class Quantized:
    """An image in few colours.

    Parameters
    ----------
    found : the colours, and which pixel has which.
    source : the image that they are of.
    memory_limit : bytes that what is done with them may use above what the process has.
    """

    found: Palette
    source: Image
    memory_limit: int | str | None = None

    def __repr__(self) -> str:
        height, width = self.source.shape
        return (
            f"<Quantized: {len(self.palette)} colours for {height} x {width} pixels of"
            f" {self.source.where}, MSE {self.mse:.5g}>"
        )

    @property
    def palette(self) -> AnyArray:
        """The colours (k, bands) in the type of the image, that of the most pixels first."""
        return self.found.colors

    @property
    def shares(self) -> Floats:
        """Share of the pixels that each colour has, (k,)."""
        return np.asarray(self.found.sizes / self.found.sizes.sum())

    @property
    def hex(self) -> tuple[str, ...]:
        """The colours as ``#rrggbb``, where they have 8 bits and 1 or 3 bands."""
        if self.palette.dtype != np.uint8 or self.palette.shape[1] not in (1, 3):
            raise DataError(f"{self.palette.shape[1]} bands of {self.palette.dtype} have no names")
        return tuple(
            image_sinks.hex_name(color) for color in image_sinks.rgb(self.palette).tolist()
        )

    @property
    def centers(self) -> Floats:
        """The centers (k, bands), of which the palette is rounded; in the space of the search.

        Those of standardized bands are in the units of the image.
        """
        return self.found.centers

    @property
    def inertia(self) -> float:
        """Sum of squared distances of all pixels to their centers, in the space of the search."""
        return self.found.inertia

    @property
    def space(self) -> str:
        """Space of the search: "srgb", "lab" or "oklab"."""
        return self.found.space

    @property
    def space_mse(self) -> float:
        """Mean squared error over pixels and bands of the centers, in the space of the search."""
        return self.inertia / (int(self.found.sizes.sum()) * len(self.centers[0]))

    @property
    def mse(self) -> float:
        """Mean squared error over the pixels and bands of ``image``, exact; in sRGB."""
        return self.found.sq_error / (int(self.found.sizes.sum()) * len(self.palette[0]))

    @property
    def psnr(self) -> float:
        """Peak signal-to-noise ratio in dB; infinite without error, NaN for floats."""
        if self.palette.dtype.kind not in "iu":
            return math.nan
        peak = float(np.iinfo(self.palette.dtype).max)
        return math.inf if self.mse == 0 else 20 * math.log10(peak / math.sqrt(self.mse))

    @property
    def pixel_bytes(self) -> int:
        """Bytes of the colours of all pixels."""
        return int(self.source.n_pixels * self.palette.itemsize * self.palette.shape[1])

    @property
    def quantized_bytes(self) -> int:
        """Bytes of a label for each pixel, in as few bits as hold it, and of the palette."""
        label_bits = max(1, (len(self.palette) - 1).bit_length())
        return int(-(-self.source.n_pixels * label_bits // 8) + self.palette.nbytes)

    @property
    def compression_ratio(self) -> float:
        """Bytes of the pixels to those of labels and palette, neither of them compressed."""
        return self.pixel_bytes / self.quantized_bytes

    @property
    def passes(self) -> int:
        """Passes over the pixels that the search took, for all k at once."""
        return self.found.passes

    @property
    def seconds(self) -> float:
        """Seconds of the search, without the passes that it shares with other k."""
        return self.found.seconds

    @cached_property
    def labels(self) -> Any:
        """Which colour each pixel has, (height, width); lazy where the image is.

        int8 for up to 128 colours, int16 for up to 32,768, else int32. It is -1 for pixels that
        take no part: transparent, nodata, or NaN. A DataArray where the image is one.
        """
        labels = self._result("labels", 2, self._painter().label_dtype)
        frame = self.source.said.frame
        return labels if frame is None else frame.labels(labels)

    @cached_property
    def image(self) -> Any:
        """The image in these colours, of the same shape and type; lazy where it is."""
        pixels = self._result("image", 2 if self.source.flat else 3, self.source.dtype)
        if not self.source.flat:
            pixels = np.moveaxis(pixels, 2, self.source.said.channel_axis)
        frame = self.source.said.frame
        return pixels if frame is None else frame.image(pixels)

    def preview(self) -> tuple[AnyArray, Ints]:
        """Pixels (height, width, bands) at even steps, up to 720 each way, and their labels.

        They are read in one pass, at the first call for any k.
        """
        return self.source.preview, self._painter().labels(self.source.preview)

    def plot(self, *, theme: str = "light") -> Figure:
        """Draw the image beside itself in these colours, as :func:`dkmeans.plot.quantization`."""
        from dkmeans.plot import quantization

        return quantization(self, theme=theme)

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write one HTML page on the colours, as :func:`dkmeans.plot.image_report.image_report`."""
        from dkmeans.plot.image_report import image_report

        image_report(self, path)

    def write(
        self,
        image: str | os.PathLike[str] | None = None,
        *,
        labels: str | os.PathLike[str] | None = None,
        palette: str | os.PathLike[str] | None = None,
        dither: bool = False,
        overwrite: bool = False,
        threads: int | None = None,
    ) -> None:
        """Write outputs, each whole or not at all; image and labels in one pass over the pixels.

        Parameters
        ----------
        image : ends in .png, .tif or .zarr; a PNG has a palette for up to 256 opaque colours. A
            TIFF of an image that is somewhere on Earth is a GeoTIFF, which takes rasterio.
        labels : ends in .zarr, or in .tif for a GeoTIFF; -1 is its nodata and ``_FillValue``.
        palette : ends in .json, .gpl (GIMP) or .png (swatches).
        dither : spread the error of each pixel of a PNG with a palette over its neighbours (Floyd
            and Steinberg 1976): areas keep their mean colour, the error of pixels grows, which
            ``mse`` does not count, and ``labels`` stay those of the nearest colours. Pillow does
            so with the whole image in memory, 11 bytes a pixel, in a read of its own.
        overwrite : replace what is there, once the new output is whole.
        threads : chunks at work at once.

        Raises
        ------
        OutputError
            An output exists already, cannot be written, or its format cannot hold the image.
        MemoryLimitError
            The image is too large to be dithered within the limit of the search.
        """
        self.check_outputs(
            image, labels=labels, palette=palette, dither=dither, overwrite=overwrite
        )
        if palette is not None:
            image_sinks.write_palette(palette, self.palette, self.shares, overwrite=overwrite)
        if image is None and labels is None:
            return
        threads = threads or default_threads()
        with ExitStack() as stack:

            def begun(path: Any, kind: str, picture: Picture, view: Any) -> Output:
                folder = kind == ".zarr"
                partial = stack.enter_context(replacing(path, overwrite, folder=folder))
                return Output(partial, kind, picture, view)

            painter, to_labels, to_image = self._painter(), None, None
            if labels is not None:
                kind = image_sinks.kind_of_output(labels, image_sinks.LABELS)
                to_labels = begun(labels, kind, self._labels_picture(kind), painter.labels_of)
            if image is not None:
                kind = image_sinks.kind_of_output(image, image_sinks.PICTURES)
                picture = self._picture(kind)
                view = painter.painted if picture.palette is None else painter.indices
                to_image = begun(image, kind, picture, view)
            if dither and to_image is not None:
                lines = iter([self._dithered(threads)])
                image_sinks.write_picture(to_image.path, kind, lines, picture)
                to_image = None
            if to_labels is not None or to_image is not None:
                write_outputs(self.source, painter, to_labels, to_image, threads)

    def check_outputs(
        self,
        image: str | os.PathLike[str] | None = None,
        *,
        labels: str | os.PathLike[str] | None = None,
        palette: str | os.PathLike[str] | None = None,
        dither: bool = False,
        overwrite: bool = False,
    ) -> None:
        """Raise the error that :meth:`write` would, before any work."""
        if image is not None:
            kind = image_sinks.kind_of_output(image, image_sinks.PICTURES)
            check_output(image, overwrite, folder=kind == ".zarr")
            image_sinks.check_picture(image, self._picture(kind))
        if dither:
            self._check_dither(image)
        if labels is not None:
            kind = image_sinks.kind_of_output(labels, image_sinks.LABELS)
            check_output(labels, overwrite, folder=kind == ".zarr")
            image_sinks.check_labels(labels, self._labels_picture(kind))
        if palette is not None:
            image_sinks.check_palette(palette, overwrite, self.palette)

    def _check_dither(self, image: str | os.PathLike[str] | None) -> None:
        indexed = image is not None and os.fspath(image).lower().endswith(".png")
        if not indexed or self._picture(".png").palette is None:
            raise OutputError(
                f"dithering is for a .png with a palette of up to {INDICES} colours of 8 bits"
                f" without alpha; asked for was {image}, of {len(self.palette)} colours of"
                f" {self.source.colors} bands of {self.source.dtype}"
                + " with alpha"
                * self.source.alpha
            )
        needed, limit = DITHER_BYTES * self.source.n_pixels, limit_of(self.memory_limit, local=True)
        if needed > limit:
            raise MemoryLimitError(
                f"dithering holds the image in memory, {format_bytes(needed)}, and memory_limit is"
                f" {format_bytes(limit)}: raise it, or write without dithering"
            )

    def _painter(self) -> Painter:
        source = self.source
        return Painter(self.found.labeller, self.palette, source.alpha, source.flat, source.nodata)

    def _result(self, what: str, ndim: int, dtype: np.dtype[Any]) -> Any:
        lazy = painted(self.source.pixels, self._painter(), what, ndim, dtype)
        if not self.source.local:
            return lazy
        whole = np.empty(lazy.shape, dtype)
        da.store(lazy, whole, lock=False, scheduler="threads")
        return whole

    def _picture(self, kind: str) -> Picture:
        """The image as a file of this kind holds it."""
        source = self.source
        shape = source.shape if source.flat else tuple(source.pixels.shape)
        indexed = kind == ".png" and len(self.palette) <= INDICES and source.is_countable
        if indexed and not source.alpha and source.nodata is None and source.colors != 2:
            colors = image_sinks.rgb(self.palette)
            return Picture(source.shape, source.dtype, source.chunk, palette=colors)
        return Picture(
            shape,
            source.dtype,
            source.chunk,
            alpha=source.alpha,
            nodata=None if source.nodata is None else source.nodata.item(),
            channel_axis=source.said.channel_axis,
            names=source.said.names,
            place=source.said.place,
        )

    def _labels_picture(self, kind: str) -> Picture:
        """The labels as a file of this kind holds them; in a TIFF, in a type that is no news."""
        source, dtype = self.source, self._painter().label_dtype
        names = None if source.said.names is None else source.said.names[:2]
        return Picture(
            source.shape,
            dtype if kind == ".zarr" else np.promote_types(dtype, np.int16),
            source.chunk,
            nodata=-1,
            names=names,
            place=source.said.place,
        )

    def _dithered(self, threads: int) -> AnyArray:
        """Indices of all pixels."""
        source = self.source
        whole = np.empty(source.pixels.shape, source.dtype)
        done = 0
        for some in computed(source, source.pixels, threads):
            whole[done : done + len(some)] = some
            done += len(some)
        return dithered(whole, image_sinks.rgb(self.palette))
