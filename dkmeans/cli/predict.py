"""``dkmeans predict``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from dkmeans.cli import options
from dkmeans.cli.display import show_json, show_lines, showing
from dkmeans.errors import SourceError

if TYPE_CHECKING:
    from dkmeans import KMeans
    from dkmeans.data.source import Source


@click.command(
    "predict",
    short_help="Write the label of each row.",
    epilog=options.example("dkmeans predict X.zarr --model model.npz --labels labels.parquet"),
)
@options.input_options
@click.option("--model", metavar="PATH", required=True, help="Model that fit wrote.")
@click.option("--labels", metavar="PATH", required=True, help="Write to .zarr or .parquet.")
@options.memory_option
@options.cluster_options
@options.overwrite_option
@options.quiet_option
@options.json_option
def command(**given: Any) -> None:
    """Write the index of the nearest center of each row of INPUT.

    The columns are those that the model was fitted with, where both have names.
    """
    from dkmeans import KMeans
    from dkmeans.data.sinks import write_labels

    began = time.perf_counter()
    outputs = options.check_outputs(given, "labels")
    model = KMeans.load(given["model"], options.storage_options(given)).set_params(
        memory_limit=given["memory_limit"]
    )
    with options.cluster(given):
        source = _open_input(given, model)
        plan = model.plan(source, predict=True)
        hidden = given["quiet"] or given["as_json"]
        with showing(hidden=hidden) as display, display.tasks("labels"):
            write_labels(
                model.predict(source),
                outputs["labels"],
                overwrite=given["overwrite"],
                threads=plan.threads,
                storage_options=options.storage_options(given),
            )
    seconds = time.perf_counter() - began
    results = {
        "input": source.where,
        "n_rows": source.n_rows,
        "n_clusters": model.n_clusters,
        "seconds": seconds,
        "outputs": outputs,
    }
    if given["as_json"]:
        show_json(results)
    else:
        show_lines([("rows", f"{source.n_rows or 0:,} in {seconds:.1f} s"), *outputs.items()])


def _open_input(given: options.Given, model: KMeans) -> Source:
    names = getattr(model, "feature_names_in_", None)
    if names is not None and given["columns"] is None:
        try:
            return options.open_input(given, list(names))
        except SourceError:  # without names, or with others: predict says what it expects
            pass
    return options.open_input(given)
