"""Opening whatever an image may be: arrays, Zarr, TIFF, and pictures that Pillow decodes."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import dask.array as da
import numpy as np
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

from dkmeans._typing import AnyArray
from dkmeans.data.source import working_dtype
from dkmeans.data.zarr_source import guarded_array
from dkmeans.errors import DataError, DkmeansError, MissingExtraError, SourceError

BLOCK_BYTES = (
    2**20
)  # read at once, unless a chunk has more: small, as counting takes ten times that
_TIFF = (".tif", ".tiff", ".btf", ".tf8", ".svs")
_MODES = {"1": "L", "PA": "RGBA", "La": "LA", "RGBa": "RGBA", "I;16B": "I;16", "I;16L": "I;16"}
_PLAIN_MODES = ("L", "LA", "RGB", "RGBA", "I;16", "I", "F")
PREVIEW = 720  # pixels of the longer side of a preview, at most
_pillow_lock = threading.Lock()  # its limit of pixels is one for the process


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
    """

    pixels: da.Array
    where: str
    flat: bool
    alpha: bool
    local: bool
    chunk: tuple[int, int]

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


def open_image(image: Any, *, alpha: bool | None = None, any_size: bool = False) -> Image:
    """Open an image; of arrays, Zarr and TIFF only metadata are read, other files are decoded.

    Parameters
    ----------
    image : ndarray, dask array or zarr.Array (height, width[, bands]), or a path: a Zarr array,
        a TIFF, or any picture that Pillow reads
    alpha : whether the last band is alpha. None: what a file says of itself; of an array, whether
        it has 4 bands.
    any_size : whether to decode pictures beyond Pillow's limit against decompression bombs.

    Raises
    ------
    SourceError
        A path that does not exist, is torn, or holds no image.
    DataError
        An array that is no image of real numbers.
    MissingExtraError
        Pillow or tifffile is not installed.
    """
    if isinstance(image, str | os.PathLike):
        return _open_path(os.path.abspath(os.path.expanduser(os.fspath(image))), alpha, any_size)
    if type(image).__module__.split(".")[0] == "zarr":
        return _open_zarr(image, str(getattr(image, "store_path", image)), alpha)
    if isinstance(image, da.Array):
        if any(np.isnan(size) for sizes in image.chunks for size in sizes):
            raise DataError(
                "the image has chunks of unknown size; call compute_chunk_sizes() first"
            )
        _check(image.shape, image.dtype, "a dask array")
        chunk = tuple(max(sizes) for sizes in image.chunks[:2])
        return _image(image, "a dask array", alpha, chunk=chunk)
    return _open_array(np.asarray(image), "an array", alpha, local=True)


def _image(
    pixels: da.Array,
    where: str,
    alpha: bool | None,
    *,
    chunk: tuple[int, ...],
    local: bool = False,
) -> Image:
    """Give all bands one chunk, in the type that the kernels read."""
    flat = pixels.ndim == 2
    pixels = pixels[:, :, None] if flat else pixels.rechunk({2: -1})
    dtype = working_dtype(pixels.dtype)
    if dtype != pixels.dtype:
        pixels = pixels.astype(dtype)
    bands = pixels.shape[2]
    has_alpha = bands == 4 if alpha is None else alpha
    if has_alpha and bands < 2:
        raise DataError(f"{where} has one band, which cannot be alpha alone")
    return Image(pixels, where, flat, has_alpha, local, (chunk[0], chunk[1]))


def _check(shape: tuple[int, ...], dtype: np.dtype[Any], where: str) -> None:
    """Raise a DataError unless this is the shape and type of an image."""
    if len(shape) not in (2, 3) or 0 in shape:
        raise DataError(
            "an image is (height, width) or (height, width, bands), none of them 0;"
            f" {where} has the shape {tuple(shape)}"
        )
    if dtype.kind not in "fiub":
        raise DataError(f"an image is of real numbers; {where} has dtype {dtype}")


def _open_array(array: AnyArray, where: str, alpha: bool | None, *, local: bool) -> Image:
    """An array in memory, in bands of lines."""
    _check(array.shape, array.dtype, where)
    lines = max(1, BLOCK_BYTES // max(1, array[0].nbytes))
    pixels = da.from_array(array, chunks=(lines, *array.shape[1:]), name=False)
    return _image(pixels, where, alpha, chunk=(lines, array.shape[1]), local=local)


def _open_chunked(array: Any, where: str, alpha: bool | None, chunk: tuple[int, ...]) -> Image:
    """An array in storage; small chunks are read several at a time."""
    _check(array.shape, array.dtype, where)
    bands = array.shape[2:]
    pixel_bytes = int(np.prod(bands, dtype=int)) * array.dtype.itemsize
    height, width = (min(c, s) for c, s in zip(chunk[:2], array.shape[:2], strict=True))
    across = max(1, min(BLOCK_BYTES // (height * width * pixel_bytes), -(-array.shape[1] // width)))
    down = max(1, BLOCK_BYTES // (height * across * width * pixel_bytes))
    blocks = (down * height, across * width, *bands)
    pixels = da.from_array(array, chunks=blocks, name=False, asarray=False, inline_array=True)
    return _image(pixels, where, alpha, chunk=(height, width))


def _open_zarr(array: Any, where: str, alpha: bool | None) -> Image:
    if not hasattr(array, "shape"):
        names = ", ".join(name for name, _ in array.arrays()) or "no array"
        raise SourceError(f"{where} is a Zarr group with {names}; pass one of its arrays")
    array = guarded_array(array)
    return _open_chunked(array, where, alpha, getattr(array, "shards", None) or array.chunks)


def _open_path(path: str, alpha: bool | None, any_size: bool) -> Image:
    if not os.path.exists(path):
        raise SourceError(f"no such file or folder: {path}")
    try:
        if os.path.isdir(path) or path.endswith(".zip"):
            import zarr

            return _open_zarr(zarr.open(path, mode="r"), path, alpha)
        if path.lower().endswith(_TIFF):
            from dkmeans.data.tiff_source import TiffPixels

            tiff = TiffPixels(path)
            return _open_chunked(tiff, path, tiff.alpha if alpha is None else alpha, tiff.chunk)
        array, has_alpha = _decode(path, any_size)
    except DkmeansError:
        raise
    except ImportError as error:
        raise MissingExtraError(f"reading {path}", "image") from error
    except Exception as error:
        raise SourceError(f"cannot read the image {path}: {error}") from error
    return _open_array(array, path, has_alpha if alpha is None else alpha, local=False)


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
