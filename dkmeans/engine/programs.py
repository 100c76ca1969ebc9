"""Fits as programs, so that several of them share each pass.

A *program* is a generator that yields an :class:`Ask` and is sent the combined part in return; what
it returns is its result. :func:`run_together` answers one ask of every program that still runs by a
single pass; a program that has ended takes no part in the passes that follow.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from dkmeans._typing import AnyArray, Floats
from dkmeans.data.blocks import Blocks
from dkmeans.engine.passes import Passes, Step, finished

T = TypeVar("T")


@dataclass(frozen=True)
class Ask:
    """A pass that a program needs: its name, for people, and its step."""

    name: str
    step: Step[Any]


Program = Generator[Ask, Any, T]


@dataclass(frozen=True)
class _Parts:
    """A part of each of several steps."""

    parts: tuple[Any, ...]

    @staticmethod
    def combine(several: Sequence[_Parts]) -> _Parts:
        columns = zip(*(s.parts for s in several), strict=True)
        return _Parts(tuple(type(parts[0]).combine(parts) for parts in columns))


@dataclass(frozen=True)
class Several:
    """Several steps, done to each block while it is there."""

    steps: tuple[Step[Any], ...]

    def __call__(self, X: AnyArray, weights: Floats, offset: int, block: int) -> _Parts:
        return _Parts(tuple(step(X, weights, offset, block) for step in self.steps))

    def finish(self, whole: _Parts, threads: int) -> _Parts:
        pairs = zip(self.steps, whole.parts, strict=True)
        return _Parts(tuple(finished(step, part, threads) for step, part in pairs))


@dataclass
class _Running:
    """A program, what it asks for next, and its result once it has ended."""

    program: Program[Any]
    ask: Ask | None = None
    result: Any = field(default=None)

    def resume(self, part: Any) -> None:
        try:
            self.ask = self.program.send(part)
        except StopIteration as stop:
            self.ask, self.result = None, stop.value


def run_together(passes: Passes, blocks: Blocks, programs: Sequence[Program[T]]) -> list[T]:
    """Run programs to their ends, a pass for all of them at a time; their results, in order."""
    running = [_Running(program) for program in programs]
    for one in running:
        one.resume(None)
    while live := [one for one in running if one.ask is not None]:
        asks = [one.ask for one in live if one.ask is not None]
        if len(asks) == 1:
            parts: Sequence[Any] = [passes.run(blocks, asks[0].step, asks[0].name)]
        else:
            name = f"{asks[0].name} and {len(asks) - 1} more"
            parts = passes.run(blocks, Several(tuple(a.step for a in asks)), name).parts
        for one, part in zip(live, parts, strict=True):
            one.resume(part)
    return [one.result for one in running]


def ask_together(name: str, steps: Sequence[Step[Any]]) -> Program[Sequence[Any]]:
    """The parts of several steps, from one pass."""
    if len(steps) == 1:
        return [(yield Ask(name, steps[0]))]
    whole = yield Ask(name, Several(tuple(steps)))
    return list(whole.parts)
