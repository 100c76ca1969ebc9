"""Compiled functions that measure how the labelled rows of one block lie about their centers."""

from __future__ import annotations

import numpy as np
from numba import njit

from dkmeans.engine.compiled import ALLOCATES, ENTRY
from dkmeans.engine.kernels import sq_tile
from dkmeans.engine.sampling import offer
from dkmeans.engine.sum_kernels import add_exact

_ROWS = 256  # measured at once


@njit(**(ENTRY | ALLOCATES))
def add_distances(X, centers, labels, distances, squares):
    """Add the distance of each row of X to the center of its label, and its square.

    ``distances`` and ``squares`` (k, LIMBS) are exact sums, one a label; -1 adds nothing.
    """
    sq, row = np.empty(_ROWS), np.empty(X.shape[1])
    for start in range(0, X.shape[0], _ROWS):
        m = min(_ROWS, X.shape[0] - start)
        found = labels[start : start + m]
        sq_tile(X, start, m, centers, found, row, sq)
        for i in range(m):
            if found[i] >= 0:
                add_exact(distances[found[i]], np.sqrt(sq[i]))
                add_exact(squares[found[i]], sq[i])


@njit(**ENTRY)
def add_silhouettes(distances, labels, sums):
    """Add the simplified silhouette of each row to the exact sum (k, LIMBS) of its label.

    That is ``(b - a) / max(a, b)``, where ``distances`` (n, k) has a, to the center of the label,
    and b, to the nearest other center; 0 where both are 0. The label -1 adds nothing.
    """
    for i in range(distances.shape[0]):
        own = labels[i]
        if own < 0:
            continue
        a, b = distances[i, own], np.inf
        for j in range(distances.shape[1]):
            if j != own:
                b = min(b, distances[i, j])
        if max(a, b) > 0:
            add_exact(sums[own], (b - a) / max(a, b))


@njit(**(ENTRY | ALLOCATES))
def nearest_rows(X, centers, labels, keys, rows):
    """Keep the rows of X nearest to the center of their label, by squared distance.

    Each label has a heap, a line of ``keys`` and ``rows`` (k, most), which are written. Returns how
    many each holds, (k,).
    """
    sizes = np.zeros(keys.shape[0], np.int64)
    sq, row = np.empty(_ROWS), np.empty(X.shape[1])
    for start in range(0, X.shape[0], _ROWS):
        m = min(_ROWS, X.shape[0] - start)
        found = labels[start : start + m]
        sq_tile(X, start, m, centers, found, row, sq)
        for i in range(m):
            j = found[i]
            if j >= 0:
                sizes[j] = offer(keys[j], rows[j], sizes[j], sq[i], start + i)
    return sizes


@njit(**ENTRY)
def count_pairs(ours, theirs, counts):
    """Count the rows of each pair of labels in ``counts`` (k, m); rows without one are left out."""
    for i in range(ours.shape[0]):
        if ours[i] >= 0 and theirs[i] >= 0:
            counts[ours[i], theirs[i]] += 1
