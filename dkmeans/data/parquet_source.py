"""Parquet files and datasets as tables of rows."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from dkmeans._typing import AnyArray
from dkmeans.data.blocks import Reader
from dkmeans.data.source import Source, check_table, pick_columns, working_dtype
from dkmeans.errors import DataError, SourceError


class ParquetRows(Reader):
    """Rows of a Parquet dataset, read by whole row groups."""

    def __init__(
        self, groups: Sequence[Any], rows: Sequence[int], columns: list[str], dtype: np.dtype[Any]
    ) -> None:
        self.groups, self.columns, self.dtype = tuple(groups), columns, dtype
        self.starts = tuple(accumulate(rows, initial=0))
        self.shape = (self.starts[-1], len(columns))

    def read(self, start: int, stop: int, out: AnyArray) -> None:
        """Write the rows to ``out``, a row group at a time."""
        for g in range(bisect_left(self.starts, start), bisect_left(self.starts, stop)):
            group = self.groups[g]
            try:
                table = group.to_table(columns=self.columns, use_threads=False)
            except Exception as error:
                raise SourceError(
                    f"cannot read rows {self.starts[g]} to {self.starts[g + 1]} of {group.path}:"
                    f" {type(error).__name__}: {error}"
                ) from error
            rows = slice(self.starts[g] - start, self.starts[g + 1] - start)
            for f, name in enumerate(self.columns):
                out[rows, f] = table.column(name).to_numpy()


def looks_like_parquet(path: str, storage_options: dict[str, Any] | None = None) -> bool:
    """Whether the path names a Parquet file, or a folder that holds some."""
    if path.rstrip("/").endswith((".parquet", ".parq", ".pq")):
        return True
    if "://" in path:
        import fsspec

        fs, inner = fsspec.core.url_to_fs(path, **(storage_options or {}))
        return bool(fs.isdir(inner)) and bool(fs.glob(inner.rstrip("/") + "/*.parquet"))
    if os.path.isfile(path):
        with open(path, "rb") as file:
            return file.read(4) == b"PAR1"
    return any(name.endswith(".parquet") for _, _, files in os.walk(path) for name in files)


def open_parquet(
    path: str,
    columns: Sequence[str] | None = None,
    storage_options: dict[str, Any] | None = None,
) -> Source:
    """Open a Parquet file or a folder of them; only footers are read."""
    import pyarrow.dataset as ds

    filesystem, inner = None, path
    if "://" in path:
        import fsspec
        from pyarrow.fs import FSSpecHandler, PyFileSystem

        fs, inner = fsspec.core.url_to_fs(path, **(storage_options or {}))
        filesystem = PyFileSystem(FSSpecHandler(fs))
    dataset = ds.dataset(inner, format="parquet", filesystem=filesystem, partitioning="hive")
    chosen = list(dataset.schema.names) if columns is None else list(columns)
    pick_columns(chosen, dataset.schema.names, path)
    files = sorted(dataset.get_fragments(), key=lambda fragment: str(fragment.path))
    groups = [group for file in files for group in file.split_by_row_group()]
    units = tuple(sum(info.num_rows for info in group.row_groups) for group in groups)
    dtype = working_dtype(_dtype(dataset.schema, chosen, groups, path))
    reader = ParquetRows(groups, units, chosen, dtype)
    check_table(reader.shape, dtype, path)
    return Source(
        "parquet",
        path,
        units,
        len(chosen),
        dtype,
        tuple(chosen),
        reader,
        sum(info.total_byte_size for group in groups for info in group.row_groups),
    )


def _dtype(schema: Any, columns: list[str], groups: Sequence[Any], path: str) -> np.dtype[Any]:
    """Common type of the columns; integers with nulls become float64, which has NaN."""
    import pyarrow as pa

    found = []
    for name in columns:
        kind = schema.field(name).type
        if not (
            pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
        ):
            numeric = [
                f.name
                for f in schema
                if pa.types.is_integer(f.type) or pa.types.is_floating(f.type)
            ]
            raise DataError(
                f"Expected numbers, but column {name!r} of {path} has type {kind}; choose columns"
                f" from {', '.join(numeric) or '(none is numeric)'}"
            )
        whole = not pa.types.is_floating(kind)
        found.append(
            np.float64 if whole and _may_hold_nulls(groups, name) else kind.to_pandas_dtype()
        )
    return np.result_type(*found)


def _may_hold_nulls(groups: Sequence[Any], name: str) -> bool:
    for group in groups:
        metadata = group.metadata
        for info in group.row_groups:
            row_group = metadata.row_group(info.id)
            for c in range(row_group.num_columns):
                column = row_group.column(c)
                if column.path_in_schema == name:
                    statistics = column.statistics
                    if statistics is None or not statistics.has_null_count or statistics.null_count:
                        return True
    return False
