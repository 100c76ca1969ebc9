"""Names from the data as pictures can show them: short enough, in fonts that have their letters."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from matplotlib.font_manager import FontProperties, findfont, fontManager
from matplotlib.ft2font import FT2Font

_BOXES = "LastResort"  # a font that has a box for every character
AXIS = 44  # characters of a name that fit along an axis
TICK = 24  # of one at a tick


def short(name: str, most: int) -> str:
    """A name of at most so many characters, with its beginning and its end."""
    if len(name) <= most:
        return name
    end = (most - 1) // 3
    return f"{name[: most - 1 - end]}\u2026{name[len(name) - end :]}"


def font_of(names: Iterable[str]) -> dict[str, Any]:
    """Properties of a text in which names can be read: other fonts, where the usual has not all."""
    fallback = _fallback("".join(names))[0]
    return {"fontfamily": [*FontProperties().get_family(), *fallback]} if fallback else {}


def missing(name: str) -> str:
    """The characters of a name that no installed font has, which are drawn as boxes."""
    return _fallback(name)[1]


@cache
def _fallback(text: str) -> tuple[tuple[str, ...], str]:
    """Installed fonts for what the usual one has not, and the characters that none has."""
    wanted = {letter for letter in text if letter.isprintable() and not letter.isspace()}
    wanted -= _letters(findfont(FontProperties()))
    families = []
    for font in fontManager.ttflist if wanted else ():
        found = wanted & _letters(font.fname)
        if found and _BOXES not in font.name.replace(" ", ""):
            families.append(font.name)
            wanted -= found
    return tuple(families), "".join(sorted(wanted))


@cache
def _letters(path: str) -> frozenset[str]:
    return frozenset(map(chr, FT2Font(path).get_charmap()))
