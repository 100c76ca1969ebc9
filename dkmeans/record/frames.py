"""A history as pictures in order: centers and labels of the sample, with captions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dkmeans._typing import Floats, Ints

if TYPE_CHECKING:
    from dkmeans.record.history import History, Iteration


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a fit.

    Parameters
    ----------
    phase : "init", "assign", "update" or "converged".
    step : the iteration, from 1; 0 for "init", and of the last one for "converged".
    centers : (k, d); in "update" those to which the centers move.
    previous : (k, d) in "update" those from which they move, else None.
    labels : (m,) int32 of the rows of the sample, or None in "init" or without a sample.
    inertia : of all rows to the centers that the labels belong to; NaN in "init".
    shift : Euclidean length of the move in "update" and "converged", else NaN.
    caption : what happens, for people.
    """

    phase: str
    step: int
    centers: Floats
    previous: Floats | None
    labels: Ints | None
    inertia: float
    shift: float
    caption: str


def frames_of(history: History) -> Iterator[Frame]:
    """The frames of the best run; steps whose centers were dropped are left out."""
    steps = [i for i in history.best() if i.phase in ("lloyd", "final")]
    if not steps:
        return
    if steps[0].centers is not None:
        yield Frame("init", 0, steps[0].centers, None, None, math.nan, math.nan, "Initial centers")
    for at, step in enumerate(steps):
        if step.centers is None:
            continue
        labels = None if history.sample is None else history.sample.labels(step.centers)
        if step.phase == "lloyd":
            following = steps[min(at + 1, len(steps) - 1)]
            yield from _iteration(step, following, labels)
    last, iterations = steps[-1], [step for step in steps if step.phase == "lloyd"]
    if last.centers is not None and iterations:
        number, shift = len(iterations), iterations[-1].shift
        caption = f"{_end(history.stop_reason, number, shift)} (inertia {last.inertia:.6g})"
        yield Frame("converged", number, last.centers, None, labels, last.inertia, shift, caption)


def _iteration(step: Iteration, following: Iteration, labels: Ints | None) -> Iterator[Frame]:
    """Assignment and update of one iteration; the last one moves no center."""
    number, centers, inertia = step.step, step.centers, step.inertia
    assert centers is not None
    caption = f"Iteration {number}: each row goes to its nearest center"
    yield Frame("assign", number, centers, None, labels, inertia, math.nan, caption)
    if following.centers is None:
        return
    caption = (
        f"Iteration {number}: centers move to the mean of their rows"
        f" (inertia {inertia:.6g}, shift {step.shift:.3g})"
    )
    yield Frame("update", number, following.centers, centers, labels, inertia, step.shift, caption)


def _end(reason: str | None, number: int, shift: float) -> str:
    """Why there is no further iteration."""
    iterations = f"{number} iteration{'' if number == 1 else 's'}"
    if shift == 0:
        return f"Converged after {iterations}: no center moves any more"
    if reason == "tol":
        return f"Stopped after {iterations}: centers move by no more than tol"
    if reason == "max_iter":
        return f"Stopped after {iterations}, all that max_iter allows: not converged"
    return f"Stopped after {iterations}, before the centers stood still"
