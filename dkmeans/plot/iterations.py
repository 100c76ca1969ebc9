"""Every iteration of a fit, side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dkmeans.errors import DataError
from dkmeans.plot import draw
from dkmeans.plot.canvas import new_figure, number, numbers, title
from dkmeans.plot.names import AXIS, font_of, short
from dkmeans.plot.scene import Box, Features, Scene, scene_of
from dkmeans.plot.theme import Marks, marks_of, theme_of
from dkmeans.record.frames import Frame

if TYPE_CHECKING:
    from dkmeans.kmeans import KMeans

PANELS = 12  # of the grid, at most
_COLUMNS = 4


@dataclass(frozen=True, eq=False)
class Film:
    """The frames of a fit with all that it takes to draw one of them.

    Parameters
    ----------
    frames : with the rows of the scene as their samples.
    box : limits that hold the rows and the centers of all frames.
    """

    scene: Scene
    frames: Sequence[Frame]
    marks: Marks
    box: Box

    def draw(
        self, ax: Axes, frame: Frame, *, voronoi: bool, arrows: bool = True, zoom: float = 1.0
    ) -> None:
        """Draw a frame on empty axes."""
        scene, marks = self.scene, self.marks
        draw.frame_axes(ax, scene, marks, self.box)
        if voronoi:
            draw.background(ax, scene, frame.assigned, marks)
        draw.rows(ax, scene.points, frame.labels, marks, zoom)
        places = scene.view.project(frame.centers)
        if arrows and frame.previous is not None:
            draw.moves(ax, scene.view.project(frame.previous), places, marks)
        draw.centers(ax, places, marks, zoom, in_line=scene.view.is_line)


def film_of(
    model: KMeans, X: Any, features: Features, phases: Sequence[str], most: int, theme: str
) -> Film:
    """The frames of these phases, at most so many of them, the first and the last included.

    Raises
    ------
    DataError
        If the history has no centers to draw.
    """
    scene, colors = scene_of(model, X, features), theme_of(theme)
    frames = [frame for frame in model.history_.frames() if frame.phase in phases]
    if not frames:
        raise DataError("the model's history has no iterations with their centers to draw")
    if len(frames) > most:  # of which an even choice might show no move at all
        frames = [frame for frame in frames if frame.phase != "assign"]
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(most, len(frames))).round().astype(int))
    frames = [replace(frames[i], sample=scene.sample) for i in chosen]
    marks = marks_of(len(model.cluster_centers_), colors)
    shown = [f.centers for f in frames] + [f.assigned for f in frames]
    return Film(scene, frames, marks, scene.box(shown))


def iterations(
    model: KMeans,
    X: Any = None,
    *,
    features: Features = None,
    arrows: bool = True,
    voronoi: bool = False,
    theme: str = "light",
) -> Figure:
    """Draw the iterations of the best restart as a grid of panels.

    Each panel has the rows in the colours of the clusters to which the iteration assigned them,
    and the centers, as stars, to which it moved. With more than twelve iterations, twelve panels
    are chosen evenly, the first and the last included.

    Parameters
    ----------
    model, X, features, theme : as in :func:`clusters`.
    arrows : whether to show from where the centers came.
    voronoi : whether to show the cells of the centers to which rows were assigned.

    Returns
    -------
    Figure

    Raises
    ------
    DataError, ValueError
        As :func:`clusters`.
    """
    film = film_of(model, X, features, ("init", "update", "converged"), PANELS, theme)
    colors, count = film.marks.theme, len(film.frames)
    columns = min(_COLUMNS, count) if count not in (5, 6, 9) else 3
    lines = math.ceil(count / columns)
    figure = new_figure(3.3 * columns + 0.3, 3.0 * lines + 0.6, colors)
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for place, (ax, frame) in enumerate(zip(grid.flat, film.frames, strict=False)):
        film.draw(ax, frame, voronoi=voronoi, arrows=arrows, zoom=0.6)
        title(ax, _panel_title(frame), colors)
        ax.title.set_fontsize(9.5)
        ax.set(xlabel="", ylabel="")
        numbers(ax.xaxis, most=4)
        ax.label_outer()
        ax.tick_params(labelbottom=place + columns >= count)  # nothing is below
    for ax in grid.flat[count:]:
        ax.remove()
    text: dict[str, Any] = {"color": colors.ink, "fontsize": 10, "parse_math": False}
    names = (*film.scene.view.labels, "")
    text |= font_of(names)
    figure.supxlabel(short(names[0], AXIS), **text)
    figure.supylabel(short(names[1], AXIS), **text)
    _legend(figure, film, arrows)
    return figure


def _panel_title(frame: Frame) -> str:
    if frame.phase == "init":
        return "Initial centers"
    if frame.phase == "converged":
        return f"After {frame.step}: inertia {number(frame.inertia, 6)}"
    return f"Iteration {frame.step}: inertia {number(frame.inertia, 6)}"


def _legend(figure: Figure, film: Film, arrows: bool) -> None:
    theme = film.marks.theme
    handles = draw.keys(film.marks)
    if arrows and any(frame.previous is not None for frame in film.frames):
        style: dict[str, Any] = {"marker": "o", "markersize": 6, "color": theme.ink}
        label = "its place before"
        handles.append(Line2D([], [], markerfacecolor=theme.background, label=label, **style))
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=len(handles) if len(film.frames) > 2 else 3,
        fontsize=9,
        frameon=False,
        labelcolor=theme.ink,
    )
