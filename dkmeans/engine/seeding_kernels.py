"""Compiled functions of the passes that come before Lloyd's: survey, k-means||, k-means++."""

from __future__ import annotations

import numpy as np
from numba import njit

from dkmeans._typing import AnyArray, Floats, Ints
from dkmeans.engine.compiled import ALLOCATES, ENTRY
from dkmeans.engine.kernels import Scorer, assign_tile, scratch_for, sq_tile
from dkmeans.engine.sampling import offer, uniform
from dkmeans.engine.sum_kernels import add_exact, count_tile


@njit(**ENTRY)
def survey(X, weights, offset, stream_keys, keys, rows, sizes, low, high):
    """Range of each feature, the first value that is not finite, and one draw of rows a stream.

    Written: the heaps ``keys`` and ``rows`` (streams, m) with their ``sizes``, ``low`` and
    ``high`` (d,) float64. Returns the first row that is not finite and its column (-1, -1 if
    none), the number of finite rows, and the number of these with a positive weight.
    """
    weighted = weights.shape[0] > 0
    n, d = X.shape
    bad_row, bad_column = -1, -1
    finite = positive = 0
    for i in range(n):
        column = -1
        for f in range(d):
            if not np.isfinite(X[i, f]):
                column = f
                break
        if column >= 0:
            if bad_row < 0:
                bad_row, bad_column = i, column
            continue
        finite += 1
        weight = weights[i] if weighted else 1.0
        if weight <= 0.0:
            continue
        positive += 1
        for f in range(d):
            value = np.float64(X[i, f])
            low[f] = min(low[f], value)
            high[f] = max(high[f], value)
        for s in range(stream_keys.shape[0]):
            drawn, full = uniform(stream_keys[s], offset + i), sizes[s] == keys.shape[1]
            if full and 1.0 - drawn > 1.000001 * weight * keys[s, 0]:
                continue  # as -log(u) >= 1 - u, which is near it for the keys that count
            key = -np.log(drawn) / weight
            if not full or key <= keys[s, 0]:
                sizes[s] = offer(keys[s], rows[s], sizes[s], key, i)
    return bad_row, bad_column, finite, positive


@njit(**ENTRY)
def below(n, offset, stream, limit, keys, rows):
    """Write the keys, below ``limit``, of n rows from ``offset`` on; return how many there are."""
    count = 0
    for i in range(n):
        key = uniform(stream, offset + i)
        keys[count], rows[count] = key, i
        count += key < limit
    return count


@njit(**(ENTRY | ALLOCATES))
def measure(X, centers, labels, sq):
    """Write to ``sq`` (n,) the squared distance of each row of X to the center of its label."""
    sq_tile(X, 0, X.shape[0], centers, labels, np.empty(X.shape[1]), sq)


@njit(**(ENTRY | ALLOCATES))
def draw_by_cost(X, weights, centers, labels, offset, stream, limit, keys, rows):
    """Offer the rows of X to a heap of the smallest ``u / (w D^2)`` up to ``limit``; its size.

    D is the distance of a row to the center of its label. A row belongs to a draw in which each
    enters with probability ``l w D^2 / cost``, independently, exactly if its key is below
    ``l / cost``. The cost need not be known beforehand, only that at most ``len(keys)`` rows are
    below.
    """
    step, size = 256, 0
    sq, squares = np.empty(step), np.empty(X.shape[1])
    for start in range(0, X.shape[0], step):
        m = min(step, X.shape[0] - start)
        sq_tile(X, start, m, centers, labels[start : start + m], squares, sq)
        for i in range(m):
            part = sq[i] * weights[start + i] if weights.shape[0] > 0 else sq[i]
            if part > 0.0:
                key = uniform(stream, offset + start + i) / part
                if key <= limit and (size < keys.shape[0] or key <= keys[0]):
                    size = offer(keys, rows, size, key, start + i)
    return size


def attract(
    X: AnyArray, weights: Floats, scorer: Scorer, magics: Floats, masses: Ints, counts: Ints
) -> None:
    """Add to ``counts`` (k,) and ``masses`` (k, levels) the rows nearest to each center."""
    _attract(X, weights, scorer, scratch_for(X, scorer), magics, masses, counts)


@njit(**ENTRY)
def _attract(X, weights, scorer, scratch, magics, masses, counts):
    labels = scratch.labels
    step = labels.shape[0]
    for start in range(0, X.shape[0], step):
        m = min(step, X.shape[0] - start)
        assign_tile(X, start, m, scorer, scratch)
        count_tile(start, m, labels, weights, magics, masses, counts)


@njit(**(ENTRY | ALLOCATES))
def try_centers(X, weights, offset, scorer, scratch, first, trials, streams, costs, keys, rows):
    """Cost with each of the trial centers added, and the next draws that would follow each.

    ``first`` says that there are no centers yet (the scorer is then not used). Written: the exact
    sums ``costs`` (t, LIMBS), and ``keys`` and ``rows`` (t, s): for each trial and stream, the row
    with the smallest ``-log(u) / (w D^2)``, which is a draw in proportion to ``w D^2``.
    """
    labels, sq, step = scratch.labels, scratch.sq, scratch.sq.shape[0]
    t, s = keys.shape
    draws = np.empty(s, np.float64)
    trial_sq = np.empty((t, step), np.float64)
    given = np.empty(step, np.int32)
    for start in range(0, X.shape[0], step):
        m = min(step, X.shape[0] - start)
        assign_tile(X, start, m, scorer, scratch)
        sq_tile(X, start, m, scorer.exact, labels, scratch.squares, sq)
        for a in range(t):
            given[:] = a
            sq_tile(X, start, m, trials, given, scratch.squares, trial_sq[a])
        for i in range(m):
            row = start + i
            weight = weights[row] if weights.shape[0] > 0 else 1.0
            base = np.inf if first else sq[i]
            if labels[i] < 0 or weight <= 0.0 or base == 0.0:
                continue
            for b in range(s):
                draws[b] = -np.log(uniform(streams[b], offset + row))
            for a in range(t):
                part = weight * min(base, trial_sq[a, i])
                if part <= 0.0:
                    continue
                add_exact(costs[a], part)
                for b in range(s):
                    key = draws[b] / part
                    if key < keys[a, b] or (key == keys[a, b] and row < rows[a, b]):
                        keys[a, b] = key
                        rows[a, b] = row
