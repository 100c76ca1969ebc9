"""Colours and shapes: two themes, and marks that tell any number of clusters apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_rgba, to_rgba_array

from dkmeans._typing import Floats, Ints

# Okabe and Ito 2008, "Color Universal Design"; the eighth, black, is the theme's ink.
_OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
_SHAPES = ("o", "^", "s", "D", "v", "P", "X")
_GOLDEN = (np.sqrt(5) - 1) / 2
NAMED = len(_OKABE_ITO) + 1  # clusters that have a colour of their own and a line in a legend


@dataclass(frozen=True)
class Theme:
    """Colours of all that is no cluster.

    Parameters
    ----------
    background, ink, muted, line : of the picture, of text, of secondary marks, of grid lines.
    ramp : part of the map from which more than eight colours are taken.
    """

    background: str
    ink: str
    muted: str
    line: str
    ramp: tuple[float, float]

    def toward_background(self, colors: Any, share: float) -> Floats:
        """Opaque colours (n, 4) of which ``share`` is the background."""
        mixed: Floats = (1 - share) * to_rgba_array(colors) + share * np.array(
            to_rgba(self.background)
        )
        return mixed

    def toward_ink(self, colors: Any, share: float) -> Floats:
        """Opaque colours (n, 4) of which ``share`` is the ink."""
        mixed: Floats = (1 - share) * to_rgba_array(colors) + share * np.array(to_rgba(self.ink))
        return mixed


_THEMES = {
    "light": Theme("#ffffff", "#1b1f24", "#59636e", "#dfe4e9", (0.0, 0.9)),
    "dark": Theme("#11151c", "#eef1f5", "#a3adb8", "#2b333d", (0.22, 1.0)),
}


def theme_of(name: str) -> Theme:
    """The theme of this name.

    Raises
    ------
    ValueError
        If there is none.
    """
    if name not in _THEMES:
        raise ValueError(f'theme must be "light" or "dark", got {name!r}')
    return _THEMES[name]


@dataclass(frozen=True, eq=False)
class Marks:
    """How each cluster is drawn.

    Parameters
    ----------
    colors : (k, 4) RGBA.
    shapes : markers, of which cluster i has number i modulo their number.
    """

    theme: Theme
    colors: Floats
    shapes: tuple[str, ...]

    def groups(self, labels: Ints) -> Sequence[tuple[str, Ints]]:
        """Each shape with the positions of the labels that have it, where there are any."""
        numbers = labels % len(self.shapes)
        found = ((shape, np.flatnonzero(numbers == i)) for i, shape in enumerate(self.shapes))
        return [(shape, at) for shape, at in found if len(at)]


def spread(numbers: Ints) -> Floats:
    """Places from 0 to 1 for whole numbers: evenly spread, neighbouring numbers far apart."""
    places: Floats = numbers * _GOLDEN % 1
    return places


def marks_of(k: int, theme: Theme) -> Marks:
    """Marks for k clusters.

    Up to eight have the colours of Okabe and Ito. More are spread evenly over viridis, so that
    neighbouring numbers are far apart in it, and differ by shape as well.
    """
    if k <= NAMED:
        return Marks(theme, to_rgba_array([*_OKABE_ITO, theme.ink][:k]), ("o",))
    places = np.empty(k)
    places[np.argsort(spread(np.arange(k)))] = np.linspace(*theme.ramp, k)
    return Marks(theme, mpl.colormaps["viridis"](places), _SHAPES)
