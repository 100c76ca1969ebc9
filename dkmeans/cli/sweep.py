"""``dkmeans sweep``."""

from __future__ import annotations

import contextlib
import math
import os
import time
from typing import TYPE_CHECKING, Any

import click

from dkmeans.cli import options
from dkmeans.cli.display import show_json, show_lines, showing
from dkmeans.errors import OutputError

if TYPE_CHECKING:
    from dkmeans import Sweep

_EXAMPLE = """
dkmeans sweep X.zarr -k 2..12 --memory-limit 1GiB --seed 0 --report sweep.html
"""
_COLUMN_OF = {"knee": "inertia"}  # where a criterion has no column of its own


@click.command(
    "sweep",
    short_help="Fit many numbers of clusters on the same passes, and say which fits best.",
    epilog=options.example(_EXAMPLE),
)
@options.input_options
@click.option(
    "-k",
    "--n-clusters",
    type=options.Numbers(),
    required=True,
    metavar="NUMBERS",
    help='As "2..12", "2..20:2" with a step, or "2,4,8".',
)
@options.model_options
@options.fit_options
@options.memory_option
@click.option("--report", metavar="PATH", help="Write the sweep as one HTML page.")
@click.option("--models", metavar="FOLDER", help="Write each model, as k2.npz and so on.")
@options.cluster_options
@options.overwrite_option
@options.quiet_option
@options.json_option
def command(**given: Any) -> None:
    """Fit INPUT for each number of clusters; print how good each is, and which is best by what.

    INPUT is a Zarr array or a Parquet file or folder, by path or URI. All fits and metrics share
    their passes.
    """
    from dkmeans import sweep

    outputs = options.check_outputs(given, "report")
    numbers = given["n_clusters"]
    files = _model_files(given, numbers)
    began = time.perf_counter()
    with options.cluster(given), showing(hidden=given["quiet"] or given["as_json"]):
        source = options.open_input(given)
        found = sweep(source, numbers, **options.parameters(given))
    for k, path in files.items():
        found.models[k].save(path)
    if "report" in outputs:
        from dkmeans.plot.report import sweep_report

        sweep_report(found, outputs["report"], saved=files)
    if given["as_json"]:
        seconds = time.perf_counter() - began
        written = outputs | ({"models": list(files.values())} if files else {})
        show_json(_results(found) | {"input": source.where, "seconds": seconds, "outputs": written})
        return
    click.echo(_table(found))
    click.echo()
    show_lines(_summary(found, time.perf_counter() - began))
    show_lines([*outputs.items(), *((f"k={k}", path) for k, path in files.items())])


def _model_files(given: options.Given, numbers: list[int]) -> dict[int, str]:
    """Where each model goes, all of which can be written; the folder is made if it is missing."""
    from dkmeans.data.outputs import check_output

    if given["models"] is None:
        return {}
    folder = os.path.abspath(given["models"])
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise OutputError(f"--models: cannot use {folder}: {error.strerror}") from error
    try:
        paths = {k: os.path.join(folder, f"k{k}.npz") for k in numbers}
        return {k: check_output(path, given["overwrite"]) for k, path in paths.items()}
    except OutputError as error:
        with contextlib.suppress(OSError):
            os.rmdir(folder)  # where it was made just now
        raise OutputError(f"--models: {error}") from error


def _results(found: Sweep) -> dict[str, Any]:
    """The sweep as plain values; what is not defined is None."""
    table = found.table.reset_index()
    columns = {str(name): [_plain(v) for v in column.tolist()] for name, column in table.items()}
    return {
        "table": columns,
        "best": {name: found.best_by(name) for name in found.criteria},
        "passes": found.passes,
        "bytes_read": found.bytes_read,
    }


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _table(found: Sweep) -> str:
    """The table, with a star at what each criterion chooses."""
    table = found.table
    stars = {(_COLUMN_OF.get(c, c), found.best_by(c)) for c in found.criteria}
    head = ["k", *(str(name).replace("_", " ") for name in table.columns)]
    rows = [head] + [
        [str(k), *(_cell(value) + " *"[(name, k) in stars] for name, value in line.items())]
        for k, line in zip(found.models, table.to_dict("records"), strict=True)
    ]
    rows[0][1:] = [name + " " for name in head[1:]]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.6g}"
    return str(value)


def _summary(found: Sweep, seconds: float) -> list[tuple[str, str]]:
    chosen = [(name, found.best_by(name)) for name in found.criteria]
    best = ", ".join(f"{'none' if k is None else k} by {n.replace('_', ' ')}" for n, k in chosen)
    read = f"{found.bytes_read / 1e6:,.1f} MB read"
    return [
        ("* best k", best),
        ("passes", f"{found.passes}, {read}, {seconds:.1f} s in all"),
    ]
