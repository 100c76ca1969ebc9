"""Fits as programs, so that several of them share each pass.

A *program* is a generator that yields an :class:`Ask` and is sent the combined part in return; what
it returns is its result. :func:`run_together` answers one ask of every program that still runs by a
single pass; a program that has ended takes no part in the passes that follow.

All else in a program is deterministic, so the answers that it was sent are its whole state. What
takes long in memory or is drawn by chance is asked for as well, by a :class:`Memo`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from dkmeans._typing import AnyArray, Floats
from dkmeans.data.blocks import Blocks
from dkmeans.engine.jobs import Away, Step, finished, stays
from dkmeans.engine.passes import Passes

T = TypeVar("T")


@dataclass(frozen=True)
class Ask:
    """A pass that a program needs: its name, for people, and its step."""

    name: str
    step: Step[Any]


@dataclass(frozen=True)
class Memo:
    """Something that a program computes without a pass, and that is not to be computed twice.

    Parameters
    ----------
    kind : type of what ``find`` returns, as it would be annotated.
    n_clusters : rows of all centers in it.
    """

    name: str
    kind: Any
    n_clusters: int
    find: Callable[[], Any]


Program = Generator[Ask | Memo, Any, T]


@dataclass(frozen=True)
class Ending:
    """How a fit ended, for people who look at what was kept of it."""

    inertia: float
    n_iter: int
    stop_reason: str


class Log:
    """Answers what programs ask; this one remembers nothing.

    Parameters
    ----------
    finished : whether it can answer all that will be asked, without a pass.
    """

    finished = False

    def answers(self, asks: Sequence[Ask], take: Callable[[], Sequence[Any]]) -> Sequence[Any]:
        """A part for each ask; ``take`` takes the pass that finds them."""
        return take()

    def remember(self, memo: Memo) -> Any:
        """What the memo finds."""
        return memo.find()

    def end(self, endings: Sequence[Ending]) -> None:
        """The fits have ended so."""


@dataclass(frozen=True)
class _Parts:
    """A part of each of several steps."""

    parts: tuple[Any, ...]

    @staticmethod
    def combine(several: Sequence[_Parts]) -> _Parts:
        columns = zip(*(s.parts for s in several), strict=True)
        return _Parts(tuple(type(parts[0]).combine(parts) for parts in columns))

    def split_off(self) -> tuple[Any, ...]:
        """The rows that each of them keeps."""
        return tuple(p.split_off() if _keeps(p) else () for p in self.parts)

    def without_rows(self) -> _Parts:
        """The same without these rows."""
        return _Parts(tuple(p.without_rows() if _keeps(p) else p for p in self.parts))

    def with_rows(self, away: Away) -> _Parts:
        """The same where these rows are elsewhere."""
        several = enumerate(self.parts)
        return _Parts(tuple(p.with_rows(away.of(i)) if _keeps(p) else p for i, p in several))


def _keeps(part: Any) -> bool:
    """Whether a part can have rows that are kept for what follows a pass."""
    return hasattr(part, "split_off")


@dataclass(frozen=True)
class Several:
    """Several steps, done to each block while it is there."""

    steps: tuple[Step[Any], ...]

    def __call__(self, X: AnyArray, weights: Floats, offset: int, block: int) -> _Parts:
        return _Parts(tuple(step(X, weights, offset, block) for step in self.steps))

    @property
    def stays(self) -> bool:
        """Whether any of them keeps rows that are to stay where they are read."""
        return any(stays(step) for step in self.steps)

    def finish(self, whole: _Parts, threads: int) -> _Parts:
        pairs = zip(self.steps, whole.parts, strict=True)
        return _Parts(tuple(finished(step, part, threads) for step, part in pairs))


@dataclass
class _Running:
    """A program, what it asks for next, and its result once it has ended."""

    program: Program[Any]
    ask: Ask | Memo | None = None
    result: Any = field(default=None)

    def resume(self, part: Any, log: Log) -> None:
        """Go on to the next ask for a pass, or to the end."""
        try:
            self.ask = self.program.send(part)
            while isinstance(self.ask, Memo):
                self.ask = self.program.send(log.remember(self.ask))
        except StopIteration as stop:
            self.ask, self.result = None, stop.value


def run_together(
    passes: Passes, blocks: Blocks, programs: Sequence[Program[T]], log: Log | None = None
) -> list[T]:
    """Run programs to their ends, a pass for all of them at a time; their results, in order."""
    log = log or Log()
    running = [_Running(program) for program in programs]
    for one in running:
        one.resume(None, log)
    while live := [one for one in running if one.ask is not None]:
        asks = [one.ask for one in live if isinstance(one.ask, Ask)]
        for one, part in zip(
            live, log.answers(asks, partial(_take, passes, blocks, asks)), strict=True
        ):
            one.resume(part, log)
    return [one.result for one in running]


def _take(passes: Passes, blocks: Blocks, asks: Sequence[Ask]) -> Sequence[Any]:
    """A part for each ask, from one pass."""
    if len(asks) == 1:
        return [passes.run(blocks, asks[0].step, asks[0].name)]
    parts = passes.run(blocks, Several(tuple(a.step for a in asks)), joint_name(asks)).parts
    return list(parts)


def joint_name(asks: Sequence[Ask]) -> str:
    """The name of a pass for several asks."""
    return asks[0].name if len(asks) == 1 else f"{asks[0].name} and {len(asks) - 1} more"


def each_step(step: Step[Any]) -> tuple[Step[Any], ...]:
    """The steps that a step is made of."""
    return step.steps if isinstance(step, Several) else (step,)


def each_part(whole: Any) -> tuple[Any, ...]:
    """The parts, of each step one, that the whole part of a step is made of."""
    return whole.parts if isinstance(whole, _Parts) else (whole,)


def whole_part(step: Step[Any], parts: Sequence[Any]) -> Any:
    """The inverse of :func:`each_part`."""
    return _Parts(tuple(parts)) if isinstance(step, Several) else parts[0]


def ask_together(name: str, steps: Sequence[Step[Any]]) -> Program[Sequence[Any]]:
    """The parts of several steps, from one pass."""
    if len(steps) == 1:
        return [(yield Ask(name, steps[0]))]
    whole = yield Ask(name, Several(tuple(steps)))
    return list(whole.parts)
