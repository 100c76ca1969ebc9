"""Compiled functions that add up the values of features, and scale rows by them."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from dkmeans.engine.compiled import ALLOCATES, ENTRY, INNER
from dkmeans.engine.doubled_kernels import two_product
from dkmeans.engine.sum_kernels import add_exact, add_exact_tile, largest

TILE = 1024  # rows whose squares are formed at once
TOO_LARGE = 1e290  # for a weight, a square or their product, of which the rounding is found


@njit(**INNER)
def _refused(x, w):
    """Whether a value is infinite, or too large for its square to be weighted; NaN is neither."""
    return x == x and not max(1.0, w) * max(1.0, x * x) < TOO_LARGE


@njit(**INNER)
def _add_plain(column, m, high, low, sums):
    """Add m values, none of them NaN, each with the weight 1, to ``sums`` (3, LIMBS)."""
    split = False
    for i in range(m):
        high[i], low[i] = two_product(column[i], column[i])
        split |= low[i] != 0
    top = largest(high, m)
    add_exact_tile(sums[1], column, m, 2 * math.sqrt(top))
    add_exact_tile(sums[2], high, m, top)
    if split:
        add_exact_tile(sums[2], low, m, top * 2.0**-52)


@njit(**INNER)
def _add_weighted(x, w, sums):
    """Add one value with its weight to ``sums`` (3, LIMBS)."""
    once, once1 = two_product(w, x)
    square, square1 = two_product(x, x)
    high, high1 = two_product(w, square)
    low, low1 = two_product(w, square1)
    add_exact(sums[0], w)
    add_exact(sums[1], once)
    add_exact(sums[1], once1)
    for term in (high, high1, low, low1):
        add_exact(sums[2], term)


@njit(**(ENTRY | ALLOCATES))
def add_sums(X, weights, sums):
    """Add ``w``, ``w x`` and ``w x^2`` of each feature to the exact sums ``sums`` (d, 3, LIMBS).

    NaN is left out, as is what has no weight. Weights are (rows,), or (0,) if all are 1.

    Returns
    -------
    row, column : the first value that is infinite or too large to be squared; -1 if none is.
    """
    n, d = X.shape
    weighted = weights.shape[0] > 0
    column, high, low = np.empty(TILE), np.empty(TILE), np.empty(TILE)
    for start in range(0, n, TILE):
        end = min(n, start + TILE)
        for i in range(start, end):
            for f in range(d):
                if _refused(np.float64(X[i, f]), weights[i] if weighted else 1.0):
                    return i, f
        for f in range(d):
            m = 0
            for i in range(start, end):
                x = np.float64(X[i, f])
                if x == x and weighted:
                    _add_weighted(x, weights[i], sums[f])
                elif x == x:
                    column[m] = x
                    m += 1
            if m > 0:
                add_exact(sums[f, 0], np.float64(m))
                _add_plain(column, m, high, low, sums[f])
    return -1, -1


@njit(**ENTRY)
def standardize(X, mean, scale):
    """Replace each row of X, float32 or float64, by ``(x - mean) / scale`` in float64."""
    for i in range(X.shape[0]):
        for f in range(X.shape[1]):
            X[i, f] = (np.float64(X[i, f]) - mean[f]) / scale[f]


@njit(**ENTRY)
def restore(X, mean, scale):
    """Replace each row of X, float32 or float64, by ``x * scale + mean`` in float64."""
    for i in range(X.shape[0]):
        for f in range(X.shape[1]):
            X[i, f] = np.float64(X[i, f]) * scale[f] + mean[f]
