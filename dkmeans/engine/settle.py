"""Iterations of Lloyd's without a pass, on the rows that the last pass kept.

After a pass, sums of *all* rows are known. While the centers have moved so little that no row that
was not kept can have changed sides, the sums change only by the kept rows that did, and these are
exact integers (see ``grid.py``): the iterations are those of plain Lloyd's to the bit. The bounds
are those of Hamerly 2010 ("Making k-means even faster"), with the largest move taken over the
centers that are near enough to matter (Ryšavý and Hamerly 2016).
"""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dkmeans._typing import AnyArray, Floats, Ints
from dkmeans.engine import exact
from dkmeans.engine.grid import Grid, levels_of, sums_to_floats
from dkmeans.engine.kept import Chunk, Kept
from dkmeans.engine.partial import Partial, Rows
from dkmeans.engine.update import masses_of, update

_GATHERED = 2**22  # bytes of rows that are put together to be assigned anew
_DIGITS = 1e-11  # likely relative error of the last inertia from which a pass measures it
_MOST_LOST = 1e-9  # likewise the largest that there can be
_MOST_STALE = 0.5  # share of a chunk from which all of it is assigned anew where it is


@dataclass(frozen=True)
class Stop:
    """When to stop: scikit-learn's ``max_iter``, and ``tol`` relative to the mean variance."""

    max_iter: int
    tol: float


@dataclass(frozen=True)
class Anchor:
    """The first assignment of a run, from which the inertia of all others follows.

    Parameters
    ----------
    own : exact sum of what of the inertia depends on the assignment; see :func:`_own`.
    """

    centers: Floats
    sums: Ints
    masses: Floats
    inertia: float
    own: Ints


@dataclass(frozen=True)
class Course:
    """Where the iterations of a run stand.

    Parameters
    ----------
    centers : (k, d) to which rows are to be assigned next.
    n_iter : iterations done.
    reason : why to stop once rows are assigned to ``centers``; "" to go on.
    sq_tolerance : squared shift at which to stop; it is known after the first iteration.
    drops : (k,) by how much margins shrank in the last iteration.
    measure : whether the next pass must tell which rows are farthest from their centers.
    """

    centers: Floats
    n_iter: int = 0
    reason: str = ""
    sq_tolerance: float = np.nan
    anchor: Anchor | None = None
    drops: Floats | None = None
    measure: bool = True


@dataclass(frozen=True)
class Taken:
    """One iteration: the assignment to ``centers`` (k, d), and how far these then moved.

    ``seconds`` are those that it took in memory, and ``rows`` were assigned there, the pass before
    it left out.
    """

    phase: str
    centers: Floats
    inertia: float
    shift: float
    counts: Ints
    seconds: float = 0.0
    rows: int = 0


@dataclass(frozen=True)
class Settled:
    """Iterations taken after one pass, and where that leaves the run.

    Parameters
    ----------
    done : whether the run has ended.
    labels : of each block, in order, where they were asked for.
    spread : margins of all rows at the pass, if any were kept track of.
    drawn : rows that the pass drew by their share of the inertia, if it was to.
    """

    course: Course
    taken: tuple[Taken, ...]
    done: bool
    counts: Ints
    labels: tuple[Ints, ...]
    spread: Ints | None
    drawn: Rows | None


@dataclass(frozen=True)
class Rules:
    """What is fixed for a whole run."""

    grid: Grid
    dtype: np.dtype[Any]
    weighted: bool
    stop: Stop


def settle(partial: Partial, course: Course, rules: Rules, threads: int) -> Settled:
    """Update the centers, and iterate for as long as the kept rows tell all changes."""
    kept, rows = partial.kept, None
    sums = _Sums(partial, rules)
    if kept is not None and not kept.tells_nothing:
        rows = _Rows(kept, course.centers, threads)
    try:
        course, taken, done = _steps(sums, rows, course, rules)
    finally:
        if rows is not None:
            rows.close()
    return Settled(
        course,
        taken,
        done,
        sums.counts,
        kept.labels if kept else partial.labels,
        None if kept is None else kept.spread,
        None if partial.drawn is None else partial.drawn.rows,
    )


def _steps(
    sums: _Sums, rows: _Rows | None, course: Course, rules: Rules
) -> tuple[Course, tuple[Taken, ...], bool]:
    """The iterations that can be taken, where they lead, and whether the run has ended."""
    taken, done, since = list[Taken](), False, time.perf_counter()
    while True:
        if not course.reason and not sums.measured and (sums.counts == 0).any():
            course = replace(course, measure=True)
            break
        course, step, sure = _iterate(sums, course, rules)
        now = time.perf_counter()
        taken.append(replace(step, seconds=now - since, rows=0 if rows is None else rows.assigned))
        since = now
        done = step.phase == "final" or course.reason == "converged"
        if done and not sure:
            done, course = False, replace(course, measure=True)
            break
        if done or rows is None or not rows.follow(course.centers, sums):
            break
    return course, tuple(taken), done


def _iterate(sums: _Sums, course: Course, rules: Rules) -> tuple[Course, Taken, bool]:
    """One update, or the last entry of a run; whether its inertia has all its digits."""
    course = course if course.anchor else _anchored(sums, course, rules)
    inertia, sure = sums.inertia(course)
    course = replace(course, measure=bool((sums.counts == 0).any()))
    if course.reason:
        return course, Taken("final", course.centers, inertia, 0.0, sums.counts), sure
    found = update(sums.partial(), rules.grid, course.centers, rules.dtype, rules.weighted)
    shift = float(np.sqrt(found.sq_shift))
    step = Taken("lloyd", course.centers, inertia, shift, sums.counts)
    course = replace(course, n_iter=course.n_iter + 1)
    if found.sq_shift == 0:
        return replace(course, reason="converged"), step, sure
    reason = ""
    if found.sq_shift <= course.sq_tolerance:
        reason = "tol"
    elif course.n_iter == rules.stop.max_iter:
        reason = "max_iter"
    drops = drops_of(_lengths(found.centers - course.centers))
    measure = course.measure and not reason  # the last inertia is found as without a pass
    course = replace(course, centers=found.centers, reason=reason, drops=drops, measure=measure)
    return course, step, sure


def _anchored(sums: _Sums, course: Course, rules: Rules) -> Course:
    partial, grid = sums.partial(), rules.grid
    inertia = exact.to_float(partial.inertia)
    mass = masses_of(partial.counts, partial.masses, grid, rules.weighted)
    own = _own(partial, course.centers, rules)
    anchor = Anchor(course.centers, partial.sums, mass, inertia, own)
    variance = _mean_variance(anchor, grid)
    return replace(course, anchor=anchor, sq_tolerance=rules.stop.tol * variance)


def _mean_variance(anchor: Anchor, grid: Grid) -> float:
    """Mean variance of the features, from the sums of any one assignment.

    With rows ``v`` and centers ``c`` relative to the origin of the grid,
    ``sum |v|^2 = inertia + 2 sum_j c_j.S_j - sum_j m_j |c_j|^2`` for the sums S and masses m.
    """
    mass, moved = anchor.masses, anchor.centers - grid.origin
    sums, total = sums_to_floats(anchor.sums, grid), float(anchor.masses.sum())
    squares = anchor.inertia + 2 * float(np.sum(moved * sums))
    squares -= float(np.sum(mass[:, None] * (moved * moved)))
    mean = sums.sum(axis=0) / total
    return max(0.0, squares / total - float(np.sum(mean * mean))) / len(mean)


class _Sums:
    """Sums of all rows under the present assignment."""

    def __init__(self, partial: Partial, rules: Rules) -> None:
        k, d = partial.sums.shape[:2]
        self._first, self._rules = partial, rules
        self._bits = np.zeros((k, len(rules.grid.rows), d), np.int64)
        self._masses = np.zeros((k, len(rules.grid.weights)), np.int64)
        self._counts = np.zeros(k, np.int64)
        self.measured = partial.measured

    @property
    def counts(self) -> Ints:
        """Rows of each cluster, (k,)."""
        return self._first.counts + self._counts

    def partial(self) -> Partial:
        """The sums as a pass would give them."""
        if self.measured:
            return self._first
        gained = levels_of(self._bits, np.zeros_like(self._counts), self._rules.grid)
        first = self._first
        sums, masses = first.sums + gained, first.masses + self._masses
        return replace(first, sums=sums, masses=masses, counts=self.counts)

    def move(self, chunk: Chunk, rows: Ints, old: Ints) -> None:
        """Move rows of a chunk from their old clusters to those of their labels."""
        from dkmeans.engine import sum_kernels

        self.measured = False
        sum_kernels.move(
            chunk.X,
            chunk.weights,
            rows,
            old,
            chunk.labels,
            self._rules.grid,
            self._bits,
            self._masses,
            self._counts,
        )

    def inertia(self, course: Course) -> tuple[float, bool]:
        """Inertia under ``course.centers``, from that of the anchor; whether that has its digits.

        It is larger by what :func:`_own` has grown. That can be far more than the inertia itself,
        where clusters are far apart, so it takes twice the digits of a float64.
        """
        anchor = course.anchor
        assert anchor is not None
        if self.measured and (course.reason or anchor.centers is course.centers):
            return exact.to_float(self._first.inertia), True
        grown = _own(self.partial(), course.centers, self._rules) - anchor.own
        inertia = max(0.0, math.fsum((anchor.inertia, exact.to_float(grown))))
        return inertia, self._has_digits(inertia, course)

    def _has_digits(self, inertia: float, course: Course) -> bool:
        """Whether what was rounded is too little to be seen in the inertia.

        A value off by ``e`` in the sums counts ``2 e (c' - c)``, for its centers then and now. Over
        all values that is at most ``2 |e| sqrt(m)`` times the sum of the roots of both inertias
        (Cauchy and Schwarz), and like the root of their number less where signs are random. The
        true inertia may itself be what was rounded, ``m e^2``.
        """
        anchor, grid = course.anchor, self._rules.grid
        assert anchor is not None
        away = np.abs(course.centers - grid.origin).max(axis=0)
        off = grid.step / 2 + 2.0**-52 * away
        mass, length = float(anchor.masses.sum()), float(np.sqrt(np.square(off).sum()))
        roots = math.sqrt(inertia) + math.sqrt(anchor.inertia) + math.sqrt(mass) * length
        most = 2 * length * math.sqrt(mass) * roots
        likely = 5 * float(off.max()) * math.sqrt(mass / max(1, int(self.counts.sum()))) * roots
        lost = 2.0**-50 * anchor.inertia + likely
        return math.isfinite(lost) and lost <= _DIGITS * inertia and most <= _MOST_LOST * inertia


def _own(partial: Partial, centers: Floats, rules: Rules) -> Ints:
    """What of the inertia depends on the assignment, as an exact sum; see ``add_own``."""
    from dkmeans.engine import doubled_kernels

    grid, total = rules.grid, exact.zeros()
    doubled_kernels.add_own(
        partial.sums.reshape(centers.size, -1),
        grid.step,
        partial.masses if rules.weighted else partial.masses[:, :0],
        grid.weight_step,
        partial.counts,
        centers,
        grid.origin,
        total,
    )
    return total


class _Rows:
    """The kept rows, whose labels follow the centers.

    ``_limits`` (k,) is by how much margins of rows of each cluster have shrunk at most since the
    pass. A row is due when that has reached its bound.
    """

    def __init__(self, kept: Kept, centers: Floats, threads: int) -> None:
        self._kept = kept.gathered()
        self._at_pass = self._centers = centers
        self._reach = kept.reach.copy()
        self._limits = np.zeros(len(centers))
        self._near = ~_apart(centers, self._reach)  # each is near itself
        self.assigned = 0  # rows, the last time
        self._bounds = [c.margins.copy() for c in self._kept.chunks]
        many = self._kept.n_rows * centers.size > 2**22 and len(self._kept.chunks) > 1
        self._pool = ThreadPoolExecutor(threads) if many and threads > 1 else None

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()

    def follow(self, centers: Floats, sums: _Sums) -> bool:
        """Assign the rows to ``centers``; False if others may have changed sides as well."""
        moves = _lengths(centers - self._centers)
        self._reach += moves
        apart = _apart(centers, self._reach)
        if not self._others_stay(centers, apart):
            return False
        back = (~apart & ~self._near).any(axis=1)  # clusters that others have come near to
        self._near[back] |= ~apart[back]
        self._limits += moves + _largest_near(moves, self._near)
        due = self._limits + _rounding(centers, self._reach)
        due[back] = np.inf
        self._centers = centers
        self._assign(due, sums)
        return True

    def _others_stay(self, centers: Floats, apart: AnyArray) -> bool:
        """Whether no row that was not kept can have changed sides since the pass."""
        if np.isinf(self._kept.floor).all():
            return True
        moves = _lengths(centers - self._at_pass) + _rounding(centers, self._reach)
        holds = moves[:, None] + moves[None, :] < self._kept.floor[:, None]
        np.fill_diagonal(holds, True)
        return bool((holds | apart).all())

    def _assign(self, due: Floats, sums: _Sums) -> None:
        from dkmeans.engine import kernels

        scorer = kernels.prepare(self._centers)

        def one(at: int) -> tuple[Ints, Ints, Floats, int]:
            chunk, bounds = self._kept.chunks[at], self._bounds[at]
            return _assign_due(chunk, bounds, due, self._limits, scorer, len(self._centers))

        chunks = range(len(self._kept.chunks))
        found = self._pool.map(one, chunks) if self._pool is not None else map(one, chunks)
        self.assigned = 0
        for chunk, (rows, old, reach, assigned) in zip(self._kept.chunks, found, strict=True):
            self.assigned += assigned
            np.maximum(self._reach, reach, out=self._reach)
            if len(rows):
                sums.move(chunk, rows, old)
        sums.measured = False


def _assign_due(
    chunk: Chunk, bounds: Floats, due: Floats, limits: Floats, scorer: Any, k: int
) -> tuple[Ints, Ints, Floats, int]:
    """Assign the rows that are due: those that changed sides, their old labels, reach, how many."""
    from dkmeans.engine import margin_kernels

    n, reach = len(chunk.labels), np.zeros(k)
    rows = np.empty(n, np.int64)
    rows = rows[: margin_kernels.stale(chunk.labels, bounds, due, rows)]
    if len(rows) > _MOST_STALE * n:
        rows = np.arange(n)
    labels, margins = np.empty(len(rows), np.int32), np.empty(len(rows), np.float32)
    step = len(rows) if len(rows) == n else max(1, _GATHERED // max(1, chunk.X[:1].nbytes))
    for start in range(0, len(rows), max(1, step)):
        piece = slice(start, start + step)
        X = chunk.X if len(rows) == n else chunk.X[rows[piece]]
        X = X.view()
        X.flags.writeable = False
        margin_kernels.reassign(X, scorer, labels[piece], margins[piece], reach)
    moved, old = np.empty(len(rows), np.int64), np.empty(len(rows), np.int32)
    many = margin_kernels.settle_rows(
        rows, labels, margins, limits, chunk.labels, bounds, moved, old
    )
    return moved[:many].copy(), old[:many].copy(), reach, len(rows)


def _lengths(vectors: Floats) -> Floats:
    """Euclidean lengths (k,) of vectors (k, d), not less than they are."""
    lengths: Floats = np.sqrt(np.square(vectors).sum(axis=1)) * (1 + 1e-12)
    return lengths


def drops_of(moves: Floats) -> Floats:
    """By how much margins in each cluster can shrink when the centers move so far (k,)."""
    others = np.full_like(moves, moves.max())
    if len(moves) > 1:
        top = int(np.argmax(moves))
        others[top] = np.delete(moves, top).max()
    return moves + others


def _largest_near(values: Floats, near: AnyArray) -> Floats:
    """For each of ``values`` (k,) the largest of those near it (k, k), itself left out."""
    considered = np.where(near, values, 0.0)
    np.fill_diagonal(considered, 0.0)
    largest: Floats = considered.max(axis=1)
    return largest


def _rounding(centers: Floats, reach: Floats) -> float:
    """More than what the direct formula in float64 can be wrong in a difference of distances."""
    return float(2.0**-50 * (centers.shape[1] + 16) * reach.max())


def _apart(centers: Floats, reach: Floats) -> AnyArray:
    """Pairs (k, k) so far apart that no row of the first, within its reach, is near the second."""
    moved = centers - centers.mean(axis=0)
    sq_norms = np.square(moved).sum(axis=1)
    sq = sq_norms[:, None] + sq_norms[None, :] - 2 * moved @ moved.T
    sq -= 2.0**-48 * (centers.shape[1] + 16) * (sq_norms[:, None] + sq_norms[None, :])
    far = 2 * reach * (1 + 1e-9) + _rounding(centers, reach)
    apart: AnyArray = sq > np.square(far)[:, None]
    return apart
