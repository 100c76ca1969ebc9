"""``dkmeans demo``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from dkmeans.cli import options
from dkmeans.cli.display import show_json, show_lines, showing
from dkmeans.cli.fit import Writing, fit_and_write, summary
from dkmeans.errors import OutputError

if TYPE_CHECKING:
    from dkmeans import KMeans

_FILES = {
    "data": "points.zarr",
    "model": "model.npz",
    "history": "history.jsonl",
    "labels": "labels.zarr",
}
_MARK = ".dkmeans-demo"  # in a folder that the demo made, and may therefore write again
_FEATURES, _CENTERS, _SPREAD, _CHUNK_ROWS = 32, 10, 7.0, 16384
_TIMES = 3  # the data in multiples of the memory limit


@click.command(
    "demo",
    short_help="Cluster a store larger than the memory allowed.",
    epilog=options.example("dkmeans demo --dir dkmeans-demo --memory-limit 384MiB"),
)
@click.option("--dir", "folder", default="dkmeans-demo", show_default=True, help="Folder to use.")
@click.option("--memory-limit", default="384MiB", show_default=True, help="What the fit may use.")
@click.option(
    "--rows", type=click.IntRange(min=_CENTERS), help=f"Default: {_TIMES} times the memory limit."
)
@options.quiet_option
@options.json_option
def command(**given: Any) -> None:
    """Make a Zarr store larger than a memory limit, and cluster it within that limit.

    The folder is made if it is missing. A folder that an earlier demo made is written again; one
    with other things in it is left alone.
    """
    from dkmeans import KMeans
    from dkmeans.data.sources import open_source
    from dkmeans.data.synthetic import Blobs, write_blobs
    from dkmeans.engine.machine import memory_limit

    limit = memory_limit(given["memory_limit"])
    rows = given["rows"] or _TIMES * limit // (4 * _FEATURES)
    blobs = Blobs(rows, _FEATURES, _CENTERS, spread=_SPREAD)
    model = KMeans(_CENTERS, random_state=0, memory_limit=limit)
    _refuse_early(model, rows)
    paths = _claim(given["folder"])
    data = paths.pop("data")
    with showing(hidden=given["quiet"] or given["as_json"]) as display:
        with display.tasks("making data"):
            write_blobs(blobs, data, chunk_rows=_CHUNK_ROWS, overwrite=True)
        results = fit_and_write(model, open_source(data), paths, display, Writing(True))
    if given["as_json"]:
        show_json(results)
        return
    click.echo(str(model.history_))
    click.echo()
    size = f"{rows * blobs.row_bytes / 2**20:,.0f} MiB of data"
    kept = results["plan"]["residency"]
    show_lines(
        [
            ("memory limit", f"{limit / 2**20:,.0f} MiB, for {size} ({kept})"),
            *summary(results),
            ("data", data),
        ]
    )


def _refuse_early(model: KMeans, rows: int) -> None:
    """Raise what a fit of the data would, before the data are made."""
    import zarr

    chunk = min(rows, _CHUNK_ROWS), _FEATURES
    like = zarr.create_array({}, shape=(rows, _FEATURES), chunks=chunk, dtype="float32")
    model.plan(like)


def _claim(folder: str) -> dict[str, str]:
    """Paths in a folder that is new, empty, or marked by an earlier demo."""
    folder = os.path.abspath(folder)
    mark = os.path.join(folder, _MARK)
    try:
        os.makedirs(folder, exist_ok=True)
        if os.listdir(folder) and not os.path.exists(mark):
            raise OutputError(f"{folder} was not made by a demo; choose another with --dir")
        with open(mark, "w", encoding="utf-8") as file:
            file.write("Made by `dkmeans demo`, which may write this folder again.\n")
    except OSError as error:
        raise OutputError(f"cannot use {folder}: {error.strerror}") from error
    return {name: os.path.join(folder, file) for name, file in _FILES.items()}
