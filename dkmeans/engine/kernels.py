"""Compiled functions over the rows of one block: ndarrays in, ndarrays out.

Every kernel goes over the block in tiles of up to ``TILE`` rows. A tile is assigned in two steps:

1. *Score in float32.* ``|c|^2 / 2 - x.c`` orders the centers as the distance does. Rows and centers
   are first moved by ``shift`` (the mean of the centers) and multiplied by ``scale`` (a power of
   two), so that data far from the origin, or in any unit, keep their digits. The products are
   formed in registers, a panel of rows times a block of centers over all features, and the two
   best scores of each row stay in registers beside them; see ``vector_kernels.py``.
2. *Decide in float64 where float32 cannot.* A bound on the rounding of step 1 tells whether the
   second-best center could be the nearest. Those rows, few of them, are decided by the direct
   formula ``sum((x - c)^2)`` in float64, the lowest index on ties. Labels are thus those of the
   direct formula, whatever the processor, or the row's place in the block.

Functions that are called in one place are joined to it before they are compiled: Numba would
otherwise optimise them once for themselves and again for each caller.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from dkmeans._typing import AnyArray, Floats, Ints
from dkmeans.engine.compiled import ENTRY, INNER
from dkmeans.engine.vector_kernels import (
    BLOCK,
    CHUNK,
    HUGE,
    ROWS,
    in_doubt,
    is_single,
    pack_rows,
    score_panels,
)
from dkmeans.engine.vector_sum_kernels import row_distances
from dkmeans.engine.vectors import LANES

TILE = 1024  # rows of a narrow tile; a wide one has as many as keep it in the second-level cache
TILE_BYTES = 2**18
_EPS = 2.0**-24
_HUGE, _ONE = np.float32(HUGE), np.float32(1)


class Scorer(NamedTuple):
    """Centers prepared for the two steps; see :func:`prepare`."""

    exact: Floats  # (k, d) float64, for the direct formula
    packed: Floats  # (k/BLOCK, d, BLOCK) float32, minus the centers, in blocks
    rows: Floats  # (k, d) float32, minus the centers
    const: Floats  # (k,) float32, half the squared norms, less their share of the error
    slack: Floats  # (k,) float32, the error that a center of this norm can add
    shift: Floats  # (d,) float64
    scale: float
    gamma: np.float32  # rounding error of a score, relative to |x|^2 + |c|^2
    shift32: Floats  # (d,) float32, and zeros
    scale32: np.float32
    single: bool  # whether these two are the very shift and scale
    most_slack: np.float32


def prepare(centers: Floats) -> Scorer:
    """Pack centers of shape (k, d) for the assignment kernels.

    With ``g = gamma``, the float32 score of center ``c`` is within ``g (|x| |c| + |c|^2 / 2)``
    of the true one, and so within ``g (|x|^2 / 2 + |c|^2)``. The part that depends on ``c`` alone
    is folded into ``const``, which makes each score a lower bound but for ``g |x|^2 / 2``. No term
    of a score is rounded more often than a chunk has features, and then once a chunk.
    """
    exact = np.ascontiguousarray(centers, dtype=np.float64)
    k, d = exact.shape
    shift, scale, single = _move_of(exact)
    moved = (exact - shift) * scale
    sq_norms = np.einsum("ij,ij->i", moved, moved)
    gamma = (min(d, CHUNK) + -(-d // CHUNK) + 8) * _EPS * 1.01
    padded_k = -(-k // BLOCK) * BLOCK
    const = np.full(padded_k, _HUGE, dtype=np.float32)
    const[:k] = sq_norms * (0.5 - gamma)
    slack = np.zeros(padded_k, dtype=np.float32)
    slack[:k] = sq_norms * (2.02 * gamma) + 1e-30
    rows = np.zeros((padded_k, d), dtype=np.float32)
    rows[:k] = -moved.astype(np.float32)
    shift32 = np.zeros(-(-d // LANES) * LANES, np.float32)
    shift32[:d] = shift if single else 0
    return Scorer(
        exact,
        np.ascontiguousarray(rows.reshape(padded_k // BLOCK, BLOCK, d).transpose(0, 2, 1)),
        rows,
        const,
        slack,
        shift,
        scale,
        np.float32(gamma),
        shift32,
        np.float32(scale if single else 1),
        single,
        slack.max(),
    )


def _move_of(centers: Floats) -> tuple[Floats, float, bool]:
    """Shift, scale, and whether float32 holds both, so that float32 rows need no float64.

    Any shift will do, so it is rounded where that is small beside the spread of the centers.
    """
    shift = centers.mean(axis=0)
    reach = float(np.abs(centers - shift).max())
    with np.errstate(over="ignore"):
        rounded = shift.astype(np.float32).astype(np.float64)
    near = float(np.abs(rounded - shift).max()) <= reach / 16
    exponent = -math.frexp(reach)[1] if 0 < reach < math.inf else 0
    if near:
        shift = rounded
    return shift, 2.0 ** min(1000, exponent), near and abs(exponent) < 100


@njit(nogil=True, inline="always")
def _nearest_exact(X, i, centers, guess, scores, limit):
    """Nearest center to row i by the direct formula in float64, or -1 if it is not finite.

    Centers whose score is above ``limit`` are passed over, none if that is infinite.
    """
    d = X.shape[1]
    for f in range(d):
        if not np.isfinite(X[i, f]):
            return -1
    label, least = -1, np.inf
    for step in range(-1, centers.shape[0]):
        j = guess if step < 0 else step
        if step >= 0 and limit < np.inf and scores[j] > limit:
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


class Scratch(NamedTuple):
    """What is known of the rows of one tile; see :func:`scratch_for`."""

    panels: Floats  # (n/ROWS, d, ROWS) float32, moved and scaled
    norms: Floats  # (n,) float32, squared
    staged: Floats  # (n, d) float32, rows that are not packed as they are
    best: Floats  # (n,) float32, the score of the nearest center
    second: Floats  # (n,) float32, that of the next
    labels: Ints  # (n,) int32, the nearest center; -1 where a row is not finite
    scores: Floats  # (k,) float32, of one row
    sq: Floats  # (n,) float64, squared distances
    costs: Floats  # (n,) float64, the same with the weights
    squares: Floats  # (d,) float64, of one row


def scratch_for(X: AnyArray, scorer: Scorer) -> Scratch:
    """Scratch for the tiles of a block X (n, d)."""
    d = X.shape[1]
    n = max(ROWS, min(TILE, TILE_BYTES // (4 * max(1, d)) // ROWS * ROWS))
    norms, best, second = np.empty((3, n), np.float32)
    sq, costs = np.empty((2, n))
    return Scratch(
        np.empty((n // ROWS, d, ROWS), np.float32),
        norms,
        np.empty((n, d), np.float32),
        best,
        second,
        np.empty(n, np.int32),
        np.empty(len(scorer.rows), np.float32),
        sq,
        costs,
        np.empty(d),
    )


@njit(**INNER)
def assign_tile(X, start, m, scorer, scratch):
    """Find the nearest center of each of m rows, and what else ``scratch`` says of its score.

    Rows whose two best scores are too close to tell apart are decided by the direct formula.
    """
    panels, norms, staged, best, second, labels, _, _, _, _ = scratch
    moved = not (is_single(X) and scorer.single)
    if moved:
        shift, scale = scorer.shift, scorer.scale
        for i in range(m):
            for f in range(X.shape[1]):
                staged[i, f] = np.float32((np.float64(X[start + i, f]) - shift[f]) * scale)
    pack_rows(X, start, m, staged, moved, scorer.shift32, scorer.scale32, panels, norms)
    count = (m + ROWS - 1) // ROWS
    score_panels(panels, scorer.packed, scorer.const, best, second, labels, count)
    slack, share = scorer.slack, np.float32(1.02) * scorer.gamma
    group, groups = 0, (m + LANES - 1) // LANES
    while True:
        group = in_doubt(group, groups, norms, best, second, share, scorer.most_slack)
        if group == groups:
            break
        for i in range(group * LANES, min((group + 1) * LANES, m)):
            doubt = share * norms[i]
            clear = second[i] - best[i] > slack[labels[i]] + doubt
            if not (clear and norms[i] < _HUGE):  # the norm of a row not finite is neither
                labels[i] = _decide_row(X, start, i, scorer, scratch, doubt)
        group += 1


@njit(**INNER, fastmath={"contract", "reassoc"})
def _score_row(panels, i, rows, x, scores):
    """Write the products of row i of a tile and each center, all features in any order."""
    for f in range(x.shape[0]):
        x[f] = panels[i // ROWS, f, i % ROWS]
    for j in range(rows.shape[0]):
        total = np.float32(0)
        for f in range(x.shape[0]):
            total += rows[j, f] * x[f]
        scores[j] = total


@njit(nogil=True, inline="always")
def _decide_row(X, start, i, scorer, scratch, doubt):
    """Nearest center to row i of a tile by the direct formula.

    Unless its scores are not finite, a long row is scored again, to find the few centers that come
    into question; ``doubt`` is its share of the error.
    """
    panels, norms, staged, _, _, labels, scores, _, _, _ = scratch
    d, limit = X.shape[1], np.float32(np.inf)
    if norms[i] < _HUGE and d >= LANES:
        _score_row(panels, i, scorer.rows, staged[0], scores)
        chunks = (d + CHUNK - 1) // CHUNK  # which this score is not cut into: its bound is wider
        wider = np.float32((d + 8) / (min(d, CHUNK) + chunks + 8))
        for j in range(scores.shape[0]):
            score, half = scores[j] + scorer.const[j], scorer.slack[j] * np.float32(0.5)
            limit = min(limit, score + half * (wider + _ONE))
            scores[j] = score - half * (wider - _ONE)
        limit += doubt * wider
    return _nearest_exact(X, start + i, scorer.exact, labels[i], scores, limit)


@njit(**INNER)
def sq_tile(X, start, m, centers, labels, squares, sq):
    """Write the direct squared distance, in float64, of each of m rows to the center it is given.

    Up to 8 features are added in their order. More are folded in half until 8 remain: an order
    that is the same on every processor and for every row, and that vectorises. ``squares`` (d,)
    is scratch.
    """
    d = X.shape[1]
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


def assign(X: AnyArray, scorer: Scorer, labels: Ints) -> None:
    """Write the label of each row of X (n, d) to ``labels`` (n,) int32; -1 where not finite."""
    _assign(X, scorer, scratch_for(X, scorer), labels)


@njit(**ENTRY)
def _assign(X, scorer, scratch, labels):
    found = scratch.labels
    step = found.shape[0]
    for start in range(0, X.shape[0], step):
        m = min(step, X.shape[0] - start)
        assign_tile(X, start, m, scorer, scratch)
        for i in range(m):
            labels[start + i] = found[i]


@njit(**ENTRY)
def distances(X, centers, out):
    """Write the distance of each row of X (n, d) to each center (k, d) to ``out`` (n, k)."""
    for i in range(X.shape[0]):
        row_distances(X, i, centers, out)
