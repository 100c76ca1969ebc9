"""Zarr arrays as tables of rows."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from itertools import product
from typing import Any

from dkmeans._typing import AnyArray
from dkmeans.data.blocks import READ_BYTES, Reader, cut
from dkmeans.data.source import Source, check_size, check_table, pick_columns, working_dtype
from dkmeans.data.zarr_chunks import local_chunks
from dkmeans.errors import DkmeansError, SourceError

AHEAD = 4  # pieces of READ_BYTES that storage is asked for while others are decoded
_METADATA_BYTES = 2**26  # of a file that describes an array or a group, at most


class ZarrRows(Reader):
    """Rows of a Zarr array, some of its columns, in the type that the kernels read."""

    def __init__(self, array: Any, where: str, picked: list[int] | None) -> None:
        from dkmeans.data.zarr_guard import guarded, is_remote

        self.array, self.where, self.picked = guarded(array, where), where, picked
        self.dtype = working_dtype(array.dtype)
        self.shape = (array.shape[0], array.shape[1] if picked is None else len(picked))
        self.unit = _unit_rows(array)
        row_bytes = array.shape[1] * array.dtype.itemsize
        self.step = max(1, READ_BYTES // (row_bytes * self.unit)) * self.unit
        self.chunks = local_chunks(array)
        self.ahead = 1  # pieces at once
        if is_remote(array):
            self.read_bytes = AHEAD * READ_BYTES
            self.ahead = max(1, self.read_bytes // (self.step * row_bytes))

    def read(self, start: int, stop: int, out: AnyArray) -> None:
        """Write the rows to ``out``, a few chunks at a time."""
        pieces = [(a, min(a + self.step, stop)) for a in range(start, stop, self.step)]
        if self.ahead == 1 or len(pieces) == 1:
            for first, last in pieces:
                self._read(first, last, out[first - start : last - start])
            return
        with ThreadPoolExecutor(self.ahead) as pool:
            asked = [
                pool.submit(copy_context().run, self._read, a, b, out[a - start : b - start])
                for a, b in pieces
            ]
            try:
                for piece in asked:
                    piece.result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _read(self, first: int, last: int, out: AnyArray) -> None:
        done = first
        if self.chunks is not None:
            self.chunks.read_ahead(first + AHEAD * self.step, last + AHEAD * self.step)
            done = self.chunks.read(first, last, out, self.picked)
        if done < last:
            self._ask(done, last, out[done - first :])

    def _ask(self, first: int, last: int, out: AnyArray) -> None:
        """Write the rows to ``out`` as zarr-python reads them."""
        try:
            rows = self.array[first:last, :]
        except Exception as error:
            raise SourceError(
                f"cannot read rows {first} to {last} of {self.where}:"
                f" {self._blamed(first, last, error)}"
            ) from error
        out[:] = rows if self.picked is None else rows[:, self.picked]

    def _blamed(self, first: int, last: int, error: Exception) -> str:
        """What is wrong with which chunk: the first of these rows that cannot be read alone."""
        if isinstance(error, DkmeansError):
            return str(error)
        heights, widths = getattr(self.array, "shards", None) or self.array.chunks
        columns = range(-(-self.array.shape[1] // widths))
        for i, j in product(range(first // heights, -(-last // heights)), columns):
            try:
                self.array[i * heights : (i + 1) * heights, j * widths : (j + 1) * widths]
            except Exception as found:
                key = self.array.metadata.encode_chunk_key((i, j))
                return f"chunk {key}: {type(found).__name__}: {found}"
        return f"{type(error).__name__}: {error}"


def _unit_rows(array: Any) -> int:
    """Rows that are stored together: of a shard, or of a chunk."""
    return int((getattr(array, "shards", None) or array.chunks)[0])


def open_zarr(
    X: Any,
    columns: Sequence[str] | None = None,
    component: str | None = None,
    storage_options: dict[str, Any] | None = None,
) -> Source:
    """Open a ``zarr.Array``, or a path or URI that holds one."""
    array, where = X, str(getattr(X, "store_path", X))
    if isinstance(X, str):
        array = open_node(X, component, storage_options)
        where = X if component is None else f"{X} ({component})"
    if not hasattr(array, "shape"):
        raise SourceError(f"{where} is a Zarr group: {_contents(array)}")
    check_table(array.shape, array.dtype, where)
    if min(array.chunks) < 1:
        raise SourceError(f"{where} has chunks of shape {array.chunks}")
    check_size(array.shape[0], -(-array.shape[0] // _unit_rows(array)), where)
    names = _names(array)
    picked = None
    if columns is not None:
        if names is None:
            raise SourceError(f"columns= needs names, and {where} has no attribute 'columns'")
        chosen = pick_columns(columns, names, where)
        picked = [names.index(c) for c in chosen]
        names = tuple(chosen)
    reader = ZarrRows(array, where, picked)
    return Source(
        "zarr",
        where,
        cut(array.shape[0], reader.unit),
        reader.shape[1],
        reader.dtype,
        names,
        reader,
    )


def open_node(
    path: str, component: str | None = None, storage_options: dict[str, Any] | None = None
) -> Any:
    """The array or group at a path or URI, or inside a group there.

    Raises
    ------
    SourceError
        If there is none, or the component is no path below the group.
    """
    import zarr
    from zarr.storage import FsspecStore, LocalStore

    from dkmeans.data.zarr_guard import PatientStore

    if component is not None and any(part in ("", ".", "..") for part in component.split("/")):
        raise SourceError(
            f"component= must be a path below {path}, such as 'a/b', got {component!r}"
        )
    store: Any = (
        FsspecStore.from_url(path, storage_options=storage_options, read_only=True)
        if "://" in path
        else LocalStore(path, read_only=True)
    )
    if "zip://" in path:
        store.allowed_exceptions += (KeyError,)  # a member that is not there, until fsspec 2026.9
    try:
        return zarr.open(PatientStore(store, _METADATA_BYTES), mode="r", path=component or "")
    except FileNotFoundError as error:
        inside = f" with component {component!r}" if component else ""
        raise SourceError(f"{path} is not a Zarr store or a Parquet dataset{inside}") from error


def guarded_array(array: Any) -> Any:
    """The array with patient reads and bounded decoders; see :mod:`dkmeans.data.zarr_guard`."""
    from dkmeans.data.zarr_guard import guarded

    where = str(getattr(array, "store_path", array))
    check_size(array.shape[0] if array.shape else 0, 0, where)
    return guarded(array, where)


def _contents(group: Any) -> str:
    arrays = [name for name, _ in group.arrays()]
    if not arrays:
        return "it holds no array"
    return f"choose one of its arrays with component={arrays[0]!r} (it has {', '.join(arrays)})"


def _names(array: Any) -> tuple[str, ...] | None:
    """Column names that dkmeans and others store as the attribute ``columns``."""
    names = array.attrs.get("columns")
    if not isinstance(names, list) or len(names) != array.shape[1]:
        return None
    return tuple(names) if all(isinstance(n, str) for n in names) else None
