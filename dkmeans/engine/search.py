"""Search for good centers on rows in memory: seeding, swaps and Lloyd, restarted where it is cheap.

The result depends on the rows, their weights, the number of clusters and the seed alone. How much
is tried is a function of the sizes, never of the clock.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from dkmeans._typing import AnyArray, Floats, Ints
from dkmeans.data.threads import in_order

if TYPE_CHECKING:
    from dkmeans.engine.search_workspace import Workspace

BLOCK = 2048  # rows moved and scaled at once
SMALL = 2e6  # distances times features up to which wide rows are searched as thoroughly as others
LARGE = 2e8  # from which Lloyd is left to those who go on from what was found
RESTARTED = 1e5  # up to which more searches are started of all rows, by one thread
FEW = 16  # clusters up to which several searches are started
MANY = 3  # times the rows searched, from which on a search is short beside what follows
NARROW = 16  # features up to which columns are copied, to read each at once
MOST_FOUND = 3
_SAME = 1e-5  # costs that differ by less than this share are those of one solution
_ALIKE = 1e-4  # likewise before they are as low as they get
_SEARCH, _IMPROVE, _SAMPLE = 11, 12, 13  # streams of random numbers


@dataclass(frozen=True)
class Found:
    """Centers, and what they cost on the rows that they were found on."""

    centers: Floats  # (k, d) float64
    cost: float  # sum of weight * squared distance


@dataclass(frozen=True)
class Effort:
    """How much one search tries."""

    tries: int  # swaps tried after seeding, and how many may fail in a row
    patience: int
    tol: float  # fall of the cost, as a share of it, at which Lloyd stops
    iterations: int
    shakes: int  # swaps that are judged after a local Lloyd, and how many may fail in a row
    shake_patience: int
    worth: float = 1e-5  # fall of the cost, as a share of it, for which that moves a center
    shake_iterations: int = 5


def effort_for(m: int, k: int, d: int, of: int = 0) -> Effort:
    """How much to try with m rows of d features and k centers: less where a try costs much.

    More where the rows stand for ``of`` so many that what follows takes far longer. Of few clusters
    several searches are started, which finds more than as many tries in one of them.
    """
    work = float(m) * k * d
    shakes, patience = max(48, 24 + k // 4), k + 16
    if k <= FEW:
        shakes, patience = min(8 * k, 24), 12
    elif of >= MANY * m:
        shakes *= min(8, of // m)
    if work > SMALL and d > NARROW:
        shakes = max(4, shakes * NARROW // d)
    if work > LARGE:
        return Effort(2 * k, k // 8 + 4, 1e-3, 2, shakes, patience)
    return Effort(2 * k, k // 4 + 4, 1e-4, 50, shakes, patience)


def rows_for(k: int, d: int) -> int:
    """Rows that tell where k centers belong; more of them only tell it more precisely.

    In few dimensions many arrangements cost nearly the same, and it takes more rows to tell them.
    """
    return 256 * (max(32, k + 16) if d <= NARROW else max(8, k))


def runs_for(m: int, k: int, d: int, of: int) -> int:
    """How many searches of m rows, which stand for ``of``, to start from other seeds.

    Several only of few clusters, and more where they take next to no time.
    """
    if k > FEW:
        return 1
    if of >= MANY * m:
        return 4
    return 3 if float(m) * k * d <= RESTARTED else 2


@dataclass(frozen=True)
class Tiles:
    """Rows moved and scaled into float32 tiles; see ``search_state_kernels.py``."""

    values: AnyArray
    weights: AnyArray
    shift: Floats
    scale: float


def tiles_of(points: AnyArray, weights: Floats) -> Tiles:
    """Move the rows to their mean, scale them to within 1, and lay them out in tiles."""
    from dkmeans.engine.search_workspace import WIDTH

    m, d = points.shape
    columns = np.ascontiguousarray(points.T) if d <= NARROW else points.T
    low, high = columns.min(axis=1).astype(np.float64), columns.max(axis=1).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        shift = columns[:, :: max(1, m // BLOCK)].mean(axis=1, dtype=np.float64)
        shift = np.where(np.isfinite(shift), shift, low / 2 + high / 2)
        reach = float(np.maximum(high - shift, shift - low).max())
    scale = 2.0 ** min(1000, -math.frexp(reach)[1]) if 0 < reach < math.inf else 1.0
    tiles = -(-m // WIDTH)
    values = np.empty((tiles, d + d % 2, WIDTH), np.float32)
    for start in range(0, m, BLOCK):
        stop = min(m, start + BLOCK)
        count = -(-(stop - start) // WIDTH)
        if d <= NARROW:
            block = np.zeros((d + d % 2, count, WIDTH))
            flat = block.reshape(len(block), -1)[:d, : stop - start]
            np.subtract(columns[:, start:stop], shift[:, None], out=flat)
            flat *= scale
        else:
            rows = np.zeros((count * WIDTH, d + d % 2), np.float32)
            rows[: stop - start, :d] = (points[start:stop] - shift) * scale
            block = rows.reshape(count, WIDTH, -1).transpose(2, 0, 1)
        first = start // WIDTH
        values[first : first + count] = block.transpose(1, 0, 2)
    held = np.zeros(tiles * WIDTH, np.float32)
    held[:m] = _relative(weights) if len(weights) else 1
    return Tiles(values, held.reshape(tiles, WIDTH), shift, scale)


def _relative(weights: Floats) -> Floats:
    """Weights as shares of the greatest; of equal weight where none has any."""
    most = float(weights.max())
    return weights / most if most > 0 else np.ones(len(weights))


@dataclass(frozen=True)
class Raw:
    """Where one search has come, in the units of the tiles."""

    cost: float
    work: Workspace
    labels: Ints

    @property
    def centers(self) -> AnyArray:
        """(k, d) float32."""
        lanes = self.work.centers.transpose(0, 2, 1)
        return lanes.reshape(-1, lanes.shape[2])[: self.work.stats.shape[1]]


def search(
    points: AnyArray,
    weights: Floats,
    k: int,
    seed: int,
    *,
    polish: bool = True,
    of: int = 0,
    threads: int = 1,
) -> list[Found]:
    """Search for k centers of the rows ``points`` (m, d); the best first, up to three that differ.

    Parameters
    ----------
    points
        Finite rows, C-contiguous.
    weights
        Their weights; of length 0 for 1 each.
    k
        How many centers; rows are repeated where fewer differ.
    seed
        Of every draw.
    polish
        Whether what was found on some of the rows is improved on all of them, if only some were
        searched. Without, its cost is an estimate.
    of
        How many rows they stand for, if more; the search takes longer where what follows does.
    threads
        That share the searches, which changes nothing of what they find.
    """
    m, d = points.shape
    of = max(of, m)
    if m <= rows_for(k, d):
        tiles = tiles_of(points, weights)
        return [
            _found(points, weights, tiles, raw) for raw in _search(tiles, m, k, seed, of, threads)
        ]
    rows = _sample(m, weights, rows_for(k, d), seed)
    held = weights[rows] if len(weights) else weights
    few = tiles_of(points[rows], held)
    best = _found(points[rows], held, few, _search(few, len(rows), k, seed, of, threads)[0])
    if not polish:
        share = held.sum() / weights.sum() if len(weights) else len(rows) / m
        return [replace(best, cost=best.cost / share)]
    effort = replace(effort_for(m, k, d), tries=0, shakes=0)
    return [_polish(points, weights, best.centers, effort, seed)]


def _sample(m: int, weights: Floats, most: int, seed: int) -> Ints:
    """Rows drawn without replacement, in order; none without weight where others have any."""
    held = np.flatnonzero(weights > 0) if len(weights) else np.arange(m)
    held = held if len(held) else np.arange(m)
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, _SAMPLE])))
    drawn: Ints = held[rng.permutation(len(held))[:most]]
    return np.sort(drawn)


def _search(tiles: Tiles, m: int, k: int, seed: int, of: int, threads: int) -> list[Raw]:
    """Search on the m rows in tiles, all of them, which stand for ``of`` rows."""
    sizes = (m, k, tiles.shift.shape[0])
    effort = effort_for(*sizes, of)

    threads = threads if float(m) * k * tiles.shift.shape[0] > RESTARTED else 1
    runs, starts, few = runs_for(*sizes, of), list[Raw](), list[Raw]()
    while len(starts) < runs and len(few) == len(starts):  # until two come to the same
        numbers = range(len(starts), min(len(starts) + 2, runs))
        # made one after another: threads would wait for each other's Python longer than that takes
        works = [_workspace(tiles, k, seed, _SEARCH, number) for number in numbers]
        starts += in_order(partial(_explored_of, works, effort), len(works), threads)
        few = _best(starts, _ALIKE, runs)
    if len(few) < len(starts):  # likely the best already
        effort = replace(effort, shake_patience=effort.shake_patience // 2)
    return _best(list(in_order(lambda at: _shaken(few[at], effort), len(few), threads)))


def _polish(points: AnyArray, weights: Floats, centers: Floats, effort: Effort, seed: int) -> Found:
    """Go on from ``centers``, on all rows."""
    tiles = tiles_of(points, weights)
    given = ((centers - tiles.shift) * tiles.scale).astype(np.float32)
    work = _workspace(tiles, len(centers), seed, _IMPROVE, 1)
    for j, row in enumerate(given):
        work.centers[j // 4, :, j % 4] = 0
        work.centers[j // 4, : len(row), j % 4] = row
    raw = _shaken(_explored(work, effort, given=True), effort)
    return _found(points, weights, tiles, raw)


def improve(points: AnyArray, weights: Floats, centers: Floats, seed: int) -> Found:
    """Local search by swaps and Lloyd from ``centers`` (k, d) on the rows ``points`` (m, d)."""
    effort = effort_for(len(points), len(centers), points.shape[1])
    return _polish(points, weights, centers, effort, seed)


def _workspace(tiles: Tiles, k: int, seed: int, *stream: int) -> Workspace:
    from dkmeans.engine.sampling import stream_key
    from dkmeans.engine.search_state_kernels import workspace

    return workspace(tiles.values, tiles.weights, k, stream_key(seed, *stream))


def _explored(work: Workspace, effort: Effort, *, given: bool = False) -> Raw:
    """From a seeding, or from centers that are given, to where cheap swaps and Lloyd lead."""
    from dkmeans.engine import search_kernels

    return Raw(search_kernels.explore(work, given, effort), work, work.own.ravel())


def _explored_of(works: Sequence[Workspace], effort: Effort, at: int) -> Raw:
    return _explored(works[at], effort)


def _shaken(raw: Raw, effort: Effort) -> Raw:
    """From there to where swaps lead that are judged after a local Lloyd.

    They take most of a search's time, so the rows are put in the order of their centers before:
    then there are few tiles for which a swap changes anything.
    """
    from dkmeans.engine import search_kernels

    work, labels = raw.work, raw.labels
    k, d = work.stats.shape[1], work.tiles.shape[1]
    if k == 1 or effort.shakes == 0:
        return raw
    order: Ints | slice = slice(None)
    if d <= NARROW:  # in wider ones nearly all of the time goes to distances
        order = np.argsort(labels.astype(np.min_scalar_type(k)), kind="stable")
        work = work.take(order)
    cost = search_kernels.shake(work, effort)
    labels[order] = work.own.ravel()
    return Raw(cost, work, labels)


def _best(found: Sequence[Raw], same: float = _SAME, most: int = MOST_FOUND) -> list[Raw]:
    """The best few, of one solution only the first."""
    kept: list[Raw] = []
    for raw in sorted(found, key=lambda raw: raw.cost):
        if len(kept) < most and (not kept or raw.cost > kept[-1].cost * (1 + same)):
            kept.append(raw)
    return kept


def _found(points: AnyArray, weights: Floats, tiles: Tiles, raw: Raw) -> Found:
    """Centers in the units of the rows, and their cost in float64."""
    m, d = points.shape
    centers = raw.centers[:, :d].astype(np.float64) / tiles.scale + tiles.shift
    cost = 0.0
    for start in range(0, m, BLOCK):
        diff = points[start : start + BLOCK] - centers[raw.labels[start : min(m, start + BLOCK)]]
        sq = np.einsum("ij,ij->i", diff, diff)
        cost += float((sq * weights[start : start + BLOCK] if len(weights) else sq).sum())
    return Found(centers, cost)
