# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, check-untyped-defs=False
# mypy: disallow-untyped-decorators=False, disallow-incomplete-defs=False, warn-return-any=False
"""Compiled swaps of the in-memory search that are judged after a local Lloyd; see ``shakes.py``."""

from __future__ import annotations

import numpy as np
from numba import float64, int64, njit, void

from dkmeans.engine.compiled import ENTRY, INNER, shared
from dkmeans.engine.search_state_kernels import (
    CHANGE,
    FAR,
    MASS,
    ROUNDED,
    SHIFT,
    cost_of,
    draw,
    explained_by,
    least_of,
    move_row,
    scan,
    scan_all,
    score_tile,
    swap,
    sweep,
    tally,
    weigh,
)
from dkmeans.engine.search_workspace import FRESH, NEAR, NEXT, WIDTH, workspace_type


@njit(**INNER)
def _copy(source, target):
    """Remember the state, or go back to what was remembered."""
    for i in range(target.shape[0]):
        target[i] = source[i]


@njit(**INNER)
def _gather(centers, which, many, few):
    """Copy to ``few`` the centers listed, filled up to fours; return how many fours."""
    for at in range((many + 3) >> 2 << 2):
        for f in range(few.shape[1]):
            j = which[at]
            few[at >> 2, f, at & 3] = centers[j >> 2, f, j & 3] if at < many else FAR
    return (many + 3) >> 2


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
def settle(work, kept, worth, iterations):
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
        if (many + 3) >> 2 << 1 > work.centers.shape[0]:
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
    if (many + 3) >> 2 << 1 >= work.centers.shape[0]:
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
def begin(work):
    """Remember a state whose nearest centers are known; return its cost and what it explains."""
    cost = cost_of(work)
    tally(work)
    _copy(work.state, work.saved)
    return cost, explained_by(work)


@njit(**ENTRY)
def try_swaps(work, cost, kept, first, last, stride, helped, me, worth, iterations):
    """Random swaps, each followed by a local Lloyd before it is judged (Fraenti 2018).

    From the ``first`` to the ``last`` left out, every ``stride``-th, until one helps, whose number
    is written to ``helped[me]``, or one before has helped elsewhere. Returns what it explains.
    """
    random, drawn = work.random, work.random[1]
    for number in range(first, last, stride):
        for other in range(helped.shape[0]):
            if helped[other] < number:
                return kept
        random[1] = drawn + np.uint64(number)
        draw(work, cost)
        random[1] = drawn
        sweep(work.tiles, work.point, work.dist[FRESH])
        weigh(work)
        swap(work, least_of(work.stats[CHANGE]))
        new = settle(work, kept, worth * cost, iterations)
        if new > kept + 1e-6 * cost:
            helped[me] = number
            return new
        _copy(work.saved, work.state)
    return kept


@njit(**ENTRY)
def keep(work):
    """Remember the state after a swap that helped; return its cost and what it explains."""
    _accept(work)
    cost, explained = cost_of(work), explained_by(work)
    _copy(work.state, work.saved)
    return cost, explained
