"""Compiled functions for Lloyd's algorithm on counts of all colours, box after box.

Counts are in the order of Morton codes (see ``count_kernels``), in which the colours of a *box*, a
cube of 4, 8, 16 or 32 values of each byte, follow each other: those of box b begin at b times their
number, and its eight halves are the boxes 8 * b to 8 * b + 7 of the next level. Centers that are
nearest to no colour of a box are left out for the boxes in it; where one is left, it gets the box
whole (the filtering algorithm of Kanungo et al. 2002, "An efficient k-means clustering algorithm").
Sums are of integers, so they do not depend on the order.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from dkmeans.engine.compiled import ALLOCATES, ENTRY, INNER

LEVELS = 4  # of boxes: 32, 16, 8 and 4 values wide
COARSEST = 8**3  # boxes of the first level
CELL = 4**3  # colours of a box of the last one
_WIDEST, _NARROWEST = 32, 4
_SLACK = 1e-6  # by which a center must be farther to be left out: far above errors of rounding
_OFFSETS = np.array(
    [[(i >> (5 - f) & 1) << 1 | i >> (2 - f) & 1 for i in range(CELL)] for f in range(3)]
)  # of the colours of a cell from its corner
_AWAY = _OFFSETS.astype(np.float64)


@njit(**ENTRY)
def tabulate(dense, masses, sums):
    """Add up the counts ``dense`` (256**3,) of each cell, and as many times its colours.

    They are written to ``masses`` (m,) and ``sums`` (m, 3) int64. Returns the sum of the squares of
    all colours.
    """
    square = 0
    for cell in range(masses.shape[0]):
        mass, first, second, third, inner = 0, 0, 0, 0, 0
        for i in range(CELL):
            n = np.int64(dense[cell * CELL + i])
            a, b, c = _OFFSETS[0, i], _OFFSETS[1, i], _OFFSETS[2, i]
            mass += n
            first += n * a
            second += n * b
            third += n * c
            inner += n * (a * a + b * b + c * c)
        x, y, z = _corner(cell)
        masses[cell] = mass
        sums[cell, 0] = first + mass * x
        sums[cell, 1] = second + mass * y
        sums[cell, 2] = third + mass * z
        square += inner + 2 * (first * x + second * y + third * z)
        square += mass * (x * x + y * y + z * z)
    return square


@njit(**INNER)
def _corner(cell):
    """The lowest colour of a cell."""
    x, y, z = 0, 0, 0
    for bit in range(6):
        x |= (cell >> (3 * bit + 2) & 1) << (bit + 2)
        y |= (cell >> (3 * bit + 1) & 1) << (bit + 2)
        z |= (cell >> (3 * bit) & 1) << (bit + 2)
    return x, y, z


@njit(**INNER)
def _filter(corner, width, centers, given, many, kept):
    """Write to ``kept`` those of ``many`` centers ``given`` that are nearest to a colour of a box.

    Returns how many these are. A center is left out if another is nearer to all colours, that is,
    to the corner of the box that is the most on its side; so there may be others among them.
    """
    best, nearest = np.inf, 0
    half = (width - 1) / 2
    for t in range(many):
        away = 0.0
        for f in range(3):
            away += (corner[f] + half - centers[given[t], f]) ** 2
        if away < best:
            best, nearest = away, given[t]
    n = 0
    for t in range(many):
        farther = 0.0
        for f in range(3):
            there, here = centers[given[t], f], centers[nearest, f]
            at = corner[f] + (width - 1 if there > here else 0)
            farther += (there - here) * (there + here - 2 * at)
        if farther <= _SLACK:
            kept[n] = given[t]
            n += 1
    return n


@njit(**INNER)
def _nearest(corner, centers, given, many, best, labels):
    """Write which of ``many`` centers ``given`` is nearest to each colour; the first of equals."""
    best[:] = np.inf
    x, y, z = float(corner[0]), float(corner[1]), float(corner[2])
    for t in range(many):
        c = np.int64(given[t])
        first, second, third = centers[c, 0], centers[c, 1], centers[c, 2]
        for i in range(CELL):
            away = (x + _AWAY[0, i] - first) ** 2
            away += (y + _AWAY[1, i] - second) ** 2
            away += (z + _AWAY[2, i] - third) ** 2
            nearer = away < best[i]
            best[i] = away if nearer else best[i]
            labels[i] = c if nearer else labels[i]


@njit(**(ENTRY | ALLOCATES))
def assign(first, step, centers, dense, masses, sums, found, own, labels):
    """Give the colours of boxes ``first``, ``first + step`` ... of all to their nearest centers.

    ``masses`` and ``sums`` have those of the boxes of each level, and ``found`` (k,) int64 and
    ``own`` (k, 3) int64 are added to. Where ``labels`` (256**3,) is not empty, it gets the center
    of each colour, in the order of ``dense``; of colours without a count it may be any.
    """
    k = centers.shape[0]
    kept, many = np.empty((LEVELS + 1, k), np.int32), np.empty(LEVELS + 1, np.int64)
    kept[0], many[0] = np.arange(k), k
    boxes, levels, top = np.empty(8 * LEVELS + 1, np.int64), np.empty(8 * LEVELS + 1, np.int64), 0
    best, nearest = np.empty(CELL), np.empty(CELL, np.int64)
    for coarse in range(first, COARSEST, step):
        boxes[0], levels[0], top = coarse, 0, 1
        while top > 0:
            top -= 1
            box, level = boxes[top], levels[top]
            if masses[level][box] == 0:
                continue
            size = CELL << 3 * (LEVELS - 1 - level)
            corner = _corner(box * size // CELL)
            n = _filter(
                corner, _WIDEST >> level, centers, kept[level], many[level], kept[level + 1]
            )
            many[level + 1] = n
            if n == 1:
                c = kept[level + 1, 0]
                found[c] += masses[level][box]
                for f in range(3):
                    own[c, f] += sums[level][box, f]
                if labels.shape[0]:
                    labels[box * size : (box + 1) * size] = c
            elif level < LEVELS - 1:
                for half in range(8):
                    boxes[top], levels[top] = 8 * box + half, level + 1
                    top += 1
            else:
                _nearest(corner, centers, kept[LEVELS], n, best, nearest)
                _add(box, corner, dense, nearest, found, own)
                if labels.shape[0]:
                    labels[box * CELL : (box + 1) * CELL] = nearest


@njit(**INNER)
def _add(cell, corner, dense, nearest, found, own):
    """Add the colours of a cell to those of their centers."""
    for i in range(CELL):
        n = np.int64(dense[cell * CELL + i])
        if n:
            c = nearest[i]
            found[c] += n
            for f in range(3):
                own[c, f] += n * (corner[f] + _OFFSETS[f, i])
