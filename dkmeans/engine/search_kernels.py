# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, check-untyped-defs=False
# mypy: disallow-untyped-decorators=False, disallow-incomplete-defs=False, warn-return-any=False
"""Compiled local search for centers on rows in memory: seeding, swaps and Lloyd, stage by stage.

``search_state_kernels.py`` has the steps that the stages are made of.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from dkmeans.engine.compiled import ENTRY
from dkmeans.engine.search import Effort
from dkmeans.engine.search_state_kernels import (
    CHANGE,
    NEVER,
    absorb,
    closer,
    cost_of,
    draw,
    explained_by,
    least_of,
    loosen,
    place,
    recenter,
    scan,
    scan_all,
    share_of,
    swap,
    sweep,
    tally,
    weigh,
)
from dkmeans.engine.search_workspace import FRESH, NEAR, NEXT, WIDTH, Workspace

BOUNDED = 24  # centers from which Lloyd keeps bounds instead of scanning all rows


@njit(**ENTRY)
def _seed(work):
    """k-means++ (Arthur and Vassilvitskii 2007); return the cost.

    Rows are repeated where too few differ.
    """
    near, follow, fresh = work.dist[NEAR], work.dist[NEXT], work.dist[FRESH]
    own, share, weights, scores = work.own, work.share, work.weights, work.scores
    total = 0.0
    for b in range(near.shape[0]):
        for i in range(WIDTH):
            near[b, i], follow[b, i], own[b, i] = np.float32(1), NEVER, 0
        share[b] = share_of(near, weights, b, b, scores)
        total += share[b]
    for j in range(work.sums.shape[0]):
        if total > 0:
            draw(work, total)
        if j == 0:
            for b in range(near.shape[0]):
                for i in range(WIDTH):
                    near[b, i] = NEVER
        place(work, j)
        sweep(work.tiles, work.point, fresh)
        total = 0.0
        for b in range(near.shape[0]):
            if closer(fresh, follow, b) > 0:
                absorb(near, follow, own, fresh, b, np.int32(j))
                share[b] = share_of(near, weights, b, b, scores)
            total += share[b]
    return cost_of(work)


@njit(**ENTRY)
def _swaps(work, cost, most, patience):
    """LS++ (Lattanzi and Sohler 2019): swaps for rows drawn by D^2, kept where the cost falls.

    Stops after ``patience`` tries in a row that gain less than a quarter of a center's mean cost.
    Returns the cost.
    """
    failed = 0
    for _ in range(most):
        if failed >= patience or cost <= 0:
            break
        draw(work, cost)
        sweep(work.tiles, work.point, work.dist[FRESH])
        gain = weigh(work)
        j = least_of(work.stats[CHANGE])
        failed += 1
        change = work.stats[CHANGE, j] - gain
        if change < -1e-6 * cost:
            if change < -cost / (4 * work.sums.shape[0]):
                failed = 0
            swap(work, j)
            cost = cost_of(work)
    return cost


@njit(**ENTRY)
def lloyd(work, cost, tol, most):
    """Lloyd's iterations until the cost falls by less than ``tol`` of it; return the cost.

    With many centers, bounds on the distances to the nearest and to any other tell which rows
    need a scan (Hamerly 2010).
    """
    bounded = work.sums.shape[0] >= BOUNDED
    near, follow, rows = work.dist[NEAR], work.dist[NEXT], work.rows
    tally(work)
    if bounded:
        for b in range(near.shape[0]):
            for i in range(WIDTH):
                near[b, i], follow[b, i] = math.sqrt(near[b, i]), math.sqrt(follow[b, i])
    explained = explained_by(work)
    for _ in range(most):
        first, second, whose = recenter(work)
        if bounded:
            count = loosen(work, first, second, whose)
            changed = scan(work, count)
            for i in range(count):
                b, lane = rows[i] >> 6, rows[i] & 63
                near[b, lane] = math.sqrt(near[b, lane])
                follow[b, lane] = math.sqrt(follow[b, lane])
        else:
            changed = scan_all(work)
        before, explained = explained, explained_by(work)
        if changed == 0 or explained - before <= tol * cost:
            break
    recenter(work)
    scan_all(work)
    return cost_of(work)


@njit(**ENTRY)
def _start(work):
    """From the centers given; return the cost."""
    scan_all(work)
    return cost_of(work)


def explore(work: Workspace, given: bool, effort: Effort) -> float:
    """Centers, seeded unless ``given``, improved by swaps and by Lloyd; return the cost.

    Each of these is compiled for itself: all in one function would be optimised twice.
    """
    cost: float = _start(work) if given else _seed(work)
    if work.sums.shape[0] > 1 and effort.tries > 0:
        cost = _swaps(work, cost, effort.tries, effort.patience)
    return lloyd(work, cost, effort.tol, effort.iterations)
