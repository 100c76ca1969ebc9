"""Compiled functions on numbers kept as unevaluated sums of two float64 (Dekker 1971)."""

from __future__ import annotations

import numpy as np
from numba import njit

from dkmeans.engine.compiled import ENTRY, INNER
from dkmeans.engine.grid import LEVEL_BITS
from dkmeans.engine.sum_kernels import add_exact

_SPLIT = 2.0**27 + 1
_LEVEL = 2.0**LEVEL_BITS


@njit(**INNER)
def _two_sum(a, b):
    """``a + b``, exactly, as a sum of two."""
    high = a + b
    of_b = high - a
    return high, (a - (high - of_b)) + (b - of_b)


@njit(**INNER)
def two_product(a, b):
    """``a * b``, exactly, as a sum of two."""
    high = a * b
    shifted = _SPLIT * a
    a0 = shifted - (shifted - a)
    shifted = _SPLIT * b
    b0 = shifted - (shifted - b)
    a1, b1 = a - a0, b - b0
    return high, ((a0 * b0 - high) + a0 * b1 + a1 * b0) + a1 * b1


@njit(**INNER)
def _add(a, a1, b, b1):
    """Sum of two such numbers."""
    high, low = _two_sum(a, b)
    more, rest = _two_sum(a1, b1)
    high, low = _two_sum(high, low + more)
    return _two_sum(high, low + rest)


@njit(**INNER)
def _multiply(a, a1, b, b1):
    """Product of two such numbers."""
    high, low = two_product(a, b)
    return _two_sum(high, low + (a * b1 + a1 * b))


@njit(**INNER)
def _from_levels(levels, at, finest):
    """The sum ``levels[at]``, whose last level counts multiples of ``finest``; see ``grid.py``."""
    high, low, step = 0.0, 0.0, finest
    for level in range(levels.shape[1] - 1, -1, -1):
        whole = levels[at, level]
        high, low = _add(high, low, np.float64(whole & 0xFFFFFFFF) * step, 0.0)
        high, low = _add(high, low, np.float64(whole >> 32) * 2.0**32 * step, 0.0)
        step *= _LEVEL
    return high, low


@njit(**ENTRY)
def add_own(sums, finest, masses, finest_mass, counts, centers, origin, total):
    """Add to the exact sum ``total`` what of the inertia depends on the assignment.

    That is ``m c^2 - 2 c S`` of each cluster and feature, with the sums S (k * d, levels), the mass
    m, from ``masses`` (k, levels) or, where these have no levels, ``counts`` (k,), and the center
    c relative to ``origin`` (d,).
    """
    d = centers.shape[1]
    for j in range(centers.shape[0]):
        mass, mass1 = np.float64(counts[j]), 0.0
        if masses.shape[1] > 0:
            mass, mass1 = _from_levels(masses, j, finest_mass)
        for f in range(d):
            at, at1 = _two_sum(centers[j, f], -origin[f])
            moment, moment1 = _multiply(mass, mass1, at, at1)
            sum_, sum1 = _from_levels(sums, j * d + f, finest[f])
            value, value1 = _add(moment, moment1, -2.0 * sum_, -2.0 * sum1)
            value, value1 = _multiply(value, value1, at, at1)
            add_exact(total, value)
            add_exact(total, value1)


@njit(**ENTRY)
def add_moments(X, labels, totals):
    """Add the rows of X (n, d), and their squares where there is room, to those of their label.

    ``totals`` is (powers, k, d, 2): one power for rows alone, two for squares as well. Rows of the
    label -1 add nothing.
    """
    for i in range(X.shape[0]):
        j = labels[i]
        if j < 0:
            continue
        for f in range(X.shape[1]):
            value, value1 = np.float64(X[i, f]), 0.0
            for power in range(totals.shape[0]):
                if power > 0:
                    value, value1 = two_product(value, value)
                at = totals[power, j, f]
                at[0], at[1] = _add(at[0], at[1], value, value1)


@njit(**ENTRY)
def add_totals(totals, at, others):
    """Add ``others`` (powers, m, d, 2) to ``totals[:, at]``, where ``at`` is (m,)."""
    for power in range(others.shape[0]):
        for j in range(others.shape[1]):
            for f in range(others.shape[2]):
                to, more = totals[power, at[j], f], others[power, j, f]
                to[0], to[1] = _add(to[0], to[1], more[0], more[1])


@njit(**ENTRY)
def variances(totals, counts, out):
    """Write to ``out`` (k, d) the variance from the sums of rows and squares, ``totals``.

    That is ``(n * sum(x^2) - sum(x)^2) / n^2``; the digits that cancel are beyond those of float64.
    """
    for j in range(out.shape[0]):
        n = np.float64(counts[j])
        for f in range(out.shape[1]):
            sum_, squares = totals[0, j, f], totals[1, j, f]
            mine, mine1 = _multiply(sum_[0], sum_[1], sum_[0], sum_[1])
            all_, all1 = _multiply(squares[0], squares[1], n, 0.0)
            out[j, f] = max(0.0, _add(all_, all1, -mine, -mine1)[0]) / (n * n) if n > 0 else np.nan
