"""Figures and axes in a theme, without pyplot and without global settings."""

from __future__ import annotations

import math
from typing import Any, cast

from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator

from dkmeans.plot.theme import Theme

_LETTER = 6.0  # points of a letter at a tick, with what keeps labels apart
_TINY, _HUGE = 1e-4, 1e9  # numbers beyond them have a power of ten


def new_figure(width: float, height: float, theme: Theme) -> Figure:
    """An empty figure of this size in inches."""
    layout = ConstrainedLayoutEngine(w_pad=0.09, h_pad=0.09)
    return Figure(figsize=(width, height), layout=layout, facecolor=theme.background)


def axes_for(ax: Axes | None, theme: Theme, width: float = 7.0, height: float = 5.0) -> Axes:
    """The axes given, or those of a new figure; dressed."""
    if ax is None:
        ax = new_figure(width, height, theme).add_subplot()
    return dress(ax, theme)


def dress(ax: Axes, theme: Theme) -> Axes:
    """Colours of a theme for all that axes have before anything is drawn."""
    ax.set_facecolor(theme.background)
    ax.set_axisbelow(True)
    ax.grid(False)
    ax.tick_params(colors=theme.muted, labelsize=9, which="both", length=3)
    for side, spine in ax.spines.items():
        spine.set_color(theme.muted)
        spine.set_visible(side in ("left", "bottom"))
    for axis in (ax.xaxis, ax.yaxis):
        axis.label.set(color=theme.ink, fontsize=10, parse_math=False)
        numbers(axis)
    return ax


def numbers(axis: Axis, *, whole: bool = False, most: int = 6) -> None:
    """Few ticks, with thousands set apart and neither offset nor common power."""
    axis.set_major_locator(_Fitting(most, integer=whole, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _at_tick(axis, value)))


class _Fitting(MaxNLocator):
    """Ticks, at most so many, as many as there is room for beside each other."""

    def __init__(self, most: int, **options: Any) -> None:
        super().__init__(most, **options)
        self._most = most

    def tick_values(self, vmin: float, vmax: float) -> Any:
        """Places of ticks in these limits."""
        for most in range(self._most, 0, -1):
            self.set_params(nbins=most)
            places = super().tick_values(vmin, vmax)
            if self._fit(places, abs(vmax - vmin)):
                break
        return places

    def _fit(self, places: Any, span: float) -> bool:
        axis = self.axis
        if not isinstance(axis, XAxis) or len(places) < 2 or span == 0:
            return True
        points = axis.axes.bbox.width * 72 / cast(Any, axis.axes.figure).dpi
        letters = max(len(_at_tick(axis, float(place))) for place in places)
        return bool(points * (places[1] - places[0]) / span >= letters * _LETTER)


def _at_tick(axis: Axis, value: float) -> str:
    """A number at a tick; with a power of 10 where the largest of its axis has one."""
    if max(map(abs, axis.get_view_interval())) >= _HUGE:
        return f"{value:.{_digits(axis) - 3}g}"
    return number(value, _digits(axis))


def _digits(axis: Axis) -> int:
    """Digits that tell the ticks of an axis apart."""
    low, high = axis.get_view_interval()
    size, span = max(abs(low), abs(high)), abs(high - low)
    needed = math.ceil(math.log10(size / span)) + 3 if span > 0 else 0
    return max(7, min(needed, 15) + (0 if _TINY <= size < _HUGE else 3))


def number(value: float, digits: int = 7) -> str:
    """A number for people, with at most so many digits; three fewer where it has a power of 10."""
    if not math.isfinite(value):
        return "-"
    size = abs(value)
    if size >= _HUGE or 0 < size < _TINY:
        return f"{value:,.{digits - 3}g}"
    places = max(0, digits - len(str(int(size))))
    text = f"{value:,.{places}f}"
    return text.rstrip("0").rstrip(".") if places else text


def title(ax: Axes, text: str, theme: Theme) -> None:
    """A title at the left."""
    ax.set_title(text, loc="left", color=theme.ink, fontsize=11)


def horizontal_grid(ax: Axes, theme: Theme) -> None:
    """Lines to read values by."""
    ax.grid(True, axis="y", color=theme.line, linewidth=0.8)


def legend(ax: Axes, theme: Theme, **options: Any) -> None:
    """A legend in the colours of a theme, over a background that keeps it readable."""
    options = {"fontsize": 9, "frameon": True, "framealpha": 0.85, **options}
    box = ax.legend(labelcolor=theme.ink, facecolor=theme.background, **options)
    box.get_frame().set_edgecolor(theme.line)
