"""Images in few colours: beside the original, their palettes, and the cloud of all colours."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from dkmeans._typing import AnyArray
from dkmeans.engine import color_spaces
from dkmeans.errors import DataError
from dkmeans.image import Quantized
from dkmeans.plot.canvas import axes_for, horizontal_grid, new_figure, numbers, title
from dkmeans.plot.draw import LABELLED
from dkmeans.plot.looks import SQUARES, Found, Look, colours, error_of, names, several, some
from dkmeans.plot.theme import Theme, theme_of

_WIDTH = 4.3  # inches of an image
_ASPECTS = 0.25, 1.5  # least and greatest height of the room for an image, in its widths
_DOTS = 3000  # distinct colours of a cloud
_AXES = {
    "srgb": ("red", "green", "blue"),
    "lab": ("L*", "a*", "b*"),
    "oklab": ("L", "a", "b"),
}


def quantization(found: Found, *, theme: str = "light") -> Figure:
    """Draw an image beside itself in few colours.

    Of a large image every n-th pixel is drawn, read block by block; where there are more than
    twelve numbers of colours, twelve of them.

    Parameters
    ----------
    found : Quantized, or a dict of one for each number of colours
        What :func:`dkmeans.image.quantize` returns.
    theme : {"light", "dark"}

    Returns
    -------
    Figure
        With a panel for the original, and one for each number of colours.

    Examples
    --------
    >>> import numpy as np
    >>> from dkmeans import plot
    >>> from dkmeans.image import quantize
    >>> image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    >>> figure = plot.quantization(quantize(image, [2, 4], random_state=0))
    >>> [ax.get_title(loc="left") for ax in figure.axes]
    ['original', '2 colours, PSNR 31.36 dB', '4 colours, PSNR 37.52 dB']
    """
    colors, shown = theme_of(theme), some(several(found))
    first = next(iter(shown.values()))
    look = Look.of(first)
    height, width = look.original(first).shape[:2]
    panels = len(shown) + 1
    columns = panels if panels <= 3 else 2 if panels == 4 else 3
    lines = -(-panels // columns)
    high = float(np.clip(height / width, *_ASPECTS)) * _WIDTH + 0.5
    figure = new_figure(columns * _WIDTH, lines * high, colors)
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    _image(grid[0], look.original(first), "original", colors)
    for ax, one in zip(grid[1:], shown.values(), strict=False):
        text = f"{colours(len(one.palette))}, {error_of(one)}"
        _image(ax, look.quantized(one), text, colors)
    for ax in grid[panels:]:
        ax.remove()
    return figure


def _image(ax: Axes, pixels: AnyArray, text: str, theme: Theme) -> None:
    """An image in the upper left of its room, with a line around it and above it."""
    axes_for(ax, theme)
    few = max(pixels.shape[:2]) <= SQUARES
    ax.imshow(pixels, interpolation="nearest" if few else "antialiased")
    ax.set(xticks=[], yticks=[], anchor="NW")
    for spine in ax.spines.values():
        spine.set(visible=True, color=theme.line)
    title(ax, text, theme)


def palette(found: Quantized, *, theme: str = "light", ax: Axes | None = None) -> Axes:
    """Draw the colours as bars, as long as the share of the pixels that have them.

    Up to 30 have their names, ``#rrggbb`` or the values of up to three bands.

    Parameters
    ----------
    found : Quantized
    theme, ax : as in :func:`clusters`.

    Returns
    -------
    Axes
    """
    colors, k = theme_of(theme), len(found.palette)
    named = k <= LABELLED
    ax = axes_for(ax, colors, 7, float(np.clip(1.4 + 0.26 * k, 2.2, 9.5)) if named else 4)
    fill = Look.of(found).rgb(found.palette) / 255
    style: dict[str, Any] = {"color": fill, "edgecolor": colors.muted, "linewidth": 0.6}
    if named:
        _named_bars(ax, found, style, colors)
    else:
        ax.bar(range(1, k + 1), found.shares, **{**style, "width": 1.0, "linewidth": 0.1})
        ax.set(xlim=(0.5, k + 0.5), xlabel="colour", ylabel="share of the pixels")
        numbers(ax.xaxis, whole=True)
        horizontal_grid(ax, colors)
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))
    title(ax, f"{colours(k)} by share of the pixels", colors)
    return ax


def _named_bars(ax: Axes, found: Quantized, style: dict[str, Any], theme: Theme) -> None:
    """Bars with names at the left and shares at the right."""
    shares = found.shares
    ax.barh(range(len(shares)), shares, height=0.78, **style)
    for i, share in enumerate(shares):
        place: dict[str, Any] = {"xytext": (5, 0), "textcoords": "offset points", "va": "center"}
        ax.annotate(f"{share:.1%}", (share, i), color=theme.ink, fontsize=9, **place)
    ax.set(xlim=(0, 1.12 * shares.max()), ylim=(len(shares) - 0.4, -0.6), xticks=[])
    ax.set_yticks(range(len(shares)), names(found), parse_math=False)
    ax.tick_params(axis="y", length=0, labelcolor=theme.ink)
    for side in ("bottom", "left"):
        ax.spines[side].set_visible(False)


def color_cloud(found: Quantized, *, theme: str = "light", ax: Axes | None = None) -> Axes:
    """Draw distinct colours of the image in the space of the search, and the centers.

    Up to 3,000 colours are drawn, chosen evenly at random with a fixed seed from those of every
    n-th pixel; of more than three bands the first three. Centers are larger the more pixels have
    them.

    Parameters
    ----------
    found : Quantized
        Of three bands or more.
    theme : {"light", "dark"}
    ax : Axes in three dimensions, optional
        Where to draw; otherwise on a figure of its own.

    Returns
    -------
    Axes

    Raises
    ------
    DataError
        If the image has fewer than three bands.
    ValueError
        If ``ax`` has two dimensions.
    """
    if found.palette.shape[1] < 3:
        bands = found.palette.shape[1]
        raise DataError(f"a cloud of colours needs three bands, and the image has {bands}")
    colors = theme_of(theme)
    if ax is None:
        ax = new_figure(6.4, 5, colors).add_subplot(projection="3d")
    if ax.name != "3d":
        raise ValueError('ax must be in three dimensions: figure.add_subplot(projection="3d")')
    cloud: Any = ax
    look, dots = Look.of(found), _distinct(found)
    _frame(cloud, found, colors)
    points = color_spaces.from_srgb(dots, found.space)[:, :3]
    cloud.computed_zorder = False  # centers are seen among all dots
    flat: dict[str, Any] = {"depthshade": False, "linewidths": 0, "zorder": 2}
    cloud.scatter(*points.T, s=4, c=look.rgb(dots) / 255, **flat)
    sizes = 30 + 900 * found.shares
    rims: dict[str, Any] = {"edgecolors": colors.ink, "linewidths": 0.9, "zorder": 3}
    fill = look.rgb(found.palette) / 255
    cloud.scatter(*found.centers[:, :3].T, s=sizes, c=fill, depthshade=False, **rims)
    text = f"{colours(len(found.palette))} among {colours(len(dots))} of the image"
    title(ax, text, colors)
    return ax


def _distinct(found: Quantized) -> AnyArray:
    """Some distinct colours of the preview, (m, bands)."""
    pixels, labels = found.preview()
    rows = np.unique(pixels[labels >= 0][:, : found.palette.shape[1]], axis=0)
    if len(rows) <= _DOTS:
        return rows
    return rows[np.sort(np.random.default_rng(0).choice(len(rows), _DOTS, replace=False))]


def _frame(ax: Any, found: Quantized, theme: Theme) -> None:
    """Walls, lines and names of axes in three dimensions."""
    ax.set_facecolor(theme.background)
    bands = found.palette.shape[1]
    named = _AXES[found.space] if bands == 3 else [f"band {i}" for i in range(3)]
    for axis, name in zip((ax.xaxis, ax.yaxis, ax.zaxis), named, strict=True):
        axis.set_pane_color(theme.background)
        axis.line.set_color(theme.muted)
        axis._axinfo["grid"].update(color=theme.line, linewidth=0.8)
        numbers(axis, most=5)
        axis.set_label_text(name, color=theme.ink, fontsize=10)
        axis.labelpad = 10  # clear of numbers with three digits
    ax.tick_params(colors=theme.muted, labelsize=8)
    ax.set_box_aspect(None, zoom=1.08)
    ax.view_init(elev=22, azim=-58)
