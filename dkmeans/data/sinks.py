"""Writing rows block by block, to Zarr or Parquet, without ever gathering them."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import dask
import dask.array as da
import numpy as np
from dask.system import CPU_COUNT

from dkmeans._typing import AnyArray
from dkmeans.data.cluster import Cluster, current_client
from dkmeans.data.graphs import lazy_of
from dkmeans.data.outputs import check_output, replacing
from dkmeans.data.remote_outputs import SUCCESS
from dkmeans.data.retries import patiently
from dkmeans.errors import OutputError

LABEL_ROWS = 2**20  # rows of a chunk of labels


@dataclass(frozen=True)
class Layout:
    """How rows lie in storage.

    Parameters
    ----------
    chunk_rows : rows of a Zarr chunk or a Parquet row group.
    names : column names; a Parquet table needs them, Zarr keeps them as attribute ``columns``.
    storage_options : options of the storage behind a URI.
    """

    chunk_rows: int
    names: tuple[str, ...] | None = None
    storage_options: dict[str, Any] | None = None


def kind_of(path: str | os.PathLike[str]) -> str:
    """Return "zarr" or "parquet", by the ending of the path.

    Raises
    ------
    OutputError
        For any other ending.
    """
    ending = os.path.splitext(os.fspath(path).rstrip("/"))[1]
    if ending not in (".zarr", ".parquet"):
        raise OutputError(f"{os.fspath(path)} must end in .zarr or .parquet, to say what to write")
    return ending[1:]


def check_rows_output(
    path: str | os.PathLike[str],
    overwrite: bool = False,
    *,
    storage_options: dict[str, Any] | None = None,
) -> str:
    """Return the absolute path if rows can be written there; see :func:`check_output`."""
    kind_of(path)
    return check_output(path, overwrite, folder=True, storage_options=storage_options)


def write_labels(
    labels: Any,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    threads: int | None = None,
    storage_options: dict[str, Any] | None = None,
) -> None:
    """Write labels to a Zarr array or a folder of Parquet files, whole or not at all.

    :func:`dkmeans.metrics.cluster_scores` writes those of a model in the read that scores it.

    Parameters
    ----------
    labels : dask array or ndarray (n_samples,)
        Lazy labels are computed and written block by block; on the cluster of the current
        ``distributed.Client``, where there is one, and then ``path`` is on storage it shares. To
        Zarr, labels of unknown size are computed twice, since its chunks are regular.
    path : str or path
        Or a URI. Ends in ``.zarr``, or in ``.parquet`` for a folder whose files hold the column
        ``label``, the rows in the order of the files' names.
    overwrite : bool, default=False
        Replace what is there, once the new output is whole.
    threads : int, optional
        Blocks at work at once, without a cluster; dask's default if None.
    storage_options : dict, optional
        Options of the storage behind a URI.

    Raises
    ------
    OutputError
        If the path has another ending, exists already, or cannot be written.
    """
    if getattr(labels, "ndim", None) != 1:
        raise OutputError(f"labels must be a 1D array, got {type(labels).__name__}")
    if not isinstance(labels, da.Array):
        labels = lazy_of(labels, LABEL_ROWS)
    names = ("label",) if kind_of(path) == "parquet" else None
    layout = Layout(LABEL_ROWS, names, storage_options)
    write_rows(labels, path, layout, overwrite=overwrite, threads=threads)


def write_rows(
    rows: da.Array,
    path: str | os.PathLike[str],
    layout: Layout,
    *,
    overwrite: bool = False,
    threads: int | None = None,
) -> None:
    """Write a dask array (rows,) or (rows, columns) to Zarr or Parquet, whole or not at all."""
    kind = kind_of(path)
    options = layout.storage_options
    with replacing(path, overwrite, folder=True, storage_options=options) as partial:
        if kind == "zarr":
            _write_zarr(rows, partial, layout, threads)
        else:
            _write_parquet(rows, partial, layout, threads)


def _write_zarr(rows: da.Array, path: str, layout: Layout, threads: int | None) -> None:
    import zarr

    if any(np.isnan(rows.chunks[0])):
        rows = _with_sizes(rows, threads)  # a regular chunk grid needs to know where a block begins
    rows = _on_grid(rows, layout.chunk_rows)
    attributes: dict[str, Any] = {} if layout.names is None else {"columns": list(layout.names)}
    array = zarr.create_array(
        path,
        shape=rows.shape,
        chunks=(max(1, min(layout.chunk_rows, rows.shape[0])), *rows.shape[1:]),
        dtype=rows.dtype,
        attributes=attributes,
        storage_options=layout.storage_options if "://" in path else None,
    )
    if rows.shape[0]:
        starts = tuple(accumulate(rows.chunks[0], initial=0))
        store = dask.delayed(_Chunks(array, path, starts), pure=False, traverse=False)
        written = rows.map_blocks(
            _write_chunks,
            store=store,
            drop_axis=list(range(1, rows.ndim)),
            dtype=np.int64,
            meta=np.empty(0, np.int64),
        )
        _result(written.sum(), threads)
    for file in glob.iglob(os.path.join(glob.escape(path), "**", "*.partial"), recursive=True):
        os.unlink(file)  # of a worker that was killed while it wrote


@dataclass(frozen=True)
class _Chunks:
    """A Zarr array and where blocks of it start, in a folder that is gone when nobody wants it.

    Zarr makes the folders that a chunk needs. Without this, a worker that still writes when the
    output has been given up, or was finished by others, would leave a piece of it behind.
    """

    array: Any
    folder: str
    starts: tuple[int, ...]

    def write(self, rows: AnyArray, block: int) -> None:
        """Write a block of rows."""
        span = slice(self.starts[block], self.starts[block] + len(rows))
        patiently(self.array.__setitem__, span, rows)
        if "://" in self.folder:  # what comes late is in no output
            return
        if not os.path.exists(os.path.join(self.folder, "zarr.json")):
            shutil.rmtree(self.folder, ignore_errors=True)
            raise OutputError(f"{self.folder} has been removed while it was written")


def _write_chunks(rows: AnyArray, *, store: _Chunks, block_id: Any = None) -> AnyArray:
    store.write(rows, block_id[0])
    return np.array([len(rows)], np.int64)


def _with_sizes(rows: da.Array, threads: int | None) -> da.Array:
    """The rows with the sizes of their blocks, which takes a read."""
    options = {
        "chunks": ((1,) * rows.numblocks[0],),
        "dtype": np.int64,
        "drop_axis": [1][: rows.ndim - 1],
    }
    sizes = _result(rows.map_blocks(_length, **options).rechunk(-1), threads)
    known = tuple(int(size) for size in sizes)
    return da.Array(rows.dask, rows.name, (known, *rows.chunks[1:]), rows.dtype, rows._meta)


def _length(block: AnyArray) -> AnyArray:
    return np.array([len(block)], np.int64)


def _on_grid(rows: da.Array, chunk_rows: int) -> da.Array:
    """The rows in blocks of whole chunks, so that no two tasks write to the same chunk."""
    sizes = rows.chunks[0]
    if all(size % chunk_rows == 0 for size in sizes[:-1]):
        return rows
    return rows.rechunk({0: chunk_rows})


def _write_parquet(rows: da.Array, path: str, layout: Layout, threads: int | None) -> None:
    if "://" not in path:
        os.mkdir(path)
    if rows.ndim == 1:
        rows = rows[:, None]
    files = rows.map_blocks(
        _write_file,
        folder=path,
        layout=layout,
        digits=max(6, len(str(rows.numblocks[0]))),
        chunks=((1,) * rows.numblocks[0], (1,)),
        dtype=np.int64,
        meta=np.empty((0, 0), np.int64),
    )
    _result(files.sum(), threads)
    if "://" in path:
        import fsspec

        with fsspec.open(f"{path}/{SUCCESS}", "wb", **(layout.storage_options or {})) as mark:
            mark.write(b"")


def _write_file(
    block: AnyArray, *, folder: str, layout: Layout, digits: int, block_id: Any = None
) -> AnyArray:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names: Sequence[str] = layout.names or [f"f{i}" for i in range(block.shape[1])]
    table = pa.table([np.ascontiguousarray(column) for column in block.T], names=list(names))
    path = f"{folder}/part-{block_id[0]:0{digits}d}.parquet"
    if "://" not in folder:
        with open(path, "wb") as file:  # closed by an error too, which else holds on to it
            pq.write_table(table, file, row_group_size=layout.chunk_rows)
        return np.array([[len(block)]])

    def put() -> None:
        with fsspec.open(path, "wb", **(layout.storage_options or {})) as file:
            pq.write_table(table, file, row_group_size=layout.chunk_rows)

    import fsspec

    patiently(put)
    return np.array([[len(block)]])


def _result(work: Any, threads: int | None) -> Any:
    """Compute on the scheduler in force, else on threads that are done when this returns."""
    client = current_client()
    if client is not None:
        return Cluster(client).result(work)
    if dask.base.get_scheduler() is not None:
        return dask.compute(work)[0]
    pool = ThreadPoolExecutor(threads or int(dask.config.get("num_workers", None) or CPU_COUNT))
    try:
        return dask.compute(work, scheduler="threads", pool=pool)[0]
    finally:  # a task that outlives an interrupt would write to what is removed
        pool.shutdown(wait=True, cancel_futures=True)
