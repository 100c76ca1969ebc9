"""Compiled functions over the rows of one block: ndarrays in, ndarrays out.

Every kernel goes over the block in tiles of ``TILE`` rows. A tile is assigned in two steps:

1. *Score in float32.* ``|c|^2 / 2 - x.c`` orders the centers as the distance does. Rows and centers
   are first moved by ``shift`` (the mean of the centers) and multiplied by ``scale`` (a power of
   two), so that data far from the origin, or in any unit, keep their digits. Up to ``NARROW``
   features the products are formed 4 centers x 4 features at a time over a transposed tile;
   above, by BLAS on a tile that stays in cache.
2. *Decide in float64 where float32 cannot.* A bound on the rounding of step 1 tells whether the
   second-best center could be the nearest. Those rows, few of them, are decided by the direct
   formula ``sum((x - c)^2)`` in float64, the lowest index on ties. Labels are thus those of the
   direct formula, whatever the processor, the BLAS, or the row's place in the block.

Sums are exact, so no order of rows, blocks or threads changes a bit of them: see ``grid.py``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from dkmeans._typing import Floats
from dkmeans.engine.sampling import offer

TILE = 256
NARROW = 12
PANEL = 256  # centers scored by one BLAS call: PANEL x TILE scores stay in the second-level cache
_EPS = 2.0**-24
_HUGE = np.float32(3e38)

_SCORE = {"contract", "nnan", "ninf", "nsz"}


class Scorer(NamedTuple):
    """Centers prepared for the two steps; see :func:`prepare`."""

    exact: Floats  # (k, d) float64, for the direct formula
    packed: Floats  # (k/4, d/4, 4, 4) float32, minus the centers, for narrow rows
    rows: Floats  # (k, d) float32, minus the centers, for BLAS
    const: Floats  # (k,) float32, half the squared norms, less their share of the error
    slack: Floats  # (k,) float32, the error that a center of this norm can add
    shift: Floats  # (d,) float64
    scale: float
    gamma: np.float32  # rounding error of a score, relative to |x|^2 + |c|^2


def prepare(centers: Floats) -> Scorer:
    """Pack centers of shape (k, d) for the assignment kernels.

    With ``g = gamma``, the float32 score of center ``c`` is within ``g (|x| |c| + |c|^2 / 2)``
    of the true one, and so within ``g (|x|^2 / 2 + |c|^2)``. The part that depends on ``c`` alone
    is folded into ``const``, which makes each score a lower bound but for ``g |x|^2 / 2``.
    """
    exact = np.ascontiguousarray(centers, dtype=np.float64)
    k, d = exact.shape
    shift = exact.mean(axis=0)
    moved = exact - shift
    reach = float(np.abs(moved).max())
    scale = 2.0 ** -math.frexp(reach)[1] if 0 < reach < math.inf else 1.0
    moved32 = (moved * scale).astype(np.float32)
    sq_norms = np.einsum("ij,ij->i", moved * scale, moved * scale)
    gamma = (d + 8) * _EPS * 1.01
    padded_k, padded_d = -(-k // 4) * 4, -(-d // 4) * 4
    const = np.full(padded_k, _HUGE, dtype=np.float32)
    const[:k] = sq_norms * (0.5 - gamma)
    slack = np.zeros(padded_k, dtype=np.float32)
    slack[:k] = sq_norms * (2.02 * gamma) + 1e-30
    if d <= NARROW:
        full = np.zeros((padded_k, padded_d), dtype=np.float32)
        full[:k, :d] = -moved32
        packed = full.reshape(padded_k // 4, 4, padded_d // 4, 4).transpose(0, 2, 3, 1)
        rows = np.zeros((0, 0), dtype=np.float32)
    else:
        packed = np.zeros((0, 0, 4, 4), dtype=np.float32)
        rows = np.zeros((padded_k, d), dtype=np.float32)
        rows[:k] = -moved32
    return Scorer(
        exact, np.ascontiguousarray(packed), rows, const, slack, shift, scale, np.float32(gamma)
    )


@njit(cache=True, nogil=True, fastmath={"contract"})
def _load_narrow(X, start, m, shift, scale, tile, norms):
    """Write rows start .. start+m of X, moved and scaled, to ``tile`` (d, TILE)."""
    for i in range(TILE):
        norms[i] = np.float32(0)
    for f in range(X.shape[1]):
        column, move = tile[f], shift[f]
        for i in range(m):
            column[i] = np.float32((np.float64(X[start + i, f]) - move) * scale)
        for i in range(TILE):
            norms[i] += column[i] * column[i]


@njit(cache=True, nogil=True)
def _load_wide(X, start, m, shift, scale, tile, norms):
    """Write rows start .. start+m of X, moved and scaled, to ``tile`` (TILE, d)."""
    d = X.shape[1]
    for i in range(m):
        row = tile[i]
        for f in range(d):
            row[f] = np.float32((np.float64(X[start + i, f]) - shift[f]) * scale)
    _sq_norms(tile, m, norms)


@njit(cache=True, nogil=True, fastmath={"contract", "reassoc"})
def _sq_norms(tile, m, norms):
    for i in range(m):
        total = np.float32(0)
        for f in range(tile.shape[1]):
            total += tile[i, f] * tile[i, f]
        norms[i] = total


@njit(cache=True, nogil=True, fastmath=_SCORE)
def _reset(best, second, labels):
    for i in range(TILE):
        best[i] = _HUGE
        second[i] = _HUGE
        labels[i] = 0


@njit(cache=True, nogil=True, fastmath=_SCORE)
def _keep_two(s0, s1, s2, s3, k0, k1, k2, k3, first, best, second, labels):
    """Merge the scores of four centers, the lowest index first, into the two best a row."""
    j0 = np.int32(first)
    j1, j2, j3 = np.int32(first + 1), np.int32(first + 2), np.int32(first + 3)
    for i in range(TILE):
        a0, a1, a2, a3 = s0[i] + k0, s1[i] + k1, s2[i] + k2, s3[i] + k3
        b, s, j = best[i], second[i], labels[i]
        s = min(s, max(b, a0))
        j = j0 if a0 < b else j
        b = min(b, a0)
        s = min(s, max(b, a1))
        j = j1 if a1 < b else j
        b = min(b, a1)
        s = min(s, max(b, a2))
        j = j2 if a2 < b else j
        b = min(b, a2)
        s = min(s, max(b, a3))
        j = j3 if a3 < b else j
        b = min(b, a3)
        best[i] = b
        second[i] = s
        labels[i] = j


@njit(cache=True, nogil=True, fastmath=_SCORE)
def _score_narrow(tile, packed, const, scores, best, second, labels):
    """Two best scores of each column of ``tile`` (d, TILE), 4 centers x 4 features at a time."""
    s0, s1, s2, s3 = scores[0], scores[1], scores[2], scores[3]
    for b in range(packed.shape[0]):
        for g in range(packed.shape[1]):
            c = packed[b, g]
            c00, c01, c02, c03 = c[0, 0], c[0, 1], c[0, 2], c[0, 3]
            c10, c11, c12, c13 = c[1, 0], c[1, 1], c[1, 2], c[1, 3]
            c20, c21, c22, c23 = c[2, 0], c[2, 1], c[2, 2], c[2, 3]
            c30, c31, c32, c33 = c[3, 0], c[3, 1], c[3, 2], c[3, 3]
            x0, x1, x2, x3 = tile[4 * g], tile[4 * g + 1], tile[4 * g + 2], tile[4 * g + 3]
            if g == 0:
                for i in range(TILE):
                    s0[i] = x0[i] * c00 + x1[i] * c10 + x2[i] * c20 + x3[i] * c30
                    s1[i] = x0[i] * c01 + x1[i] * c11 + x2[i] * c21 + x3[i] * c31
                    s2[i] = x0[i] * c02 + x1[i] * c12 + x2[i] * c22 + x3[i] * c32
                    s3[i] = x0[i] * c03 + x1[i] * c13 + x2[i] * c23 + x3[i] * c33
            else:
                for i in range(TILE):
                    s0[i] = s0[i] + x0[i] * c00 + x1[i] * c10 + x2[i] * c20 + x3[i] * c30
                    s1[i] = s1[i] + x0[i] * c01 + x1[i] * c11 + x2[i] * c21 + x3[i] * c31
                    s2[i] = s2[i] + x0[i] * c02 + x1[i] * c12 + x2[i] * c22 + x3[i] * c32
                    s3[i] = s3[i] + x0[i] * c03 + x1[i] * c13 + x2[i] * c23 + x3[i] * c33
        j = 4 * b
        k0, k1, k2, k3 = const[j], const[j + 1], const[j + 2], const[j + 3]
        _keep_two(s0, s1, s2, s3, k0, k1, k2, k3, j, best, second, labels)


@njit(cache=True, nogil=True)
def _score_wide(tile, rows, const, scores, best, second, labels):
    """Two best scores of each row of ``tile`` (TILE, d), a panel of centers a BLAS call."""
    for first in range(0, rows.shape[0], PANEL):
        count = min(PANEL, rows.shape[0] - first)
        panel = scores[:count]
        np.dot(rows[first : first + count], tile.T, panel)
        for b in range(0, count, 4):
            j = first + b
            k0, k1, k2, k3 = const[j], const[j + 1], const[j + 2], const[j + 3]
            s0, s1, s2, s3 = panel[b], panel[b + 1], panel[b + 2], panel[b + 3]
            _keep_two(s0, s1, s2, s3, k0, k1, k2, k3, j, best, second, labels)


@njit(cache=True, nogil=True)
def _nearest_exact(x, centers, guess):
    """Nearest center to ``x`` by the direct formula in float64, or -1 if x is not finite."""
    d = x.shape[0]
    for f in range(d):
        if not np.isfinite(x[f]):
            return -1
    label, least = -1, np.inf
    for step in range(-1, centers.shape[0]):
        j = guess if step < 0 else step
        total = 0.0
        f = 0
        while f < d and total <= least:
            for g in range(f, min(f + 16, d)):
                diff = np.float64(x[g]) - centers[j, g]
                total += diff * diff
            f += 16
        if total < least or (total == least and j < label) or label < 0:
            label, least = j, total
    return label


@njit(cache=True, nogil=True)
def tile_buffers(scorer, d):
    """Scratch of a block's tiles: tile, norms, scores, best, second, labels."""
    if d <= NARROW:
        tile = np.zeros((scorer.packed.shape[1] * 4, TILE), np.float32)
        scores = np.empty((4, TILE), np.float32)
    else:
        tile = np.zeros((TILE, d), np.float32)
        scores = np.empty((min(PANEL, scorer.rows.shape[0]), TILE), np.float32)
    return (
        tile,
        np.zeros(TILE, np.float32),
        scores,
        np.empty(TILE, np.float32),
        np.empty(TILE, np.float32),
        np.empty(TILE, np.int32),
    )


@njit(cache=True, nogil=True)
def assign_tile(X, start, m, scorer, buffers):
    """Write to the labels buffer the nearest center of each of m rows; -1 if not finite."""
    tile, norms, scores, best, second, labels = buffers
    d = X.shape[1]
    _reset(best, second, labels)
    if d <= NARROW:
        _load_narrow(X, start, m, scorer.shift, scorer.scale, tile, norms)
        _score_narrow(tile, scorer.packed, scorer.const, scores, best, second, labels)
    else:
        _load_wide(X, start, m, scorer.shift, scorer.scale, tile, norms)
        _score_wide(tile, scorer.rows, scorer.const, scores, best, second, labels)
    for i in range(m):
        margin = second[i] - best[i]
        clear = margin > scorer.slack[labels[i]] + np.float32(1.02) * scorer.gamma * norms[i]
        if not (clear and norms[i] < _HUGE):  # NaN and overflow fail both comparisons
            labels[i] = _nearest_exact(X[start + i], scorer.exact, labels[i])
    return labels


@njit(cache=True, nogil=True)
def sq_distance(x, c):
    """Direct squared distance in float64; eight sums in a fixed order, so that they vectorise."""
    d = x.shape[0]
    whole = d - d % 8
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    for f in range(0, whole, 8):
        d0 = np.float64(x[f]) - c[f]
        d1 = np.float64(x[f + 1]) - c[f + 1]
        d2 = np.float64(x[f + 2]) - c[f + 2]
        d3 = np.float64(x[f + 3]) - c[f + 3]
        d4 = np.float64(x[f + 4]) - c[f + 4]
        d5 = np.float64(x[f + 5]) - c[f + 5]
        d6 = np.float64(x[f + 6]) - c[f + 6]
        d7 = np.float64(x[f + 7]) - c[f + 7]
        s0 += d0 * d0
        s1 += d1 * d1
        s2 += d2 * d2
        s3 += d3 * d3
        s4 += d4 * d4
        s5 += d5 * d5
        s6 += d6 * d6
        s7 += d7 * d7
    total = ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))
    for f in range(whole, d):
        diff = np.float64(x[f]) - c[f]
        total += diff * diff
    return total


@njit(cache=True, nogil=True)
def split(value, magic, fine):
    """Round ``value`` to two multiples, of a coarse and a fine power of two; see ``grid.py``."""
    high = (value + magic) - magic
    low = ((value - high) + fine) - fine
    return high, low


@njit(cache=True, nogil=True)
def _add_row(x, weight, origin, magics, fines, high, low):
    """Add ``weight * (x - origin)``, rounded to the grid, to a cluster's two sums."""
    for f in range(x.shape[0]):
        value = (np.float64(x[f]) - origin[f]) * weight
        h = (value + magics[f]) - magics[f]
        high[f] += h
        low[f] += ((value - h) + fines[f]) - fines[f]


@njit(cache=True, nogil=True)
def assign(X, scorer, labels):
    """Write the label of each row of X (n, d) to ``labels`` (n,) int32; -1 where not finite."""
    buffers = tile_buffers(scorer, X.shape[1])
    for start in range(0, X.shape[0], TILE):
        m = min(TILE, X.shape[0] - start)
        found = assign_tile(X, start, m, scorer, buffers)
        for i in range(m):
            labels[start + i] = found[i]


@njit(cache=True, nogil=True)
def lloyd(X, weights, scorer, grid, sums, masses, counts, far_keys, far_rows, labels):
    """Assign the rows of X (n, d) and add them to their clusters, in one sweep.

    ``weights`` has one float64 a row, or none for unit weights. Written: ``sums`` (k, 2, d),
    ``masses`` (k, 2), ``counts`` (k,), the heap of farthest rows (``far_keys`` is minus the
    squared distance), and ``labels`` where it has one entry a row. Rows that are not finite and
    rows of weight 0 add nothing. Returns the two sums of the inertia, the size of the heap and
    the first row that is not finite, or -1.
    """
    buffers = tile_buffers(scorer, X.shape[1])
    weighted, wanted = weights.shape[0] > 0, labels.shape[0] > 0
    inertia_high = inertia_low = 0.0
    size, bad = 0, -1
    for start in range(0, X.shape[0], TILE):
        m = min(TILE, X.shape[0] - start)
        found = assign_tile(X, start, m, scorer, buffers)
        for i in range(m):
            j, row = found[i], start + i
            if wanted:
                labels[row] = j
            if j < 0:
                bad = row if bad < 0 else bad
                continue
            weight = weights[row] if weighted else 1.0
            if weight == 0.0:
                continue
            x = X[row]
            sq = sq_distance(x, scorer.exact[j])
            high, low = split(weight * sq, grid.sq_magic, grid.sq_fine)
            inertia_high += high
            inertia_low += low
            counts[j] += 1
            if weighted:
                high, low = split(weight, grid.weight_magic, grid.weight_fine)
                masses[j, 0] += high
                masses[j, 1] += low
            _add_row(x, weight, grid.origin, grid.magics, grid.fines, sums[j, 0], sums[j, 1])
            if size < far_keys.shape[0] or -sq <= far_keys[0]:
                size = offer(far_keys, far_rows, size, -sq, row)
    return inertia_high, inertia_low, size, bad


@njit(cache=True, nogil=True)
def distances(X, centers, out):
    """Write the distance of each row of X (n, d) to each center (k, d) to ``out`` (n, k)."""
    for i in range(X.shape[0]):
        for j in range(centers.shape[0]):
            out[i, j] = np.sqrt(sq_distance(X[i], centers[j]))


@njit(cache=True, nogil=True)
def cost(X, weights, centers, labels):
    """Sum of weight * squared distance of the rows of X (n, d) to the centers of their labels."""
    total = 0.0
    for i in range(X.shape[0]):
        if labels[i] >= 0:
            sq = sq_distance(X[i], centers[labels[i]])
            total += sq * weights[i] if weights.shape[0] > 0 else sq
    return total
