"""init="auto": centers found on a sample in memory, then verified by a pass over all rows."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from dkmeans._typing import AnyArray, Floats, Ints
from dkmeans.data.source import kernel_view
from dkmeans.engine.ahead import compiling
from dkmeans.engine.bounds import drops_of
from dkmeans.engine.kept import Chunk, keep, no_choice
from dkmeans.engine.lloyd import Fit, Room, Run, lloyd
from dkmeans.engine.partial import Rows, SampleSpec
from dkmeans.engine.programs import Ask, Memo, Program, ask_together
from dkmeans.engine.search import Found, improve, search
from dkmeans.engine.seeding import filled
from dkmeans.engine.settle import Course, Settled

_RESCUE = 5  # stream of random numbers
_CLOSE = 1.01  # candidates whose cost on the sample is within this factor are verified
_GAIN = 0.01  # of the cost that new centers must promise to be worth a pass


@dataclass(frozen=True)
class Points:
    """Rows in memory: (m, d) in the type of the data, with weights (m,)."""

    X: AnyArray
    weights: Floats

    def cost(self, centers: Floats) -> tuple[Floats, Ints]:
        """Squared distance of each to the nearest center, and which one that is."""
        from dkmeans.engine import kernels, seeding_kernels

        labels, sq = np.empty(len(self.X), np.int32), np.empty(len(self.X))
        kernels.assign(self.X, kernels.prepare(centers), labels)
        seeding_kernels.measure(self.X, centers, labels, sq)
        return sq, labels


def auto(run: Run, spec: SampleSpec, k: int, seed: int) -> Program[Fit]:
    """Search the sample, verify what was found on all rows, and go on with the best."""
    assert run.survey.searched is not None
    rows = run.survey.searched.rows(spec)
    points = Points(kernel_view(rows.values), rows.weights)
    if len(rows) < k:  # few of the rows take part
        return (yield from lloyd(run, filled(run.survey.draw_for(seed), k)))
    whole = len(rows) == run.survey.n_positive  # on which Lloyd's iterations go on
    share = len(rows) / max(1, run.survey.n_positive)
    found: Sequence[Found] = yield Memo(
        "search", tuple[Found, ...], k, partial(_searched, run, points, k, seed, share)
    )
    run.journal.note("init", run.number, 1, inertia=found[0].cost / share)
    if whole:
        return (yield from lloyd(run, found[0].centers))
    return (yield from lloyd(run, (yield from _verified(run, found, rows, points, share, seed))))


def _searched(run: Run, points: Points, k: int, seed: int, share: float) -> tuple[Found, ...]:
    ample = run.blocks.in_memory  # a process beside this one would break a tight limit of memory
    stand_for = run.survey.n_positive
    if run.blocks.counted:
        stand_for = int(points.weights.sum() / share)
    polish, threads = share < 1, run.journal.passes.threads
    with compiling(points.X.dtype) if ample else nullcontext():
        found = search(
            points.X, points.weights, k, seed, polish=polish, of=stand_for, threads=threads
        )
    return tuple(found)


def _verified(
    run: Run, found: Sequence[Found], rows: Rows, points: Points, share: float, seed: int
) -> Program[Settled]:
    """The best of the candidates on all rows, or what rows that the sample missed make of it.

    All is decided by the first iteration of each, because how many follow it on the rows that were
    kept depends on the memory.
    """
    from dkmeans.engine.sampling import stream_key

    candidates = [f for f in found if f.cost <= _CLOSE * found[0].cost]
    first, spread = _expected(run, candidates[0].centers, points, share)
    many = max(256, len(rows) // 16)
    expected = found[0].cost / share
    draw = SampleSpec(stream_key(seed, _RESCUE), many + 1, 2 * many / max(expected, 1e-300))
    plain = replace(run, room=Room(0))  # the others take one iteration
    steps = [run.step(first, spread, draw)]
    steps += [plain.step(plain.begin(f.centers)) for f in candidates[1:]]
    settled: Sequence[Settled] = yield from ask_together("init verify", steps)
    best = min(settled, key=lambda s: s.taken[0].inertia)
    if settled[0].taken[0].inertia <= (1 + _GAIN) * expected:
        return best  # rows that the sample missed, if any, cost next to nothing
    drawn = settled[0].drawn
    assert drawn is not None
    union = _union(rows, points, drawn, first.centers, share)
    now = best.taken[1].centers if len(best.taken) > 1 else best.course.centers
    hoped: Found = yield Memo(
        "improve", Found, len(now), partial(improve, union.X, union.weights, now, seed)
    )
    at_present = float(np.sum(union.cost(now)[0] * union.weights))
    if hoped.cost < (1 - _GAIN) * at_present:
        again: Settled = yield Ask("init verify", run.step(run.begin(hoped.centers)))
        if again.taken[0].inertia < best.taken[0].inertia:
            return again
    return best


def _expected(
    run: Run, centers: Floats, points: Points, share: float
) -> tuple[Course, Ints | None]:
    """The course from ``centers``, with how far they should move, and the margins of all rows.

    A mean over the m rows of a cluster in the sample is off by its radius over the root of m.
    """
    course = run.begin(centers)
    if run.blocks.in_memory or run.room.rows == 0:
        return course, None
    from dkmeans.engine import kernels, sum_kernels

    k = len(centers)
    sq, labels = points.cost(course.centers)
    margins, reach = np.empty(len(labels), np.float32), np.zeros(k)
    scorer = kernels.prepare(course.centers)
    sum_kernels.reassign(points.X, scorer, labels, margins, reach)
    chunk = Chunk(points.X, points.weights, labels, margins)
    spread = keep(chunk, reach, no_choice(k, run.survey.span)).spread
    counts = np.maximum(1, np.bincount(labels, minlength=k))
    radii = np.sqrt(np.bincount(labels, sq, minlength=k) / counts)
    return replace(course, drops=drops_of(radii / np.sqrt(counts))), (spread / share).astype(int)


def _union(rows: Rows, points: Points, drawn: Rows, centers: Floats, share: float) -> Points:
    """The sample and rows drawn by their share of the cost, weighted by how likely each was.

    A row is in the first with the probability ``share`` and in the second if its key is below
    that of the last row drawn, so with ``t w D^2`` (Horvitz and Thompson 1952).
    """
    limit = drawn.keys[-1] if len(drawn) else 0.0
    drawn = drawn.take(drawn.keys < limit)
    drawn = drawn.take(~np.isin(drawn.index, rows.index))
    X = np.concatenate([points.X, drawn.values.astype(points.X.dtype)])
    weights = np.concatenate([rows.weights, drawn.weights])
    union = Points(kernel_view(X), weights)
    likely = np.minimum(1.0, limit * weights * union.cost(centers)[0])
    return Points(union.X, weights / (1 - (1 - share) * (1 - likely)))
