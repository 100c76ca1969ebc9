"""Writing down what a fit does, with what it cost since the last entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dkmeans.engine.passes import Passes
from dkmeans.record.history import Iteration


def _nobody(_: Iteration) -> None:
    """Record nothing."""


@dataclass(frozen=True)
class Journal:
    """The passes that are counted, and who receives the entries."""

    passes: Passes
    record: Callable[[Iteration], None] = _nobody

    def note(
        self,
        phase: str,
        run: int = 0,
        step: int = 0,
        *,
        more_seconds: float = 0.0,
        more_rows: int = 0,
        **values: Any,
    ) -> None:
        """Record an :class:`Iteration`; the cost is what was spent since the last one, and more."""
        spent = self.passes.lap()
        self.record(
            Iteration(
                phase,
                run,
                step,
                seconds=max(0.0, spent.seconds + more_seconds),
                passes=spent.passes,
                bytes_read=spent.bytes_read,
                rows_assigned=spent.rows + more_rows,
                retries=spent.retries,
                **values,
            )
        )
