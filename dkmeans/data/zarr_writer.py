"""Whole chunks written to a new local Zarr array, from several threads.

For each chunk zarr-python takes about a millisecond of its one event loop, which is more than it
takes to compress a tile of an image. Chunks of the plainest layout need none of that: bytes as they
are in memory, compressed with zstd, in a file of their own.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from dkmeans._typing import AnyArray
from dkmeans.data.threads import in_order

LEVEL = 0  # of zstd, for its default, as zarr-python has it


def create_chunked(path: str, **options: Any) -> ChunkWriter:
    """A new local Zarr array, with what :func:`zarr.create_array` takes."""
    import zarr
    from zarr.codecs import BytesCodec, ZstdCodec

    array = zarr.create_array(
        path,
        serializer=BytesCodec(endian="little"),
        compressors=ZstdCodec(level=LEVEL),
        filters=None,
        zarr_format=3,
        **options,
    )
    return ChunkWriter(array, path)


class ChunkWriter:
    """Writes boxes of values; whole chunks from several threads at once."""

    def __init__(self, array: Any, path: str) -> None:
        from numcodecs import Zstd

        self._array, self._path = array, path
        self._codec = Zstd(LEVEL)

    def write(self, values: AnyArray, start: Sequence[int], threads: int = 1) -> None:
        """Write values from ``start`` on along each axis.

        Where they begin or end within a chunk, other values of it are already there or to come:
        that is left to zarr-python, and to one thread at a time.
        """
        sizes, ends = self._array.chunks, self._array.shape
        stop = [first + n for first, n in zip(start, values.shape, strict=True)]
        begin_whole = all(first % size == 0 for first, size in zip(start, sizes, strict=True))
        ends_of = zip(stop, sizes, ends, strict=True)
        if not begin_whole or any(last % size and last != end for last, size, end in ends_of):
            self._array[tuple(map(slice, start, stop))] = values
            return
        counts = [-(-n // size) for n, size in zip(values.shape, sizes, strict=True)]
        places = list(itertools.product(*map(range, counts)))
        begin = [first // size for first, size in zip(start, sizes, strict=True)]

        def put(at: int) -> None:
            chunk = self._chunk(values, places[at])
            self._put(chunk, [first + n for first, n in zip(begin, places[at], strict=True)])

        for _ in in_order(put, len(places), threads):
            pass

    def _chunk(self, values: AnyArray, place: Sequence[int]) -> AnyArray:
        """The values of a chunk, those beyond the end of the array the fill value."""
        shape = self._array.chunks
        found = values[tuple(slice(p * c, p * c + c) for p, c in zip(place, shape, strict=True))]
        if found.shape != shape:
            pads = [(0, c - n) for c, n in zip(shape, found.shape, strict=True)]
            found = np.pad(found, pads, constant_values=self._array.fill_value)
        return np.ascontiguousarray(found, found.dtype.newbyteorder("<"))

    def _put(self, chunk: AnyArray, place: Sequence[int]) -> None:
        key = self._array.metadata.encode_chunk_key(tuple(place))
        path = os.path.join(self._path, *key.split("/"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb", buffering=0) as file:
            file.write(self._codec.encode(chunk))
