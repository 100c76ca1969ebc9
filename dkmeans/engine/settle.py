"""Iterations of Lloyd's without a pass, on the rows that the last pass kept.

After a pass, sums of *all* rows are known. While the centers have moved so little that no row that
was not kept can have changed sides, the sums change only by the kept rows that did, and these are
exact integers (see ``grid.py``): the iterations are those of plain Lloyd's to the bit. Which rows
can have changed, ``bounds.py`` knows, or ``staying.py`` where they are on several workers.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dkmeans._typing import Floats, Ints
from dkmeans.engine import exact
from dkmeans.engine.bounds import KeptRows, drops_of, lengths_of
from dkmeans.engine.grid import Grid, levels_of, sums_to_floats, total_of, weights_to_floats
from dkmeans.engine.kept import Chunk
from dkmeans.engine.partial import Partial, Rows
from dkmeans.engine.staying import Moved, StayingRows
from dkmeans.engine.update import masses_of, update
from dkmeans.errors import DataError

_DIGITS = 1e-11  # likely relative error of the last inertia from which a pass measures it
_MOST_LOST = 1e-9  # likewise the largest that there can be


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
    means : (k, d) of the rows of each cluster, NaN where it has none, once the run has ended; None
        where rows have weights that are not but numbers of rows.
    """

    course: Course
    taken: tuple[Taken, ...]
    done: bool
    counts: Ints
    labels: tuple[Ints, ...]
    spread: Ints | None
    drawn: Rows | None
    means: Floats | None = None


@dataclass(frozen=True)
class Rules:
    """What is fixed for a whole run.

    Parameters
    ----------
    labels : whether the run is to end with the labels of all rows.
    pause : seconds after which iterations in memory wait for the next pass.
    stay : whether kept rows stay on the workers of a cluster that read them.
    """

    grid: Grid
    dtype: np.dtype[Any]
    weighted: bool
    stop: Stop
    counted: bool = False  # whether weights are numbers of rows
    labels: bool = False
    pause: float = math.inf
    stay: bool = False


def settle(partial: Partial, course: Course, rules: Rules, threads: int) -> Settled:
    """Update the centers, and iterate for as long as the kept rows tell all changes."""
    kept = partial.kept
    rows: KeptRows | StayingRows | None = None
    _check_rows(partial, course)
    sums = Sums(partial, rules)
    if kept is not None and kept.away is not None:
        rows = StayingRows(kept, course.centers)
    elif kept is not None and not kept.tells_nothing:
        rows = KeptRows(kept, course.centers, threads)
    course, taken, done = _steps(sums, rows, course, rules)
    return Settled(
        course,
        taken,
        done,
        sums.sizes,
        (kept.labels if kept else partial.labels) if rules.labels else (),
        None if kept is None else kept.spread,
        None if partial.drawn is None else partial.drawn.rows,
        sums.means if done and (rules.counted or not rules.weighted) else None,
    )


def _check_rows(partial: Partial, course: Course) -> None:
    """Raise a DataError unless the sums of all rows are those of the first pass of the run."""
    if course.anchor is None:
        return
    if not np.array_equal(total_of(partial.sums), total_of(course.anchor.sums)):
        raise DataError(
            "the rows of X, or their weights, are not those that earlier passes of this fit read:"
            " their sums differ. Fit data that stay as they are, from the start"
        )


def _steps(
    sums: Sums, rows: KeptRows | StayingRows | None, course: Course, rules: Rules
) -> tuple[Course, tuple[Taken, ...], bool]:
    """The iterations that can be taken, where they lead, and whether the run has ended."""
    taken, done, since = list[Taken](), False, time.perf_counter()
    end = since + rules.pause
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
        if done or rows is None or now > end or not rows.follow(course.centers, sums):
            break
    return course, tuple(taken), done


def _iterate(sums: Sums, course: Course, rules: Rules) -> tuple[Course, Taken, bool]:
    """One update, or the last entry of a run; whether its inertia has all its digits."""
    course = course if course.anchor else _anchored(sums, course, rules)
    inertia, sure = sums.inertia(course)
    course = replace(course, measure=bool((sums.counts == 0).any()))
    if course.reason:
        return course, Taken("final", course.centers, inertia, 0.0, sums.sizes), sure
    found = update(sums.partial(), rules.grid, course.centers, rules.dtype, rules.weighted)
    shift = float(np.sqrt(found.sq_shift))
    step = Taken("lloyd", course.centers, inertia, shift, sums.sizes)
    course = replace(course, n_iter=course.n_iter + 1)
    if found.sq_shift == 0:
        return replace(course, reason="converged"), step, sure
    reason = ""
    if found.sq_shift <= course.sq_tolerance:
        reason = "tol"
    elif course.n_iter == rules.stop.max_iter:
        reason = "max_iter"
    drops = drops_of(lengths_of(found.centers - course.centers))
    measure = course.measure and not reason  # the last inertia is found as without a pass
    course = replace(course, centers=found.centers, reason=reason, drops=drops, measure=measure)
    return course, step, sure


def _anchored(sums: Sums, course: Course, rules: Rules) -> Course:
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


class Sums:
    """Sums of all rows under the present assignment."""

    def __init__(self, partial: Partial, rules: Rules) -> None:
        k, d = partial.sums.shape[:2]
        self._first, self._rules = partial, rules
        self._bits = np.zeros((k, len(rules.grid.rows), d), np.int64)
        self._masses: Ints = np.zeros((k, len(rules.grid.weights)), np.int64)
        self._counts: Ints = np.zeros(k, np.int64)
        self._levels: Ints | None = None  # what the bits sum to, where others summed them
        self.measured = partial.measured

    @property
    def grid(self) -> Grid:
        """To which rows are rounded."""
        return self._rules.grid

    @property
    def counts(self) -> Ints:
        """Rows of each cluster, (k,)."""
        return self._first.counts + self._counts

    @property
    def sizes(self) -> Ints:
        """The same with each distinct row as often as it is there."""
        if not self._rules.counted:
            return self.counts
        masses = weights_to_floats(self._first.masses + self._masses, self._rules.grid)
        return masses.astype(np.int64)

    @property
    def means(self) -> Floats:
        """Mean of the rows of each cluster, (k, d), if weights are but numbers of rows."""
        sizes, sums = self.sizes, sums_to_floats(self.partial().sums, self.grid)
        return self.grid.origin + sums / np.where(sizes, sizes, np.nan)[:, None]

    def partial(self) -> Partial:
        """The sums as a pass would give them."""
        if self.measured:
            return self._first
        gained = self._levels
        if gained is None:
            gained = levels_of(self._bits, np.zeros_like(self._counts), self.grid)
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

    def put(self, moved: Moved) -> None:
        """Let rows have moved so since the pass, and no others."""
        self.measured = False
        self._levels, self._masses, self._counts = moved.sums, moved.masses, moved.counts

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
