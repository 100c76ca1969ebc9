"""One HTML page on an image in few colours, complete in itself."""

from __future__ import annotations

import base64
import contextlib
import io
import os
from dataclasses import dataclass

import numpy as np
from dask.utils import format_bytes

from dkmeans import plot
from dkmeans._typing import AnyArray
from dkmeans.data.outputs import check_output
from dkmeans.errors import DataError
from dkmeans.image import Quantized
from dkmeans.plot.looks import MOST, SQUARES, Found, Look, colours, error_of, names, several, some
from dkmeans.plot.page import Shot, shot, write_page
from dkmeans.plot.tables import Cell, Lines, Table
from dkmeans.record.facts import peak_bytes, versions

_LONG = 256  # colours of a palette that are listed
_CLOUD = 16  # centers of the cloud that is drawn, at most where there is a choice
_SPACES = {"srgb": "sRGB", "lab": "Lab", "oklab": "Oklab"}


@dataclass(frozen=True)
class Panel:
    """A picture as a data URI, with what is below it, what it shows, and whether as squares."""

    source: str
    text: str
    alt: str
    squares: bool


@dataclass(frozen=True)
class Strip:
    """A palette: shares of the pixels and colours of a band across the page, and all as a table."""

    title: str
    parts: list[tuple[str, str, str]]
    table: Table


def image_report(
    found: Found, path: str | os.PathLike[str], *, seconds: float | None = None
) -> None:
    """Write a page on an image in few colours.

    It shows every n-th pixel of a large image, read block by block.

    Parameters
    ----------
    found : Quantized, or a dict of one for each number of colours
        What :func:`dkmeans.image.quantize` returns.
    path : of the HTML file, which appears whole or not at all, and replaces one that is there.
    seconds : that all searches took together with their passes, where it is known.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    check_output(path, overwrite=True)
    named = several(found)
    one = next(iter(named.values()))
    shown = some(named)
    look = Look.of(one)
    context = {
        "title": _title(named),
        "lead": f"{_size(one)}, from {one.source.where}",
        "table": _table(named),
        "note": _note(one),
        "panels": _panels(shown, look),
        "strips": [_strip(each, look) for each in shown.values()],
        "clouds": _clouds(shown),
        "some_note": f"{len(shown)} of {len(named)} numbers of colours are shown below."
        if len(named) > MOST
        else "",
        "cost": _cost(named, seconds),
        "how": _how(one),
        "code": _code(one, list(named)),
        "player": None,
    }
    write_page(path, "image.html.j2", context)


def _title(named: dict[int, Quantized]) -> str:
    ks, name = list(named), os.path.basename(next(iter(named.values())).source.where)
    if len(ks) == 1:
        return f"{colours(ks[0])} for {name}"
    return f"{ks[0]:,} to {ks[-1]:,} colours for {name}"


def _size(one: Quantized) -> str:
    source = one.source
    bands = f"{source.colors} band{'' if source.colors == 1 else 's'}"
    alpha = " and alpha" * source.alpha
    height, width = source.shape
    return f"{width:,} x {height:,} pixels of {bands} of {source.dtype}{alpha}"


def _table(named: dict[int, Quantized]) -> Table:
    """What each number of colours costs in error and saves in bytes."""
    one = next(iter(named.values()))
    other = [f"MSE in {_SPACES[one.space]}"] * (one.space != "srgb")
    first = "MSE in sRGB" if other else "MSE"
    head = ["colours", first, "PSNR, dB", *other, "size", "compression ratio", "seconds"]
    rows = []
    for k, each in named.items():
        fewer = "" if len(each.palette) == k else f" ({len(each.palette):,} distinct)"
        texts = [
            f"{k:,}{fewer}",
            f"{each.mse:.6g}",
            f"{each.psnr:.2f}" if np.isfinite(each.psnr) else "-",
            *([f"{each.space_mse:.6g}"] * len(other)),
            format_bytes(each.quantized_bytes),
            f"{each.compression_ratio:.1f}",
            f"{each.seconds:.2f}",
        ]
        rows.append([Cell(text) for text in texts])
    return Table(head, rows)


def _note(one: Quantized) -> str:
    text = (
        "MSE is the mean squared error of all values of all pixels against their colours, exact."
        f" Size is that of a label for each pixel and of the palette, not compressed; the pixels"
        f" take {format_bytes(one.pixel_bytes)}. Seconds are those of each search, without the"
        " passes that all share."
    )
    if one.space != "srgb":
        text += (
            f" Colours were searched in {_SPACES[one.space]}: its MSE is that of the centers in"
            " that space, before they are rounded to bytes."
        )
    return text


def _panels(shown: dict[int, Quantized], look: Look) -> list[Panel]:
    """The original and the image in each number of colours."""
    first = next(iter(shown.values()))
    step = -(-max(first.source.shape) // max(first.source.preview.shape[:2]))
    every = f", every {step}th pixel each way" if step > 1 else ""
    few = max(first.source.preview.shape[:2]) <= SQUARES
    panels = [Panel(_png(look.original(first)), f"original{every}", "The image as it is", few)]
    for each in shown.values():
        text = f"{colours(len(each.palette))}, {error_of(each)}"
        panels.append(Panel(_png(look.quantized(each)), text, f"The image in {text}", few))
    return panels


def _png(pixels: AnyArray) -> str:
    """A picture (height, width, 4) as a data URI, with a palette where that holds it."""
    from PIL import Image  # which comes with Matplotlib

    opaque = bool((pixels[:, :, 3] == 255).all())
    picture = Image.fromarray(np.ascontiguousarray(pixels[:, :, : 3 if opaque else 4]))
    if opaque and picture.getcolors(256) is not None:
        colors, labels = np.unique(pixels[:, :, :3].reshape(-1, 3), axis=0, return_inverse=True)
        picture = Image.fromarray(labels.reshape(pixels.shape[:2]).astype(np.uint8))
        picture.putpalette(colors.tobytes())
    file = io.BytesIO()
    picture.save(file, format="png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def _strip(found: Quantized, look: Look) -> Strip:
    shades = ["#" + bytes(color).hex() for color in look.rgb(found.palette)]
    texts, shares = names(found), found.shares.tolist()
    parts = [
        (f"{share:.6f}", shade, f"{text}: {share:.2%}")
        for share, shade, text in zip(shares, shades, texts, strict=True)
    ]
    rows = [
        [Cell(text, color=(shade, shade)), Cell(f"{share:.2%}"), Cell(f"{size:,}")]
        for text, shade, share, size in zip(
            texts, shades, shares, found.found.sizes.tolist(), strict=True
        )
    ]
    more = f"The first {_LONG} of {len(rows):,} colours." if len(rows) > _LONG else ""
    table = Table(["colour", "share", "pixels"], rows[:_LONG], more)
    return Strip(colours(len(rows)), parts, table)


def _clouds(shown: dict[int, Quantized]) -> list[Shot]:
    """The cloud of colours with the centers of one search, where there are three bands."""
    k = max((k for k in shown if k <= _CLOUD), default=next(iter(shown)))
    with contextlib.suppress(DataError):
        return [shot(plot.color_cloud, shown[k], "Distinct colours and centers", own=True)]
    return []


def _cost(named: dict[int, Quantized], seconds: float | None) -> Lines:
    one, peak = next(iter(named.values())), peak_bytes()
    lines = [("Passes to find the colours", f"{one.passes:,}")]
    if seconds is not None:
        lines.append(("Seconds", f"{seconds:.2f}, passes and all searches"))
    if one.memory_limit is not None:
        lines.append(("Memory limit", str(one.memory_limit)))
    if peak is not None:
        lines.append(("Peak memory", f"{format_bytes(peak)}, of the whole process until here"))
    return lines


def _how(one: Quantized) -> Lines:
    return [
        ("Image", one.source.where),
        ("Size", _size(one)),
        ("Space", _SPACES[one.space]),
        *((f"version of {name}", text) for name, text in versions().items()),
    ]


def _code(one: Quantized, ks: list[int]) -> str:
    what = ks[0] if len(ks) == 1 else ks
    space = f", space={one.space!r}" if one.space != "srgb" else ""
    lines = ["from dkmeans.image import quantize", ""]
    lines.append(f"found = quantize({one.source.where!r}, {what}{space})")
    each = "found" if len(ks) == 1 else f"found[{ks[-1]}]"
    lines.append(f'{each}.write("quantized.png", palette="palette.gpl")')
    return "\n".join(lines) + "\n"
