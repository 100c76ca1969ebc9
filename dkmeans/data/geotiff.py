"""GeoTIFF: where an image is on Earth, and writing it so, line after line."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dkmeans._typing import AnyArray
from dkmeans.errors import MissingExtraError, OutputError, SourceError

if TYPE_CHECKING:
    from dkmeans.data.image_sinks import Picture

TAGS = (33550, 33922, 34264, 34735)  # of a TIFF, any of which tells where it is
TILE = 256  # height and width of a tile
_CACHE_BYTES = 32 * 2**20  # of GDAL, whose own choice is a share of the machine's memory
_EVEN = 1e-3  # of a pixel, by which coordinates may be off an even grid


@dataclass(frozen=True)
class Place:
    """Where an image is.

    Parameters
    ----------
    crs : coordinate reference system, as WKT; None where it is not known.
    transform : GDAL's: x of the corner, width of a pixel, rotation; y of the corner, rotation, and
        height of a pixel, which is negative where y grows to the north. None where not known.
    """

    crs: str | None
    transform: tuple[float, ...] | None


def geo_transform(x: AnyArray, y: AnyArray) -> tuple[float, ...]:
    """The transform of an image whose columns and lines have these middles, two at least.

    Raises
    ------
    OutputError
        They are not evenly spaced.
    """
    steps = []
    for name, middles in (("x", x), ("y", y)):
        step = float(middles[-1] - middles[0]) / (len(middles) - 1)
        off = middles - (middles[0] + step * np.arange(len(middles)))
        if step == 0 or not np.abs(off).max() <= _EVEN * abs(step):
            raise OutputError(
                f"pixels of a GeoTIFF have one size, and the coordinates {name} are not evenly"
                " spaced: give the output the ending .zarr"
            )
        steps.append(step)
    width, height = steps
    return float(x[0]) - width / 2, width, 0.0, float(y[0]) - height / 2, 0.0, height


def place_of_file(path: str) -> Place:
    """Where a GeoTIFF is.

    Raises
    ------
    MissingExtraError, SourceError
        rasterio is not installed, or cannot read the file.
    """
    rasterio = _rasterio()
    try:
        with _unplaced(rasterio), rasterio.open(path) as file:
            transform = None if file.transform.is_identity else file.transform.to_gdal()
            return Place(file.crs.to_wkt() if file.crs else None, transform)
    except rasterio.errors.RasterioError as error:
        raise SourceError(f"cannot read where {path} is: {error}") from error


@contextlib.contextmanager
def writing_geotiff(path: str, picture: Picture) -> Iterator[GeoTiff]:
    """A tiled GeoTIFF that the body writes from the first line to the last.

    Raises
    ------
    MissingExtraError, OutputError
        rasterio is not installed, or cannot write such a file.
    """
    rasterio = _rasterio()
    place = picture.place() if picture.place is not None else Place(None, None)
    placed = (
        {}
        if place.transform is None
        else {"transform": rasterio.Affine.from_gdal(*place.transform)}
    )
    with contextlib.ExitStack() as stack:
        stack.enter_context(rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES))
        try:
            with _unplaced(rasterio):
                file = rasterio.open(
                    path,
                    "w",
                    driver="GTiff",
                    height=picture.shape[0],
                    width=picture.shape[1],
                    count=picture.bands,
                    dtype=picture.dtype,
                    crs=place.crs,
                    nodata=picture.nodata,
                    tiled=True,
                    blockxsize=TILE,
                    blockysize=TILE,
                    interleave="pixel",
                    photometric="rgb" if picture.bands - picture.alpha == 3 else "minisblack",
                    alpha="yes" if picture.alpha else "no",
                    compress="deflate",
                    bigtiff="if_safer",
                    **placed,
                )
        except (rasterio.errors.RasterioError, TypeError, ValueError) as error:
            raise OutputError(f"GDAL cannot write such a GeoTIFF: {error}") from error
        stack.enter_context(file)
        writer = GeoTiff(file)
        yield writer
        writer.finish()


class GeoTiff:
    """Lines that go to a file of rasterio's a row of tiles at a time."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._held: AnyArray | None = None
        self._next = 0

    def write(self, lines: AnyArray) -> None:
        """Write the lines that follow, or keep them until they fill a row of tiles."""
        held = lines if self._held is None else np.concatenate([self._held, lines])
        whole = len(held) // TILE * TILE
        self._put(held[:whole])
        self._held = held[whole:]

    def finish(self) -> None:
        """Write the lines that are left."""
        if self._held is not None:
            self._put(self._held)

    def _put(self, lines: AnyArray) -> None:
        bands = lines[None] if lines.ndim == 2 else np.moveaxis(lines, 2, 0)
        last = self._next + len(lines)
        if len(lines):
            window = ((self._next, last), (0, lines.shape[1]))
            self._file.write(np.ascontiguousarray(bands), window=window)
        self._next = last


@contextlib.contextmanager
def _unplaced(rasterio: Any) -> Iterator[None]:
    """Without rasterio's warning of files that are nowhere on Earth."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        yield


def check_geotiff(picture: Picture) -> None:
    """Raise the error that writing this as a GeoTIFF would, as far as can be told before."""
    _rasterio()
    if picture.place is not None:
        picture.place()


def _rasterio() -> Any:
    try:
        import rasterio
        import rasterio.errors
    except ImportError as error:
        raise MissingExtraError("reading and writing where an image is", "raster") from error
    return rasterio
