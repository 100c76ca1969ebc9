# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, check-untyped-defs=False
# mypy: disallow-untyped-decorators=False, disallow-incomplete-defs=False, warn-return-any=False
"""Compiled steps of the search for centers: distances, the two nearest centers, swaps, sums.

Rows are float32, moved and scaled, in tiles of ``WIDTH`` rows, feature by feature, so that every
distance is the direct formula ``sum((x - c)^2)``, vectorised over rows and summed over the features
in their order: the same on every processor up to the fusing of multiplications and additions. For
each row the two nearest centers and the squared distances to them are maintained. That is enough
to know what any swap of a center for a row would gain at the price of one distance a row (Kanungo
et al. 2004; Lattanzi and Sohler 2019). Sums of rows are in float64.
"""

from __future__ import annotations

import math

import numpy as np
from numba import float64, int64, njit, void

from dkmeans._typing import AnyArray
from dkmeans.engine.compiled import INNER, shared
from dkmeans.engine.sampling import uniform
from dkmeans.engine.search_workspace import (
    FRESH,
    GONE,
    NEAR,
    NEXT,
    WIDTH,
    Workspace,
    workspace_type,
)

FAR = np.float32(1e15)  # coordinates of the centers that fill up a group of four
NEVER = np.float32(3e38)  # further than any of them
ROUNDED = np.float32(1.0001)  # allows for distances summed in another way

LOSS, CHANGE, MASS, SHIFT = 0, 1, 2, 3  # of removing a center, with the trial; weight; move


def workspace(tiles: AnyArray, weights: AnyArray, k: int, key: np.uint64) -> Workspace:
    """Arrays of a search for k centers; what it only reads can be shared by several."""
    work = Workspace(tiles, weights, k)
    work.centers[:] = FAR
    work.random[0] = key
    return work


@njit(**INNER, fastmath={"contract"})
def sweep(tiles, point, fresh):
    """Squared distance of every row to ``point``."""
    for b in range(tiles.shape[0]):
        for f in range(0, tiles.shape[1], 2):
            c0, c1 = point[f], point[f + 1]
            if f == 0:
                for i in range(WIDTH):
                    x0, x1 = tiles[b, f, i] - c0, tiles[b, f + 1, i] - c1
                    fresh[b, i] = x0 * x0 + x1 * x1
            else:
                for i in range(WIDTH):
                    x0, x1 = tiles[b, f, i] - c0, tiles[b, f + 1, i] - c1
                    fresh[b, i] += x0 * x0 + x1 * x1


@njit(**INNER, fastmath={"contract"})
def _add_features(tiles, b, centers, q, scores):
    """Squared distances to four centers over all features but the last two."""
    for f in range(0, tiles.shape[1] - 2, 2):
        a0, a1, a2, a3 = centers[q, f, 0], centers[q, f, 1], centers[q, f, 2], centers[q, f, 3]
        g = f + 1
        b0, b1, b2, b3 = centers[q, g, 0], centers[q, g, 1], centers[q, g, 2], centers[q, g, 3]
        for i in range(WIDTH):
            x, y = tiles[b, f, i], tiles[b, g, i]
            scores[0, i] += (x - a0) * (x - a0) + (y - b0) * (y - b0)
            scores[1, i] += (x - a1) * (x - a1) + (y - b1) * (y - b1)
            scores[2, i] += (x - a2) * (x - a2) + (y - b2) * (y - b2)
            scores[3, i] += (x - a3) * (x - a3) + (y - b3) * (y - b3)


@njit(**INNER)
def move_row(work, b, i, new):
    """Move a row from the sum of one center to that of another, ``new``, int32."""
    own, mass, sums, tiles = work.own, work.stats[MASS], work.sums, work.tiles
    old, weight = own[b, i], np.float64(work.weights[b, i])
    mass[old] -= weight
    mass[new] += weight
    for f in range(sums.shape[1]):
        value = weight * tiles[b, f, i]
        sums[old, f] -= value
        sums[new, f] += value
    own[b, i] = new


@njit(**INNER)
def _folded(part):
    """Sum of the first 16 numbers of row 1."""
    for i in range(4):
        part[2, i] = (part[1, i] + part[1, i + 4]) + (part[1, i + 8] + part[1, i + 12])
    return np.float64((part[2, 0] + part[2, 1]) + (part[2, 2] + part[2, 3]))


@njit(**INNER, fastmath={"contract"})
def share_of(values, weights, b, row, part):
    """Sum of the products of a tile: by folding it in half, an order that vectorises."""
    for i in range(16):
        first = weights[b, i] * values[row, i] + weights[b, i + 16] * values[row, i + 16]
        second = weights[b, i + 32] * values[row, i + 32] + weights[b, i + 48] * values[row, i + 48]
        part[1, i] = first + second
    return _folded(part)


@njit(**INNER)
def draw(work, total):
    """Copy to ``work.point`` a row drawn in proportion to its share of the cost ``total``."""
    near, weights, share = work.dist[NEAR], work.weights, work.share
    tiles, point, random = work.tiles, work.point, work.random
    random[1] += np.uint64(1)
    target = uniform(random[0], np.int64(random[1])) * total
    b = 0
    while b < share.shape[0] - 1 and (target >= share[b] or share[b] == 0):
        target -= share[b]
        b += 1
    while share[b] == 0 and b > 0:  # the target lay beyond the last share by rounding
        b -= 1
    chosen = 0
    for i in range(WIDTH):
        part = weights[b, i] * near[b, i]
        if part > 0:
            chosen = i
            target -= part
            if target < 0:
                break
    for f in range(tiles.shape[1]):
        point[f] = tiles[b, f, chosen]


@njit(**INNER, fastmath={"nnan", "nsz"})
def absorb(near, follow, own, fresh, b, j):
    """Take center j, at distances ``fresh``, into the two nearest of a tile's rows."""
    for i in range(WIDTH):
        new, best, second = fresh[b, i], near[b, i], follow[b, i]
        own[b, i] = j if new < best else own[b, i]
        follow[b, i] = min(second, max(best, new))
        near[b, i] = min(best, new)


@njit(**INNER)
def place(work, j):
    """Put center j at the point on trial."""
    centers, point = work.centers, work.point
    for f in range(centers.shape[1]):
        centers[j >> 2, f, j & 3] = point[f]


@njit(**INNER)
def closer(fresh, follow, b):
    """How many rows of a tile have the center on trial among their two nearest."""
    count = np.int32(0)
    for i in range(WIDTH):
        count += np.int32(1) if fresh[b, i] < follow[b, i] else np.int32(0)
    return count


@njit(**INNER)
def is_of_one(own, b):
    """Whether the rows of a tile have one nearest center."""
    others = np.int32(0)
    for i in range(WIDTH):
        others += np.int32(1) if own[b, i] != own[b, 0] else np.int32(0)
    return others == 0


@njit(**INNER)
def least_of(values):
    """Index of the least value, the lowest on ties."""
    least = 0
    for j in range(values.shape[0]):
        if values[j] < values[least]:
            least = j
    return least


@njit(**INNER)
def tally(work):
    """Sum and weight of the rows of each center."""
    own, mass, sums = work.own, work.stats[MASS], work.sums
    tiles, weights = work.tiles, work.weights
    for j in range(mass.shape[0]):
        mass[j] = 0
        for f in range(sums.shape[1]):
            sums[j, f] = 0
    for b in range(own.shape[0]):
        for i in range(WIDTH):
            weight, j = np.float64(weights[b, i]), own[b, i]
            mass[j] += weight
            for f in range(sums.shape[1]):
                sums[j, f] += weight * tiles[b, f, i]


@njit(**INNER)
def recenter(work):
    """Move the centers to the means of their rows; return the greatest two moves and whose."""
    mass, shift, sums, centers = work.stats[MASS], work.stats[SHIFT], work.sums, work.centers
    first, second, whose = 0.0, 0.0, -1
    for j in range(mass.shape[0]):
        moved = 0.0
        if mass[j] > 1e-12:
            for f in range(sums.shape[1]):
                new = np.float32(sums[j, f] / mass[j])
                diff = np.float64(new) - centers[j >> 2, f, j & 3]
                moved += diff * diff
                centers[j >> 2, f, j & 3] = new
        moved = math.sqrt(moved) * 1.000001
        shift[j] = moved
        if moved > first:
            first, second, whose = moved, first, j
        elif moved > second:
            second = moved
    return first, second, whose


@njit(**INNER)
def explained_by(work):
    """Sum of |sum|^2 / weight over the centers: by how much it rises, the cost falls."""
    mass, sums = work.stats[MASS], work.sums
    total = 0.0
    for j in range(mass.shape[0]):
        if mass[j] > 1e-12:
            part = 0.0
            for f in range(sums.shape[1]):
                part += sums[j, f] * sums[j, f]
            total += part / mass[j]
    return total


@njit(**INNER)
def loosen(work, first, second, whose):
    """Loosen the bounds by the moves; list the rows whose center may have changed."""
    near, follow, own, rows = (
        work.dist[NEAR],
        work.dist[NEXT],
        work.own,
        work.rows,
    )
    shift = work.stats[SHIFT]
    count = 0
    for b in range(near.shape[0]):
        for i in range(WIDTH):
            j = own[b, i]
            near[b, i] += np.float32(shift[j])
            follow[b, i] -= np.float32(second if j == whose else first)
            rows[count] = b * WIDTH + i
            count += near[b, i] >= follow[b, i]
    return count


@shared(void(workspace_type, int64, int64), fastmath={"contract", "nnan", "nsz"})
def score_tile(work, b, few):
    """Two nearest centers of each row of tile b, four centers and two features at a time.

    Tile -1 is that of rows gathered. With ``few``, these are the first so many fours of few.
    """
    tiles, centers, scores, labels = work.tiles, work.centers, work.scores, work.labels
    if b < 0:
        tiles, b = work.tile, 0
    if few > 0:
        centers = work.few[:few]
    for i in range(WIDTH):
        scores[4, i] = scores[5, i] = NEVER
        labels[i] = 0
    f, g = tiles.shape[1] - 2, tiles.shape[1] - 1
    for q in range(centers.shape[0]):
        for i in range(WIDTH):
            scores[0, i] = scores[1, i] = scores[2, i] = scores[3, i] = np.float32(0)
        if f > 0:
            _add_features(tiles, b, centers, q, scores)
        a0, a1, a2, a3 = centers[q, f, 0], centers[q, f, 1], centers[q, f, 2], centers[q, f, 3]
        b0, b1, b2, b3 = centers[q, g, 0], centers[q, g, 1], centers[q, g, 2], centers[q, g, 3]
        j0, j1 = np.int32(4 * q), np.int32(4 * q + 1)
        j2, j3 = np.int32(4 * q + 2), np.int32(4 * q + 3)
        for i in range(WIDTH):
            x, y = tiles[b, f, i], tiles[b, g, i]
            s0 = scores[0, i] + ((x - a0) * (x - a0) + (y - b0) * (y - b0))
            s1 = scores[1, i] + ((x - a1) * (x - a1) + (y - b1) * (y - b1))
            s2 = scores[2, i] + ((x - a2) * (x - a2) + (y - b2) * (y - b2))
            s3 = scores[3, i] + ((x - a3) * (x - a3) + (y - b3) * (y - b3))
            best, second, j = scores[4, i], scores[5, i], labels[i]
            second = min(second, max(best, s0))
            j = j0 if s0 < best else j
            best = min(best, s0)
            second = min(second, max(best, s1))
            j = j1 if s1 < best else j
            best = min(best, s1)
            second = min(second, max(best, s2))
            j = j2 if s2 < best else j
            best = min(best, s2)
            second = min(second, max(best, s3))
            j = j3 if s3 < best else j
            best = min(best, s3)
            scores[4, i] = best
            scores[5, i] = second
            labels[i] = j


@shared(int64(workspace_type, int64))
def scan(work, count):
    """Two nearest centers of the first ``count`` rows listed; return how many changed the nearest.

    Those move from the sum of the one center to that of the other.
    """
    near, follow, own = work.dist[NEAR], work.dist[NEXT], work.own
    rows, tile, scores, labels = work.rows, work.tile, work.scores, work.labels
    tiles, changed = work.tiles, 0
    for start in range(0, count, WIDTH):
        many = min(WIDTH, count - start)
        for i in range(many):
            b, lane = rows[start + i] >> 6, rows[start + i] & 63
            for f in range(tile.shape[1]):
                tile[0, f, i] = tiles[b, f, lane]
        score_tile(work, -1, 0)
        for i in range(many):
            b, lane = rows[start + i] >> 6, rows[start + i] & 63
            if labels[i] != own[b, lane]:
                changed += 1
                move_row(work, b, lane, labels[i])
            near[b, lane], follow[b, lane] = scores[4, i], scores[5, i]
    return changed


@shared(int64(workspace_type))
def scan_all(work):
    """Likewise for every row."""
    near, follow, own = work.dist[NEAR], work.dist[NEXT], work.own
    scores, labels = work.scores, work.labels
    changed = 0
    for b in range(near.shape[0]):
        score_tile(work, b, 0)
        due = np.int32(0)
        for i in range(WIDTH):
            due += np.int32(1) if labels[i] != own[b, i] else np.int32(0)
        if due > 0:
            changed += due
            for i in range(WIDTH):
                if labels[i] != own[b, i]:
                    move_row(work, b, i, labels[i])
        for i in range(WIDTH):
            near[b, i] = scores[4, i]
        for i in range(WIDTH):
            follow[b, i] = scores[5, i]
    return changed


@shared(float64(workspace_type))
def cost_of(work):
    """Cost of every tile, and the loss of removing each center; return the cost."""
    near, follow, own, loss = (
        work.dist[NEAR],
        work.dist[NEXT],
        work.own,
        work.stats[LOSS],
    )
    weights, share, scores = work.weights, work.share, work.scores
    for j in range(loss.shape[0]):
        loss[j] = 0
    total = 0.0
    for b in range(near.shape[0]):
        share[b] = share_of(near, weights, b, b, scores)
        total += share[b]
        for i in range(WIDTH):
            loss[own[b, i]] += weights[b, i] * (follow[b, i] - near[b, i])
    return total


@shared(float64(workspace_type))
def weigh(work):
    """Gain by the center on trial; ``change`` is what giving up each center for it would cost."""
    near, follow, fresh, own = (
        work.dist[NEAR],
        work.dist[NEXT],
        work.dist[FRESH],
        work.own,
    )
    loss, change, weights, scores = (
        work.stats[LOSS],
        work.stats[CHANGE],
        work.weights,
        work.scores,
    )
    for j in range(loss.shape[0]):
        change[j] = loss[j]
    gain, gained, lost = 0.0, np.int64(3), np.int64(4)  # literals would be compiled each for itself
    for b in range(near.shape[0]):
        if closer(fresh, follow, b) == 0:
            continue
        if is_of_one(own, b):
            for i in range(WIDTH):
                new, best, second = fresh[b, i], near[b, i], follow[b, i]
                scores[gained, i] = best - min(best, new)
                scores[lost, i] = second - min(second, max(best, new))
            gain += share_of(scores, weights, b, gained, scores)
            change[own[b, 0]] -= share_of(scores, weights, b, lost, scores)
            continue
        for i in range(WIDTH):
            new = fresh[b, i]
            if new < follow[b, i]:
                weight = np.float64(weights[b, i])
                if new < near[b, i]:
                    gain += weight * (near[b, i] - new)
                    change[own[b, i]] -= weight * (follow[b, i] - near[b, i])
                else:
                    change[own[b, i]] -= weight * (follow[b, i] - new)
    return gain


@shared(void(workspace_type, int64))
def swap(work, j):
    """Put the point on trial in the place of center j."""
    near, follow, fresh = work.dist[NEAR], work.dist[NEXT], work.dist[FRESH]
    own, rows, gone = work.own, work.rows, work.dist[GONE]
    centers, spare = work.centers, work.spare
    for f in range(centers.shape[1]):
        spare[f] = centers[j >> 2, f, j & 3]
    place(work, j)
    if centers.shape[0] <= 2:  # eight centers take less time than to find out which rows are due
        scan_all(work)
        return
    sweep(work.tiles, spare, gone)
    count = 0
    for b in range(near.shape[0]):
        due = np.int32(0)
        for i in range(WIDTH):
            due += np.int32(1) if gone[b, i] <= follow[b, i] * ROUNDED else np.int32(0)
        if due > 0:
            for i in range(WIDTH):
                rows[count] = b * WIDTH + i
                count += own[b, i] == j or gone[b, i] <= follow[b, i] * ROUNDED
        if closer(fresh, follow, b) > 0:
            for i in range(WIDTH):
                if fresh[b, i] < near[b, i] and own[b, i] != j:
                    move_row(work, b, i, np.int32(j))
            absorb(near, follow, own, fresh, b, np.int32(j))
    scan(work, count)
