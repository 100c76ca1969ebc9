"""``dkmeans sweep``."""

from __future__ import annotations

import math
import os
import time
from typing import TYPE_CHECKING, Any

import click

from dkmeans.cli import options
from dkmeans.cli.display import show_json, show_lines, showing
from dkmeans.cli.fit import page_at, resumption
from dkmeans.errors import OutputError

if TYPE_CHECKING:
    from dkmeans import Sweep

_EXAMPLE = """
dkmeans sweep X.zarr -k 2..12 --memory-limit 1GiB --seed 0 --report sweep.html
"""


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
    files = _model_files(given, numbers, outputs)
    began = time.perf_counter()
    with options.cluster(given), showing(hidden=given["quiet"] or given["as_json"]):
        source = options.open_input(given)
        found = sweep(source, numbers, **options.parameters(given))
    storage = options.storage_options(given)
    if files and "://" not in given["models"]:
        os.makedirs(given["models"], exist_ok=True)
    for k, path in files.items():
        found.models[k].save(path, storage)
    if "report" in outputs:
        from dkmeans.plot.report import sweep_report

        with page_at(outputs["report"], storage) as path:
            sweep_report(found, path, saved=files)
    if given["as_json"]:
        seconds = time.perf_counter() - began
        models = {"models": list(files.values())} if files else {}
        others = {"input": source.where, "seconds": seconds, "outputs": outputs | models}
        show_json(_results(found) | others)
        return
    click.echo(_table(found))
    click.echo()
    written = [*outputs.items(), *((f"k={k}", path) for k, path in files.items())]
    show_lines(_summary(found, time.perf_counter() - began) + written)


def _model_files(
    given: options.Given, numbers: list[int], outputs: dict[str, str]
) -> dict[int, str]:
    """Where each model goes, all of which can be written once the folder is there."""
    from dkmeans.data.outputs import check_output

    if given["models"] is None:
        return {}
    remote = "://" in given["models"]
    folder = given["models"].rstrip("/") if remote else os.path.abspath(given["models"])
    options.refuse_overlap("models", folder, given["input"])
    for name, path in outputs.items():
        if path == folder or os.path.realpath(path) == os.path.realpath(folder):
            raise OutputError(f"two outputs have the same path, --{name} and --models: {path}")
    if os.path.isfile(folder):
        raise OutputError(f"--models: {folder} is a file; name a folder, or one that is not there")
    how = {"overwrite": given["overwrite"], "storage_options": options.storage_options(given)}
    try:
        if not (remote or os.path.isdir(folder)):
            check_output(folder)
            return {k: _model_file(folder, k) for k in numbers}
        return {k: check_output(_model_file(folder, k), **how) for k in numbers}
    except OutputError as error:
        raise OutputError(f"--models: {error}") from error


def _model_file(folder: str, k: int) -> str:
    return f"{folder}/k{k}.npz" if "://" in folder else os.path.join(folder, f"k{k}.npz")


def _results(found: Sweep) -> dict[str, Any]:
    """The sweep as plain values; what is not defined is None."""
    facts = next(iter(found.models.values())).history_.facts  # with the plan of all fits
    table = found.table.reset_index()
    columns = {str(name): [_plain(v) for v in column.tolist()] for name, column in table.items()}
    return {
        "table": columns,
        "best": {name: found.best_by(name) for name in found.criteria},
        "passes": found.passes,
        "bytes_read": found.bytes_read,
        "plan": None if facts is None else facts.plan,
        "resumed": resumption(next(iter(found.models.values()))),
    }


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _table(found: Sweep) -> str:
    """The table, with a star at what each criterion chooses."""
    from dkmeans.scoring import TITLES

    table, stars = found.table, found.chosen
    rows = [["k", *(f"{TITLES.get(name, name)}  " for name in table.columns)]]
    for k, line in zip(found.models, table.to_dict("records"), strict=True):
        marks = [" *" if (name, k) in stars else "  " for name in line]
        cells = [_cell(value) + mark for value, mark in zip(line.values(), marks, strict=True)]
        rows.append([str(k), *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        " ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.6g}"
    return str(value)


def _summary(found: Sweep, seconds: float) -> list[tuple[str, str]]:
    from dkmeans.scoring import TITLES

    chosen = [(name, found.best_by(name)) for name in found.criteria]
    best = ", ".join(f"{'none' if k is None else k} by {TITLES.get(n, n)}" for n, k in chosen)
    read = f"{found.bytes_read / 1e6:,.1f} MB read"
    resumed = resumption(next(iter(found.models.values())))
    return [
        ("* best k", best),
        *([("resumed", resumed)] if resumed else []),
        ("passes", f"{found.passes}, {read}, {seconds:.1f} s in all"),
    ]
