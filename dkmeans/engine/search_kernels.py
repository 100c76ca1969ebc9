# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, check-untyped-defs=False
# mypy: disallow-untyped-decorators=False, disallow-incomplete-defs=False, warn-return-any=False
"""Compiled local search for centers on rows in memory: seeding, swaps and Lloyd, stage by stage.

``search_state_kernels.py`` has the steps that the stages are made of.
"""

from __future__ import annotations

import math

import numpy as np
from numba import float64, int64, njit, void

from dkmeans.engine.compiled import ENTRY, INNER, shared
from dkmeans.engine.search import Effort
from dkmeans.engine.search_state_kernels import (
    CHANGE,
    FAR,
    MASS,
    NEVER,
    ROUNDED,
    SHIFT,
    absorb,
    closer,
    cost_of,
    draw,
    explained_by,
    least_of,
    loosen,
    move_row,
    place,
    recenter,
    scan,
    scan_all,
    score_tile,
    share_of,
    swap,
    sweep,
    tally,
    weigh,
)
from dkmeans.engine.search_workspace import FRESH, NEAR, NEXT, WIDTH, Workspace, workspace_type

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
def _lloyd(work, cost, tol, most):
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


@njit(**INNER)
def _copy(source, target):
    """Remember the state, or go back to what was remembered."""
    for i in range(target.shape[0]):
        target[i] = source[i]


@njit(**INNER)
def _gather(centers, which, many, few):
    """Copy to ``few`` the centers listed, filled up to fours; return how many fours."""
    fours = (many + 3) >> 2
    for at in range(4 * fours):
        for f in range(few.shape[1]):
            few[at >> 2, f, at & 3] = FAR
    for at in range(many):
        j = which[at]
        for f in range(few.shape[1]):
            few[at >> 2, f, at & 3] = centers[j >> 2, f, j & 3]
    return fours


@njit(**INNER)
def _are_most(work, many):
    """Whether so many centers are about half of all, so that rows are scanned as fast for all."""
    return (many + 3) >> 2 << 1 > work.centers.shape[0]


@shared(int64(workspace_type, float64))
def _move_some(work, worth):
    """Move to their means the centers for which it lowers the cost by ``worth``.

    Those, and all that were moved before, are gathered in ``few``; return how many.
    """
    mass, moved, sums = work.stats[MASS], work.stats[SHIFT], work.sums
    centers, few, d, many, fresh = work.centers, work.few, work.sums.shape[1], 0, 0
    for j in range(mass.shape[0]):
        if mass[j] <= 1e-12:
            continue
        gap, q, lane = 0.0, j >> 2, j & 3
        for f in range(d):
            diff = sums[j, f] / mass[j] - centers[q, f, lane]
            gap += diff * diff
        if gap * mass[j] >= worth:
            fresh += 1
            moved[j] = 1
            for f in range(d):
                centers[q, f, lane] = np.float32(sums[j, f] / mass[j])
        if moved[j] > 0:
            work.which[many] = j
            many += 1
    if fresh == 0:
        return 0
    _gather(centers, work.which, many, few)
    return many


@shared(void(workspace_type, int64))
def _assign_few(work, many):
    """Nearest center of every row, when no others have moved than the ``many`` in ``few``.

    ``next`` is a lower bound on the distances to those that have not.
    """
    near, follow, own = work.dist[NEAR], work.dist[NEXT], work.own
    moved, which, rows = work.stats[SHIFT], work.which, work.rows
    scores, labels, count = work.scores, work.labels, 0
    for b in range(near.shape[0]):
        score_tile(work, b, (many + 3) >> 2)
        due = np.int32(0)
        for i in range(WIDTH):
            due += np.int32(1) if scores[4, i] < near[b, i] else np.int32(0)
        for i in range(WIDTH):
            due += np.int32(1) if moved[own[b, i]] > 0 else np.int32(0)
        if due == 0:
            continue
        for i in range(WIDTH):
            best, new = scores[4, i], which[labels[i]]
            if moved[own[b, i]] == 0:
                if best < near[b, i]:
                    follow[b, i] = near[b, i]
                    near[b, i] = best
                    move_row(work, b, i, new)
            elif best <= follow[b, i]:
                near[b, i] = best
                if new != own[b, i]:
                    move_row(work, b, i, new)
            else:
                rows[count] = b * WIDTH + i
                count += 1
    scan(work, count)


@njit(**INNER)
def _settle(work, kept, worth, iterations):
    """A few iterations of Lloyd that move only where it is worth it, from an exact state.

    Returns what is explained then; given up when it will hardly reach ``kept``.
    """
    for j in range(work.stats.shape[1]):
        work.stats[SHIFT, j] = 0
    explained = explained_by(work)
    for _ in range(iterations):
        many = _move_some(work, worth)
        if many == 0:
            break
        if _are_most(work, many):
            scan_all(work)
        else:
            _assign_few(work, many)
        before, explained = explained, explained_by(work)
        if explained + 3 * (explained - before) < kept:
            break
    return explained


@njit(**INNER)
def _list_moved(work):
    """List the centers that are elsewhere than in the state remembered; return how many."""
    centers, before, which, many = work.centers, work.saved_centers, work.which, 0
    for j in range(work.sums.shape[0]):
        q, lane, moved = j >> 2, j & 3, 0
        for f in range(centers.shape[1]):
            moved += centers[q, f, lane] != before[q, f, lane]
        which[many] = j
        many += moved > 0
    return many


@shared(void(workspace_type))
def _accept(work):
    """Make the two nearest centers of every row exact again, after some have moved.

    Those of a row are as remembered, unless a center that moved was or has come as near.
    """
    near, follow, rows = work.dist[NEAR], work.dist[NEXT], work.rows
    old_near, old_follow, least = work.saved_dist[NEAR], work.saved_dist[NEXT], work.dist[FRESH]
    scores, count, many = work.scores, 0, _list_moved(work)
    if _are_most(work, many):
        scan_all(work)
        return
    fours = _gather(work.saved_centers, work.which, many, work.few)
    for b in range(near.shape[0]):
        score_tile(work, b, fours)
        for i in range(WIDTH):
            least[b, i] = scores[4, i]
    _gather(work.centers, work.which, many, work.few)
    for b in range(near.shape[0]):
        score_tile(work, b, fours)
        for i in range(WIDTH):
            near[b, i], follow[b, i] = old_near[b, i], old_follow[b, i]
        for i in range(WIDTH):
            rows[count] = b * WIDTH + i
            count += min(least[b, i], scores[4, i]) <= old_follow[b, i] * ROUNDED
    scan(work, count)


@njit(**ENTRY)
def _shake(work, most, patience, worth, iterations):
    """Random swaps, each followed by a local Lloyd before it is judged (Fraenti 2018)."""
    failed, cost = 0, cost_of(work)
    tally(work)
    _copy(work.state, work.saved)
    kept = explained_by(work)
    for _ in range(most):
        if failed >= patience or cost <= 0:
            break
        draw(work, cost)
        sweep(work.tiles, work.point, work.dist[FRESH])
        weigh(work)
        j = least_of(work.stats[CHANGE])
        swap(work, j)
        new = _settle(work, kept, worth * cost, iterations)
        failed += 1
        if new > kept + 1e-6 * cost:
            if new > kept + 1e-4 * cost:
                failed = 0
            _accept(work)
            cost = cost_of(work)
            kept = explained_by(work)
            _copy(work.state, work.saved)
        else:
            _copy(work.saved, work.state)
    return cost


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
    return _lloyd(work, cost, effort.tol, effort.iterations)


def shake(work: Workspace, effort: Effort) -> float:
    """Go on by swaps that are judged after Lloyd; return the cost."""
    limits = (effort.shakes, effort.shake_patience, effort.worth, effort.shake_iterations)
    cost: float = _shake(work, *limits)
    return _lloyd(work, cost, effort.tol, effort.iterations)
