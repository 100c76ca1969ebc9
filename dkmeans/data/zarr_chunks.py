"""Chunks of a local Zarr array, decoded into memory that is there already.

For each chunk zarr-python takes fresh memory three times and copies twice, and all threads wait
for its one event loop: two of them read no faster than one. Chunks of the plainest layout need
none of that, which is rows of bytes as they are in memory, compressed with zstd or Blosc or not at
all, in a file of their own. Whatever else comes is left to zarr-python, down to a single chunk
that is missing or damaged.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any

from dkmeans._typing import AnyArray
from dkmeans.data.buffers import Buffers

_EXPECTED_ERRORS = (OSError, ValueError, RuntimeError)  # of files and decoders


class LocalChunks:
    """Reads single chunks of a Zarr array that :func:`local_chunks` has found to be plain."""

    def __init__(self, array: Any, compression: str) -> None:
        import numcodecs

        from dkmeans.data.zarr_guard import store_of

        self.metadata, self.compression = array.metadata, compression
        self.folder = os.path.join(str(store_of(array).root), array.path)
        self.rows, self.count = array.chunks[0], -(-array.shape[0] // array.chunks[0])
        self.dtype, self.n_columns = array.dtype, array.shape[1]
        self.n_bytes = self.rows * self.n_columns * self.dtype.itemsize
        self.buffers = Buffers()
        self.codec: Any = (
            None if compression == "none" else numcodecs.get_codec({"id": compression})
        )

    def path(self, number: int) -> str:
        """File of a chunk."""
        return os.path.join(self.folder, self.metadata.encode_chunk_key((number, 0)))

    def read(self, start: int, stop: int, out: AnyArray, picked: list[int] | None) -> int:
        """Write rows start .. stop to ``out``; return the row where it ended, if early."""
        while start < stop:
            number = start // self.rows
            first = number * self.rows
            end = min(first + self.rows, stop)
            if not self._read_rows(number, start - first, out[: end - start], picked):
                break
            out = out[end - start :]
            start = end
        return start

    def _read_rows(self, number: int, skip: int, out: AnyArray, picked: list[int] | None) -> bool:
        """Write the rows of a chunk after the first ``skip``, or return False."""
        if picked is None and out.nbytes == self.n_bytes and out.dtype == self.dtype:
            return self._load(number, out.reshape(-1).view("uint8"))
        with self.buffers.lend(self.n_bytes) as decoded:
            if not self._load(number, decoded):
                return False
            rows = decoded.view(self.dtype).reshape(self.rows, self.n_columns)
            rows = rows[skip : skip + len(out)]
            out[:] = rows if picked is None else rows[:, picked]
        return True

    def _load(self, number: int, out: AnyArray) -> bool:
        """Decode a chunk into all bytes of ``out``, or return False."""
        try:
            with open(self.path(number), "rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                if size > most_bytes(self.n_bytes):
                    return False
                if self.compression == "none":
                    return size == len(out) and file.readinto(out.data) == size
                with self.buffers.lend(max(size, self.n_bytes)) as encoded:
                    whole = file.readinto(encoded[:size].data) == size
                    return whole and self._decode(encoded[:size], out)
        except _EXPECTED_ERRORS:
            return False

    def _decode(self, encoded: AnyArray, out: AnyArray) -> bool:
        """Decode if the header says that this fills ``out``; decoders are content with less.

        Blosc's does not look where its input ends either, so that must be right as well.
        """
        head = encoded[:18].tobytes()
        if self.compression == "zstd":
            fits = zstd_size(head) == len(out)
        else:
            fits = number(head[4:8]) == len(out) and number(head[12:16]) == len(encoded)
        if fits:
            self.codec.decode(encoded, out)
        return fits

    def read_ahead(self, start: int, stop: int) -> None:
        """Ask the system to have the files of these rows in memory soon; it does not wait."""
        if not hasattr(os, "posix_fadvise"):
            return
        for number in range(start // self.rows, min(-(-stop // self.rows), self.count)):
            with suppress(OSError), open(self.path(number), "rb", buffering=0) as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)


def most_bytes(n_bytes: int) -> int:
    """Bytes that a chunk of ``n_bytes`` may take when encoded: no codec lets one grow so much."""
    return n_bytes + n_bytes // 64 + 2**16


def number(raw: bytes) -> int:
    """An unsigned integer, the lowest byte first."""
    return int.from_bytes(raw, "little")


def zstd_size(head: bytes) -> int | None:
    """Decoded size that a Zstandard frame states, if it does (RFC 8878, 3.1.1.1)."""
    if len(head) < 18 or head[:4] != b"\x28\xb5\x2f\xfd":
        return None
    width, single = 1 << (head[4] >> 6), head[4] >> 5 & 1
    if width == 1 and not single:
        return None
    at = 6 - single + (0, 1, 2, 4)[head[4] & 3]  # after the window and the dictionary
    return number(head[at : at + width]) + (256 if width == 2 else 0)


def local_chunks(array: Any) -> LocalChunks | None:
    """A reader of the array's chunks if all of these are plain, else None."""
    from zarr.storage import LocalStore

    from dkmeans.data.zarr_guard import store_of

    compression = _compression(array)
    plain = type(store_of(array)) is LocalStore and array.dtype.isnative
    if not plain or compression is None or array.chunks[1] != array.shape[1]:
        return None
    return LocalChunks(array, compression)


def _compression(array: Any) -> str | None:
    """``"zstd"``, ``"blosc"`` or ``"none"``; None for any other way from bytes to rows."""
    described = array.metadata.to_dict()
    if array.metadata.zarr_format == 2:
        if described.get("filters") or described.get("order") != "C":
            return None
        compressor = described.get("compressor")
        names = [] if compressor is None else [str(dict(compressor)["id"])]
    else:
        serializer, *others = described["codecs"]
        endian = serializer.get("configuration", {}).get("endian", sys.byteorder)
        if serializer["name"] != "bytes" or endian != sys.byteorder:
            return None
        names = [codec["name"] for codec in others]
    names = names or ["none"]
    return names[0] if names in (["none"], ["zstd"], ["blosc"]) else None
