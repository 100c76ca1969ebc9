"""Zarr arrays as tables of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dkmeans._typing import AnyArray
from dkmeans.data.blocks import READ_BYTES, Reader, cut
from dkmeans.data.source import Source, check_table, pick_columns, working_dtype
from dkmeans.data.zarr_chunks import local_chunks
from dkmeans.errors import SourceError

AHEAD = 4  # pieces of READ_BYTES that the system is asked for while others are decoded


class ZarrRows(Reader):
    """Rows of a Zarr array, some of its columns, in the type that the kernels read."""

    def __init__(self, array: Any, where: str, picked: list[int] | None) -> None:
        self.array, self.where, self.picked = array, where, picked
        self.dtype = working_dtype(array.dtype)
        self.shape = (array.shape[0], array.shape[1] if picked is None else len(picked))
        self.unit = _unit_rows(array)
        row_bytes = array.shape[1] * array.dtype.itemsize
        self.step = max(1, READ_BYTES // (row_bytes * self.unit)) * self.unit
        self.chunks = local_chunks(array)

    def read(self, start: int, stop: int, out: AnyArray) -> None:
        """Write the rows to ``out``, a few chunks at a time."""
        for first in range(start, stop, self.step):
            last, done = min(first + self.step, stop), first
            if self.chunks is not None:
                self.chunks.read_ahead(first + AHEAD * self.step, last + AHEAD * self.step)
                done = self.chunks.read(first, last, out[first - start : last - start], self.picked)
            if done < last:
                self._ask(done, last, out[done - start : last - start])

    def _ask(self, first: int, last: int, out: AnyArray) -> None:
        """Write the rows to ``out`` as zarr-python reads them."""
        try:
            rows = self.array[first:last, :]
        except Exception as error:
            raise SourceError(
                f"cannot read rows {first} to {last} of {self.where}:"
                f" {type(error).__name__}: {error}"
            ) from error
        out[:] = rows if self.picked is None else rows[:, self.picked]


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
        array = _find(X, component, storage_options)
        where = X if component is None else f"{X} ({component})"
    if not hasattr(array, "shape"):
        raise SourceError(f"{where} is a Zarr group: {_contents(array)}")
    check_table(array.shape, array.dtype, where)
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


def _find(path: str, component: str | None, storage_options: dict[str, Any] | None) -> Any:
    import zarr

    options: dict[str, Any] = {"storage_options": storage_options} if storage_options else {}
    try:
        return zarr.open(path, mode="r", path=component or "", **options)
    except FileNotFoundError as error:
        inside = f" with component {component!r}" if component else ""
        raise SourceError(f"{path} is not a Zarr store or a Parquet dataset{inside}") from error


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
