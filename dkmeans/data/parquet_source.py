"""Parquet files and datasets as tables of rows."""

from __future__ import annotations

import json
import os
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from dkmeans._typing import AnyArray
from dkmeans.data.blocks import Reader
from dkmeans.data.retries import TRIES, may_pass, patiently
from dkmeans.data.source import Source, check_size, check_table, pick_columns, working_dtype
from dkmeans.errors import DataError, SourceError

_ZARR_MARKS = ("zarr.json", ".zarray", ".zgroup")


class ParquetRows(Reader):
    """Rows of a Parquet dataset, read by whole row groups."""

    def __init__(
        self,
        groups: Sequence[Any],
        rows: Sequence[int],
        columns: list[str],
        schema: Any,
        dtype: np.dtype[Any],
    ) -> None:
        self.groups, self.columns, self.dtype = tuple(groups), columns, dtype
        self.schema = schema
        self.starts = tuple(accumulate(rows, initial=0))
        self.shape = (self.starts[-1], len(columns))

    def read(self, start: int, stop: int, out: AnyArray) -> None:
        """Write the rows to ``out``, a row group at a time."""
        for g in range(bisect_left(self.starts, start), bisect_left(self.starts, stop)):
            table = self._table(g)
            rows = slice(self.starts[g] - start, self.starts[g + 1] - start)
            for f, name in enumerate(self.columns):
                out[rows, f] = table.column(name).to_numpy()

    def _table(self, g: int) -> Any:
        """A row group as Arrow reads it; pages whose checksums are wrong are an error."""
        group, (number,) = self.groups[g], [info.id for info in self.groups[g].row_groups]
        options = {"schema": self.schema, "columns": self.columns, "use_threads": False}
        try:
            table = patiently(group.to_table, **options)
            if len(table) != self.starts[g + 1] - self.starts[g]:
                raise ValueError(f"it has {len(table)} rows")
        except Exception as error:
            times = f", {TRIES} times" if may_pass(error) else ""
            raise SourceError(
                f"cannot read rows {self.starts[g]} to {self.starts[g + 1]} of {group.path}:"
                f" row group {number}: {type(error).__name__}{times}: {error}"
            ) from error
        return table


def looks_like_parquet(path: str, storage_options: dict[str, Any] | None = None) -> bool:
    """Whether the path names a Parquet file, or a folder that holds some."""
    if path.rstrip("/").endswith((".parquet", ".parq", ".pq")):
        return True
    if "://" not in path:
        if os.path.isfile(path):
            with open(path, "rb") as file:
                return file.read(4) == b"PAR1"
        exists, walk = os.path.exists, os.walk
    else:
        import fsspec

        fs, path = fsspec.core.url_to_fs(path, **(storage_options or {}))
        exists, walk = fs.exists, fs.walk
    if any(exists(f"{path.rstrip('/')}/{name}") for name in _ZARR_MARKS):
        return False  # without a walk over all its chunks
    return any(name.endswith(".parquet") for _, _, files in walk(path) for name in files)


def open_parquet(
    path: str,
    columns: Sequence[str] | None = None,
    storage_options: dict[str, Any] | None = None,
) -> Source:
    """Open a Parquet file or a folder of them; only footers are read.

    Files may differ in the types of their columns, which are promoted to one that holds all.
    Indexes that pandas or dask wrote, and keys of folders such as ``year=2024``, are no columns,
    unless they are asked for.
    """
    import pyarrow as pa

    dataset = open_dataset(path, storage_options)
    files = sorted(dataset.get_fragments(), key=lambda fragment: str(fragment.path))
    for file in files:
        patiently(file.ensure_complete_metadata)
    schema = pa.unify_schemas(
        [file.physical_schema for file in files], promote_options="permissive"
    )
    indexes = _indexes(schema)
    available = [name for name in schema.names if name not in indexes]
    chosen = available if columns is None else list(columns)
    for key in set(chosen) & set(dataset.schema.names) - set(schema.names):
        schema = schema.append(dataset.schema.field(key))
    pick_columns(chosen, schema.names, path)
    groups = [group for file in files for group in file.split_by_row_group()]
    units = tuple(sum(info.num_rows for info in group.row_groups) for group in groups)
    check_size(sum(units), len(units), path)
    dtype = working_dtype(_dtype(schema, chosen, files, path))
    reader = ParquetRows(groups, units, chosen, schema, dtype)
    check_table(reader.shape, dtype, path)
    return Source("parquet", path, units, len(chosen), dtype, tuple(chosen), reader)


def open_dataset(path: str, storage_options: dict[str, Any] | None = None) -> Any:
    """The files at a path or URI, of which the keys of hive-partitioned folders are columns."""
    import pyarrow.dataset as ds

    filesystem, inner = None, path
    if "://" in path:
        import fsspec
        from pyarrow.fs import FSSpecHandler, PyFileSystem

        fs, inner = fsspec.core.url_to_fs(path, **(storage_options or {}))
        filesystem = PyFileSystem(FSSpecHandler(fs))
    checked = ds.ParquetFragmentScanOptions(page_checksum_verification=True)
    kind = ds.ParquetFileFormat(default_fragment_scan_options=checked)
    options = {"format": kind, "filesystem": filesystem, "partitioning": "hive"}
    return patiently(ds.dataset, inner, **options)


def _indexes(schema: Any) -> set[str]:
    """Columns in which pandas or dask keep an index."""
    described = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
    named = described.get("index_columns", []) if isinstance(described, dict) else []
    return {"__null_dask_index__", *(name for name in named if isinstance(name, str))}


def _dtype(schema: Any, columns: list[str], files: Sequence[Any], path: str) -> np.dtype[Any]:
    """Common type of the columns; integers with nulls become float64, which has NaN."""
    import pyarrow as pa

    def numeric(kind: Any) -> bool:
        return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))

    found = []
    nulls = _columns_with_nulls(files, schema)
    for name in columns:
        kind = schema.field(name).type
        if not (numeric(kind) or pa.types.is_boolean(kind)):
            others = ", ".join(f.name for f in schema if numeric(f.type)) or "(none is numeric)"
            raise DataError(
                f"Expected numbers, but column {name!r} of {path} has type {kind}; choose columns"
                f" from {others}"
            )
        whole = not pa.types.is_floating(kind)
        found.append(np.float64 if whole and name in nulls else kind.to_pandas_dtype())
    return np.result_type(*found) if found else np.dtype(np.float64)


def _columns_with_nulls(files: Sequence[Any], schema: Any) -> set[str]:
    """Names of the columns that have nulls, that a file has not, or of which footers do not say."""
    names: set[str] = set()
    for file in files:
        names |= set(schema.names) - set(file.physical_schema.names)
        metadata = file.metadata
        for g in range(metadata.num_row_groups):
            row_group = metadata.row_group(g)
            for c in range(row_group.num_columns):
                column = row_group.column(c)
                known = column.statistics is not None and column.statistics.has_null_count
                if not known or column.statistics.null_count:
                    names.add(column.path_in_schema)
    return names
