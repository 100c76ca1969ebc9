"""Exact sums of rows: the same bits in any order.

A value is rounded to a grid, a power of two that is fixed for the whole fit by the survey, so the
rounding depends on nothing else. Whole multiples of the grid are then added as int64, which is
exact. Rounding is one addition: ``value + magic``, with ``magic = 1.5 * 2**52 * step``, has the
multiple in its last bits, so kernels add the bits of that float and take the magic's own off at
the end. The idea is the pre-rounding of Demmel and Nguyen 2013 ("Fast reproducible floating-point
summation").

One grid, of ``2**-36`` of the largest value, is enough for rows of up to 24 bits (float32, small
integers without weights) whose outliers are not extreme. Otherwise what remains is rounded to a
second grid, ``2**-28`` of the first, and so on. A sum is kept as one int64 a level, each worth
``2**28`` of the next.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from dkmeans._typing import AnyArray, Floats, Ints

LEVEL_BITS = 28
SINGLE_BITS = 36  # of the largest value, kept where one grid is enough
ROW_LEVELS = 10  # at most; two are enough but for extreme outliers
WEIGHT_LEVELS = 4
MAX_ROWS = 2 ** (62 - LEVEL_BITS)  # sums of more rows could overflow
MAX_BLOCK_ROWS = 2 ** (62 - SINGLE_BITS)
_MAGIC = 1.5 * 2.0**52  # of the grid whose step is 1


class Grid(NamedTuple):
    """Grids of a fit, as magic numbers, the coarsest first."""

    origin: Floats  # (d,), taken from each row before it is added
    rows: Floats  # (levels, d), for weight * (x - origin)
    weights: Floats  # (WEIGHT_LEVELS,)

    @property
    def step(self) -> Floats:
        """What the last level of sums of rows counts, (d,)."""
        step: Floats = self.rows[-1] / _MAGIC
        return step

    @property
    def weight_step(self) -> float:
        """What the last level of sums of weights counts."""
        return float(self.weights[-1] / _MAGIC)


def grid_for(
    low: Floats, high: Floats, sample: Floats, weights: tuple[float, float], *, short: bool
) -> Grid:
    """Grids for rows within [low, high] and weights within ``weights``.

    Parameters
    ----------
    low, high : (d,) range of each feature.
    sample : (m, d) rows drawn at random, which tell where most rows are.
    short : whether ``weight * x`` needs no more than 24 bits, or is not to have more.
    """
    middle = np.median(sample, axis=0)
    away = np.abs(sample - middle)
    reach = np.maximum(high - middle, middle - low)
    near = np.where(away > 0, away, np.inf).min(axis=0)
    typical = np.median(away, axis=0)
    typical = np.where(typical > 0, typical, np.where(np.isfinite(near), near, reach))
    step = _power(np.maximum(typical, np.spacing(np.abs(middle))))
    origin = np.round(middle / step) * step
    bounds = weights[1] * np.maximum(high - origin, origin - low)
    varied = typical > 0
    outliers = np.max(np.log2(reach[varied]) - np.log2(typical[varied]), initial=0.0)
    lightest, heaviest = weights
    outliers += math.log2(heaviest / lightest)
    single = short and outliers <= SINGLE_BITS - 26
    levels = 1 if single else min(ROW_LEVELS, 2 + int(outliers / LEVEL_BITS))
    bits = SINGLE_BITS if single else LEVEL_BITS
    of_weights = _magic(np.float64(heaviest), LEVEL_BITS)
    return Grid(origin, _finer(_magic(bounds, bits), levels), _finer(of_weights, WEIGHT_LEVELS))


def _power(values: Floats) -> Floats:
    """The powers of two at or below ``values``."""
    powers: Floats = np.ldexp(1.0, np.frexp(values)[1] - 1)
    return powers


def _magic(bounds: Any, bits: int) -> Any:
    """Magic numbers of the grids that keep ``bits`` bits of values up to ``bounds`` in size."""
    known = (bounds > 0) & (bounds < np.inf)
    exponents = np.where(known, np.frexp(np.where(known, bounds, 1.0))[1], 0)
    return np.ldexp(1.5, np.clip(exponents - bits + 52, -800, 1022))


def _finer(coarsest: Any, levels: int) -> Floats:
    return np.stack([coarsest * 2.0 ** (-LEVEL_BITS * level) for level in range(levels)])


def levels_of(bits: Ints, counts: Ints, grid: Grid) -> Ints:
    """Sums of rows (k, d, levels), from the kernels' sums of bits (k, levels, d).

    ``counts`` (k,) tells how many rows, and so how many times the magic's own bits, were added.
    """
    sums = (bits - counts[:, None, None] * grid.rows.view(np.int64)).transpose(0, 2, 1)
    if len(grid.rows) > 1:
        return np.ascontiguousarray(sums)
    levels = np.empty((*sums.shape[:2], 2), np.int64)
    np.right_shift(sums[..., 0], LEVEL_BITS, out=levels[..., 0])
    np.bitwise_and(sums[..., 0], 2**LEVEL_BITS - 1, out=levels[..., 1])
    return levels


def total_of(sums: Ints) -> Ints:
    """The sum of all clusters (d, levels), each level but the first within its bits."""
    total: Ints = sums.sum(axis=0)
    for level in range(total.shape[-1] - 1, 0, -1):
        total[..., level - 1] += total[..., level] >> LEVEL_BITS
        total[..., level] &= 2**LEVEL_BITS - 1
    return total


def _to_floats(levels: AnyArray, finest: Any) -> Floats:
    """The float64 nearest to sums (..., levels) whose last level counts multiples of ``finest``."""
    levels, half = levels.copy(), 2 ** (LEVEL_BITS - 1)  # no level cancels a coarser one
    for level in range(levels.shape[-1] - 1, 0, -1):
        rounded = levels[..., level] + half
        levels[..., level - 1] += rounded >> LEVEL_BITS
        levels[..., level] = (rounded & (2**LEVEL_BITS - 1)) - half
    total: Floats = np.zeros(levels.shape[:-1])
    for level in range(levels.shape[-1] - 1, -1, -1):
        step = finest * 2.0 ** (LEVEL_BITS * (levels.shape[-1] - 1 - level))
        total = total + levels[..., level] * step
    return total


def sums_to_floats(sums: Ints, grid: Grid) -> Floats:
    """Sums of rows (k, d), relative to the origin, from their levels (k, d, levels)."""
    return _to_floats(sums, grid.step)


def weights_to_floats(masses: Ints, grid: Grid) -> Floats:
    """Sums of weights (k,), from their levels (k, WEIGHT_LEVELS)."""
    return _to_floats(masses, grid.weight_step)
