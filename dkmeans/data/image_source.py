"""Opening whatever an image may be: arrays, xarray, Zarr, TIFF, and what Pillow decodes."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from dkmeans._typing import AnyArray
from dkmeans.data.blocks import Blocks, from_dask
from dkmeans.data.geotiff import Place, place_of_file
from dkmeans.data.graphs import lazy_of
from dkmeans.data.image_axes import Reordered, find_axes
from dkmeans.data.image_tiles import Tiles
from dkmeans.data.nodata import nodata_given, nodata_of
from dkmeans.data.raster_source import Frame, is_xarray, open_frame
from dkmeans.data.source import working_dtype
from dkmeans.data.zarr_image import ZarrImage, open_zarr_object, open_zarr_path
from dkmeans.errors import DataError, DkmeansError, MissingExtraError, SourceError

BLOCK_BYTES = 4 * 2**20  # read at once, unless a chunk has more: sorting takes ten times that
_TIFF = (".tif", ".tiff", ".btf", ".tf8", ".svs")
_MODES = {"1": "L", "PA": "RGBA", "La": "LA", "RGBa": "RGBA", "I;16B": "I;16", "I;16L": "I;16"}
_PLAIN_MODES = ("L", "LA", "RGB", "RGBA", "I;16", "I", "F")
PREVIEW = 720  # pixels of the longer side of a preview, at most
_pillow_lock = threading.Lock()  # its limit of pixels is one for the process


@dataclass(frozen=True)
class Opening:
    """How to read an image; see :func:`open_image`."""

    alpha: bool | None = None
    any_size: bool = False
    nodata: Any = None
    channel_axis: int | str | None = None
    storage_options: Mapping[str, Any] | None = None


@dataclass(frozen=True, eq=False)
class Said:
    """What an image says of itself.

    Parameters
    ----------
    alpha : whether the last band is alpha; None where it does not say.
    attributes : among which nodata may be.
    channel_axis : where the bands are among the axes of the image, which results keep.
    names : of height, width and bands.
    frame : of a DataArray.
    place : tells where on Earth it is; None where it does not say.
    """

    alpha: bool | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    channel_axis: int = 2
    names: tuple[str, ...] | None = None
    frame: Frame | None = None
    place: Callable[[], Place] | None = None


@dataclass(frozen=True, eq=False)
class Image:
    """An image that is read in chunks.

    Parameters
    ----------
    pixels : (height, width, bands), in chunks that hold all bands.
    where : path or description, for people.
    flat : whether the image came without an axis of bands.
    alpha : whether the last band is how opaque a pixel is.
    local : whether the pixels are a NumPy array, so that results are to be arrays and not lazy.
    chunk : height and width of what storage reads whole.
    nodata : value of bands, in the type of the pixels, that stands for none; NaN always does.
    said : what the image says of itself.
    tiles : the same blocks for threads of this process; None where dask alone can compute them.
    """

    pixels: da.Array
    where: str
    flat: bool
    alpha: bool
    local: bool
    chunk: tuple[int, int]
    nodata: Any = None
    said: Said = field(default_factory=Said)
    tiles: Tiles | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def n_pixels(self) -> int:
        """Pixels in all."""
        return self.shape[0] * self.shape[1]

    @property
    def colors(self) -> int:
        """Bands that make a colour: all but alpha."""
        return int(self.pixels.shape[2]) - self.alpha

    @property
    def is_countable(self) -> bool:
        """Whether colours are so short that all distinct ones can be counted."""
        return self.dtype == np.uint8 and self.colors <= 3

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the values."""
        return np.dtype(str(self.pixels.dtype))

    @cached_property
    def preview(self) -> AnyArray:
        """Pixels (up to 720, up to 720, bands) at even steps, read once, block after block."""
        step = -(-max(self.shape) // PREVIEW)
        some = self.pixels[::step, ::step]
        return np.asarray(some.compute(**({"scheduler": "threads"} if self.local else {})))

    def blocks(self, *, by_threads: bool) -> Blocks:
        """All pixels as rows in blocks, for threads of this process or for whatever dask runs."""
        if by_threads and self.tiles is not None:
            return self.tiles.blocks()
        return from_dask(self.rows(), None)

    def rows(self) -> da.Array:
        """All pixels as rows (n_pixels, bands), chunk after chunk, not line after line."""
        heights, widths = self.pixels.chunks[:2]
        name = f"pixel-rows-{tokenize(self.pixels.name)}"
        graph: dict[tuple[str, int, int], Any] = {}
        sizes: list[int] = []
        for r, height in enumerate(heights):
            for c, width in enumerate(widths):
                graph[(name, len(sizes), 0)] = (_as_rows, (self.pixels.name, r, c, 0))
                sizes.append(height * width)
        layers = HighLevelGraph.from_collections(name, graph, dependencies=[self.pixels])
        chunks = (tuple(sizes), (self.pixels.shape[2],))
        return da.Array(layers, name, chunks, dtype=self.dtype, meta=np.empty((0, 0), self.dtype))


def _as_rows(block: AnyArray) -> AnyArray:
    return block.reshape(-1, block.shape[2])


def open_image(
    image: Any,
    *,
    alpha: bool | None = None,
    any_size: bool = False,
    nodata: Any = None,
    channel_axis: int | str | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Image:
    """Open an image; of arrays, Zarr and TIFF only metadata are read, other files are decoded.

    Parameters
    ----------
    image : ndarray, dask array, DataArray or zarr.Array (height, width[, bands]), or a path: a Zarr
        array or a multiscale image of OME's, by URI too, a TIFF, or a picture that Pillow reads; an
        Image is open already
    alpha : whether the last band is alpha. None: what a file says of itself; of an array, whether
        there are 4 bands that come last, and no names of axes.
    any_size : whether to decode pictures beyond Pillow's limit against decompression bombs.
    nodata : value that stands for none. None: what the attributes or tags say.
    channel_axis : axis of the bands, by number or name. None: as the axes are called, else the
        last.
    storage_options : options of the storage behind a URI.

    Raises
    ------
    SourceError
        A path that does not exist, is torn, or holds no image.
    DataError
        An array that is no image of real numbers.
    MissingExtraError
        Pillow or tifffile is not installed.
    """
    if isinstance(image, Image):
        return image
    opening = Opening(alpha, any_size, nodata, channel_axis, storage_options)
    if isinstance(image, str | os.PathLike):
        return _open_path(os.fspath(image), opening)
    if is_xarray(image):
        return _open_xarray(image, opening)
    if type(image).__module__.split(".")[0] == "zarr":
        where = str(getattr(image, "store_path", image))
        return _open_zarr(open_zarr_object(image, where), opening)
    if isinstance(image, da.Array):
        axes = find_axes(image.shape, None, channel_axis, "a dask array")
        said = Said(None if axes.plain else False, channel_axis=axes.channel_axis)
        return _open_dask(axes.take(image), "a dask array", opening, said)
    array = np.asarray(image)
    axes = find_axes(array.shape, None, channel_axis, "an array")
    said = Said(None if axes.plain else False, channel_axis=axes.channel_axis)
    return _open_array(axes.take(array), "an array", opening, said, local=True)


def _image(
    pixels: da.Array,
    where: str,
    opening: Opening,
    said: Said,
    *,
    chunk: tuple[int, ...],
    local: bool = False,
    array: Any = None,
) -> Image:
    """Give all bands one chunk, in the type that the kernels read.

    Parameters
    ----------
    array : that blocks are slices of; None where pixels have to be computed.
    """
    flat = pixels.ndim == 2
    pixels = pixels[:, :, None] if flat else pixels.rechunk({2: -1})
    dtype = working_dtype(pixels.dtype)
    if opening.nodata is None:
        nodata = nodata_of(said.attributes, dtype, where)
    else:
        nodata = nodata_given(opening.nodata, dtype)
    if dtype != pixels.dtype:
        pixels = pixels.astype(dtype)
    alpha = said.alpha if opening.alpha is None else opening.alpha
    bands = pixels.shape[2]
    has_alpha = bands == 4 if alpha is None else alpha
    if has_alpha and bands < 2:
        raise DataError(f"{where} has one band, which cannot be alpha alone")
    heights, widths = pixels.chunks[:2]
    tiles = None if array is None else Tiles(array, heights, widths, dtype)
    return Image(pixels, where, flat, has_alpha, local, (chunk[0], chunk[1]), nodata, said, tiles)


def _check(shape: tuple[int, ...], dtype: np.dtype[Any], where: str) -> None:
    """Raise a DataError unless this is the shape and type of an image."""
    if 0 in shape:
        raise DataError(
            "an image is (height, width) or (height, width, bands), none of them 0;"
            f" {where} has the shape {tuple(shape)}"
        )
    if dtype.kind not in "fiub":
        raise DataError(f"an image is of real numbers; {where} has dtype {dtype}")


def _open_array(array: AnyArray, where: str, opening: Opening, said: Said, *, local: bool) -> Image:
    """An array in memory, in bands of lines."""
    _check(array.shape, array.dtype, where)
    lines = max(1, BLOCK_BYTES // max(1, array[0].nbytes))
    pixels = lazy_of(array, (lines, *array.shape[1:]))
    chunk = (lines, array.shape[1])
    return _image(pixels, where, opening, said, chunk=chunk, local=local, array=array)


def _open_dask(pixels: da.Array, where: str, opening: Opening, said: Said) -> Image:
    if any(np.isnan(size) for sizes in pixels.chunks for size in sizes):
        raise DataError(f"{where} has chunks of unknown size; call compute_chunk_sizes() first")
    _check(pixels.shape, pixels.dtype, where)
    chunk = tuple(max(sizes) for sizes in pixels.chunks[:2])
    return _image(pixels, where, opening, said, chunk=chunk)


def _open_xarray(image: Any, opening: Opening) -> Image:
    values, frame, where = open_frame(image, opening.channel_axis)
    said = Said(
        alpha=False,
        attributes=frame.attrs,
        channel_axis=frame.axes.channel_axis,
        names=tuple(map(str, frame.dims)),
        frame=frame,
        place=frame.place if frame.has_place else None,
    )
    if isinstance(values, da.Array):
        return _open_dask(values, where, opening, said)
    return _open_array(values, where, opening, said, local=True)


def _open_chunked(
    array: Any, where: str, opening: Opening, said: Said, *, chunk: tuple[int, ...]
) -> Image:
    """An array in storage; small chunks are read several at a time."""
    _check(array.shape, array.dtype, where)
    bands = array.shape[2:]
    pixel_bytes = int(np.prod(bands, dtype=int)) * array.dtype.itemsize
    height, width = (min(c, s) for c, s in zip(chunk[:2], array.shape[:2], strict=True))
    across = max(1, min(BLOCK_BYTES // (height * width * pixel_bytes), -(-array.shape[1] // width)))
    down = max(1, BLOCK_BYTES // (height * across * width * pixel_bytes))
    blocks = (down * height, across * width, *bands)
    pixels = da.from_array(array, chunks=blocks, name=False, asarray=False, inline_array=True)
    return _image(pixels, where, opening, said, chunk=(height, width), array=array)


def _open_zarr(found: ZarrImage, opening: Opening) -> Image:
    shape, names = found.array.shape, found.names
    axes = find_axes(shape, names, opening.channel_axis, found.where)
    array = found.array if axes.plain else Reordered(found.array, axes)
    said = Said(
        alpha=None if axes.plain and names is None else False,
        attributes=found.array.attrs,
        channel_axis=axes.channel_axis,
        names=None if names is None else axes.of(names),
    )
    return _open_chunked(array, found.where, opening, said, chunk=axes.of(found.chunk))


def _open_tiff(path: str, opening: Opening) -> Image:
    from dkmeans.data.tiff_source import TiffPixels

    tiff = TiffPixels(path, opening.channel_axis)
    said = Said(
        tiff.alpha, tiff.attributes, place=partial(place_of_file, path) if tiff.placed else None
    )
    return _open_chunked(tiff, path, opening, said, chunk=tiff.chunk)


def _open_path(path: str, opening: Opening) -> Image:
    if "://" in path:
        return _open_zarr(open_zarr_path(path, opening.storage_options), opening)
    path = os.path.abspath(os.path.expanduser(path))
    if not os.path.exists(path):
        raise SourceError(f"no such file or folder: {path}")
    if os.path.isdir(path) or path.endswith(".zip"):
        return _open_zarr(open_zarr_path(path, opening.storage_options), opening)
    try:
        if path.lower().endswith(_TIFF):
            return _open_tiff(path, opening)
        array, alpha = _decode(path, opening.any_size)
    except DkmeansError:
        raise
    except ImportError as error:
        raise MissingExtraError(f"reading {path}", "image") from error
    except Exception as error:
        raise SourceError(f"cannot read the image {path}: {error}") from error
    axes = find_axes(array.shape, None, opening.channel_axis, path)
    said = Said(alpha, channel_axis=axes.channel_axis)
    return _open_array(axes.take(array), path, opening, said, local=False)


def _decode(path: str, any_size: bool) -> tuple[AnyArray, bool]:
    """A picture, upright as its EXIF tag says, and whether its last band is alpha."""
    from PIL import Image as pillow
    from PIL import ImageOps

    try:
        with _pixel_limit(lifted=any_size), pillow.open(path) as file:
            picture = ImageOps.exif_transpose(file)
            if picture.mode == "P":
                transparent = "transparency" in picture.info
                picture = picture.convert("RGBA" if transparent else "RGB")
            elif picture.mode in _MODES:
                picture = picture.convert(_MODES[picture.mode])
            elif picture.mode not in _PLAIN_MODES:
                picture = picture.convert("RGB")
            return np.asarray(picture), picture.mode in ("LA", "RGBA")
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning) as error:
        raise SourceError(
            f"{path}: {str(error).rstrip('.')}; if you trust the file, any_size=True (--any-size)"
            " lifts the limit"
        ) from error


@contextlib.contextmanager
def _pixel_limit(*, lifted: bool) -> Iterator[None]:
    """Pillow's limit of pixels, unless it is lifted for the body."""
    from PIL import Image as pillow

    with _pillow_lock:
        before = pillow.MAX_IMAGE_PIXELS
        if lifted:
            pillow.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            pillow.MAX_IMAGE_PIXELS = before
