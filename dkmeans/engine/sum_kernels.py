"""Compiled functions that sum the assigned rows of one block; see ``kernels.py`` for the tiles.

Sums are exact, so no order of rows, blocks or threads changes a bit of them: see ``grid.py`` for
those of rows and ``exact.py`` for those of squared distances.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from dkmeans._typing import AnyArray, Floats, Ints
from dkmeans.engine.compiled import ALLOCATES, EITHER, ENTRY, INNER
from dkmeans.engine.grid import Grid
from dkmeans.engine.kernels import Scorer, assign_tile, scratch_for, sq_tile
from dkmeans.engine.margin_kernels import margin_tile
from dkmeans.engine.sampling import offer
from dkmeans.engine.vector_sum_kernels import add_rows
from dkmeans.engine.vectors import EIGHT

COPIED = 512  # sums of as many numbers have copies


@njit(**EITHER)
def add_exact(limbs, value):
    """Add a float64 to the exact sum ``limbs``; see ``exact.py``."""
    bits = np.float64(abs(value)).view(np.int64)
    sign = -1 if value < 0 else 1
    exponent = bits >> 52
    mantissa = bits & ((1 << 52) - 1)
    if exponent > 0:
        mantissa |= 1 << 52
        exponent -= 1
    at, shift = exponent >> 5, exponent & 31
    low = (mantissa & 0xFFFFFFFF) << shift
    high = (mantissa >> 32) << shift
    limbs[at] += sign * (low & 0xFFFFFFFF)
    limbs[at + 1] += sign * ((low >> 32) + (high & 0xFFFFFFFF))
    limbs[at + 2] += sign * (high >> 32)


@njit(**INNER)
def largest(values, m):
    """Largest of m numbers that are not negative: their bits order as they do, and vectorise."""
    top = np.int64(0)
    for i in range(m):
        top = max(top, np.float64(values[i]).view(np.int64))
    return np.int64(top).view(np.float64)


@njit(nogil=True, inline="always")
def add_exact_tile(limbs, values, m, top):
    """Add m numbers, none of them larger in size than ``top``, to an exact sum.

    They are first added on two grids of 40 bits each, as in ``grid.py``, which vectorises; where
    that loses a bit of any of them, one by one.
    """
    magic = 1.5 * 2.0 ** min(max(math.frexp(top)[1] + 12, -900), 1020)
    fine = magic * 2.0**-40
    coarse_sum = fine_sum = lost = 0
    for i in range(m):
        high = values[i] + magic
        rest = values[i] - (high - magic)
        low = rest + fine
        coarse_sum += np.float64(high).view(np.int64)
        fine_sum += np.float64(low).view(np.int64)
        lost += rest != low - fine
    if lost:
        for i in range(m):
            add_exact(limbs, values[i])
    else:
        coarse_sum -= m * np.float64(magic).view(np.int64)
        fine_sum -= m * np.float64(fine).view(np.int64)
        add_exact(limbs, coarse_sum * (magic / (1.5 * 2.0**52)))
        add_exact(limbs, fine_sum * (fine / (1.5 * 2.0**52)))


def _sum_table(sums: Ints) -> tuple[Ints, int]:
    """Where sums (k, 1, d) are added up, and in how many copies: rows of whole vectors.

    Few short rows have copies, since they are met again and again.
    """
    k, _, d = sums.shape
    if d % EIGHT == 0 and k * d > COPIED:
        return sums.reshape(k, d), 1
    copies = 4 if k * d <= COPIED else 1
    return np.zeros((copies * k, -(-d // EIGHT) * EIGHT), np.int64), copies


@njit(nogil=True, inline="always")
def _add_tile_levels(X, start, m, labels, weights, grid, rest, sums):
    """Add to ``sums`` (k, levels, d) the bits of the rows of a tile, rounded to their grids.

    ``rest`` (d,) holds what of a row is left for the finer ones.
    """
    weighted, origin, magics = weights.shape[0] > 0, grid.origin, grid.rows
    for i in range(m):
        j, w = labels[i], weights[start + i] if weighted else 1.0
        if j < 0:
            continue
        for f in range(X.shape[1]):
            rest[f] = (np.float64(X[start + i, f]) - origin[f]) * w
        for level in range(magics.shape[0]):
            for f in range(X.shape[1]):
                high = rest[f] + magics[level, f]
                rest[f] -= high - magics[level, f]
                sums[j, level, f] += np.float64(high).view(np.int64)


@njit(nogil=True, inline="always")
def _whole(rounded, magic):
    """The multiple of its grid that a number rounded by ``magic`` holds."""
    return np.float64(rounded).view(np.int64) - np.float64(magic).view(np.int64)


@njit(nogil=True, inline="always")
def _first_left_out(found, start, m, bad, labels):
    """Copy the labels of a tile if they are wanted; the first row of all that has none, or -1."""
    least = np.int32(0)
    for i in range(m):
        least = min(least, found[i])
    if least < 0 and bad < 0:
        for i in range(m - 1, -1, -1):
            if found[i] < 0:
                bad = start + i
    if labels.shape[0] > 0:
        for i in range(m):
            labels[start + i] = found[i]
    return bad


@njit(**INNER)
def count_tile(start, m, labels, weights, magics, masses, counts):
    """Add the rows of a tile to the sizes and weights of clusters; weight 0 loses its label."""
    weighted = weights.shape[0] > 0
    for i in range(m):
        j = labels[i]
        if j >= 0 and weighted:
            rest = weights[start + i]
            if rest <= 0.0:
                labels[i] = -1
                continue
            for level in range(magics.shape[0]):
                high = rest + magics[level]
                rest -= high - magics[level]
                masses[j, level] += np.float64(high).view(np.int64)
                masses[j, level] -= np.float64(magics[level]).view(np.int64)
        if j >= 0:
            counts[j] += 1


@njit(nogil=True, inline="always")
def _cost_tile(start, m, labels, weights, sq, parts, cost):
    """Add weight * squared distance of the rows of a tile to the exact sum ``cost``."""
    for i in range(m):
        weight = weights[start + i] if weights.shape[0] > 0 else 1.0
        parts[i] = weight * sq[i] if labels[i] >= 0 else 0.0
    add_exact_tile(cost, parts, m, largest(parts, m))


@njit(nogil=True, inline="always")
def _offer_tile(start, m, labels, sq, far_keys, far_rows, size):
    """Offer the rows of a tile to the heap of those farthest from their centers."""
    if size == far_keys.shape[0] and largest(sq, m) < -far_keys[0]:
        return size
    for i in range(m):
        if labels[i] >= 0 and (size < far_keys.shape[0] or -sq[i] <= far_keys[0]):
            size = offer(far_keys, far_rows, size, -sq[i], start + i)
    return size


def lloyd(
    X: AnyArray,
    weights: Floats,
    scorer: Scorer,
    grid: Grid,
    sums: Ints,
    masses: Ints,
    counts: Ints,
    inertia: Ints,
    far_keys: Floats,
    far_rows: Ints,
    labels: Ints,
    margins: Floats,
    reach: Floats,
    measure: bool,
) -> tuple[int, int]:
    """Assign the rows of X (n, d) and add them to their clusters, in one sweep.

    ``weights`` has one float64 a row, or none for unit weights. Written: ``sums`` (k, levels, d)
    of bits and ``masses`` (k, levels), both int64, ``counts`` (k,), the exact sum ``inertia``, the
    heap of farthest rows (``far_keys`` is minus the squared distance), and, where they have one
    entry a row, ``labels`` and ``margins``, with ``reach`` (k,) as in ``margin_tile``. Rows that
    are not finite and rows of weight 0 add nothing. Without ``measure`` the inertia and the heap
    are left alone, which spares the distances. Returns the size of the heap and the first row that
    is not finite, or -1.
    """
    (k, levels, d), scratch = sums.shape, scratch_for(X, scorer)
    plain = len(weights) == 0 and levels == 1
    table, copies = _sum_table(sums if plain else sums[:0])
    base = np.zeros(table.shape[1])
    base[:d] = grid.rows[0] - grid.origin  # exact: the origin is on a coarser grid
    found = _lloyd(
        X,
        weights,
        scorer,
        scratch,
        grid,
        (sums, masses, counts, inertia),
        (table, copies, base),
        (far_keys, far_rows),
        (labels, margins, reach),
        (plain, True, measure),
    )
    if plain and not np.shares_memory(table, sums):
        sums[:, 0] += table[:, :d].reshape(copies, k, d).sum(axis=0)
    return found


def reassign(X: AnyArray, scorer: Scorer, labels: Ints, margins: Floats, reach: Floats) -> None:
    """Write label and margin of each row of X (n, d); ``reach`` (k,) as in ``margin_tile``.

    By the function that sums them as well, so that no other has to be compiled.
    """
    scratch, rows = scratch_for(X, scorer), (labels, margins, reach)
    _lloyd(X, _FLOATS, scorer, scratch, *_NOTHING, rows, (False, False, False))


_FLOATS, _INTS = np.empty(0), np.empty(0, np.int64)
_NOTHING = (
    Grid(_FLOATS, _FLOATS.reshape(0, 0), _FLOATS),
    (_INTS.reshape(0, 0, 0), _INTS.reshape(0, 0), _INTS, _INTS),
    (_INTS.reshape(0, 0), 1, _FLOATS),
    (_FLOATS, _INTS),
)


@njit(**ENTRY)
def _lloyd(X, weights, scorer, scratch, grid, totals, plainly, farthest, rows, wanted):
    (plain, add, measure), (sums, masses, counts, inertia) = wanted, totals
    (table, copies, base), (far_keys, far_rows), (labels, margins, reach) = plainly, farthest, rows
    found, sq, step = scratch.labels, scratch.sq, scratch.sq.shape[0]
    size, bad = np.int64(0), np.int64(-1)
    for start in range(0, X.shape[0], step):
        m = min(step, X.shape[0] - start)
        assign_tile(X, start, m, scorer, scratch)
        if margins.shape[0] > 0:
            margin_tile(start, m, scorer, scratch, margins, reach)
        bad = _first_left_out(found, start, m, bad, labels)
        if add:
            count_tile(start, m, found, weights, grid.weights, masses, counts)
        if plain:
            add_rows(X, start, m, found, base, table, sums.shape[0], copies)
        elif add:
            _add_tile_levels(X, start, m, found, weights, grid, base, sums)
        if measure:
            sq_tile(X, start, m, scorer.exact, found, scratch.squares, sq)
            _cost_tile(start, m, found, weights, sq, scratch.costs, inertia)
            size = _offer_tile(start, m, found, sq, far_keys, far_rows, size)
    return size, bad


@njit(**ENTRY)
def move(X, weights, rows, old, labels, grid, sums, masses, counts):
    """Take ``rows`` of X from their ``old`` clusters and add them to those of ``labels``.

    Adds to ``sums`` (k, levels, d) and ``masses`` (k, levels), int64, and ``counts`` (k,). Each
    value is rounded as :func:`lloyd` rounds it: once, where there is one grid and no weight.
    """
    weighted, magics = weights.shape[0] > 0, grid.rows
    plain = not weighted and magics.shape[0] == 1
    for at in range(rows.shape[0]):
        row, a, b = rows[at], old[at], labels[rows[at]]
        weight = weights[row] if weighted else 1.0
        if weight <= 0.0:
            continue
        counts[a] -= 1
        counts[b] += 1
        for f in range(X.shape[1]):
            x, magic, origin = np.float64(X[row, f]), magics[0, f], grid.origin[f]
            rest = x + (magic - origin) - magic if plain else (x - origin) * weight
            for level in range(magics.shape[0]):
                high = rest + magics[level, f]
                rest -= high - magics[level, f]
                bits = _whole(high, magics[level, f])
                sums[a, level, f] -= bits
                sums[b, level, f] += bits
        rest = weight
        for level in range(grid.weights.shape[0] if weighted else 0):
            high = rest + grid.weights[level]
            rest -= high - grid.weights[level]
            bits = _whole(high, grid.weights[level])
            masses[a, level] -= bits
            masses[b, level] += bits


@njit(**(ENTRY | ALLOCATES))
def cost(X, weights, centers, labels, total):
    """Add weight * squared distance of the rows of X to their centers to the exact ``total``."""
    step = 256
    sq, parts, squares = np.empty(step), np.empty(step), np.empty(X.shape[1])
    for start in range(0, X.shape[0], step):
        m = min(step, X.shape[0] - start)
        found = labels[start : start + m]
        sq_tile(X, start, m, centers, found, squares, sq)
        _cost_tile(start, m, found, weights, sq, parts, total)
