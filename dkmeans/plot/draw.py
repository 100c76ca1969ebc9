"""Marks on axes: backgrounds, rows, centers, arrows."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from dkmeans._typing import AnyArray, Floats, Ints
from dkmeans.plot.canvas import dress
from dkmeans.plot.names import AXIS, font_of, short
from dkmeans.plot.scene import Box, Scene
from dkmeans.plot.theme import NAMED, Marks

LABELLED = 30  # clusters whose centers have their numbers beside them, where these fit
_GRID = 600  # places across a background
_TINT = 0.78  # of a background's colour that is that of the picture
_CROWDED = 0.1  # part of a background that borders may cover
_SEEN = 0.004  # of the width or the height of a picture: the shortest arrow
_TEXT = np.array([0.055, 0.055])  # room of a number, in parts of the axes
_LEVELS = 8  # of numbers above centers in a line
_LINE = 14.0  # points from level to level


def frame_axes(ax: Axes, scene: Scene, marks: Marks, box: Box) -> None:
    """Dress axes for a scene, with its limits and names."""
    dress(ax, marks.theme)
    ax.set(xlim=box[:2], ylim=box[2:])
    ax.set_xlabel(short(scene.view.labels[0], AXIS), **font_of(scene.view.labels[:1]))
    if scene.view.is_line:
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
    else:
        ax.set_ylabel(short(scene.view.labels[1], AXIS), **font_of(scene.view.labels[1:]))


def background(ax: Axes, scene: Scene, centers: AnyArray, marks: Marks) -> None:
    """Which center is nearest to each place, as an image with borders between the cells."""
    box = (*ax.get_xlim(), *ax.get_ylim())
    height = 1 if scene.view.is_line else _GRID * 3 // 4
    x = np.linspace(*box[:2], 2 * _GRID + 1)[1::2]  # the middle of each pixel
    y = np.linspace(*box[2:], 2 * height + 1)[1::2]
    places = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    cells = scene.view.nearest(places, centers).reshape(height, _GRID)
    border = np.zeros(cells.shape, bool)
    border[:, 1:] |= cells[:, 1:] != cells[:, :-1]
    border[1:] |= cells[1:] != cells[:-1]
    image = marks.theme.toward_background(marks.colors, _TINT)[cells]
    if border.mean() < _CROWDED:
        image[border] = marks.theme.toward_background(marks.theme.muted, 0.4)
    ax.imshow(image, extent=box, origin="lower", aspect="auto", interpolation="nearest", zorder=0)
    ax.set(xlim=box[:2], ylim=box[2:])


def rows(ax: Axes, points: Floats, labels: Ints | None, marks: Marks, zoom: float = 1.0) -> None:
    """Rows in the colours and shapes of their clusters; grey where they have none."""
    size = zoom * float(np.clip(24_000 / max(1, len(points)), 9, 36))
    style: dict[str, Any] = {"s": size, "linewidths": 0.4 * zoom, "zorder": 2}
    if labels is None:
        muted = marks.theme.toward_background(marks.theme.muted, 0.3)
        ax.scatter(*points.T, **{**style, "c": muted, "linewidths": 0})
        return
    edges = marks.theme.toward_ink(marks.colors, 0.35)
    for shape, at in marks.groups(labels):
        style |= {"c": marks.colors[labels[at]], "edgecolors": edges[labels[at]]}
        ax.scatter(*points[at].T, marker=shape, **style)


def centers(
    ax: Axes, places: Floats, marks: Marks, zoom: float = 1.0, *, in_line: bool = False
) -> None:
    """Centers as stars, with their numbers beside them while these fit; small ones where many.

    Where all are in one line, numbers have all the room above it.
    """
    theme, few = marks.theme, len(places) <= LABELLED
    size = zoom * (220.0 if len(places) <= NAMED else 130.0 if few else 24.0)
    style: dict[str, Any] = {"s": size, "marker": "*", "zorder": 5}
    halo = [withStroke(linewidth=3.5 if few else 1.6, foreground=theme.background)]
    if few:
        style |= {"c": marks.colors, "edgecolors": theme.ink, "linewidths": 1.0}
    else:
        style |= {"c": theme.ink, "linewidths": 0}
    ax.scatter(*places.T, path_effects=halo, **style)
    if few and zoom == 1:
        _numbers(ax, places, marks, size**0.5 / 2 + 2, levels=_LEVELS if in_line else 1)


def _numbers(ax: Axes, places: Floats, marks: Marks, offset: float, levels: int) -> None:
    """Numbers above the centers; one that would touch others on all levels is left out."""
    low, span = _extent(ax)
    shares, done = (places - low) / span, np.empty((0, 2))
    halo = [withStroke(linewidth=2.5, foreground=marks.theme.background)]
    text: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": 9, "fontweight": "bold"}
    text |= {"color": marks.theme.ink, "path_effects": halo, "zorder": 6}
    for i, share in enumerate(shares):
        for level in range(levels):
            place = share + np.array([0, level * _TEXT[1]])
            if (np.abs(done - place) < _TEXT).all(axis=1).any():
                continue
            done = np.vstack([done, place])
            above = (0, offset + level * _LINE)
            ax.annotate(str(i), places[i], above, textcoords="offset points", **text)
            break


def moves(ax: Axes, previous: Floats, places: Floats, marks: Marks) -> None:
    """Arrows from where centers were, for those that moved by what can be seen."""
    ink, many = marks.theme.ink, len(places) > LABELLED
    way = places - previous
    seen = (np.abs(way / _extent(ax)[1]) > _SEEN).any(axis=1)
    dots: dict[str, Any] = {"s": 6 if many else 26, "linewidths": 0.5 if many else 1.1}
    start, way = previous[seen].T, way[seen].T
    ax.scatter(*start, facecolors=marks.theme.background, edgecolors=ink, zorder=3, **dots)
    shaft: dict[str, Any] = {"width": 0.0025 if many else 0.0045, "color": ink, "zorder": 4}
    ax.quiver(*start, *way, angles="xy", scale_units="xy", scale=1, **shaft)


def _extent(ax: Axes) -> tuple[Floats, Floats]:
    """Lower left corner of the limits, and their width and height."""
    low = np.array([ax.get_xlim()[0], ax.get_ylim()[0]])
    return low, np.array([ax.get_xlim()[1], ax.get_ylim()[1]]) - low


def keys(marks: Marks, sizes: tuple[int, ...] | None = None) -> list[Line2D]:
    """Lines of a legend: one a cluster where these are few, with its rows where these are known."""
    theme, k = marks.theme, len(marks.colors)
    style: dict[str, Any] = {"linestyle": "none", "markersize": 7}
    lines = []
    if k <= NAMED:
        rims = theme.toward_ink(marks.colors, 0.35)
        for i, (color, rim) in enumerate(zip(marks.colors, rims, strict=True)):
            rows = "" if sizes is None else f": {sizes[i]:,} row{'' if sizes[i] == 1 else 's'}"
            text = f"cluster {i}{rows}"
            lines.append(
                Line2D([], [], marker="o", color=color, markeredgecolor=rim, label=text, **style)
            )
    return [*lines, star(marks)]


def star(marks: Marks) -> Line2D:
    """A legend's line for centers."""
    theme, k = marks.theme, len(marks.colors)
    style: dict[str, Any] = {"marker": "*", "markersize": 12, "linestyle": "none"}
    label = "center" if k <= NAMED else f"center ({k} clusters)"
    return Line2D([], [], color=theme.background, markeredgecolor=theme.ink, label=label, **style)
