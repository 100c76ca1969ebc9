"""A history as pictures in order: centers and labels of the sample, with captions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from dkmeans._typing import Floats, Ints

if TYPE_CHECKING:
    from dkmeans.record.history import History, Iteration
    from dkmeans.record.sample import RowSample

ENDS = {  # by stop_reason
    "converged": "Converged after {}: no center moves any more",
    "tol": "Stopped after {}: centers move by no more than tol",
    "max_iter": "Stopped after {}, all that max_iter allows: not converged",
}
_UNKNOWN_END = "Stopped after {}, before the centers stood still"


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a fit.

    Parameters
    ----------
    phase : "init", "assign", "update" or "converged".
    step : the iteration, from 1; 0 for "init", and of the last one for "converged".
    centers : (k, d); in "update" those to which the centers move.
    previous : (k, d) in "update" those from which they move, else None.
    sample : rows to label, or None.
    inertia : of all rows to the centers that the labels belong to; NaN in "init".
    shift : Euclidean length of the move in "update" and "converged", else NaN.
    caption : what happens, for people.
    """

    phase: str
    step: int
    centers: Floats
    previous: Floats | None
    sample: RowSample | None
    inertia: float
    shift: float
    caption: str

    @property
    def assigned(self) -> Floats:
        """The centers (k, d) that the labels belong to: those before the move in "update"."""
        return self.centers if self.previous is None else self.previous

    @cached_property
    def labels(self) -> Ints | None:
        """Labels (m,) int32 of the rows of the sample; None in "init" or without a sample."""
        if self.phase == "init" or self.sample is None:
            return None
        return self.sample.labels(self.assigned)


def frames_of(history: History) -> Iterator[Frame]:
    """The frames of the best run; steps whose centers were dropped are left out."""
    steps = [i for i in history.best() if i.phase in ("lloyd", "final")]
    sample = history.sample
    if not steps:
        return
    if steps[0].centers is not None:
        first = steps[0].centers
        yield Frame("init", 0, first, None, sample, math.nan, math.nan, "Initial centers")
    for at, step in enumerate(steps):
        if step.centers is not None and step.phase == "lloyd":
            following = steps[min(at + 1, len(steps) - 1)]
            yield from _iteration(step, following, sample)
    last, iterations = steps[-1], [step for step in steps if step.phase == "lloyd"]
    if last.centers is not None and iterations:
        number, shift = len(iterations), iterations[-1].shift
        ended = ending("converged" if shift == 0 else history.stop_reason, number)
        caption = f"{ended} (inertia {last.inertia:.6g})"
        yield Frame("converged", number, last.centers, None, sample, last.inertia, shift, caption)


def _iteration(step: Iteration, following: Iteration, sample: RowSample | None) -> Iterator[Frame]:
    """Assignment and update of one iteration; the last one moves no center."""
    number, centers, inertia = step.step, step.centers, step.inertia
    assert centers is not None
    caption = f"Iteration {number}: each row goes to its nearest center"
    yield Frame("assign", number, centers, None, sample, inertia, math.nan, caption)
    if following.centers is None:
        return
    caption = (
        f"Iteration {number}: centers move to the mean of their rows"
        f" (inertia {inertia:.6g}, shift {step.shift:.3g})"
    )
    yield Frame("update", number, following.centers, centers, sample, inertia, step.shift, caption)


def ending(reason: str | None, n_iter: int) -> str:
    """Why a fit has no further iteration, by its ``stop_reason``."""
    words = _UNKNOWN_END if reason is None else ENDS[reason]
    return words.format(f"{n_iter:,} iteration{'' if n_iter == 1 else 's'}")
