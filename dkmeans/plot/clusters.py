"""Rows by cluster, the partition of the plane, and both beside the raw data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dkmeans.plot import draw
from dkmeans.plot.canvas import axes_for, legend, new_figure, number, title
from dkmeans.plot.scene import Features, Scene, scene_of
from dkmeans.plot.theme import marks_of, theme_of

if TYPE_CHECKING:
    from dkmeans.kmeans import KMeans


def clusters(
    model: KMeans,
    X: Any = None,
    *,
    features: Features = None,
    theme: str = "light",
    ax: Axes | None = None,
) -> Axes:
    """Draw a sample of rows in the colours of their clusters, and the centers as stars.

    Rows of one feature are drawn as a strip, those of two as they are. More features are projected
    onto their first two principal components.

    Parameters
    ----------
    model : KMeans
        Fitted, or loaded.
    X : as in :meth:`KMeans.predict <dkmeans.KMeans.predict>`, optional
        Data to draw instead of the rows that the history keeps: up to 10,000 of them, drawn in one
        pass, which computes the principal components of all rows as well (up to 1024 features).
    features : one or two names or numbers, optional
        Features to show in place of principal components.
    theme : {"light", "dark"}
    ax : Axes, optional
        Where to draw; otherwise on a figure of its own.

    Returns
    -------
    Axes

    Raises
    ------
    DataError
        If there are no rows to draw, or X is not what the model was fitted to.
    ValueError
        If ``features`` or ``theme`` are not among those that there are.

    Examples
    --------
    >>> import numpy as np
    >>> from dkmeans import KMeans, plot
    >>> X = np.array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> ax = plot.clusters(KMeans(2, random_state=0).fit(X))
    >>> ax.get_xlabel()
    'feature 0'
    """
    return _single(model, scene_of(model, X, features), theme, ax, with_cells=False)


def voronoi(
    model: KMeans,
    X: Any = None,
    *,
    features: Features = None,
    theme: str = "light",
    ax: Axes | None = None,
) -> Axes:
    """Draw :func:`clusters` over the cells in which each center is the nearest.

    With more than two features, a place of the picture stands for the point of the plane of
    projection that is shown there, and its cell is that of the center nearest to this point. Rows
    beside the plane may then lie over the cell of another cluster than theirs.

    Parameters, returns and errors are those of :func:`clusters`.
    """
    return _single(model, scene_of(model, X, features), theme, ax, with_cells=True)


def projection(
    model: KMeans, X: Any = None, *, theme: str = "light", ax: Axes | None = None
) -> Axes:
    """Draw :func:`clusters` on the first two principal components, of any number of features.

    Parameters, returns and errors are those of :func:`clusters`.
    """
    scene = scene_of(model, X, principal=True)
    return _single(model, scene, theme, ax, with_cells=False)


def overview(
    model: KMeans, X: Any = None, *, features: Features = None, theme: str = "light"
) -> Figure:
    """Draw three panels: the raw rows, the cells of the centers, and the clusters.

    Parameters and errors are those of :func:`voronoi`.

    Returns
    -------
    Figure
    """
    scene, colors = scene_of(model, X, features), theme_of(theme)
    centers = model.cluster_centers_
    marks, box = marks_of(len(centers), colors), scene.box([centers])
    labels, places = scene.sample.labels(centers), scene.view.project(centers)
    figure = new_figure(13, 4.4, colors)
    raw, cells, found = figure.subplots(1, 3)
    for ax in (raw, cells, found):
        draw.frame_axes(ax, scene, marks, box)
    draw.rows(raw, scene.points, None, marks)
    title(raw, f"{len(scene.sample):,} rows", colors)
    draw.background(cells, scene, centers, marks)
    draw.centers(cells, places, marks, in_line=scene.view.is_line)
    title(cells, _cells_title(scene), colors)
    draw.rows(found, scene.points, labels, marks)
    draw.centers(found, places, marks, in_line=scene.view.is_line)
    title(found, "Clusters", colors)
    return figure


def _single(model: KMeans, scene: Scene, theme: str, ax: Axes | None, *, with_cells: bool) -> Axes:
    colors, centers = theme_of(theme), model.cluster_centers_
    marks, own = marks_of(len(centers), colors), ax is None
    ax = axes_for(ax, colors, 8, 5)
    draw.frame_axes(ax, scene, marks, scene.box([centers]))
    if with_cells:
        draw.background(ax, scene, centers, marks)
    draw.rows(ax, scene.points, scene.sample.labels(centers), marks)
    places = scene.view.project(centers)
    draw.centers(ax, places, marks, in_line=scene.view.is_line)
    title(ax, _cells_title(scene) if with_cells else _title(model), colors)
    side: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0)} if own else {}
    legend(ax, colors, handles=draw.keys(marks, model.history_.sizes), **side)
    return ax


def _title(model: KMeans) -> str:
    k = len(model.cluster_centers_)
    return f"{k} cluster{'' if k == 1 else 's'}, inertia {number(model.inertia_)}"


def _cells_title(scene: Scene) -> str:
    if scene.view.is_whole:
        return "Nearest center"
    where = "line" if scene.view.is_line else "plane"
    return f"Nearest center on the {where} of projection"
