"""Labels on their way to storage, and labels from wherever they are stored."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import dask.array as da
import numpy as np

from dkmeans._typing import AnyArray, Ints
from dkmeans.data import sinks
from dkmeans.data.outputs import scratch
from dkmeans.data.remote_outputs import Place
from dkmeans.data.retries import patiently
from dkmeans.data.sources import is_in_memory, open_source
from dkmeans.data.zarr_source import guarded_array, open_node
from dkmeans.errors import DataError, OutputError, SourceError


@dataclass(frozen=True)
class LabelFile:
    """A plain file of int32, in which any task may write the labels of its rows.

    Chunks of Zarr do not begin where blocks do, so two blocks could not write to one.
    """

    path: str
    dtype = np.dtype(np.int32)
    ndim = 1

    def create(self) -> None:
        """Make the file, empty."""
        with open(self.path, "xb"):
            pass

    def write(self, offset: int, labels: Ints) -> None:
        """Write the labels of rows ``offset`` and following."""
        with open(self.path, "r+b") as file:
            file.seek(offset * self.dtype.itemsize)
            file.write(np.ascontiguousarray(labels, self.dtype).data)

    @property
    def shape(self) -> tuple[int]:
        """Number of labels."""
        return (os.path.getsize(self.path) // self.dtype.itemsize,)

    def __getitem__(self, key: tuple[slice]) -> AnyArray:
        start, stop, _ = key[0].indices(self.shape[0])
        itemsize = self.dtype.itemsize
        return np.fromfile(self.path, self.dtype, stop - start, offset=start * itemsize)

    def array(self) -> da.Array:
        """The labels, lazily."""
        rows = da.from_array(self, chunks=sinks.LABEL_ROWS, name=False, asarray=False)
        return rows.map_blocks(_whole, dtype=self.dtype, meta=np.empty(0, self.dtype))


@dataclass(frozen=True)
class LabelObjects:
    """The same on object storage, where nothing can be changed: an object for each block.

    Parameters
    ----------
    system : file system of fsspec.
    folder : of the objects, which are named by their first rows.
    """

    system: Any
    folder: str

    def write(self, offset: int, labels: Ints) -> None:
        """Write the labels of rows ``offset`` and following."""
        if len(labels):
            raw = np.ascontiguousarray(labels, LabelFile.dtype).tobytes()
            patiently(self.system.pipe_file, self._path(offset), raw)

    def array(self) -> da.Array:
        """The labels, lazily."""
        self.system.invalidate_cache()
        found = patiently(self.system.find, self.folder, detail=True)
        sizes = [found[path]["size"] // LabelFile.dtype.itemsize for path in sorted(found)]
        offsets = list(accumulate(sizes, initial=0))
        if sorted(found) != [self._path(offset) for offset in offsets[:-1]]:
            raise OutputError(
                f"labels under {self.folder} have been changed while they were written"
            )
        empty = np.empty(0, LabelFile.dtype)
        chunks = (tuple(sizes) or (0,),)
        return da.map_blocks(self._read, chunks=chunks, dtype=LabelFile.dtype, meta=empty)

    def _read(self, block_info: Any = None) -> AnyArray:
        ((start, stop),) = block_info[None]["array-location"]
        if start == stop:
            return np.empty(0, LabelFile.dtype)
        return np.frombuffer(patiently(self.system.cat_file, self._path(start)), LabelFile.dtype)

    def _path(self, offset: int) -> str:
        return f"{self.folder}/{offset:012d}"


@contextlib.contextmanager
def labels_beside(
    target: str, storage_options: dict[str, Any] | None
) -> Iterator[LabelFile | LabelObjects]:
    """Where tasks may write labels until the output at ``target`` is written; gone at the end."""
    if "://" not in target:
        with scratch(target) as hidden:
            file = LabelFile(hidden)
            file.create()
            yield file
        return
    place = Place.of(target, storage_options)
    folder, _ = place.beside("scratch")
    try:
        yield LabelObjects(place.system, folder)
    finally:
        with contextlib.suppress(OSError):
            place.remove(folder)


def _whole(block: AnyArray) -> AnyArray:
    """The block itself: dask would join what follows to the slices that are read."""
    return block


def _first_column(block: AnyArray) -> AnyArray:
    return block[:, 0]


def open_labels(labels: Any, name: str = "labels") -> Any:
    """Labels as an array of one dimension, of NumPy or dask, whatever they come from.

    Parameters
    ----------
    labels : array-like, Series, dask array or Series, zarr.Array, or the path or URI of one, or of
        what :func:`~dkmeans.write_labels` wrote. In memory, strings have numbers in their place.
    name : what the caller calls them, for messages.

    Raises
    ------
    DataError
        If they are not integers in one dimension, or in memory strings.
    SourceError
        If a path does not exist or holds no labels.
    """
    if isinstance(labels, str | os.PathLike):
        labels = _open_path(os.fspath(labels))
    if type(labels).__module__.split(".")[0] == "zarr":
        labels = guarded_array(labels)
        chunks = getattr(labels, "shards", None) or labels.chunks
        labels = da.from_array(labels, chunks=chunks, name=False)
    elif hasattr(labels, "to_dask_array"):
        labels = labels.to_dask_array()
    elif is_in_memory(labels):
        labels = np.asarray(labels)
    if labels.ndim != 1:
        raise DataError(f"{name} must be a 1D array, got {labels.ndim} dimensions")
    if labels.dtype.kind in "iub":
        return labels
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "OUST":
        return _encoded(labels, name)
    cure = (
        "" if isinstance(labels, np.ndarray) else "; store the codes of categories in their place"
    )
    raise DataError(f"{name} must be integers, got dtype {labels.dtype}{cure}")


def _encoded(labels: AnyArray, name: str) -> Ints:
    """Numbers for labels in memory that are strings, or integers among objects."""
    with contextlib.suppress(TypeError):  # of values that have no order
        values, codes = np.unique(labels, return_inverse=True)
        kinds = (str, bytes), (int, np.integer)
        if any(all(isinstance(value, kind) for value in values) for kind in kinds):
            return codes
    raise DataError(f"{name} must be all integers or all strings, without missing values")


def _open_path(path: str) -> Any:
    """A Zarr array, or the column ``label`` of Parquet."""
    if path.rstrip("/").endswith(".parquet"):
        rows = open_source(path, columns=["label"]).blocks(sinks.LABEL_ROWS).array
        empty = np.empty(0, rows.dtype)
        return rows.map_blocks(_first_column, drop_axis=1, dtype=rows.dtype, meta=empty)
    if "://" not in path and not os.path.exists(path):
        raise SourceError(f"no such file or folder: {path}")
    try:
        found = open_node(path)
        if not hasattr(found, "shape"):
            raise SourceError("it is a Zarr group")
        return found
    except Exception as error:
        raise SourceError(f"cannot open labels at {path}: {error}") from error
