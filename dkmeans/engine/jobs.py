"""What a pass does to a block, and what it knows of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any, Protocol, TypeVar, cast

import numpy as np

from dkmeans._typing import AnyArray, Floats
from dkmeans.data.blocks import Reader
from dkmeans.data.buffers import Buffers
from dkmeans.data.retries import counting
from dkmeans.data.source import kernel_view
from dkmeans.engine import progress
from dkmeans.errors import DataError
from dkmeans.record.facts import peak_bytes

_NO_WEIGHTS = np.empty(0)


class _Part(Protocol):
    @staticmethod
    def combine(parts: Sequence[Any]) -> Any:
        """Put parts together."""


P = TypeVar("P", bound=_Part)
P_co = TypeVar("P_co", bound=_Part, covariant=True)


class Step(Protocol[P_co]):
    """What a pass does to one block."""

    def __call__(self, X: AnyArray, weights: Floats, offset: int, block: int) -> P_co:
        """Return the part of rows ``offset`` and following."""


def finished(step: Any, whole: Any, threads: int) -> Any:
    """What becomes of the combined part: ``step.finish(whole, threads)`` where a step has one.

    On a cluster this happens where the part is, on a worker, and only the result is sent on;
    where rows of the part stay on several workers, it happens in the client's process.
    """
    return step.finish(whole, threads) if hasattr(step, "finish") else whole


def stays(step: Any) -> bool:
    """Whether rows that the step keeps are to stay on the workers of a cluster that read them.

    Its parts then have ``split_off()``, the rows alone, ``without_rows()``, and
    ``with_rows(away)``, in which an :class:`Away` is in their place.
    """
    return getattr(step, "stays", False)


@dataclass(frozen=True)
class Away:
    """Rows that stay on the workers that read them: a step on these is done there.

    Parameters
    ----------
    do : does a step on the rows that the step ``at`` kept, and returns the parts combined.
    at : which of the steps of a pass kept the rows; empty where it has but one.
    """

    do: Callable[[tuple[int, ...], Any], Any]
    at: tuple[int, ...] = ()

    def of(self, number: int) -> Away:
        """The rows that the step of this number kept."""
        return Away(self.do, (*self.at, number))

    def __call__(self, step: Any) -> Any:
        return self.do(self.at, step)


@dataclass(frozen=True)
class Outcome:
    """A part with what was read for it, reads tried again, and the peak of the processes."""

    part: Any
    rows: int
    read_bytes: int
    retries: int = 0
    peak_bytes: int = 0

    @staticmethod
    def combine(outcomes: Sequence[Outcome]) -> Outcome:
        return Outcome(
            type(outcomes[0].part).combine([o.part for o in outcomes]),
            sum(o.rows for o in outcomes),
            sum(o.read_bytes for o in outcomes),
            sum(o.retries for o in outcomes),
            max(o.peak_bytes for o in outcomes),
        )

    def join(self, other: Outcome) -> Outcome:
        """One of both, the other's rows after these."""
        return Outcome.combine([self, other])


@dataclass(frozen=True)
class Job:
    """A step and what it needs to know of the pass; sent once to each worker."""

    step: Any
    offsets: tuple[int, ...] | None
    relay: bool
    reader: Reader | None = None
    sizes: tuple[int, ...] = ()
    buffers: Buffers = field(default_factory=Buffers)
    together: int = 1  # blocks that share a task
    on_cluster: bool = False

    def read(self, weights: AnyArray | None, task: int) -> Outcome:
        """Read the blocks of a task in turn, one where it has weights, and do the step to each."""
        together = self.together if weights is None else 1
        first = task * together
        blocks = range(first, min(first + together, len(self.sizes)))
        return reduce(Outcome.join, (self._read(weights, block) for block in blocks))

    def _read(self, weights: AnyArray | None, block: int) -> Outcome:
        """Read a block into a buffer that has served before, and do the step to it."""
        reader = cast(Reader, self.reader)
        start, rows = cast(tuple[int, ...], self.offsets)[block], self.sizes[block]
        with self.buffers.lend(rows * reader.shape[1] * reader.dtype.itemsize) as buffer:
            X = buffer.view(reader.dtype).reshape(rows, reader.shape[1])
            with counting() as retried:
                reader.read(start, start + rows, X)
            return replace(self(X, weights, start, block), retries=retried.total)

    def load(self, block: int) -> Outcome:
        """Read a block into memory of its own."""
        reader = cast(Reader, self.reader)
        start, rows = cast(tuple[int, ...], self.offsets)[block], self.sizes[block]
        with counting() as retried:
            X = noted(reader[start : start + rows, :], relay=self.relay)
        return Outcome(X, rows, X.nbytes, retried.total)

    def _check(self, rows: int, weights: int | None, block: int) -> None:
        if self.sizes and rows != self.sizes[block]:
            raise DataError(
                f"block {block} of X has {rows} rows, its chunks say {self.sizes[block]}"
            )
        if weights is not None and weights != rows:
            raise DataError(
                f"sample_weight (or labels): {weights} rows in block {block}, X has {rows}"
            )

    def __call__(self, X: AnyArray, weights: AnyArray | None, offset: int, block: int) -> Outcome:
        view = kernel_view(X)
        flat = _NO_WEIGHTS if weights is None else weights.reshape(-1)
        self._check(len(view), None if weights is None else len(flat), block)
        part = self.step(view, np.ascontiguousarray(flat, np.float64), offset, block)
        progress.block_done(len(view), view.nbytes, relay=self.relay)
        peak = peak_bytes() if self.on_cluster else None
        return Outcome(part, len(view), view.nbytes, peak_bytes=peak or 0)


def noted(X: AnyArray, *, relay: bool) -> AnyArray:
    """A block that was read to be kept, which counts as progress."""
    progress.block_done(len(X), X.nbytes, relay=relay)
    return kernel_view(X)  # once, not in every pass
