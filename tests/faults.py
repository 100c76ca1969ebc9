"""The table of injected faults, which the test run prints at its end."""

from __future__ import annotations

from collections import Counter

OUTCOMES = ("identical", "clear error", "hang", "lost or damaged")
_HEAD = ("fault", "injected", "ended identical", "ended in a clear error", "hangs", "outputs lost")


class FaultTable:
    """How fits ended into which faults were injected."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[str]] = {}

    def add(self, fault: str, outcome: str, times: int = 1) -> None:
        """Count a fault and how the fit ended; ``outcome`` is one of ``OUTCOMES``."""
        if outcome not in OUTCOMES:
            raise ValueError(f"outcome must be one of {OUTCOMES}, got {outcome!r}")
        self._counts.setdefault(fault, Counter())[outcome] += times

    def counts(self) -> list[tuple[str, str, int]]:
        """What was added: fault, outcome and how often."""
        return [(f, o, n) for f, counts in self._counts.items() for o, n in counts.items()]

    def count(self, *outcomes: str) -> int:
        """Faults that ended in any of ``outcomes``; without any, all of them."""
        wanted = outcomes or OUTCOMES
        return sum(counts[name] for counts in self._counts.values() for name in wanted)

    def lines(self) -> list[str]:
        """The table as text, with a line of sums; empty where nothing was injected."""
        if not self._counts:
            return []
        rows = [(fault, *_cells(counts)) for fault, counts in self._counts.items()]
        rows.append(("in all", *_cells(sum(self._counts.values(), Counter()))))
        table = [_HEAD, *([str(cell) for cell in row] for row in rows)]
        widths = [max(len(row[c]) for row in table) for c in range(len(_HEAD))]
        return [
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
            for row in table
        ]


def _cells(counts: Counter[str]) -> tuple[int, ...]:
    return sum(counts.values()), *(counts[name] for name in OUTCOMES)


TABLE = FaultTable()  # of this run of pytest
