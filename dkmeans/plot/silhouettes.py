"""How well rows fit their clusters: silhouettes of a sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes

from dkmeans._typing import Floats, Ints
from dkmeans.errors import DataError
from dkmeans.plot.canvas import axes_for, numbers, title
from dkmeans.plot.draw import LABELLED
from dkmeans.plot.scene import rows_of
from dkmeans.plot.theme import marks_of, theme_of
from dkmeans.record.sample import RowSample
from dkmeans.silhouettes import Silhouettes

if TYPE_CHECKING:
    from dkmeans.kmeans import KMeans

MOST = 2000  # rows, of which all pairs are compared


def thin(sample: RowSample) -> Ints:
    """Positions of at most so many rows of a sample, evenly chosen."""
    return np.unique(np.linspace(0, len(sample) - 1, min(MOST, len(sample))).astype(int))


def silhouette_of(sample: RowSample, labels: Sequence[Ints | None]) -> Floats:
    """Mean silhouette of the sample under each of the labels; NaN where there is none."""
    at = thin(sample)
    rows = sample.rows[at].astype(np.float64)
    found = np.full(len(labels), np.nan)
    for i, given in enumerate(labels):
        if given is not None and 1 < len(np.unique(given[at])) < len(at):
            found[i] = Silhouettes.of(rows, given[at]).values.mean()
    return found


def silhouette(
    model: KMeans, X: Any = None, *, theme: str = "light", ax: Axes | None = None
) -> Axes:
    """Draw the silhouette of each row of a sample, by cluster: a blade each, longest rows on top.

    A silhouette is near 1 where a row is far from all other clusters, near 0 between two, and
    negative where another cluster is nearer on average.

    Parameters
    ----------
    model, theme, ax : as in :func:`clusters`.
    X : data of which up to 2000 rows are drawn in one pass, instead of those of the history.

    Returns
    -------
    Axes

    Raises
    ------
    DataError
        If there are no rows, or they are all in one cluster or each in one of its own.

    References
    ----------
    Rousseeuw 1987, "Silhouettes: a graphical aid to the interpretation and validation of cluster
    analysis".
    """
    colors, sample = theme_of(theme), rows_of(model, X)
    at = thin(sample)
    k, labels = len(model.cluster_centers_), sample.labels(model.cluster_centers_)[at]
    if not 1 < len(np.unique(labels)) < len(at):
        raise DataError(
            f"silhouettes need rows in at least two clusters, and more rows than clusters; the"
            f" {len(at)} rows of the sample are in {len(np.unique(labels))}"
        )
    values = Silhouettes.of(sample.rows[at].astype(np.float64), labels).values
    marks, ax = marks_of(k, colors), axes_for(ax, colors, 6.5, 5.5)
    gap, start, ticks = max(1, len(at) // (12 * k)), 0, dict[int, float]()
    for cluster in np.unique(labels):
        blade = np.sort(values[labels == cluster])[::-1]
        edges, ends = start + np.arange(len(blade) + 1) - 0.5, np.append(blade, blade[-1])
        color = marks.colors[cluster]
        ax.fill_betweenx(edges, 0, ends, step="post", color=color, linewidth=0)
        ticks[int(cluster)] = start + len(blade) / 2
        start += len(blade) + gap
    mean = float(values.mean())
    ax.axvline(mean, color=colors.ink, linestyle="--", linewidth=1.2)
    _blade_axes(ax, ticks, start)
    low = min(0.0, float(values.min()))
    ax.set(xlabel="silhouette", ylabel="cluster", xlim=(low - 0.03, 1.0))
    title(ax, f"Mean silhouette {mean:.3f} (dashed), {len(at):,} rows", colors)
    return ax


def _blade_axes(ax: Axes, ticks: dict[int, float], stop: int) -> None:
    """A number for each blade, first cluster on top, as long as they fit."""
    numbers(ax.xaxis)
    shown: dict[int, float] = {}
    for cluster, place in ticks.items():
        if not shown or place - max(shown.values()) >= stop / LABELLED:
            shown[cluster] = place
    ax.set_yticks(list(shown.values()), [str(cluster) for cluster in shown])
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(stop, -1)
