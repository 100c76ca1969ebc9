"""Compiled functions of the passes that come before Lloyd's: survey, k-means||, k-means++."""

from __future__ import annotations

import numpy as np
from numba import njit

from dkmeans.engine.kernels import TILE, assign_tile, split, sq_distance, tile_buffers
from dkmeans.engine.sampling import offer, uniform


@njit(cache=True, nogil=True)
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
            key = -np.log(uniform(stream_keys[s], offset + i)) / weight
            if sizes[s] < keys.shape[1] or key <= keys[s, 0]:
                sizes[s] = offer(keys[s], rows[s], sizes[s], key, i)
    return bad_row, bad_column, finite, positive


@njit(cache=True, nogil=True)
def cost_draw(X, weights, offset, scorer, grid, stream, keys, rows):
    """Cost of the rows of X under the centers, and a draw of rows by their share of it.

    A row's key is ``u / (w D^2)``: it belongs to a draw in which each row enters with probability
    ``l w D^2 / cost``, independently, exactly if its key is below ``l / cost``. The cost need not
    be known beforehand, only that at most ``len(keys)`` rows are below. Returns the two sums of
    the cost and the size of the heap.
    """
    buffers = tile_buffers(scorer, X.shape[1])
    weighted = weights.shape[0] > 0
    cost_high = cost_low = 0.0
    size = 0
    for start in range(0, X.shape[0], TILE):
        m = min(TILE, X.shape[0] - start)
        labels = assign_tile(X, start, m, scorer, buffers)
        for i in range(m):
            row = start + i
            if labels[i] < 0:
                continue
            part = sq_distance(X[row], scorer.exact[labels[i]])
            part *= weights[row] if weighted else 1.0
            if part <= 0.0:
                continue
            high, low = split(part, grid.sq_magic, grid.sq_fine)
            cost_high += high
            cost_low += low
            key = uniform(stream, offset + row) / part
            if size < keys.shape[0] or key <= keys[0]:
                size = offer(keys, rows, size, key, row)
    return cost_high, cost_low, size


@njit(cache=True, nogil=True)
def attract(X, weights, scorer, grid, masses, counts):
    """Add to ``counts`` (k,) and ``masses`` (k, 2) the rows nearest to each center."""
    buffers = tile_buffers(scorer, X.shape[1])
    weighted = weights.shape[0] > 0
    for start in range(0, X.shape[0], TILE):
        m = min(TILE, X.shape[0] - start)
        labels = assign_tile(X, start, m, scorer, buffers)
        for i in range(m):
            j = labels[i]
            weight = weights[start + i] if weighted else 1.0
            if j < 0 or weight <= 0.0:
                continue
            counts[j] += 1
            if weighted:
                high, low = split(weight, grid.weight_magic, grid.weight_fine)
                masses[j, 0] += high
                masses[j, 1] += low


@njit(cache=True, nogil=True)
def try_centers(X, weights, offset, scorer, first, trials, grid, streams, costs, keys, rows):
    """Cost with each of the trial centers added, and the next draws that would follow each.

    ``first`` says that there are no centers yet (the scorer is then not used). Written: ``costs``
    (t, 2), and ``keys`` and ``rows`` (t, s): for each trial and stream, the row with the smallest
    ``-log(u) / (w D^2)``, which is a draw in proportion to ``w D^2``.
    """
    buffers = tile_buffers(scorer, X.shape[1])
    weighted = weights.shape[0] > 0
    t, s = keys.shape
    draws = np.empty(s, np.float64)
    for start in range(0, X.shape[0], TILE):
        m = min(TILE, X.shape[0] - start)
        labels = assign_tile(X, start, m, scorer, buffers)
        for i in range(m):
            row = start + i
            weight = weights[row] if weighted else 1.0
            if labels[i] < 0 or weight <= 0.0:
                continue
            x = X[row]
            base = np.inf if first else sq_distance(x, scorer.exact[labels[i]])
            if base == 0.0:
                continue
            for b in range(s):
                draws[b] = -np.log(uniform(streams[b], offset + row))
            for a in range(t):
                part = weight * min(base, sq_distance(x, trials[a]))
                if part <= 0.0:
                    continue
                high, low = split(part, grid.sq_magic, grid.sq_fine)
                costs[a, 0] += high
                costs[a, 1] += low
                for b in range(s):
                    key = draws[b] / part
                    if key < keys[a, b] or (key == keys[a, b] and row < rows[a, b]):
                        keys[a, b] = key
                        rows[a, b] = row
