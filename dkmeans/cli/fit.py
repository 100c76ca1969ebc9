"""``dkmeans fit``."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from dkmeans.cli import options
from dkmeans.cli.display import Display, Hidden, show_json, show_lines, showing

if TYPE_CHECKING:
    from dkmeans import KMeans
    from dkmeans.data.source import Source

_EXAMPLE = """
dkmeans fit X.zarr -k 64 --memory-limit 1GiB --seed 0 \\
  --labels labels.zarr --model model.npz --history history.jsonl --report report.html
"""


@click.command(
    "fit",
    short_help="Find K centers and write the model and the labels.",
    epilog=options.example(_EXAMPLE),
)
@options.input_options
@options.k_option
@options.model_options
@options.fit_options
@options.memory_option
@click.option("--labels", metavar="PATH", help="Write labels to .zarr or .parquet.")
@click.option("--model", metavar="PATH", help="Write the model, as .npz.")
@click.option("--history", metavar="PATH", help="Write the record of the fit, as JSON Lines.")
@click.option("--report", metavar="PATH", help="Write a report of the fit, as one HTML page.")
@options.cluster_options
@options.overwrite_option
@options.quiet_option
@options.json_option
def command(**given: Any) -> None:
    """Find K centers in INPUT; write the model, the labels and the record of the fit.

    INPUT is a Zarr array or a Parquet file or folder, by path or URI.
    """
    outputs = options.check_outputs(given, "model", "history", "report", "labels")
    hidden = given["quiet"] or given["as_json"]
    with options.cluster(given):
        source, model = options.open_input(given), options.make_model(given)
        with showing(hidden=hidden) as display:
            how = Writing(given["overwrite"], options.storage_options(given))
            results = fit_and_write(model, source, outputs, display, how)
    if given["as_json"]:
        show_json(results)
    else:
        show_lines(summary(results))


@dataclass(frozen=True)
class Writing:
    """How outputs are written."""

    overwrite: bool
    storage_options: dict[str, Any] | None = None


def fit_and_write(
    model: KMeans,
    source: Source,
    outputs: dict[str, str],
    display: Display | Hidden,
    how: Writing,
) -> dict[str, Any]:
    """Fit, write the outputs, the model first, and return what there is to say."""
    from dkmeans.data.outputs import replacing
    from dkmeans.data.sinks import write_labels

    began, storage = time.perf_counter(), how.storage_options
    plan = model.plan(source)
    model.fit(source)
    if "model" in outputs:
        model.save(outputs["model"], storage)
    if "history" in outputs:
        with replacing(outputs["history"], how.overwrite, storage_options=storage) as partial:
            model.history_.to_jsonl(partial)
    if "report" in outputs:
        _report(model, source, outputs, how)
    if "labels" in outputs and "report" not in outputs:  # whose pass writes them
        with display.tasks("labels"):
            write_labels(
                model.labels_,
                outputs["labels"],
                overwrite=how.overwrite,
                threads=plan.threads,
                storage_options=storage,
            )
    sizes = model.history_.sizes
    return {
        "input": source.where,
        "n_clusters": model.n_clusters,
        "n_features": model.n_features_in_,
        "inertia": model.inertia_,
        "n_iter": model.n_iter_,
        "stop_reason": model.stop_reason_,
        "resumed": resumption(model),
        "sizes": list(sizes) if sizes else None,
        "passes": model.history_.passes,
        "bytes_read": model.history_.bytes_read,
        "retries": model.history_.retries,
        "seconds": time.perf_counter() - began,
        "outputs": outputs,
        "plan": asdict(plan),
    }


def resumption(model: KMeans) -> str | None:
    """Where the fit of a model went on from a checkpoint, in words; None if it did not."""
    facts = model.history_.facts
    return None if facts is None else facts.resumed


def _report(model: KMeans, source: Source, outputs: dict[str, str], how: Writing) -> None:
    """Write the report with a profile of all rows, and in its pass the labels that are wanted."""
    from dkmeans import profile
    from dkmeans.plot.report import NEAREST, model_report
    from dkmeans.plot.tables import Described

    labels = outputs.get("labels")
    found = profile(
        model,
        source,
        nearest=NEAREST,
        labels_path=labels,
        overwrite=how.overwrite,
        storage_options=how.storage_options,
    )
    which = "one pass after the fit" if labels is None else "the pass that wrote the labels"
    rows = f", over all {found.sizes.sum():,} rows, from {which}"
    described = Described(found, "Means", rows)
    report, saved = outputs["report"], outputs.get("model")
    with page_at(report, how.storage_options) as path:
        model_report(model, path, described=described, saved=saved)


@contextlib.contextmanager
def page_at(report: str, storage_options: dict[str, Any] | None) -> Iterator[str]:
    """The path at which to write a report, which is then put where it belongs, if that is a URI."""
    from dkmeans.data.outputs import replacing

    if "://" not in report:
        yield report
        return
    with replacing(report, overwrite=True, storage_options=storage_options) as partial:
        yield partial


def summary(results: dict[str, Any]) -> list[tuple[str, str]]:
    """The results as names and values, for people."""
    lines = [
        ("centers", f"{results['n_clusters']:,} of {results['n_features']:,} features"),
        ("inertia", f"{results['inertia']:.9g}"),
        ("iterations", f"{results['n_iter']} ({results['stop_reason']})"),
    ]
    if results["resumed"]:
        lines.append(("resumed", results["resumed"]))
    if results["sizes"]:
        smallest, largest = min(results["sizes"]), max(results["sizes"])
        lines.append(("cluster sizes", f"{smallest:,} to {largest:,} rows"))
    read = f"{results['bytes_read'] / 1e6:,.1f} MB read"
    if results["retries"]:
        read += f" with {results['retries']:,} retries"
    lines.append(("passes", f"{results['passes']}, {read}, {results['seconds']:.1f} s in all"))
    return lines + list(results["outputs"].items())
