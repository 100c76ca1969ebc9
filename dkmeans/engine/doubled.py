"""Numbers as unevaluated sums of two float64, with twice the digits (Dekker 1971)."""

from __future__ import annotations

from typing import Any

import numpy as np

from dkmeans._typing import Floats, Ints
from dkmeans.engine.grid import LEVEL_BITS

Pair = tuple[Floats, Floats]  # the nearest float64, and what is left

_SPLIT = 2.0**27 + 1


def difference(a: Floats, b: Floats) -> Pair:
    """``a - b``, exactly."""
    return _two_sum(a, -b)


def add(a: Pair, b: Pair) -> Pair:
    """``a + b``."""
    high, low = _two_sum(a[0], b[0])
    more, rest = _two_sum(a[1], b[1])
    high, low = _fast_two_sum(high, low + more)
    return _fast_two_sum(high, low + rest)


def multiply(a: Pair, b: Pair) -> Pair:
    """``a * b``."""
    high, low = _two_product(a[0], b[0])
    return _fast_two_sum(high, low + (a[0] * b[1] + a[1] * b[0]))


def scaled(a: Pair, power: float) -> Pair:
    """``a`` times a power of two, or minus one."""
    return a[0] * power, a[1] * power


def from_levels(levels: Ints, finest: Any) -> Pair:
    """Sums (..., levels) whose last level counts multiples of ``finest``; see ``grid.py``."""
    total: Pair = np.zeros(levels.shape[:-1]), np.zeros(levels.shape[:-1])
    many = levels.shape[-1]
    for level in range(many):
        step, whole = finest * 2.0 ** (LEVEL_BITS * (many - 1 - level)), levels[..., level]
        for part in ((whole >> 32) * 2.0**32, (whole & 0xFFFFFFFF).astype(np.float64)):
            total = add(total, (part * step, np.zeros_like(part)))
    return total


def _two_sum(a: Floats, b: Floats) -> Pair:
    high = a + b
    of_b = high - a
    return high, (a - (high - of_b)) + (b - of_b)


def _fast_two_sum(a: Floats, b: Floats) -> Pair:
    high = a + b
    return high, b - (high - a)


def _two_product(a: Floats, b: Floats) -> Pair:
    high = a * b
    (a0, a1), (b0, b1) = _halves(a), _halves(b)
    return high, ((a0 * b0 - high) + a0 * b1 + a1 * b0) + a1 * b1


def _halves(a: Floats) -> Pair:
    shifted = _SPLIT * a
    high = shifted - (shifted - a)
    return high, a - high
