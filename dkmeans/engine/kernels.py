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
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from dkmeans._typing import Floats

TILE = 256  # rows of a narrow tile; a wide one has as many as keep it in the second-level cache
TILE_BYTES = 2**18  # more where there are many centers, which BLAS packs anew for each tile
NARROW = 12
PANEL = 256  # centers scored by one BLAS call
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
    scale = 2.0 ** min(1000, -math.frexp(reach)[1]) if 0 < reach < math.inf else 1.0
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


@njit(nogil=True, fastmath={"contract"})
def _load_narrow(X, start, m, shift, scale, tile, norms):
    """Write rows start .. start+m of X, moved and scaled, to ``tile`` (d, TILE)."""
    norms[:] = 0
    for f in range(X.shape[1]):
        move = shift[f]
        for i in range(m):
            value = np.float32((np.float64(X[start + i, f]) - move) * scale)
            tile[f, i] = value
            norms[i] += value * value


@njit(nogil=True)
def _load_wide(X, start, m, shift, scale, tile):
    """Write rows start .. start+m of X, moved and scaled, to ``tile`` (TILE, d)."""
    for i in range(m):
        for f in range(X.shape[1]):
            tile[i, f] = np.float32((np.float64(X[start + i, f]) - shift[f]) * scale)


@njit(nogil=True, fastmath={"contract", "reassoc"})
def _sq_norms(tile, m, norms):
    for i in range(m):
        total = np.float32(0)
        for f in range(tile.shape[1]):
            total += tile[i, f] * tile[i, f]
        norms[i] = total


@njit(nogil=True, fastmath=_SCORE)
def _keep_two(s0, s1, s2, s3, k0, k1, k2, k3, first, best, second, labels):
    """Merge the scores of four centers, the lowest index first, into the two best a row."""
    j0 = np.int32(first)
    j1, j2, j3 = np.int32(first + 1), np.int32(first + 2), np.int32(first + 3)
    for i in range(best.shape[0]):
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


@njit(nogil=True, fastmath=_SCORE)
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


@njit(nogil=True, fastmath=_SCORE)
def _score_tiny(tile, packed, const, best, second, labels):
    """Likewise for up to 4 features: scores stay in registers."""
    for b in range(packed.shape[0]):
        c = packed[b, 0]
        c00, c01, c02, c03 = c[0, 0], c[0, 1], c[0, 2], c[0, 3]
        c10, c11, c12, c13 = c[1, 0], c[1, 1], c[1, 2], c[1, 3]
        c20, c21, c22, c23 = c[2, 0], c[2, 1], c[2, 2], c[2, 3]
        c30, c31, c32, c33 = c[3, 0], c[3, 1], c[3, 2], c[3, 3]
        first = 4 * b
        k0, k1, k2, k3 = const[first], const[first + 1], const[first + 2], const[first + 3]
        j0, j1 = np.int32(first), np.int32(first + 1)
        j2, j3 = np.int32(first + 2), np.int32(first + 3)
        for i in range(TILE):
            x0, x1, x2, x3 = tile[0, i], tile[1, i], tile[2, i], tile[3, i]
            a0 = k0 + x0 * c00 + x1 * c10 + x2 * c20 + x3 * c30
            a1 = k1 + x0 * c01 + x1 * c11 + x2 * c21 + x3 * c31
            a2 = k2 + x0 * c02 + x1 * c12 + x2 * c22 + x3 * c32
            a3 = k3 + x0 * c03 + x1 * c13 + x2 * c23 + x3 * c33
            b0, b1 = min(a0, a1), min(a2, a3)
            w0, w1 = max(a0, a1), max(a2, a3)
            l0, l1 = j1 if a1 < a0 else j0, j3 if a3 < a2 else j2
            lead, follow = min(b0, b1), min(max(b0, b1), w0, w1)
            j = l1 if b1 < b0 else l0
            second[i] = min(second[i], follow, max(best[i], lead))
            labels[i] = j if lead < best[i] else labels[i]
            best[i] = min(best[i], lead)


@njit(nogil=True)
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


@njit(nogil=True)
def _nearest_exact(X, i, centers, guess, scores, limit):
    """Nearest center to row i by the direct formula in float64, or -1 if it is not finite.

    Centers whose score is above ``limit`` are passed over; no scores, none is.
    """
    d = X.shape[1]
    for f in range(d):
        if not np.isfinite(X[i, f]):
            return -1
    label, least = -1, np.inf
    for step in range(-1, centers.shape[0]):
        j = guess if step < 0 else step
        if step >= 0 and scores.shape[0] > 0 and scores[j] > limit:
            continue
        total = 0.0
        f = 0
        while f < d and total <= least:
            for g in range(f, min(f + 16, d)):
                diff = np.float64(X[i, g]) - centers[j, g]
                total += diff * diff
            f += 16
        if total < least or (total == least and j < label) or label < 0:
            label, least = j, total
    return label


@njit(nogil=True)
def _tile_rows(d, k):
    """Rows of a tile of rows of d features, for k centers."""
    room = TILE_BYTES if k <= 64 else 4 * TILE_BYTES
    return TILE if d <= NARROW else max(32, min(TILE, room // (4 * d) // 16 * 16))


@njit(nogil=True)
def tile_buffers(scorer, d):
    """Scratch of a block's tiles: tile, norms, scores, best, second, labels, sq, row scores."""
    n = _tile_rows(d, scorer.exact.shape[0])
    if d <= NARROW:
        tile = np.zeros((scorer.packed.shape[1] * 4, n), np.float32)
        scores = np.empty((4, n), np.float32)
    else:
        tile = np.zeros((n, d), np.float32)
        scores = np.empty((min(PANEL, scorer.rows.shape[0]), n), np.float32)
    return (
        tile,
        np.zeros(n, np.float32),
        scores,
        np.empty(n, np.float32),
        np.empty(n, np.float32),
        np.empty(n, np.int32),
        np.empty(n, np.float64),
        np.empty(scorer.rows.shape[0], np.float32),
    )


@njit(nogil=True)
def assign_tile(X, start, m, scorer, buffers):
    """Return a buffer with the nearest center of each of m rows; -1 where not finite."""
    tile, norms, scores, best, second, labels, _, row_scores = buffers
    best[:] = _HUGE
    second[:] = _HUGE
    labels[:] = 0
    if X.shape[1] <= NARROW:
        _load_narrow(X, start, m, scorer.shift, scorer.scale, tile, norms)
        if scorer.packed.shape[1] == 1:
            _score_tiny(tile, scorer.packed, scorer.const, best, second, labels)
        else:
            _score_narrow(tile, scorer.packed, scorer.const, scores, best, second, labels)
    else:
        _load_wide(X, start, m, scorer.shift, scorer.scale, tile)
        _sq_norms(tile, m, norms)
        _score_wide(tile, scorer.rows, scorer.const, scores, best, second, labels)
    _decide(X, start, m, scorer, tile, norms, best, second, labels, row_scores)
    return labels


@njit(nogil=True)
def _decide_row(X, row, guess, scorer, x, regular, doubt, scores):
    """Nearest center to a row by the direct formula.

    A wide row is scored again, to find the few centers that come into question; ``x`` is the row
    in its tile, ``regular`` says that its scores are finite, ``doubt`` is its share of the error.
    """
    if not regular or X.shape[1] <= NARROW:
        return _nearest_exact(X, row, scorer.exact, guess, scores[:0], np.float32(0))
    np.dot(scorer.rows, x, scores)
    limit = np.float32(np.inf)
    for j in range(scores.shape[0]):
        scores[j] += scorer.const[j]
        limit = min(limit, scores[j] + scorer.slack[j])
    return _nearest_exact(X, row, scorer.exact, guess, scores, limit + doubt)


@njit(nogil=True)
def _decide(X, start, m, scorer, tile, norms, best, second, labels, scores):
    """Decide by the direct formula the rows whose two best scores are too close to tell apart."""
    slack, share = scorer.slack, np.float32(1.02) * scorer.gamma
    for i in range(m):
        doubt = share * norms[i]
        clear = second[i] - best[i] > slack[labels[i]] + doubt
        regular = norms[i] < _HUGE  # neither NaN nor overflow
        if not (clear and regular):
            x = tile[min(i, tile.shape[0] - 1)]
            labels[i] = _decide_row(X, start + i, labels[i], scorer, x, regular, doubt, scores)


@njit(nogil=True)
def sq_tile(X, start, m, centers, labels, sq):
    """Write the direct squared distance, in float64, of each of m rows to the center it is given.

    Up to 8 features are added in their order. More are folded in half until 8 remain: an order
    that is the same on every processor and for every row, and that vectorises.
    """
    d = X.shape[1]
    squares = np.empty(d, np.float64)
    for i in range(m):
        j = labels[i]
        total = 0.0
        if j >= 0:
            for f in range(d):
                diff = np.float64(X[start + i, f]) - centers[j, f]
                squares[f] = diff * diff
            left = d
            while left > 8:
                half = (left + 1) // 2
                for f in range(left - half):
                    squares[f] += squares[half + f]
                left = half
            for f in range(left):
                total += squares[f]
        sq[i] = total


@njit(cache=True, nogil=True)
def assign(X, scorer, labels):
    """Write the label of each row of X (n, d) to ``labels`` (n,) int32; -1 where not finite."""
    buffers = tile_buffers(scorer, X.shape[1])
    step = buffers[1].shape[0]
    for start in range(0, X.shape[0], step):
        m = min(step, X.shape[0] - start)
        found = assign_tile(X, start, m, scorer, buffers)
        for i in range(m):
            labels[start + i] = found[i]


@njit(cache=True, nogil=True)
def distances(X, centers, out):
    """Write the distance of each row of X (n, d) to each center (k, d) to ``out`` (n, k)."""
    step = 256
    labels, sq = np.empty(step, np.int32), np.empty(step, np.float64)
    for start in range(0, X.shape[0], step):
        m = min(step, X.shape[0] - start)
        for j in range(centers.shape[0]):
            labels[:] = j
            sq_tile(X, start, m, centers, labels, sq)
            for i in range(m):
                out[start + i, j] = np.sqrt(sq[i])
