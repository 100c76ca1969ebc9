"""Zarr arrays that others wrote: patient reads, and decoders that cannot be made to fill memory."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any

import numcodecs.abc
from zarr import Array
from zarr.abc.codec import BytesBytesCodec
from zarr.abc.store import RangeByteRequest
from zarr.codecs import ShardingCodec
from zarr.storage import LocalStore, MemoryStore, StorePath, WrapperStore

from dkmeans.data.retries import TRIES, may_pass, patiently_async
from dkmeans.data.zarr_chunks import most_bytes, number, zstd_size
from dkmeans.errors import SourceError

_STREAMS = {"gzip": "gzip", "zlib": "gzip", "bz2": "bz2", "zstd": "zstd"}  # names that Arrow has
_FILLING = {"blosc", "lz4", "lzma", *_STREAMS}  # decoders that can be made to fill memory
_CHUNK_HEAD = 64  # bytes that a chunk in a shard may have beside its data, in the index and here
_PIECE = 2**20  # bytes at once of what is decoded only to be counted


class UnreadableChunkError(SourceError):
    """A chunk that could not be fetched; the message begins with its key."""


class PatientStore(WrapperStore[Any]):
    """A store whose reads are tried again where they fail for a reason that may pass.

    Parameters
    ----------
    most : bytes that the value of a key may have; one that has more is refused, unread.
    """

    def __init__(self, store: Any, most: int) -> None:
        super().__init__(store)
        self.most = most

    def _with_store(self, store: Any) -> PatientStore:
        return PatientStore(store, self.most)

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """The bytes of a key, or None where there is none."""
        asked = byte_range or RangeByteRequest(0, self.most + 1)
        try:
            found = await patiently_async(self._store.get, key, prototype, asked)
        except Exception as error:
            times = f", {TRIES} times" if may_pass(error) else ""
            raise UnreadableChunkError(
                f"chunk {key}: {type(error).__name__}{times}: {error}"
            ) from error
        if found is not None and len(found) > self.most:
            raise UnreadableChunkError(f"chunk {key} has more than {self.most:,} bytes")
        return found

    async def get_partial_values(self, *args: Any, **options: Any) -> Any:
        """The bytes of several ranges."""
        return await patiently_async(self._store.get_partial_values, *args, **options)


def store_of(array: Any) -> Any:
    """The store behind an array, whether it is read patiently or not."""
    return array.store._store if isinstance(array.store, PatientStore) else array.store


def is_remote(array: Any) -> bool:
    """Whether a read waits for more than a disk."""
    return not isinstance(store_of(array), LocalStore | MemoryStore)


@dataclass(frozen=True)
class Bounded(BytesBytesCodec):
    """A codec of format 3 that refuses chunks which would decode to more than ``most`` bytes."""

    inner: BytesBytesCodec
    most: int

    @property
    def is_fixed_size(self) -> bool:  # type: ignore[override]
        """As the codec itself says."""
        return self.inner.is_fixed_size

    def to_dict(self) -> Any:
        """The metadata of the codec itself."""
        return self.inner.to_dict()

    def evolve_from_array_spec(self, array_spec: Any) -> Bounded:
        """The same codec for these chunks."""
        return Bounded(self.inner.evolve_from_array_spec(array_spec), self.most)

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: Any) -> int:
        """As the codec itself says."""
        return self.inner.compute_encoded_size(input_byte_length, chunk_spec)

    async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        check_decoded(_name(self.inner.to_dict()), chunk_bytes.to_bytes(), self.most)
        return await self.inner._decode_single(chunk_bytes, chunk_spec)


class BoundedNumcodec(numcodecs.abc.Codec):  # type: ignore[misc]
    """The same for a compressor or filter of format 2."""

    codec_id = "dkmeans-bounded"

    def __init__(self, inner: Any, most: int) -> None:
        self.inner, self.most = inner, most

    def get_config(self) -> Any:
        """The metadata of the codec itself."""
        return self.inner.get_config()

    def encode(self, buf: Any) -> Any:
        """Encode as the codec itself does."""
        return self.inner.encode(buf)

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Decode what is not too much."""
        if self.inner.codec_id in _FILLING:
            check_decoded(self.inner.codec_id, memoryview(buf).cast("B"), self.most)
        return self.inner.decode(buf, out)


def guarded(array: Any, where: str) -> Any:
    """The same array, its reads patient and its decoders bounded.

    Raises
    ------
    SourceError
        If its chunks are pickles, which can run any code.
    """
    in_chunk = math.prod(array.chunks)
    in_shard = math.prod(getattr(array, "shards", None) or array.chunks)
    most = most_bytes(in_chunk * array.dtype.itemsize)
    metadata = _guarded_metadata(array.metadata, most, where)
    stored = most_bytes(in_shard * array.dtype.itemsize) + _CHUNK_HEAD * (in_shard // in_chunk)
    path = StorePath(PatientStore(store_of(array), stored), array.path)
    return Array(type(array._async_array)(metadata, path))


def _guarded_metadata(metadata: Any, most: int, where: str) -> Any:
    plain = dict(vars(metadata))
    if metadata.zarr_format == 2:
        coders = [
            *(metadata.filters or ()),
            *([metadata.compressor] if metadata.compressor else []),
        ]
        for coder in coders:
            if coder.codec_id == "pickle":
                raise SourceError(f"{where} has chunks of pickles, which can run any code")
        if metadata.compressor:
            plain["compressor"] = BoundedNumcodec(metadata.compressor, most)
        if metadata.filters:
            plain["filters"] = tuple(BoundedNumcodec(f, most) for f in metadata.filters)
    else:
        plain["codecs"] = tuple(_bounded(codec, most) for codec in metadata.codecs)
    copy = object.__new__(type(metadata))
    vars(copy).update(plain)
    return copy


def _bounded(codec: Any, most: int) -> Any:
    if isinstance(codec, ShardingCodec):
        return ShardingCodec(
            chunk_shape=codec.chunk_shape,
            codecs=[_bounded(inner, most) for inner in codec.codecs],
            index_codecs=codec.index_codecs,
            index_location=codec.index_location,
        )
    return Bounded(codec, most) if isinstance(codec, BytesBytesCodec) else codec


def _name(described: dict[str, Any]) -> str:
    return str(described["name"]).removeprefix("numcodecs.")


def check_decoded(codec: str, encoded: Any, most: int) -> None:
    """Raise a ValueError if the bytes would decode to more than ``most``.

    Blosc, LZ4 and most Zstandard frames state what they hold, and their decoders go by it; others
    are decoded a piece at a time, to be counted.
    """
    head = bytes(encoded[:18])
    size: int | None = None
    if codec in ("blosc", "lz4"):
        size = number(head[4:8] if codec == "blosc" else head[:4])
    elif codec == "zstd":
        size = zstd_size(head)
    if size is None and (codec == "lzma" or codec in _STREAMS):
        size = _counted(codec, encoded, most)
    if size is not None and size > most:
        raise ValueError(
            f"its {codec} data decode to more than {most:,} bytes, which a chunk has not"
        )


def _counted(codec: str, encoded: Any, most: int) -> int:
    """Decoded bytes, or one piece more than ``most`` at the most."""
    import lzma

    import pyarrow as pa

    def opened() -> Any:
        if codec == "lzma":
            return lzma.LZMAFile(io.BytesIO(encoded))
        return pa.CompressedInputStream(pa.BufferReader(pa.py_buffer(encoded)), _STREAMS[codec])

    size = 0
    with opened() as stream:
        while size <= most and (piece := stream.read(_PIECE)):
            size += len(piece)
    return size
