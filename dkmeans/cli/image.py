"""``dkmeans image``."""

from __future__ import annotations

import math
import os
import time
from typing import TYPE_CHECKING, Any

import click

from dkmeans.cli import options
from dkmeans.cli.display import show_json, show_lines, showing
from dkmeans.cli.errors import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dkmeans.data.image_source import Image
    from dkmeans.image import Quantized

_OUTPUTS = ("output", "labels", "palette")
_EXAMPLE = """
dkmeans image photo.jpg -k 16 -o out.png --palette palette.gpl --seed 0
dkmeans image photo.jpg --k-list 2,4,8,16,64,256 -o out.png --report colors.html
"""


@click.command(
    "image",
    short_help="Find the K colours of an image and write it in them.",
    epilog=options.example(_EXAMPLE),
)
@click.argument("input")
@click.option("-k", "--n-clusters", type=click.IntRange(min=1), help="Colours.")
@click.option(
    "--k-list",
    type=options.Numbers(),
    metavar="K,K",
    help="Several numbers of colours from the same pass; {k} in the name of an output stands for"
    " each, and goes before the ending where it is missing.",
)
@click.option("--output", "-o", metavar="PATH", help="Write the image to .png, .tif or .zarr.")
@click.option(
    "--labels", metavar="PATH", help="Write which colour each pixel has, to .zarr or .tif."
)
@click.option(
    "--palette", metavar="PATH", help="Write the colours to .json, .gpl (GIMP) or .png (swatches)."
)
@click.option("--report", metavar="PATH", help="Write what was found as one HTML page.")
@click.option(
    "--dither",
    is_flag=True,
    help="Spread the errors of pixels in a PNG of up to 256 colours; holds the image in memory.",
)
@click.option(
    "--space",
    type=click.Choice(["srgb", "lab", "oklab"]),
    default="srgb",
    show_default=True,
    help="Space in which distances between colours are taken.",
)
@click.option("--n-init", type=click.IntRange(min=1), help="Restarts.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Seed of all draws.")
@click.option(
    "--any-size", is_flag=True, help="Decode pictures beyond Pillow's limit for trusted ones."
)
@click.option(
    "--nodata", type=float, help="Value for none: such pixels take no part and have the label -1."
)
@click.option("--standardize", is_flag=True, help="Give bands the mean 0 and the deviation 1.")
@click.option(
    "--channel-axis", metavar="AXIS", help="Axis of the bands, by number or name, if not the last."
)
@options.storage_option
@options.memory_option
@options.cluster_options
@options.overwrite_option
@options.quiet_option
@options.json_option
def command(**given: Any) -> None:
    """Find the K colours of the image INPUT with the least squared error over all of its pixels.

    INPUT is a Zarr array or a multiscale image of OME's, by path or URI, or the path of a TIFF or
    of a picture that Pillow reads. A PNG of up to 256 opaque colours is written with a palette.
    """
    from dkmeans.image import quantize

    numbers = _numbers(given)
    report = options.check_outputs(given, "report")
    outputs = {k: _outputs(given, k, several=len(numbers) > 1) for k in numbers}
    if report and any(report["report"] in paths.values() for paths in outputs.values()):
        raise Failure(f"--report: another output is {report['report']} as well")
    dither = {"dither": given["dither"], "overwrite": given["overwrite"]}
    if given["dither"] and not str(given["output"]).lower().endswith(".png"):
        raise Failure("--dither is for an --output that ends in .png")
    began = time.perf_counter()
    hidden = given["quiet"] or given["as_json"]
    with options.cluster(given), showing(hidden=hidden):
        found = quantize(
            _open(given, outputs.values()),
            numbers,
            random_state=given["seed"],
            space=given["space"],
            n_init=given["n_init"] or "auto",
            memory_limit=given["memory_limit"],
            standardize=given["standardize"],
        )
        searched = time.perf_counter() - began
        for k in numbers:
            found[k].check_outputs(**outputs[k], **dither)
        for k in numbers:
            found[k].write(**outputs[k], **dither)
        if report:
            from dkmeans.plot.image_report import image_report

            image_report(found, report["report"], seconds=searched)
    seconds = time.perf_counter() - began
    lines = [_line(found[k], k) | {"outputs": outputs[k]} for k in numbers]
    if given["as_json"]:
        facts = {"input": given["input"], "seconds": seconds, "space": given["space"]}
        show_json(facts | report | {"k": lines})
        return
    _show_table(lines, given["space"])
    click.echo()
    passes = f"{found[numbers[0]].passes} to find the colours, {seconds:.1f} s in all"
    written = [(name, path) for line in lines for name, path in line["outputs"].items()]
    show_lines([("passes", passes), *written, *report.items()])


def _numbers(given: options.Given) -> list[int]:
    """The numbers of colours that are asked for, in ascending order."""
    if (given["n_clusters"] is None) == (given["k_list"] is None):
        raise Failure("give either -k or --k-list (see dkmeans image --help)")
    return given["k_list"] or [given["n_clusters"]]


def _outputs(given: options.Given, k: int, *, several: bool) -> dict[str, str]:
    """Paths of the outputs for k colours, none of which is there unless it may be replaced."""
    from dkmeans.data.image_sinks import LABELS, PALETTES, PICTURES, kind_of_output
    from dkmeans.data.outputs import check_output

    kinds = {"output": PICTURES, "labels": LABELS, "palette": PALETTES}
    found: dict[str, str] = {}
    for name in _OUTPUTS:
        path = given[name]
        if path is None:
            continue
        if several and "{k}" not in path:
            stem, ending = os.path.splitext(path.rstrip("/"))
            path = f"{stem}-{{k}}{ending}"
        path = path.replace("{k}", str(k))
        folder = kind_of_output(path, kinds[name]) == ".zarr"
        target = check_output(path, given["overwrite"], folder=folder)
        if os.path.realpath(target) == os.path.realpath(given["input"]):
            raise Failure(f"--{name}: {path} is the input")
        if target in found.values():
            raise Failure(f"--{name}: another output is {path} as well")
        found["image" if name == "output" else name] = target
    return found


def _open(given: options.Given, outputs: Iterable[dict[str, str]]) -> Image:
    """The input, once it is known that the outputs can hold such an image."""
    from dkmeans.data.image_sinks import Picture, check_labels, check_picture
    from dkmeans.data.image_source import open_image

    image = open_image(
        given["input"],
        any_size=given["any_size"],
        nodata=given["nodata"],
        channel_axis=given["channel_axis"],
        storage_options=options.storage_options(given),
    )
    said = image.said
    shape = tuple(image.pixels.shape)
    like = Picture(shape, image.dtype, image.chunk, alpha=image.alpha, place=said.place)
    for paths in outputs:
        if "image" in paths:
            check_picture(paths["image"], like)
        if "labels" in paths:
            check_labels(paths["labels"], like)
    return image


def _line(found: Quantized, k: int) -> dict[str, Any]:
    """What there is to say of k colours."""
    return {
        "k": k,
        "colors": len(found.palette),
        "mse": found.mse,
        "psnr": found.psnr if math.isfinite(found.psnr) else None,
        "space_mse": found.space_mse,
        "inertia": found.inertia,
        "compression_ratio": found.compression_ratio,
        "seconds": found.seconds,
        "passes": found.passes,
    }


def _show_table(lines: list[dict[str, Any]], space: str) -> None:
    """Print a line for each number of colours."""
    formats = {"k": "d", "colors": "d", "mse": ".4f", "psnr": ".2f", "space_mse": ".5g"}
    formats |= {"compression_ratio": ".1f", "seconds": ".2f"}
    heads = {"mse": "MSE", "psnr": "PSNR dB", "compression_ratio": "ratio"}
    heads["space_mse"] = f"MSE in {space}"
    if space == "srgb":
        del formats["space_mse"]
    if all(line["colors"] == line["k"] for line in lines):
        del formats["colors"]
    table = [[heads.get(name, name) for name in formats]]
    for line in lines:
        cells = [(line[name], spec) for name, spec in formats.items()]
        table.append(["-" if value is None else format(value, spec) for value, spec in cells])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        click.echo("  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)))
