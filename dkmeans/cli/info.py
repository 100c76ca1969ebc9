"""``dkmeans info``."""

from __future__ import annotations

import math
import os
from typing import Any

import click

from dkmeans.cli import options
from dkmeans.cli.display import show_json, show_lines
from dkmeans.errors import SourceError

_NAMES = 12  # columns that are listed for people; JSON has all


@click.command(
    "info",
    short_help="Describe a store, a model or a checkpoint.",
    epilog=options.example("dkmeans info X.zarr\ndkmeans info model.npz --json"),
)
@click.argument("input")
@click.option("--component", metavar="PATH", help="Array inside a Zarr group.")
@click.option("--storage-option", metavar="KEY=VALUE", multiple=True, help="As for fit.")
@options.json_option
def command(**given: Any) -> None:
    """Describe INPUT: a Zarr store, a Parquet dataset, a model or a checkpoint of a fit."""
    found = _describe(given)
    if given["as_json"]:
        show_json(found)
    else:
        show_lines([(name.replace("_", " "), _text(name, value)) for name, value in found.items()])


def _describe(given: options.Given) -> dict[str, Any]:
    from dkmeans.checkpointing import describe, is_checkpoint
    from dkmeans.data.parquet_source import looks_like_parquet

    path, storage = given["input"], options.storage_options(given)
    if "://" in path and path.endswith(".npz"):
        return _model(path, storage)
    if "://" not in path:
        if not os.path.exists(path):
            raise SourceError(f"no such file or folder: {os.path.abspath(path)}")
        if os.path.isfile(path) and not looks_like_parquet(path):
            return _model(path)
    if is_checkpoint(path, storage):
        return {"kind": "checkpoint", "path": path, **describe(path, storage)}
    if given["component"] is None and looks_like_parquet(path, storage):
        return _parquet(path, storage)
    return _zarr(path, given["component"], storage)


def _zarr(path: str, component: str | None, storage: dict[str, Any] | None) -> dict[str, Any]:
    from dkmeans.data.zarr_source import open_node

    try:
        array = open_node(path, component, storage)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise SourceError(f"{path} is not a Zarr store or a Parquet dataset: {error}") from error
    if not hasattr(array, "shape"):
        arrays = {name: f"{item.shape} {item.dtype}" for name, item in array.arrays()}
        return {"kind": "zarr group", "path": path, "arrays": arrays}
    return {
        "kind": "zarr array",
        "path": path,
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "chunks": list(array.chunks),
        "shards": list(array.shards) if getattr(array, "shards", None) else None,
        "columns": array.attrs.get("columns"),
        "bytes_in_memory": math.prod(array.shape) * array.dtype.itemsize,
        "bytes_stored": array.nbytes_stored(),
    }


def _parquet(path: str, storage: dict[str, Any] | None) -> dict[str, Any]:
    import fsspec

    from dkmeans.data.parquet_source import open_dataset

    system, _ = fsspec.core.url_to_fs(path, **(storage or {}))
    try:
        data = open_dataset(path, storage)
        groups = [group for file in data.get_fragments() for group in file.row_groups]
    except (OSError, ValueError) as error:
        raise SourceError(f"cannot open {path}: {error}") from error
    rows = [group.num_rows for group in groups]
    return {
        "kind": "parquet",
        "path": path,
        "shape": [sum(rows), len(data.schema.names)],
        "columns": {field.name: str(field.type) for field in data.schema},
        "files": len(data.files),
        "row_groups": len(groups),
        "largest_row_group": max(rows, default=0),
        "bytes_in_memory": _parquet_bytes(data.schema, sum(rows)),
        "bytes_stored": sum(system.size(file) for file in data.files),
    }


def _parquet_bytes(schema: Any, rows: int) -> int | None:
    """Bytes of the columns as arrays, unless some are of no fixed width."""
    try:
        return rows * sum(-(-int(field.type.bit_width) // 8) for field in schema)
    except ValueError:
        return None


def _model(path: str, storage: dict[str, Any] | None = None) -> dict[str, Any]:
    import fsspec

    from dkmeans import KMeans

    model = KMeans.load(path, storage)
    system, inner = fsspec.core.url_to_fs(path, **(storage or {}))
    names = getattr(model, "feature_names_in_", None)
    return {
        "kind": "model",
        "path": path,
        "shape": list(model.cluster_centers_.shape),
        "dtype": str(model.cluster_centers_.dtype),
        "columns": None if names is None else list(names),
        "inertia": model.inertia_,
        "n_iter": model.n_iter_,
        "stop_reason": model.stop_reason_,
        "init": model.init if isinstance(model.init, str) else "array",
        "algorithm": model.algorithm,
        "seed": model.random_state,
        "passes": model.history_.passes,
        "bytes_read": model.history_.bytes_read,
        "bytes_stored": system.size(inner),
    }


def _text(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, dict):
        return _text(name, [f"{key}: {text}" for key, text in value.items()] or None)
    if isinstance(value, list) and name in ("shape", "chunks", "shards"):
        return " x ".join(f"{size:,}" for size in value)
    if isinstance(value, list):
        return ", ".join(map(str, value[:_NAMES])) + (", ..." if len(value) > _NAMES else "")
    if name.startswith("bytes"):
        return f"{value:,} ({value / 1e6:,.1f} MB)"
    return f"{value:,}" if isinstance(value, int) and name != "seed" else str(value)
