"""``dkmeans make-data``."""

from __future__ import annotations

import time
from typing import Any

import click

from dkmeans.cli import options
from dkmeans.cli.display import show_json, show_lines, showing

_POSITIVE = click.IntRange(min=1)


@click.command(
    "make-data",
    short_help="Write Gaussian blobs of any size.",
    epilog=options.example(
        "dkmeans make-data X.zarr --rows 1000000 --features 16 --centers 8 --seed 0"
    ),
)
@click.argument("output")
@click.option("--rows", type=_POSITIVE, required=True, help="Rows.")
@click.option("--features", type=_POSITIVE, required=True, help="Columns.")
@click.option("--centers", type=_POSITIVE, required=True, help="Blobs.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed.")
@click.option(
    "--spread",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Standard deviation of a blob; centers lie within 10 of the origin, for integers 100.",
)
@click.option(
    "--dtype", default="float32", show_default=True, help="float32, float64 or an integer type."
)
@click.option("--chunk-rows", type=_POSITIVE, help="Rows of a chunk; about 8 MiB by default.")
@options.overwrite_option
@options.quiet_option
@options.json_option
def command(**given: Any) -> None:
    """Write Gaussian blobs of any size to OUTPUT, a .zarr or .parquet, in bounded memory.

    The same seed gives the same rows whatever the size of the chunks.
    """
    from dkmeans.data.sinks import check_rows_output
    from dkmeans.data.synthetic import Blobs, write_blobs

    began = time.perf_counter()
    output = check_rows_output(given["output"], given["overwrite"])
    blobs = Blobs(
        given["rows"],
        given["features"],
        given["centers"],
        given["seed"],
        given["spread"],
        given["dtype"],
    )
    hidden = given["quiet"] or given["as_json"]
    with showing(hidden=hidden) as display, display.tasks("writing"):
        write_blobs(blobs, output, chunk_rows=given["chunk_rows"], overwrite=given["overwrite"])
    seconds, size = time.perf_counter() - began, blobs.n_rows * blobs.row_bytes
    if given["as_json"]:
        shape = [blobs.n_rows, blobs.n_features]
        written = {"output": output, "shape": shape, "dtype": blobs.dtype, "seed": blobs.seed}
        show_json({**written, "bytes": size, "seconds": seconds})
        return
    show_lines(
        [
            ("rows", f"{blobs.n_rows:,} of {blobs.n_features:,} {blobs.dtype}"),
            ("bytes", f"{size / 1e6:,.1f} MB in {seconds:.1f} s"),
            ("output", output),
        ]
    )
