"""Exact sums of single numbers, of any size: the same bits in any order.

The sum is kept as an integer in ``LIMBS`` limbs of 32 bits, counted from the smallest float64
(Kulisch 1981, the long accumulator); ``sum_kernels.add_exact`` adds a number. A limb is an int64,
so ``2**30`` numbers can be added before any must be carried; :func:`combine` carries.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from dkmeans._typing import Ints

LIMBS = 68


def zeros(*shape: int) -> Ints:
    """Sums of nothing, (*shape, LIMBS)."""
    return np.zeros((*shape, LIMBS), np.int64)


def carry(limbs: Ints) -> Ints:
    """The same sums (..., LIMBS), each limb but the last within 32 bits."""
    limbs = limbs.copy()
    while (over := limbs[..., :-1] >> 32).any():  # all limbs at once: two or three rounds do
        limbs[..., :-1] -= over << 32
        limbs[..., 1:] += over
    return limbs


def combine(sums: Sequence[Ints]) -> Ints:
    """Add up sums (..., LIMBS)."""
    return carry(np.sum(sums, axis=0))


def to_int(limbs: Ints) -> int:
    """A sum (LIMBS,) as a multiple of ``2**-1074``, the smallest float64."""
    return sum(int(limb) << (32 * at) for at, limb in enumerate(limbs))


def to_float(limbs: Ints) -> float:
    """The float64 nearest to a sum (LIMBS,)."""
    try:
        return float(Fraction(to_int(limbs), 1 << 1074))
    except OverflowError:
        return float("inf")
