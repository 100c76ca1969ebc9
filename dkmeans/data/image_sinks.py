"""Writing pictures and palettes line after line: no more of a picture is held than is at hand."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from dkmeans._typing import AnyArray, Floats
from dkmeans.data.geotiff import Place, check_geotiff, writing_geotiff
from dkmeans.data.nodata import GDAL_TAG
from dkmeans.data.outputs import check_output, replacing
from dkmeans.data.zarr_writer import create_chunked
from dkmeans.errors import MissingExtraError, OutputError

PICTURES = (".png", ".tif", ".tiff", ".zarr")
TIFFS = (".tif", ".tiff")
LABELS = (".zarr", ".tif", ".tiff")
PALETTES = (".json", ".gpl", ".png")
_TILE = 256  # height and width of a tile of a TIFF
_SWATCH, _ACROSS = 32, 16  # pixels of a side of a swatch, and swatches in a line
_PNG_KINDS = {1: 0, 2: 4, 3: 2, 4: 6}  # bands: colour type
_PNG_PALETTE = 3


@dataclass(frozen=True)
class Picture:
    """What is to be written.

    Parameters
    ----------
    shape : (height, width, bands), or (height, width) of one band or of indices.
    chunk : height and width of a chunk of Zarr.
    palette : (k, 3) uint8 that the values are indices of, or None where they are colours.
    alpha : whether the last band is alpha.
    nodata : what pixels without data have.
    channel_axis : where a Zarr array has the bands.
    names : of height, width and bands, in Zarr.
    place : tells where on Earth it is, for a GeoTIFF; else None.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunk: tuple[int, int]
    palette: AnyArray | None = None
    alpha: bool = False
    nodata: int | float | None = None
    channel_axis: int = 2
    names: tuple[str, ...] | None = None
    place: Callable[[], Place] | None = None

    @property
    def bands(self) -> int:
        """Values of a pixel."""
        return self.shape[2] if len(self.shape) == 3 else 1


def kind_of_output(path: str | os.PathLike[str], endings: Sequence[str]) -> str:
    """The ending of a path, which says what to write.

    Raises
    ------
    OutputError
        Where it is none of ``endings``.
    """
    ending = os.path.splitext(os.fspath(path).rstrip("/"))[1].lower()
    if ending not in endings:
        raise OutputError(
            f"{os.fspath(path)} must end in {', '.join(endings)}, to say what to write"
        )
    return ending


def check_picture(path: str | os.PathLike[str], picture: Picture) -> None:
    """Raise an OutputError where the format cannot hold the picture."""
    if kind_of_output(path, PICTURES) in TIFFS and picture.place is not None:
        check_geotiff(picture)
    whole = picture.dtype in (np.dtype(np.uint8), np.dtype(np.uint16))
    fits = whole and picture.bands - picture.alpha in (1, 3)
    if kind_of_output(path, PICTURES) == ".png" and not fits:
        raise OutputError(
            f"a PNG holds 1 or 3 bands of 8 or 16 bits, and alpha; not {picture.bands} of"
            f" {picture.dtype}: give {os.fspath(path)} the ending .tif or .zarr"
        )


def check_labels(path: str | os.PathLike[str], picture: Picture) -> None:
    """Raise the error that writing labels there would, as far as can be told before."""
    if kind_of_output(path, LABELS) in TIFFS:
        check_geotiff(picture)


def write_picture(path: str, kind: str, lines: Iterable[AnyArray], picture: Picture) -> None:
    """Write the next lines of a picture, as many at a time as there come, to a new file.

    Parameters
    ----------
    kind : one of ``PICTURES``, but not .zarr.
    """
    if kind == ".png":
        _write_png(path, lines, picture)
    elif picture.place is None:
        _write_tiff(path, lines, picture)
    else:
        with writing_geotiff(path, picture) as file:
            for some in lines:
                file.write(some)


class PixelStore:
    """A Zarr array of a picture, written in boxes of pixels; see :class:`ChunkWriter`."""

    def __init__(self, path: str, picture: Picture) -> None:
        self._axis = picture.channel_axis if len(picture.shape) == 3 else 2
        chunk = tuple(min(c, s) for c, s in zip(picture.chunk, picture.shape[:2], strict=True))
        names = None if picture.names is None else picture.names[: len(picture.shape)]
        self._array = create_chunked(
            path,
            shape=self._ordered(picture.shape),
            chunks=self._ordered((*chunk, *picture.shape[2:])),
            dtype=picture.dtype,
            dimension_names=None if names is None else self._ordered(names),
            attributes={} if picture.nodata is None else {"_FillValue": picture.nodata},
        )

    def _ordered(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """What belongs to height, width and bands, in the order of the axes."""
        ordered = list(values[:2])
        ordered[self._axis : self._axis] = values[2:]
        return tuple(ordered)

    def write(self, pixels: AnyArray, top: int, left: int, threads: int) -> None:
        """Write pixels from a line and a column on."""
        if pixels.ndim == 3:
            pixels = np.moveaxis(pixels, 2, self._axis)
        start = self._ordered((top, left, 0)[: pixels.ndim])
        self._array.write(pixels, start, threads)


def _write_tiff(path: str, lines: Iterable[AnyArray], picture: Picture) -> None:
    try:
        import tifffile
    except ImportError as error:
        raise MissingExtraError("writing a TIFF", "image") from error
    rgb = picture.bands - picture.alpha == 3
    nodata = None if picture.nodata is None else [(GDAL_TAG, "s", 0, str(picture.nodata), True)]
    tifffile.imwrite(
        path,
        _tiles(lines, picture.shape[1]),
        shape=picture.shape,
        dtype=picture.dtype,
        tile=(_TILE, _TILE),
        photometric="rgb" if rgb else "minisblack",
        planarconfig="contig" if len(picture.shape) == 3 else None,
        extrasamples=["unassalpha"] if picture.alpha else None,
        compression="zlib",
        metadata=None,
        extratags=nodata,
    )


def _tiles(lines: Iterable[AnyArray], width: int) -> Iterator[AnyArray]:
    """Tiles from left to right and from top to bottom; those at the edges may be smaller."""
    for strip in _regrouped(lines, _TILE):
        for left in range(0, width, _TILE):
            yield np.ascontiguousarray(strip[:, left : left + _TILE])


def _regrouped(lines: Iterable[AnyArray], height: int) -> Iterator[AnyArray]:
    """The same lines, ``height`` at a time but at the end."""
    held: AnyArray | None = None
    for some in lines:
        held = some if held is None else np.concatenate([held, some])
        while len(held) >= height:
            yield held[:height]
            held = held[height:]
    if held is not None and len(held):
        yield held


def _write_png(path: str, lines: Iterable[AnyArray], picture: Picture) -> None:
    """A PNG (ISO/IEC 15948) without filters; Pillow's writer needs the whole picture in memory."""
    height, width = picture.shape[:2]
    kind = _PNG_KINDS[picture.bands] if picture.palette is None else _PNG_PALETTE
    packer = zlib.compressobj()
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        depth = 8 * picture.dtype.itemsize
        _png_chunk(file, b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
        if picture.palette is not None:
            _png_chunk(file, b"PLTE", picture.palette.tobytes())
        for some in lines:
            raw = np.ascontiguousarray(some, some.dtype.newbyteorder(">"))
            raw = raw.reshape(len(some), -1).view(np.uint8)
            _png_chunk(file, b"IDAT", packer.compress(np.pad(raw, ((0, 0), (1, 0))).tobytes()))
        _png_chunk(file, b"IDAT", packer.flush())
        _png_chunk(file, b"IEND", b"")


def _png_chunk(file: BinaryIO, kind: bytes, data: bytes) -> None:
    if data or kind == b"IEND":
        file.write(struct.pack(">I", len(data)) + kind + data)
        file.write(struct.pack(">I", zlib.crc32(kind + data)))


def check_palette(path: str | os.PathLike[str], overwrite: bool, colors: AnyArray) -> str:
    """Return the absolute path if this palette (k, bands) can be written there."""
    kind = kind_of_output(path, PALETTES)
    if kind != ".json" and (colors.dtype != np.uint8 or colors.shape[1] > 3):
        raise OutputError(
            f"colours of {colors.shape[1]} bands of {colors.dtype} have no place in"
            f" {os.fspath(path)}; give it the ending .json"
        )
    return check_output(path, overwrite)


def write_palette(
    path: str | os.PathLike[str], colors: AnyArray, shares: Floats, *, overwrite: bool = False
) -> None:
    """Write colours (k, bands) and their shares as JSON, for GIMP, or as a picture of them."""
    target = check_palette(path, overwrite, colors)
    with replacing(target, overwrite) as partial:
        if target.endswith(".png"):
            _write_swatches(partial, rgb(colors))
            return
        title = os.path.splitext(os.path.basename(target))[0]
        text = _gpl(colors, title) if target.endswith(".gpl") else _json(colors, shares)
        with open(partial, "w", encoding="utf-8") as file:
            file.write(text + "\n")


def _gpl(colors: AnyArray, title: str) -> str:
    """Palette of GIMP: red, green, blue, name."""
    three = rgb(colors)
    lines = [f"{r:3d} {g:3d} {b:3d}\t{hex_name((r, g, b))}" for r, g, b in three.tolist()]
    return "\n".join(["GIMP Palette", f"Name: {title}", f"Columns: {_ACROSS}", "#", *lines])


def _json(colors: AnyArray, shares: Floats) -> str:
    """A list of what there is to say of each colour."""
    entries: list[dict[str, Any]] = [
        {"color": color, "share": share}
        for color, share in zip(colors.tolist(), shares.tolist(), strict=True)
    ]
    if colors.dtype == np.uint8 and colors.shape[1] <= 3:
        for entry, three in zip(entries, rgb(colors).tolist(), strict=True):
            entry["hex"] = hex_name(three)
    return json.dumps(entries, indent=1)


def rgb(colors: AnyArray) -> AnyArray:
    """Colours (k, 3) uint8 of (k, 1) greys or (k, 3)."""
    return np.ascontiguousarray(np.broadcast_to(colors[:, -3:], (len(colors), 3)))


def hex_name(color: Sequence[int]) -> str:
    """``#rrggbb``."""
    return "#" + "".join(f"{value:02x}" for value in color)


def _write_swatches(path: str, colors: AnyArray) -> None:
    """Squares of the colours in lines; what is left of the last line is white."""
    across = min(_ACROSS, len(colors))
    down = -(-len(colors) // across)
    grid = np.full((down * across, 3), 255, np.uint8)
    grid[: len(colors)] = colors
    squares = grid.reshape(down, across, 3).repeat(_SWATCH, axis=0).repeat(_SWATCH, axis=1)
    _write_png(path, [squares], Picture(squares.shape, squares.dtype, (1, 1)))
