"""Colours of sRGB in spaces where distance is closer to what eyes see, and back.

sRGB is that of IEC 61966-2-1 with components 0 to 255; Lab that of CIE 15 under D65; Oklab that of
Ottosson 2020, "A perceptual color space for image processing".
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dkmeans._typing import AnyArray, Floats

_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)  # of linear sRGB
_WHITE = _XYZ.sum(axis=1)
_CUT = 6 / 29  # where Lab's cube root ends and its straight line begins
_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)  # of linear sRGB
_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)  # of the cube roots of LMS


def _linear(rgb: AnyArray) -> Floats:
    share = np.asarray(rgb, dtype=np.float64) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def _encoded(linear: Floats) -> Floats:
    inside = np.clip(linear, 0, 1)
    curved = 1.055 * inside ** (1 / 2.4) - 0.055
    encoded: Floats = 255 * np.where(inside <= 0.0031308, 12.92 * inside, curved)
    return encoded


def _to_lab(rgb: AnyArray) -> Floats:
    xyz = _linear(rgb) @ _XYZ.T / _WHITE
    f = np.where(xyz > _CUT**3, np.cbrt(xyz), xyz / (3 * _CUT**2) + 4 / 29)
    x, y, z = f.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def _from_lab(lab: Floats) -> Floats:
    y = (lab[:, 0] + 16) / 116
    f = np.stack([y + lab[:, 1] / 500, y, y - lab[:, 2] / 200], axis=1)
    xyz = _WHITE * np.where(f > _CUT, f**3, 3 * _CUT**2 * (f - 4 / 29))
    return _encoded(xyz @ np.linalg.inv(_XYZ).T)


def _to_oklab(rgb: AnyArray) -> Floats:
    return np.asarray(np.cbrt(_linear(rgb) @ _LMS.T) @ _OKLAB.T)


def _from_oklab(lab: Floats) -> Floats:
    lms: Floats = (lab @ np.linalg.inv(_OKLAB).T) ** 3
    return _encoded(lms @ np.linalg.inv(_LMS).T)


_SPACES: dict[str, tuple[Callable[[AnyArray], Floats], Callable[[Floats], Floats]]] = {
    "lab": (_to_lab, _from_lab),
    "oklab": (_to_oklab, _from_oklab),
}
SPACES = ("srgb", *_SPACES)


def from_srgb(rgb: AnyArray, space: str) -> AnyArray:
    """Colours (n, 3) of sRGB in another space, float32; in "srgb" as they are."""
    return rgb if space == "srgb" else _SPACES[space][0](rgb).astype(np.float32)


def to_srgb(colors: Floats, space: str) -> Floats:
    """The inverse; what lies outside sRGB is clipped, component by component."""
    return colors if space == "srgb" else _SPACES[space][1](colors.astype(np.float64))
