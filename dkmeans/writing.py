"""Writing the pixels of an image in the colours that stand for them."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import dask
import dask.array as da
import numpy as np

from dkmeans._typing import AnyArray
from dkmeans.data.buffers import Buffers
from dkmeans.data.geotiff import writing_geotiff
from dkmeans.data.image_sinks import Picture, PixelStore, write_picture
from dkmeans.data.image_source import Image
from dkmeans.data.image_tiles import Tiles
from dkmeans.data.threads import in_order
from dkmeans.engine import progress
from dkmeans.engine.painting import Painter
from dkmeans.engine.passes import Passes

_AHEAD = 4  # blocks for each thread that are done before the first of them is taken
_NOTHING = np.empty(0)

Put = Callable[[AnyArray, int, int, int], None]


def painted(pixels: da.Array, painter: Painter, what: str, ndim: int, dtype: Any) -> da.Array:
    """What the painter says of each block, lazy; the painter is sent once to each worker."""
    return da.map_blocks(
        _paint,
        pixels,
        painter=dask.delayed(painter, pure=False, traverse=False),
        what=what,
        dtype=dtype,
        chunks=pixels.chunks[:ndim],
        drop_axis=[2] if ndim == 2 else [],
        meta=np.empty((0,) * ndim, dtype),
    )


def _paint(block: AnyArray, *, painter: Painter, what: str) -> Any:
    return getattr(painter, what)(block)


@dataclass(frozen=True)
class Output:
    """Pixels that are to be written, each from its mark.

    Parameters
    ----------
    path, kind : where to, and the ending that says how.
    view : the pixels of some marks, which :meth:`Painter.marks` says.
    """

    path: str
    kind: str
    picture: Picture
    view: Callable[[AnyArray], AnyArray]


def write_outputs(
    source: Image, painter: Painter, labels: Output | None, image: Output | None, threads: int
) -> None:
    """Write labels, an image or both in one pass: Zarr as blocks are done, files line by line."""
    found = [output for output in (labels, image) if output is not None]
    puts = [_putting(output) for output in found if output.kind == ".zarr"]
    marks = _marked(source, painter, threads, puts, lines=len(puts) < len(found))
    with ExitStack() as stack:
        if labels is not None and labels.kind != ".zarr":
            file = stack.enter_context(writing_geotiff(labels.path, labels.picture))
            marks = _also(marks, lambda some: file.write(labels.view(some)))
        if image is not None and image.kind != ".zarr":
            write_picture(image.path, image.kind, map(image.view, marks), image.picture)
        else:
            deque(marks, maxlen=0)


def _putting(output: Output) -> Put:
    store = PixelStore(output.path, output.picture)
    return lambda marks, *place: store.write(output.view(marks), *place)


def _also(marks: Iterator[AnyArray], use: Callable[[AnyArray], Any]) -> Iterator[AnyArray]:
    """The marks themselves, used on the way."""
    for some in marks:
        use(some)
        yield some


def _marked(
    source: Image, painter: Painter, threads: int, puts: Sequence[Put], *, lines: bool
) -> Iterator[AnyArray]:
    """Marks of all pixels, some lines after others; none are yielded unless ``lines`` are wanted.

    Parameters
    ----------
    puts : called with the marks of each block, the line and column of its first pixel, and how many
        threads it may take; from several threads, and in any order.
    """
    if source.tiles is not None and Passes(local=source.local).by_threads:
        yield from _by_threads(source.tiles, painter, threads, puts, lines=lines)
        return
    lazy = painted(source.pixels, painter, "marks", 2, painter.mark_dtype(source.dtype))
    top = 0
    for marks in computed(source, lazy, threads):
        for put in puts:
            put(marks, top, 0, threads)
        top += len(marks)
        if lines:
            yield marks


def _by_threads(
    tiles: Tiles, painter: Painter, threads: int, puts: Sequence[Put], *, lines: bool
) -> Iterator[AnyArray]:
    """Likewise, read by threads of this process."""
    buffers = Buffers()

    def mark(first: int, at: int) -> AnyArray:
        row, column = divmod(first + at, tiles.across)
        with buffers.lend(tiles.block_bytes) as buffer:
            marks = painter.marks(tiles.block(row, column, buffer))
        top, left = (part.start for part in tiles.span(row, column))
        for put in puts:
            put(marks, top, left, 1)
        progress.block_done(marks.size, marks.size * tiles.row_bytes, relay=False)
        return marks if lines else _NOTHING

    count = tiles.down * tiles.across
    progress.tell("pass_started", "write", count)
    if not lines:
        deque(in_order(partial(mark, 0), count, threads), maxlen=0)
        return
    step = max(1, _AHEAD * threads // tiles.across) * tiles.across
    for first in range(0, count, step):
        done = in_order(partial(mark, first), min(step, count - first), threads)
        while row := list(itertools.islice(done, tiles.across)):
            yield np.concatenate(row, axis=1)


def computed(source: Image, lazy: da.Array, threads: int) -> Iterator[AnyArray]:
    """Lines of what is lazy, some after others, as many as give the threads work."""
    down, across = lazy.numblocks[:2]
    step = max(1, threads // across)
    progress.tell("pass_started", "write", -(-down // step))
    scheduler = {"scheduler": "threads"} if source.local else {}
    for first in range(0, down, step):
        with dask.config.set(num_workers=threads):
            lines = lazy.blocks[first : first + step].compute(**scheduler)
        progress.block_done(lines.shape[0] * lines.shape[1], lines.nbytes, relay=False)
        yield lines
