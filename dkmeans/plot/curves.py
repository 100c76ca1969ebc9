"""Inertia by iteration, and what tells how many clusters there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dkmeans._typing import Floats
from dkmeans.errors import DataError
from dkmeans.plot.canvas import (
    axes_for,
    dress,
    horizontal_grid,
    legend,
    new_figure,
    number,
    numbers,
    title,
)
from dkmeans.plot.scene import check_model
from dkmeans.plot.theme import NAMED, Marks, Theme, marks_of, theme_of
from dkmeans.record.history import History
from dkmeans.sweeping import Sweep, knee

if TYPE_CHECKING:
    from dkmeans.comparing import InitComparison
    from dkmeans.kmeans import KMeans

_LAST = "iteration (ring: the last assignment)"
_POINTS = 40  # of a curve that are marked as such
_BINS, _FEW_BINS = 15, 3  # few where all starts agree
_ROUNDING = 1e-9  # of inertias, between starts that came to the same clusters

Fits = Any  # a model or history, a sequence of them, or a mapping from names to them


def convergence(fits: Fits, *, theme: str = "light", ax: Axes | None = None) -> Axes:
    """Draw the inertia by iteration; of a last assignment, where there was one, as a ring.

    Parameters
    ----------
    fits : KMeans, History, or several of them
        A list, or a mapping from names to them. All restarts of a single one are drawn; of several,
        the best of each.
    theme, ax : as in :func:`clusters`.

    Returns
    -------
    Axes

    Raises
    ------
    DataError
        If no history has an iteration.
    """
    colors = theme_of(theme)
    curves = _curves(fits)
    if not curves:
        raise DataError("there is no iteration to draw: no history has a known inertia")
    ended = any(last for *_, last in curves)
    ax = _plain(ax, colors, _LAST if ended else "iteration", "inertia")
    marks = marks_of(len(curves), colors)
    ax.set_xlim(0.5, max(steps[-1] for _, steps, *_ in curves) + 0.5)
    for color, (label, steps, values, last) in zip(marks.colors, curves, strict=True):
        few = "o" if len(steps) <= _POINTS else ""
        ax.plot(steps, values, marker=few, markersize=4, linewidth=1.6, color=color, label=label)
        if last:
            ring: dict[str, Any] = {"facecolors": colors.background, "edgecolors": [color]}
            ax.scatter(steps[-1:], values[-1:], s=36, zorder=3, **ring)
    low, high = ax.get_ylim()
    room = _ROUNDING * max(abs(low), abs(high))
    if high - low < room:  # all that differs is rounding
        ax.set_ylim(low - room, high + room)
    title(ax, "Inertia by iteration", colors)
    if 1 < len(curves) <= NAMED:
        legend(ax, colors, loc="upper right")
    elif len(curves) > 1:
        ends = [values[-1] for _, _, values, _ in curves]
        span = f"{number(min(ends), 6)} to {number(max(ends), 6)}"
        title(ax, f"Inertia by iteration, {len(curves)} runs that end at {span}", colors)
    return ax


def elbow(
    found: Sweep | Mapping[int, float], *, theme: str = "light", ax: Axes | None = None
) -> Axes:
    """Draw the inertia over the number of clusters, with the knee where it has one.

    Parameters
    ----------
    found : Sweep, or a mapping from numbers of clusters to inertias.
    theme, ax : as in :func:`clusters`.

    Returns
    -------
    Axes

    References
    ----------
    Satopaa, Albrecht, Irwin, Raghavan 2011, "Finding a 'Kneedle' in a Haystack".
    """
    if isinstance(found, Sweep):
        found = {k: model.inertia_ for k, model in found.models.items()}
    _check_kind(found, Mapping, "a Sweep, or a mapping from numbers of clusters to inertias")
    chosen = knee(sorted(found), [found[k] for k in sorted(found)])
    ax = _over_k(ax, theme, found, "inertia", chosen)
    text = "no knee" if chosen is None else f"knee at {chosen} clusters"
    title(ax, f"Inertia by number of clusters: {text}", theme_of(theme))
    ax.set_ylim(bottom=min(0, ax.get_ylim()[0]))
    return ax


def silhouette_curve(
    found: Sweep | Mapping[int, float], *, theme: str = "light", ax: Axes | None = None
) -> Axes:
    """Draw the mean silhouette over the number of clusters, with the highest marked.

    Parameters
    ----------
    found : Sweep, or a mapping from numbers of clusters to silhouettes
        Those of a sweep that are estimated from a sample have bars of two standard errors.
    theme, ax : as in :func:`clusters`.

    Returns
    -------
    Axes

    Raises
    ------
    DataError
        If the sweep has no silhouettes, or there are none for any of its numbers of clusters.
    """
    errors: Mapping[int, float] = {}
    if isinstance(found, Sweep):
        table = found.table
        if "silhouette" not in table:
            raise DataError('the sweep has no silhouettes: ask for them by metrics=["silhouette"]')
        errors = {int(k): float(v) for k, v in table["silhouette_error"].items()}  # type: ignore[call-overload]
        found = {int(k): float(v) for k, v in table["silhouette"].items()}  # type: ignore[call-overload]
    _check_kind(found, Mapping, "a Sweep, or a mapping from numbers of clusters to silhouettes")
    found = {k: value for k, value in found.items() if np.isfinite(value)}
    if not found:
        raise DataError("no number of clusters has a silhouette: two clusters at least have one")
    best = max(sorted(found), key=lambda k: found[k])
    ax = _over_k(ax, theme, found, "mean silhouette", best)
    colors, ks = theme_of(theme), sorted(found)
    if any(errors.get(k, 0) > 0 for k in ks):
        bars = [2 * errors[k] for k in ks]
        ax.errorbar(ks, [found[k] for k in ks], bars, fmt="none", ecolor=colors.muted, capsize=3)
    title(ax, f"Silhouette by number of clusters: highest at {best}", colors)
    return ax


def init_comparison(
    found: InitComparison | Mapping[str, Sequence[Sequence[float]]], *, theme: str = "light"
) -> Figure:
    """Draw how the inertias of many starts are spread, and how each start came there.

    Parameters
    ----------
    found : what :func:`dkmeans.compare_inits` returns, or a mapping from names to the starts of
        each, and these the inertias of their iterations.
    theme : as in :func:`clusters`.

    Returns
    -------
    Figure
        With a histogram, and curves of the inertia by iteration.
    """
    from dkmeans.comparing import InitComparison

    kinds = (InitComparison, Mapping)
    _check_kind(found, kinds, "what compare_inits returns, or a mapping from names to inertias")
    colors = theme_of(theme)
    curves = dict(found if isinstance(found, Mapping) else found.curves)
    if not curves or not all(map(len, curves.values())):
        raise DataError("there are no starts to compare")
    ends = {name: [run[-1] for run in runs] for name, runs in curves.items()}
    figure, marks = new_figure(11, 4.4, colors), marks_of(len(curves), colors)
    left, right = figure.subplots(1, 2)
    _histogram(left, ends, marks)
    _plain(right, colors, "iteration, the last assignment included", "inertia")
    for color, (name, runs) in zip(marks.colors, curves.items(), strict=True):
        for i, run in enumerate(runs):
            label = name if i == 0 else None
            steps = np.arange(1, len(run) + 1)
            right.plot(steps, run, color=color, alpha=0.6, linewidth=1.1, label=label)
    title(right, "How each start came there", colors)
    entries = right.get_legend_handles_labels()[0]
    legend(right, colors, handles=entries, loc="upper right")
    for line in right.get_legend().get_lines():
        line.set(alpha=1, linewidth=2)
    return figure


def _histogram(ax: Axes, ends: Mapping[str, Sequence[float]], marks: Marks) -> None:
    """Starts by their inertia, the bars of all inits side by side."""
    colors, every = marks.theme, np.concatenate([np.asarray(e, float) for e in ends.values()])
    _plain(ax, colors, "inertia at the end", "starts")
    low, high = every.min(), every.max()
    alike = high - low <= _ROUNDING * abs(high)
    room = max(1.0, abs(high)) / 100 if alike else 0.0
    count = _FEW_BINS if alike else _BINS
    bins = list(np.histogram_bin_edges(every, count, (low - room, high + room)))
    ax.hist(
        list(ends.values()), bins=bins, color=[tuple(c) for c in marks.colors], label=list(ends)
    )
    numbers(ax.xaxis, most=5)
    numbers(ax.yaxis, whole=True)
    apart = f"best {number(low, 6)}, worst {number(high, 6)}, difference {number(high - low, 6)}"
    title(ax, apart, colors)


def _curves(fits: Fits) -> list[tuple[str, Floats, Floats, bool]]:
    """A name, steps and inertias for each curve, and whether it ends in a last assignment."""
    named: list[tuple[str, History, int | None]]
    if isinstance(fits, Mapping):
        named = [(str(name), _history(fit), None) for name, fit in fits.items()]
    elif isinstance(fits, Sequence) and not isinstance(fits, History):
        named = [(f"run {i}", _history(fit), None) for i, fit in enumerate(fits)]
    else:
        history = _history(fits)
        runs = sorted({i.run for i in history if i.phase == "lloyd"})
        best = history.best_run
        named = [(f"restart {run}{' (best)' if run == best else ''}", history, run) for run in runs]
    curves = [(name, history.curve(run), history, run) for name, history, run in named]
    return [
        (name, *np.array(curve, float).T, _has_last(history, run))
        for name, curve, history, run in curves
        if curve
    ]


def _has_last(history: History, run: int | None) -> bool:
    run = history.best_run if run is None else run
    return any(i.run == run and i.phase == "final" for i in history)


def _history(fit: KMeans | History) -> History:
    if isinstance(fit, History):
        return fit
    check_model(fit)
    return fit.history_


def _check_kind(given: Any, kinds: Any, expected: str) -> None:
    if not isinstance(given, kinds):
        raise DataError(f"expected {expected}; got {type(given).__name__}")


def _plain(ax: Axes | None, theme: Theme, x: str, y: str) -> Axes:
    """Axes for curves over whole numbers."""
    ax = axes_for(ax, theme) if ax is None else dress(ax, theme)
    ax.set(xlabel=x, ylabel=y)
    numbers(ax.xaxis, whole=True, most=12)
    horizontal_grid(ax, theme)
    return ax


def _over_k(
    ax: Axes | None, theme: str, values: Mapping[int, float], name: str, chosen: int | None
) -> Axes:
    """A curve over numbers of clusters, one of which is marked."""
    colors, ks = theme_of(theme), sorted(values)
    if not ks:
        raise DataError("there is no number of clusters to draw")
    ax = _plain(ax, colors, "number of clusters", name)
    main, mark = marks_of(6, colors).colors[[0, 5]]
    few = "o" if len(ks) <= _POINTS else ""
    ax.plot(ks, [values[k] for k in ks], color=main, marker=few, markersize=5, linewidth=1.8)
    if chosen is not None:
        ax.axvline(chosen, color=mark, linestyle="--", linewidth=1.2, zorder=1)
        ax.plot([chosen], [values[chosen]], "o", color=mark, markersize=9, zorder=3)
    return ax
