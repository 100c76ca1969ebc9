"""The obvious k-means in NumPy, which every fast path must match.

Distances are sums over the features in order, in float64; the lowest index wins a tie; means are
correctly rounded sums. Nothing here is clever, and nothing here imports what it checks, except the
keyed uniform numbers and the form of exact sums, without which nothing could be compared.
"""

import math
from dataclasses import dataclass

import numpy as np

from dkmeans.engine.grid import WEIGHT_LEVELS, levels_of
from dkmeans.engine.sampling import stream_key, uniform

FIRST, ROUND = 1, 2  # streams of random numbers, as the seeding names them


def sq_distances(X, centers):
    """Squared distance of each row to each center, (n, k)."""
    total = np.zeros((len(X), len(centers)))
    with np.errstate(invalid="ignore", over="ignore"):
        for f in range(X.shape[1]):
            difference = X[:, f, None].astype(np.float64) - centers[None, :, f]
            total += difference * difference
    return total


def assign(X, centers):
    """Label of each row; -1 where it is not finite."""
    labels = np.argmin(sq_distances(X, centers), axis=1).astype(np.int32)
    labels[~np.isfinite(X.astype(np.float64)).all(axis=1)] = -1
    return labels


def sq_to_own(X, centers, labels):
    """Squared distance of each row to the center of its label; 0 for the label -1."""
    own = np.take_along_axis(sq_distances(X, centers), np.maximum(labels, 0)[:, None], axis=1)[:, 0]
    return np.where(labels < 0, 0.0, own)


def inertia(X, weights, centers, labels):
    return math.fsum(weights * sq_to_own(X, centers, labels))


def relocate(X, weights, centers, labels):
    """Labels once each empty cluster has taken one of the rows farthest from their centers."""
    taking_part = (labels >= 0) & (weights > 0)
    empty = np.setdiff1d(np.arange(len(centers)), labels[taking_part])
    sq = np.where(taking_part, sq_to_own(X, centers, labels), 0.0)
    order = np.lexsort((np.arange(len(X)), -sq))
    farthest = [row for row in order[: len(empty)] if sq[row] > 0]
    moved = labels.copy()
    for j, row in zip(empty, farthest, strict=False):
        moved[row] = j
    return moved


def means(X, weights, centers, labels):
    """Weighted mean of each cluster; one without weight keeps its center."""
    new = centers.copy()
    for j in range(len(centers)):
        rows = np.flatnonzero((labels == j) & (weights > 0))
        if len(rows):
            mass = math.fsum(weights[rows])
            for f in range(X.shape[1]):
                new[j, f] = math.fsum(weights[rows] * X[rows, f].astype(np.float64)) / mass
    return new


def update(X, weights, centers, dtype=np.float64):
    """One iteration: the centers that follow, rounded to ``dtype``."""
    moved = relocate(X, weights, centers, assign(X, centers))
    return means(X, weights, centers, moved).astype(dtype).astype(np.float64)


def mean_variance(X, weights):
    """Mean over the features of the weighted variance of the finite rows."""
    finite = np.isfinite(X.astype(np.float64)).all(axis=1)
    X, weights = X[finite].astype(np.float64), weights[finite]
    mean = np.average(X, axis=0, weights=weights)
    return float(np.average((X - mean) ** 2, axis=0, weights=weights).mean())


@dataclass
class Fit:
    centers: np.ndarray
    labels: np.ndarray
    inertia: float
    n_iter: int
    stop_reason: str


def lloyd(X, centers, weights=None, max_iter=300, tol=1e-4, dtype=None):
    """Iterate to strict convergence, the tolerance or ``max_iter``."""
    weights = np.ones(len(X)) if weights is None else np.asarray(weights, dtype=np.float64)
    dtype = dtype or (np.float32 if X.dtype == np.float32 else np.float64)
    centers = centers.astype(dtype).astype(np.float64)
    allowed, reason = tol * mean_variance(X, weights), "max_iter"
    n_iter = 0
    while n_iter < max_iter:
        n_iter += 1
        new = update(X, weights, centers, dtype)
        sq_shift = float(((new - centers) ** 2).sum())
        centers = new
        if sq_shift == 0:
            reason = "converged"
            break
        if sq_shift <= allowed:
            reason = "tol"
            break
    labels = assign(X, centers)
    return Fit(centers, labels, inertia(X, weights, centers, labels), n_iter, reason)


def uniforms(key, n):
    return np.array([uniform(key, row) for row in range(n)])


def drawn_rows(weights, seed, many):
    """Rows of the survey: the smallest ``-log(u) / w``."""
    u = uniforms(stream_key(seed, FIRST), len(weights))
    rows = np.flatnonzero(weights > 0)
    keys = -np.log(u[rows]) / weights[rows]
    return rows[np.lexsort((rows, keys))][:many]


def parallel_candidates(X, weights, seed, oversampling, rounds):
    """Rows that k-means|| takes as candidates, a list a round, and the weight each attracts.

    Bahmani et al. 2012, Algorithm 2, steps 1 to 7, with ``oversampling`` for their l.
    """
    chosen = [list(drawn_rows(weights, seed, 1))]
    for number in range(1, rounds + 1):
        candidates = X[np.concatenate(chosen)].astype(np.float64)
        part = weights * sq_to_own(X, candidates, assign(X, candidates))
        cost = math.fsum(part)
        if cost <= 0:
            break
        u = uniforms(stream_key(seed, ROUND, number), len(X))
        rows = np.flatnonzero((part > 0) & (u * cost < oversampling * part))
        keys = u[rows] / part[rows]
        chosen.append(list(rows[np.lexsort((rows, keys))]))
    rows = np.concatenate(chosen).astype(int)
    labels = assign(X, X[rows].astype(np.float64))
    masses = np.array([math.fsum(weights[labels == j]) for j in range(len(rows))])
    return chosen, masses


def margins(X, centers, labels):
    """Distance to the second nearest center less that to its own, in long double; inf if alone."""
    difference = X.astype(np.longdouble)[:, None, :] - centers.astype(np.longdouble)
    lengths = np.sqrt((difference * difference).sum(axis=2))
    rows = np.arange(len(X))
    own = lengths[rows, labels].copy()
    lengths[rows, labels] = np.inf
    return lengths.min(axis=1) - own, own


def levels_of_rows(values, weights, grid):
    """What ``levels_of`` gives for rows (m, d) that are each a sum of their own."""
    rest = (values - grid.origin) * weights[:, None]
    bits = np.empty((len(values), len(grid.rows), len(grid.origin)))
    for level, magic in enumerate(grid.rows):
        bits[:, level] = rest + magic
        rest = rest - (bits[:, level] - magic)
    return levels_of(bits.view(np.int64), np.ones(len(values), np.int64), grid)


def levels_of_weights(weights, grid):
    """Weights (m,) as sums (m, levels) of their own."""
    levels, rest = np.empty((len(weights), WEIGHT_LEVELS), np.int64), weights
    for level, magic in enumerate(grid.weights):
        high = rest + magic
        levels[:, level] = high.view(np.int64) - np.float64(magic).view(np.int64)
        rest = rest - (high - magic)
    return levels
