"""``dkmeans plan``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from dkmeans.cli import options
from dkmeans.cli.display import show_json, show_lines


@click.command(
    "plan",
    short_help="Say what a fit would read and hold.",
    epilog=options.example("dkmeans plan X.zarr -k 64 --memory-limit 1GiB"),
)
@options.input_options
@options.k_option
@options.model_options
@options.memory_option
@options.cluster_options
@options.json_option
def command(**given: Any) -> None:
    """Say what a fit of INPUT would read and hold, without reading more than metadata.

    Exits with 2 and says what to change where the fit would not fit in memory.
    """
    with options.cluster(given):
        plan = options.make_model(given).plan(options.open_input(given))
    if given["as_json"]:
        show_json(asdict(plan))
    else:
        show_lines(plan.lines())
