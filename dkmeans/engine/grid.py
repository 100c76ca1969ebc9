"""Exact sums of floats: the same bits in any order.

A value is rounded to a coarse grid and its remainder to a fine one. Both grids are powers of two,
fixed for the whole pass from the range of the data, so the rounding of a value depends on nothing
else. Multiples of one power of two add without rounding while they fit: in a float64 within a
block, in an int64 over all blocks. What is dropped is below ``2**-52`` of the largest value. The
idea is the pre-rounding of Demmel and Nguyen 2013 ("Fast reproducible floating-point summation").
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from dkmeans._typing import AnyArray, Floats, Ints

BITS = 26
MAX_BLOCK_ROWS = 2 ** (52 - BITS)  # sums of a block fit in a float64
MAX_ROWS = 2 ** (62 - BITS)  # sums of all blocks fit in an int64


class Grid(NamedTuple):
    """Grids of one pass. Adding and subtracting a magic number rounds to its grid."""

    origin: Floats  # (d,), taken from each row before it is added
    magics: Floats  # (d,), of weight * (x - origin)
    fines: Floats
    weight_magic: float
    weight_fine: float
    sq_magic: float  # of weight * squared distance
    sq_fine: float


def _magic(bound: float) -> float:
    """Magic number of the coarse grid for values up to ``bound`` in size."""
    exponent = math.frexp(bound)[1] if 0 < bound < math.inf else 0
    return 1.5 * 2.0 ** min(max(exponent - BITS + 52, -900), 1022)


def grid_for(low: Floats, high: Floats, heaviest: float, centers: Floats) -> Grid:
    """Grids for rows within [low, high], weights up to ``heaviest``, and these centers.

    Parameters
    ----------
    low, high : (d,) range of each feature.
    heaviest : the largest weight.
    centers : (k, d); squared distances to them are summed too.
    """
    middle = low / 2 + high / 2
    reach = np.maximum(high - low, np.spacing(np.abs(middle)))
    step = np.array([2.0 ** (math.frexp(r)[1] - 1) for r in reach])
    origin = np.round(middle / step) * step
    magics = np.array(
        [_magic(heaviest * max(b - o, o - a)) for a, b, o in zip(low, high, origin, strict=True)]
    )
    span = np.maximum(high, centers.max(axis=0)) - np.minimum(low, centers.min(axis=0))
    sq_magic = _magic(heaviest * float(np.dot(span, span)) * 1.01)
    weight_magic = _magic(heaviest)
    scale = 2.0**-BITS
    return Grid(
        origin,
        magics,
        magics * scale,
        weight_magic,
        weight_magic * scale,
        sq_magic,
        sq_magic * scale,
    )


def to_ints(sums: Floats, magic: Floats | float) -> Ints:
    """Sums of a block, (..., 2) coarse and fine, as whole multiples of their grids."""
    step = np.asarray(magic) / (1.5 * 2.0**52)
    parts = [sums[..., 0] / step, sums[..., 1] / (step * 2.0**-BITS)]
    whole: Ints = np.stack(parts, axis=-1).astype(np.int64)
    return whole


def to_floats(ints: AnyArray, magic: Floats | float) -> Floats:
    """The nearest float64 of sums in whole multiples, (..., 2)."""
    step = np.asarray(magic) / (1.5 * 2.0**52)
    value: Floats = ints[..., 0] * step + ints[..., 1] * (step * 2.0**-BITS)
    return value
