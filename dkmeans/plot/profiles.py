"""Centers of all clusters as a table in colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes

from dkmeans._typing import Floats
from dkmeans.plot.canvas import axes_for, number, title
from dkmeans.plot.draw import LABELLED
from dkmeans.plot.names import TICK, font_of, short
from dkmeans.plot.scene import check_model, feature_names
from dkmeans.plot.theme import Theme, theme_of
from dkmeans.profiling import Profile

if TYPE_CHECKING:
    from dkmeans.kmeans import KMeans

_FEATURES = 40  # that have their names
_WRITTEN = 14  # features whose values are written into the cells
_ALIKE = 2e-3  # of their size: a range in which four digits do not tell values apart
_BASE_DIGITS = 9  # of what is set apart then
_REACH = 2.0  # standard deviations at the ends of the colours


def profiles(described: Profile | KMeans, *, theme: str = "light", ax: Axes | None = None) -> Axes:
    """Draw the mean of each feature in each cluster as a heat map, with the sizes of the clusters.

    Cells have the values themselves while these fit, or differences from a number below the name
    where values differ too little to tell; their colours say how many standard deviations
    a cluster is above or below the mean of all rows, the deviation being that between clusters.

    Parameters
    ----------
    described : Profile or KMeans
        What :func:`dkmeans.profile` returns, in the units of the data even where a pipeline scales
        them; or a fitted model, whose centers are in the units that it was fitted to.
    theme, ax : as in :func:`clusters`.

    Returns
    -------
    Axes
    """
    colors = theme_of(theme)
    if isinstance(described, Profile):
        names, values = list(described.feature_names), described.means
        sizes: Any = described.sizes
    else:
        check_model(described)
        names, values = feature_names(described), described.cluster_centers_.astype(np.float64)
        sizes = described.history_.sizes
    k, d = values.shape
    own = (float(np.clip(3.4 + 0.8 * d, 6, 15)), float(np.clip(2.2 + 0.36 * k, 3.8, 12)))
    ax = axes_for(ax, colors, *own)
    away = _deviations(values, sizes)
    image = ax.imshow(away, cmap="PuOr_r", vmin=-_REACH, vmax=_REACH, aspect="auto")
    written = k <= LABELLED and d <= _WRITTEN
    values, bases = _about(values) if written else (values, [""] * d)
    names = [short(name, TICK) + base for name, base in zip(names, bases, strict=True)]
    _name_axes(ax, names, sizes, k)
    if written:
        _write(ax, values, away)
    _scale(ax, image, colors)
    title(ax, "Means of the clusters", colors)
    return ax


def _deviations(values: Floats, sizes: Any) -> Floats:
    """Standard deviations of each mean from that of all, over the clusters that have rows."""
    known = np.asarray(np.isfinite(values).all(axis=1))
    weights = np.where(known, 1.0 if sizes is None else np.asarray(sizes, float), 0.0)
    if weights.sum() == 0:
        weights = known.astype(float)
    filled = np.where(known[:, None], values, 0.0)
    mean = np.average(filled, axis=0, weights=weights)
    spread = np.sqrt(np.average((filled - mean) ** 2, axis=0, weights=weights))
    tiny = 1e-12 * np.abs(mean)  # differences that are rounding alone
    away: Floats = (values - mean) / np.where(spread > tiny, spread, np.inf)
    return away


def _about(values: Floats) -> tuple[Floats, list[str]]:
    """Values to write, and what is to be added to those of each feature: a line below its name."""
    out, bases = values.copy(), [""] * values.shape[1]
    for j, column in enumerate(values.T):
        known = column[np.isfinite(column)]
        spread = np.ptp(known) if len(known) else 0.0
        if 0 < spread < _ALIKE * np.abs(known).max():
            base = float(f"{known.mean():.{_BASE_DIGITS}g}")
            out[:, j] -= base
            bases[j] = f"\n{number(base, _BASE_DIGITS + 3)} +"
    return out, bases


def _name_axes(ax: Axes, names: list[str], sizes: Any, k: int) -> None:
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    every = -(-len(names) // _FEATURES)
    shown = names[::every]
    upright = len(shown) > 8 or max(len(line) for name in shown for line in name.split("\n")) > 12
    turn: dict[str, Any] = {"rotation": 90 if len(shown) > _WRITTEN else 35} if upright else {}
    if upright:
        turn |= {"ha": "center" if len(shown) > _WRITTEN else "right"}
        turn |= {"rotation_mode": "default" if len(shown) > _WRITTEN else "anchor"}
    turn |= font_of(shown)
    ax.set_xticks(range(0, len(names), every), shown, parse_math=False, **turn)
    every = -(-k // LABELLED)
    ax.set_yticks(range(0, k, every), [_cluster(i, sizes) for i in range(0, k, every)])
    ax.set_ylabel("cluster")


def _cluster(i: int, sizes: Any) -> str:
    if sizes is None:
        return str(i)
    share = sizes[i] / max(1, sum(sizes))
    return f"{i}: {sizes[i]:,} rows ({share:.1%})"


def _write(ax: Axes, values: Floats, away: Floats) -> None:
    """Values in their cells, dark on pale colours and pale on dark ones."""
    for (row, column), value in np.ndenumerate(values):
        strong = abs(away[row, column]) > 0.62 * _REACH
        ink = "#ffffff" if strong else "#1b1f24"
        text = number(float(value), 4)
        ax.text(column, row, text, ha="center", va="center", color=ink, fontsize=9)


def _scale(ax: Axes, image: Any, theme: Theme) -> None:
    figure: Any = ax.figure
    bar = figure.colorbar(image, ax=ax, fraction=0.04, pad=0.02, extend="both")
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=theme.muted, labelsize=9, length=0)
    bar.set_label("standard deviations from the mean", color=theme.ink, fontsize=9)
