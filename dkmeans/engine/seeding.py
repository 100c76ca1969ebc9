"""Initial centers by passes over the data: k-means||, k-means++, random rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from dkmeans._typing import AnyArray, Floats, Ints
from dkmeans.engine import exact
from dkmeans.engine.lloyd import Run
from dkmeans.engine.partial import Drawn, Rows, SampleSpec, draw_by_cost, merge_rows, rows_of
from dkmeans.engine.programs import Ask, Memo, Program
from dkmeans.engine.search import search
from dkmeans.engine.update import masses_of

_ROUND, _TRIAL = 2, 3  # streams of random numbers; see also survey.py and auto.py


@dataclass(frozen=True)
class Draw:
    """Cost under the centers, and the rows whose keys were smallest."""

    cost: Ints
    drawn: Drawn

    @staticmethod
    def combine(parts: Sequence[Draw]) -> Draw:
        """Add the costs, keep the smallest keys."""
        cost = exact.combine([p.cost for p in parts])
        return Draw(cost, Drawn.combine([p.drawn for p in parts]))


@dataclass(frozen=True)
class DrawStep:
    """Cost of a block under ``centers``, and rows drawn by their share of it."""

    centers: Floats
    spec: SampleSpec

    def __call__(self, X: AnyArray, weights: Floats, offset: int, block: int) -> Draw:
        from dkmeans.engine import kernels, sum_kernels

        labels, cost = np.empty(len(X), np.int32), exact.zeros()
        kernels.assign(X, kernels.prepare(self.centers), labels)
        sum_kernels.cost(X, weights, self.centers, labels, cost)
        return Draw(cost, draw_by_cost(X, weights, offset, self.centers, labels, self.spec))


@dataclass(frozen=True)
class Attraction:
    """Rows nearest to each candidate, (c,), and their weight (c, levels)."""

    counts: Ints
    masses: Ints

    @staticmethod
    def combine(parts: Sequence[Attraction]) -> Attraction:
        """Add up."""
        return Attraction(
            sum((p.counts for p in parts[1:]), parts[0].counts),
            sum((p.masses for p in parts[1:]), parts[0].masses),
        )


@dataclass(frozen=True)
class AttractStep:
    """Count the rows of a block nearest to each of ``centers``."""

    centers: Floats
    weight_magics: Floats

    def __call__(self, X: AnyArray, weights: Floats, offset: int, block: int) -> Attraction:
        from dkmeans.engine import kernels, seeding_kernels

        counts = np.zeros(len(self.centers), np.int64)
        masses = np.zeros((len(self.centers), len(self.weight_magics)), np.int64)
        scorer = kernels.prepare(self.centers)
        seeding_kernels.attract(X, weights, scorer, self.weight_magics, masses, counts)
        return Attraction(counts, masses)


@dataclass(frozen=True)
class Trials:
    """Exact cost of each trial (t, LIMBS), and for each stream the row that would follow."""

    costs: Ints
    rows: tuple[Rows, ...]  # t * s draws of at most one row

    @staticmethod
    def combine(parts: Sequence[Trials]) -> Trials:
        """Add the costs, keep the smallest keys."""
        return Trials(
            exact.combine([p.costs for p in parts]),
            tuple(merge_rows(rows, 1) for rows in zip(*(p.rows for p in parts), strict=True)),
        )


@dataclass(frozen=True)
class TrialStep:
    """Try each of ``trials`` (t, d) beside ``centers`` (c, d) on a block."""

    centers: Floats
    trials: Floats
    streams: tuple[np.uint64, ...]

    def __call__(self, X: AnyArray, weights: Floats, offset: int, block: int) -> Trials:
        from dkmeans.engine import kernels, seeding_kernels

        first = len(self.centers) == 0
        shape = (len(self.trials), len(self.streams))
        costs, keys, rows = exact.zeros(shape[0]), np.full(shape, np.inf), np.zeros(shape, np.int64)
        scorer = kernels.prepare(self.trials if first else self.centers)
        streams = np.array(self.streams, np.uint64)
        seeding_kernels.try_centers(
            X,
            weights,
            offset,
            scorer,
            kernels.scratch_for(X, scorer),
            first,
            self.trials,
            streams,
            costs,
            keys,
            rows,
        )
        drawn = []
        for key, row in zip(keys.ravel(), rows.ravel(), strict=True):
            m = int(np.isfinite(key))
            drawn.append(rows_of(X, weights, offset, np.array([key])[:m], np.array([row])[:m]))
        return Trials(costs, tuple(drawn))


@dataclass(frozen=True)
class Seeding:
    """How to seed: what the estimator's parameters say; ``init`` is "" for given centers."""

    init: str
    n_clusters: int
    oversampling_factor: float
    rounds: int

    @property
    def passes(self) -> int:
        """Passes that it takes after the survey."""
        if self.init not in ("k-means||", "k-means++") or self.n_clusters == 1:
            return 0
        return self.rounds + 1 if self.init == "k-means||" else self.n_clusters

    @property
    def candidates(self) -> int:
        """Centers held at most, on average."""
        if self.init != "k-means||":
            return self.n_clusters
        return 1 + int(self.rounds * self.oversampling_factor * self.n_clusters)


def seed_centers(run: Run, seeding: Seeding, seed: int) -> Program[Floats]:
    """Initial centers (k, d) by ``seeding.init``; the survey has drawn rows for this seed."""
    drawn, k = run.survey.draw_for(seed), seeding.n_clusters
    if seeding.init == "random" or k == 1:
        return filled(drawn, k)
    if seeding.init == "k-means++":
        return (yield from _plus_plus(run, drawn, k, seed))
    return (yield from _parallel(run, seeding, seed))


def filled(drawn: Rows, k: int, centers: Floats | None = None) -> Floats:
    """The centers, made up to k with rows drawn at random; rows are repeated if they must be."""
    values = drawn.values if centers is None else np.concatenate([centers, drawn.values])
    return values[np.arange(k) % len(values)]


def _parallel(run: Run, seeding: Seeding, seed: int) -> Program[Floats]:
    """k-means|| (Bahmani et al. 2012, Algorithm 2): a pass a round, and one for the weights."""
    from dkmeans.engine.sampling import stream_key

    drawn, k, blocks = run.survey.draw_for(seed), seeding.n_clusters, run.blocks
    wanted = seeding.oversampling_factor * k
    most = math.ceil(wanted + 6 * math.sqrt(wanted) + 10)  # 6 sigma above the expected number
    candidates = drawn.values[:1]
    for number in range(1, seeding.rounds + 1):
        stream = stream_key(seed, _ROUND, number)
        draw: Draw = yield Ask(
            f"init {number}", DrawStep(candidates, SampleSpec(stream, most, math.inf))
        )
        cost = exact.to_float(draw.cost)
        run.journal.note("init", run.number, number, inertia=cost)
        if cost <= 0:
            break
        rows = draw.drawn.rows
        fresh = rows.values[rows.keys < wanted / cost]
        candidates = np.concatenate([candidates, fresh])
    grid = run.survey.grid
    attraction: Attraction = yield Ask("init weights", AttractStep(candidates, grid.weights))
    weights = masses_of(attraction.counts, attraction.masses, grid, blocks.weights is not None)
    held = weights > 0
    chosen = partial(recluster, candidates[held], weights[held], drawn, k, seed)
    centers: Floats = yield Memo("init search", Floats, k, chosen)
    run.journal.note("init", run.number, seeding.rounds + 1)
    return centers


def recluster(candidates: Floats, weights: Floats, drawn: Rows, k: int, seed: int) -> Floats:
    """Cluster the weighted candidates (c, d) in memory (step 8 of Algorithm 2)."""
    if len(candidates) <= k:
        return filled(drawn, k, candidates)
    return search(candidates, weights, k, seed)[0].centers


def in_memory_rows(n_rows: int, n_features: int, threads: int) -> int:
    """Rows of a block in memory: a few blocks a thread, none so small that its overhead counts."""
    d = max(1, n_features)
    least = max(2**17 // d, min(2**13, max(2**10, 2**18 // d)))
    blocks = max(1, min(4 * threads, n_rows // least))
    return min(2**20, max(1, -(-n_rows // blocks)))


def _plus_plus(run: Run, drawn: Rows, k: int, seed: int) -> Program[Floats]:
    """Greedy k-means++ (Arthur and Vassilvitskii 2007), one pass a center.

    As in scikit-learn, each step draws ``2 + log k`` rows in proportion to ``w D^2`` and keeps the
    one that leaves the least cost. The pass that finds the costs of the trials also draws, for
    each of them, the trials that would follow.
    """
    from dkmeans.engine.sampling import stream_key

    many = 2 + int(math.log(k))
    centers, trials = drawn.values[:0], drawn.values[:1]
    for step in range(1, k + 1):
        streams = tuple(stream_key(seed, _TRIAL, step, t) for t in range(many))
        found: Trials = yield Ask(f"init {step}", TrialStep(centers, trials, streams))
        costs = [exact.to_float(cost) for cost in found.costs]
        best = int(np.argmin(costs))
        run.journal.note("init", run.number, step, inertia=float(costs[best]))
        centers = np.concatenate([centers, trials[best : best + 1]])
        following = found.rows[best * many : (best + 1) * many]
        trials = np.concatenate([rows.values for rows in following])
        if len(trials) == 0:
            break
    return filled(drawn, k, centers)
