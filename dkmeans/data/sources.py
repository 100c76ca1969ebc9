"""Opening whatever X may be that is not in memory: dask, Zarr, Parquet, paths and URIs."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import dask.array as da
import numpy as np

from dkmeans.data.remote_outputs import EXTRAS
from dkmeans.data.retries import patiently
from dkmeans.data.source import Source, check_table, pick_columns, working_dtype
from dkmeans.data.sparse_source import densified, is_sparse
from dkmeans.errors import DataError, DkmeansError, MissingExtraError, SourceError


def is_in_memory(X: Any) -> bool:
    """Whether X holds its values (NumPy, pandas, lists), rather than naming or deferring them."""
    return not (
        isinstance(X, str | os.PathLike | Source)
        or hasattr(X, "__dask_graph__")
        or type(X).__module__.split(".")[0] == "zarr"
    )


def open_source(
    X: Any,
    *,
    columns: Sequence[str] | None = None,
    component: str | None = None,
    storage_options: dict[str, Any] | None = None,
) -> Source:
    """Open X, which is not in memory, for :class:`~dkmeans.KMeans`; only metadata are read.

    Parameters
    ----------
    X : path, URI, zarr.Array, dask array or DataFrame; a Source is open already
    columns : columns to use, by name.
    component : array inside a Zarr group.
    storage_options : options of the storage behind a URI.

    Returns
    -------
    Source
        What ``fit``, ``predict``, ``transform``, ``score`` and ``plan`` take as X.

    Raises
    ------
    SourceError
        A path that does not exist or is neither Zarr nor Parquet; a column that is not there.
    DataError
        A table that is not two-dimensional or does not hold real numbers.
    """
    if isinstance(X, Source):
        return X
    if isinstance(X, str | os.PathLike):
        return _open_path(os.fspath(X), columns, component, storage_options)
    if type(X).__module__.split(".")[0] == "zarr":
        from dkmeans.data.zarr_source import open_zarr

        return open_zarr(X, columns, component)
    if hasattr(X, "to_dask_array"):
        return _open_frame(X, columns)
    if isinstance(X, da.Array):
        if columns is not None:
            raise SourceError(
                "columns= names columns, which a dask array has not; slice it instead"
            )
        return _open_dask(X, None)
    raise SourceError(f"cannot read X of type {type(X).__name__}")


def _open_path(
    path: str,
    columns: Sequence[str] | None,
    component: str | None,
    storage_options: dict[str, Any] | None,
) -> Source:
    from dkmeans.data.parquet_source import looks_like_parquet, open_parquet
    from dkmeans.data.zarr_source import open_zarr

    if "://" not in path:
        path = os.path.abspath(os.path.expanduser(path))
        if not os.path.exists(path):
            raise SourceError(f"no such file or folder: {path}")
    try:
        if looks_like_parquet(path, storage_options):
            if component is not None:
                raise SourceError(
                    f"component= names an array inside a Zarr group; {path} is Parquet"
                )
            return open_parquet(path, columns, storage_options)
        return open_zarr(path, columns, component, storage_options)
    except DkmeansError:
        raise
    except Exception as error:
        raise _unopened(path, error) from error


def _open_dask(X: da.Array, names: tuple[str, ...] | None) -> Source:
    where = "a dask array" if names is None else "a dask DataFrame"
    check_table(X.shape, X.dtype, where)
    if is_sparse(X):
        X = densified(X)
    if X.numblocks[1] > 1:
        X = X.rechunk({1: -1})
    dtype = working_dtype(X.dtype)
    if dtype != X.dtype:
        X = X.astype(dtype)
    known = not any(np.isnan(X.chunks[0]))
    units = tuple(int(s) for s in X.chunks[0]) if known else None
    return Source("dask", where, units, X.shape[1], dtype, names, X)


def frame_with_weights(X: Any, weights: Any, source: Source) -> tuple[Source, da.Array]:
    """A dask DataFrame and a Series as two parts of one array, so that one read gives both.

    Each lowered on its own, dask would read what they come from once for each.
    """
    together = X.assign(**{"sample weight": weights}).to_dask_array()
    rows = together[:, :-1].astype(source.dtype)
    return replace(source, rows=rows), together[:, -1]


def _open_frame(X: Any, columns: Sequence[str] | None) -> Source:
    if X.ndim == 1:
        raise DataError(
            "Expected 2D array, got 1D array instead: X is a dask Series. Use X.to_frame()"
        )
    if columns is not None:
        X = X[pick_columns(columns, X.columns, "the dask DataFrame")]
    for name, dtype in X.dtypes.items():
        if getattr(dtype, "kind", "O") not in "fiub":
            raise DataError(
                f"Expected numbers, but column {name!r} has dtype {dtype}; select numeric columns"
            )
    names = tuple(X.columns) if all(isinstance(c, str) for c in X.columns) else None
    return _open_dask(X.to_dask_array(), names)


@contextlib.contextmanager
def on_disk(
    path: str | os.PathLike[str], storage_options: dict[str, Any] | None = None
) -> Iterator[str]:
    """The path of a file, or that of a copy of what is at a URI, while the context lasts.

    Raises
    ------
    SourceError
        If it cannot be copied.
    """
    text = os.fspath(path)
    if "://" not in text:
        yield text
        return
    import fsspec

    with tempfile.TemporaryDirectory(prefix="dkmeans-") as folder:
        copy = os.path.join(folder, "copy")
        try:
            fs, inner = fsspec.core.url_to_fs(text, **(storage_options or {}))
            patiently(fs.get_file, inner, copy)
        except Exception as error:
            raise _unopened(text, error) from error
        yield copy


def _unopened(path: str, error: Exception) -> DkmeansError:
    """The error for a path or URI that cannot be opened."""
    extra = EXTRAS.get(path.partition("://")[0])
    if isinstance(error, ImportError) and extra is not None:
        return MissingExtraError(f"reading {path}", extra)
    why: Any = error
    if isinstance(error, RecursionError):
        why = "its metadata are nested too deeply"
    elif isinstance(error, FileNotFoundError):
        why = "it does not exist"
    return SourceError(f"cannot open {path}: {why}")
