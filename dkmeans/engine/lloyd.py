"""Lloyd's iterations, to strict convergence, the tolerance, or ``max_iter``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from dkmeans._typing import AnyArray, Floats, Ints
from dkmeans.data.blocks import Blocks
from dkmeans.data.source import center_dtype
from dkmeans.engine import exact
from dkmeans.engine.grid import Grid, levels_of
from dkmeans.engine.journal import Journal
from dkmeans.engine.kept import Choice, Chunk, Kept, cuts_for, keep, no_choice
from dkmeans.engine.partial import Partial, SampleSpec, bad_value, draw_by_cost, rows_of
from dkmeans.engine.programs import Ask, Program
from dkmeans.engine.settle import Course, Rules, Settled, Stop, settle
from dkmeans.engine.survey import Survey

KEPT_SHARE = 0.25  # of all rows, that one run keeps at most
MAX_RELOCATED = 64  # empty clusters that one iteration can move; any others wait for the next


@dataclass(frozen=True)
class LloydStep:
    """Assign the rows of a block to their nearest centers (k, d) and sum them.

    Parameters
    ----------
    want_labels : whether the part holds the labels of the rows.
    measure : whether it holds the inertia and the farthest rows.
    choice : which rows it keeps for the iterations that follow; None for none.
    draw : rows to draw by their share of the inertia, if any.
    """

    centers: Floats
    grid: Grid
    want_labels: bool = False
    measure: bool = True
    choice: Choice | None = None
    draw: SampleSpec | None = None

    def __call__(self, X: AnyArray, weights: Floats, offset: int, block: int) -> Partial:
        from dkmeans.engine import sum_kernels

        k, d = self.centers.shape
        bits = np.zeros((k, len(self.grid.rows), d), np.int64)
        masses = np.zeros((k, len(self.grid.weights)), np.int64)
        counts, inertia, reach = np.zeros(k, np.int64), exact.zeros(), np.zeros(k)
        most = min(k, MAX_RELOCATED)
        keys, rows = np.empty(most), np.empty(most, np.int64)
        labels = np.empty(len(X) if self._labelled else 0, np.int32)
        margins = np.empty(0 if self.choice is None else len(X), np.float32)
        size, bad = sum_kernels.lloyd(
            X,
            weights,
            self.scorer,
            self.grid,
            bits,
            masses,
            counts,
            inertia,
            keys,
            rows,
            labels,
            margins,
            reach,
            self.measure,
        )
        return Partial(
            levels_of(bits, counts, self.grid),
            masses,
            counts,
            inertia,
            rows_of(X, weights, offset, keys[:size], rows[:size]),
            most,
            None if bad < 0 else bad_value(X, offset, bad),
            self.measure,
            (labels,) if self.want_labels else (),
            self._kept(Chunk(X, weights, labels, margins), reach),
            None
            if self.draw is None
            else draw_by_cost(X, weights, offset, self.centers, labels, self.draw),
        )

    @cached_property
    def scorer(self) -> Any:
        """The centers as the kernels take them, prepared once for all blocks of a process."""
        from dkmeans.engine import kernels

        return kernels.prepare(self.centers)

    @property
    def _labelled(self) -> bool:
        return self.want_labels or self.choice is not None or self.draw is not None

    def _kept(self, chunk: Chunk, reach: Floats) -> Kept | None:
        return None if self.choice is None else keep(chunk, reach, self.choice)


@dataclass(frozen=True)
class RunStep:
    """A pass of a run: the assignment of all rows, then what can be settled without another."""

    assign: LloydStep
    course: Course
    rules: Rules

    def __call__(self, X: AnyArray, weights: Floats, offset: int, block: int) -> Partial:
        return self.assign(X, weights, offset, block)

    @property
    def stays(self) -> bool:
        """Whether rows are kept, and stay on the workers that read them."""
        choice = self.assign.choice
        return self.rules.stay and choice is not None and bool(choice.most)

    def finish(self, whole: Partial, threads: int) -> Settled:
        """Iterate on the rows that were kept."""
        return settle(whole, self.course, self.rules, threads)


@dataclass(frozen=True)
class Fit:
    """Where Lloyd's iterations ended.

    Parameters
    ----------
    centers : (k, d) float64, with the digits of the data's own type.
    inertia : of all rows to these centers.
    counts : (k,) rows of each cluster.
    stop_reason : "converged", "tol" or "max_iter".
    labels : (n,) int32, where they were asked for.
    means : (k, d) of the rows of each cluster, NaN where it has none; None where rows have weights.
    """

    centers: Floats
    inertia: float
    counts: Ints
    n_iter: int
    stop_reason: str
    labels: Ints | None
    means: Floats | None


@dataclass
class Room:
    """Memory for rows kept between passes, shared by the runs that are still at work.

    Parameters
    ----------
    rows : that fit in memory, in all; 0 to keep none, which is plain Lloyd's.
    at_one : rows that any one process has room for.
    runs : at work.
    """

    rows: int
    at_one: float = math.inf
    runs: int = 1

    @property
    def share(self) -> int:
        """Rows that one run may keep."""
        return self.rows // max(1, self.runs)


@dataclass(frozen=True)
class Run:
    """One run of Lloyd's over some blocks.

    Parameters
    ----------
    number : which restart it is.
    room : for rows kept between passes. Blocks in memory need not be copied: all rows are kept if
        there is room at all.
    """

    blocks: Blocks
    survey: Survey
    stop: Stop
    journal: Journal
    number: int = 0
    want_labels: bool = False
    room: Room = field(default_factory=lambda: Room(0))

    @property
    def kept_rows(self) -> int:
        """Rows that may be kept now; more than a quarter of all hardly saves a pass."""
        return min(self.room.share, int(KEPT_SHARE * self.survey.n_rows))

    @property
    def stay(self) -> bool:
        """Whether kept rows stay on the workers that read them.

        They do where no one worker has room for those of all runs; else all of them go to one,
        where iterations need no messages.
        """
        return self.kept_rows * self.room.runs > self.room.at_one

    @property
    def rules(self) -> Rules:
        """What holds for the next pass of the run."""
        return Rules(
            self.survey.grid,
            center_dtype(self.blocks.dtype),
            self.blocks.weights is not None,
            self.stop,
            counted=self.blocks.counted,
            labels=self.want_labels,
            pause=self.journal.passes.patience / max(1, self.room.runs),
            stay=self.stay,
        )

    def begin(self, centers: Floats) -> Course:
        """The course that sets out from ``centers`` (k, d), rounded to the type of the centers."""
        return Course(centers.astype(center_dtype(self.blocks.dtype)).astype(np.float64))

    def step(
        self,
        course: Course,
        spread: Ints | None = None,
        draw: SampleSpec | None = None,
    ) -> RunStep:
        """The next pass; ``spread`` tells how margins were distributed in one before it."""
        choice = self._choice(course, spread)
        labels = self.want_labels and choice is None
        assign = LloydStep(course.centers, self.survey.grid, labels, course.measure, choice, draw)
        return RunStep(assign, course, self.rules)

    def _choice(self, course: Course, spread: Ints | None) -> Choice | None:
        k, unit = len(course.centers), self.survey.span
        if self.room.rows == 0:
            return None
        if self.blocks.in_memory:
            return Choice(None, 1.0, np.full(k, np.inf), unit)
        if course.reason:
            return None  # the last pass
        cuts = None
        if spread is not None and course.drops is not None:
            cuts = cuts_for(spread, unit, course.drops, self.kept_rows)
        if cuts is None:
            return no_choice(k, unit)
        share = 2 * self.kept_rows / max(1, self.survey.n_rows)
        return Choice(self.kept_rows, min(1.0, share), cuts, unit)

    def enter(self, settled: Settled) -> None:
        """Record the iterations, the first one with the cost of the pass."""
        dtype = center_dtype(self.blocks.dtype)
        step = settled.course.n_iter - sum(t.phase == "lloyd" for t in settled.taken)
        later = sum(t.seconds for t in settled.taken[1:])
        for at, taken in enumerate(settled.taken):
            step = 1 if taken.phase == "final" else step + 1
            self.journal.note(
                taken.phase,
                self.number,
                step,
                centers=taken.centers.astype(dtype),
                inertia=taken.inertia,
                shift=taken.shift,
                sizes=tuple(int(c) for c in taken.counts),
                more_seconds=taken.seconds if at else -later,
                more_rows=taken.rows,
            )


def lloyd(run: Run, start: Floats | Settled) -> Program[Fit]:
    """Iterate from centers (k, d), or from where a pass over them has already led.

    The sums are exact, so centers that do not move at all are the sign that no label changed:
    this is scikit-learn's strict convergence, found without keeping labels.
    """
    if isinstance(start, Settled):
        settled = start
    else:
        settled = yield Ask("lloyd", run.step(run.begin(start)))
    run.enter(settled)
    while not settled.done:
        name = "final" if settled.course.reason else "lloyd"
        settled = yield Ask(name, run.step(settled.course, settled.spread))
        run.enter(settled)
    last, course = settled.taken[-1], settled.course
    return Fit(
        course.centers,
        last.inertia,
        settled.counts,
        course.n_iter,
        course.reason,
        _labels(settled.labels) if run.want_labels else None,
        settled.means,
    )


def _labels(blocks: Sequence[Ints]) -> Ints:
    return np.concatenate(blocks)
