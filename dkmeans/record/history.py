"""What a fit did, step by step: light enough to keep for data of any size."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dkmeans._typing import Floats
from dkmeans.errors import FormatError
from dkmeans.record.facts import Facts
from dkmeans.record.frames import ENDS, Frame, frames_of
from dkmeans.record.parsing import PARSE_ERRORS, strict_json
from dkmeans.record.sample import RowSample

if TYPE_CHECKING:
    import pandas as pd

CENTER_BYTES = 2**26  # centers kept by a history in all, but for those at the ends of its runs
PHASES = ("survey", "init", "lloyd", "final")
_COUNTS = ("run", "step", "passes", "bytes_read", "rows_assigned", "retries")
_DTYPES = ("float32", "float64")
_SHOWN = 5  # steps at either end of a long table in a notebook
_HEAD = ["phase", "step", "inertia", "shift", "smallest", "largest", "s", "passes", "MB read"]


@dataclass(frozen=True, eq=False)
class Iteration:
    """One step of a fit.

    Parameters
    ----------
    phase : "survey" and "init" while seeding, "lloyd" for an iteration, "final" for the last
        assignment where the fit stopped before it converged strictly.
    run : which of the ``n_init`` restarts, from 0.
    step : number within the phase, from 1.
    centers : (k, d) the centers to which the rows were assigned in this step, if kept.
    inertia : sum of weight * squared distance to these centers.
    shift : Euclidean length of the move of all centers that followed.
    sizes : rows in each cluster.
    seconds, passes, bytes_read : what the step cost; bytes are those of decoded blocks.
    rows_assigned : rows for which the nearest center was found.
    retries : reads that failed for a reason that passed, and were tried again.
    """

    phase: str
    run: int = 0
    step: int = 0
    centers: Floats | None = None
    inertia: float = math.nan
    shift: float = math.nan
    sizes: tuple[int, ...] | None = None
    seconds: float = 0.0
    passes: int = 0
    bytes_read: int = 0
    rows_assigned: int = 0
    retries: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; what is not known is None."""
        plain = asdict(self)
        plain["centers"] = None if self.centers is None else self.centers.tolist()
        plain["sizes"] = None if self.sizes is None else list(self.sizes)
        for name in ("inertia", "shift"):
            plain[name] = None if math.isnan(plain[name]) else plain[name]
        return plain

    @classmethod
    def from_dict(cls, plain: dict[str, Any], dtype: str = "float64") -> Iteration:
        """The inverse of :meth:`to_dict`; ``retries`` may be missing, as before 0.2.

        Raises
        ------
        ValueError, KeyError, TypeError
            If a value is missing, or not one that a fit writes.
        """
        values = {field.name: {"retries": 0, **plain}[field.name] for field in fields(cls)}
        if values["phase"] not in PHASES or plain.keys() - values.keys():
            raise ValueError(f"phase {values['phase']!r} and {', '.join(plain)}")
        for name in _COUNTS:
            values[name] = _count(name, values[name])
        for name in ("inertia", "shift"):
            values[name] = math.nan if values[name] is None else _number(name, values[name])
        values["seconds"] = _number("seconds", values["seconds"])
        if values["centers"] is not None:
            values["centers"] = _centers(values["centers"], dtype)
        if values["sizes"] is not None:
            values["sizes"] = tuple(_count("sizes", size) for size in values["sizes"])
        return cls(**values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Iteration) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self.phase, self.run, self.step))


class History(Sequence[Iteration]):
    """The steps of a fit, in order; prints as a table.

    Histories are equal whose steps are.

    Parameters
    ----------
    best_run : the restart whose centers the model has.
    stop_reason : why that ended: "converged", "tol" or "max_iter"; None where it is not known.
    sample : rows of the data, where the fit kept any; a slice and a model file have them too.
    facts : what was clustered and how; likewise.
    """

    def __init__(
        self,
        iterations: Sequence[Iteration] = (),
        best_run: int = 0,
        *,
        stop_reason: str | None = None,
        sample: RowSample | None = None,
        facts: Facts | None = None,
    ) -> None:
        self._iterations = list(iterations)
        self.best_run = best_run
        self.stop_reason = stop_reason
        self.sample = sample
        self.facts = facts

    def __len__(self) -> int:
        return len(self._iterations)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return self._of(self._iterations[at])
        return self._iterations[at]

    def __iter__(self) -> Iterator[Iteration]:
        return iter(self._iterations)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, History)
            and self.best_run == other.best_run
            and self._iterations == other._iterations
        )

    __hash__ = None  # type: ignore[assignment]

    @property
    def passes(self) -> int:
        """Passes over the data in all."""
        return sum(i.passes for i in self)

    @property
    def bytes_read(self) -> int:
        """Bytes read from the source in all."""
        return sum(i.bytes_read for i in self)

    @property
    def retries(self) -> int:
        """Reads in all that failed for a reason that passed, and were tried again."""
        return sum(i.retries for i in self)

    @property
    def seconds(self) -> float:
        """Seconds in all."""
        return sum(i.seconds for i in self)

    @property
    def sizes(self) -> tuple[int, ...] | None:
        """Rows in each cluster at the end of the best run, where they are known."""
        return next((i.sizes for i in reversed(self.best()) if i.sizes is not None), None)

    def best(self) -> History:
        """The steps of the run that won, the survey included."""
        return self._of([i for i in self if i.run == self.best_run or i.phase == "survey"])

    def curve(self, run: int | None = None) -> list[tuple[int, float]]:
        """Iterations of a run, the best by default, and their inertias, where these are known.

        A last assignment counts as one iteration more.
        """
        run = self.best_run if run is None else run
        steps = [i for i in self if i.run == run and i.phase in ("lloyd", "final")]
        last = max((i.step for i in steps if i.phase == "lloyd"), default=0)
        found = [(i.step if i.phase == "lloyd" else last + 1, i.inertia) for i in steps]
        return [(step, inertia) for step, inertia in found if math.isfinite(inertia)]

    def frames(self) -> Iterator[Frame]:
        """The best run as pictures: "init", "assign" and "update" by turns, "converged".

        Labels are those of the rows in ``sample``, found anew from the centers of each step.
        Steps whose centers were dropped to save memory have no frames.
        """
        return frames_of(self)

    def _of(self, iterations: Sequence[Iteration]) -> History:
        """Some of the steps, with all else that is known."""
        return History(
            iterations,
            self.best_run,
            stop_reason=self.stop_reason,
            sample=self.sample,
            facts=self.facts,
        )

    def append(self, iteration: Iteration) -> None:
        """Add a step; centers are dropped when they grow past ``CENTER_BYTES``.

        Each run keeps those of its first and last step, and every other one of those between.
        """
        self._iterations.append(iteration)
        kept = [i for i, step in enumerate(self._iterations) if step.centers is not None]
        if iteration.centers is None or len(kept) * iteration.centers.nbytes <= CENTER_BYTES:
            return
        for run in {self._iterations[i].run for i in kept}:
            for i in [i for i in kept if self._iterations[i].run == run][1:-1:2]:
                self._iterations[i] = replace(self._iterations[i], centers=None)

    def to_frame(self) -> pd.DataFrame:
        """One line a step, as a pandas DataFrame; centers and sizes are columns of objects."""
        import pandas as pd

        names = [field.name for field in fields(Iteration)]
        return pd.DataFrame([{n: getattr(i, n) for n in names} for i in self], columns=names)

    def to_jsonl(self, path: str | os.PathLike[str]) -> None:
        """Write JSON Lines: a head, then a line a step."""
        Path(path).write_text("\n".join(self.dump()) + "\n", encoding="utf-8")

    @classmethod
    def from_jsonl(cls, path: str | os.PathLike[str]) -> History:
        """Read what :meth:`to_jsonl` wrote.

        Raises
        ------
        FormatError
            If the file is not such a history.
        """
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise FormatError(f"{path} is not a dkmeans history of version 1: {error}") from error
        return cls.parse(lines, str(path))

    def dump(self) -> list[str]:
        """The lines of the JSON Lines form."""
        kept = next((i.centers for i in self if i.centers is not None), np.empty(0))
        head = {"format": "dkmeans-history", "version": 1, "best_run": self.best_run}
        head |= {"dtype": str(kept.dtype), "stop_reason": self.stop_reason}
        lines = [head, *(i.to_dict() for i in self)]
        return [json.dumps(line, allow_nan=False) for line in lines]

    @classmethod
    def parse(cls, lines: Sequence[str], where: str) -> History:
        """The inverse of :meth:`dump`."""
        try:
            head = strict_json(lines[0])
            if head["format"] != "dkmeans-history" or head["version"] != 1:
                raise ValueError(f"format {head['format']!r}, version {head['version']!r}")
            if head["dtype"] not in _DTYPES:
                raise ValueError(f"dtype {head['dtype']!r}")
            steps = [Iteration.from_dict(strict_json(line), head["dtype"]) for line in lines[1:]]
            if len({i.centers.shape for i in steps if i.centers is not None}) > 1:
                raise ValueError("centers of several shapes")
            reason = head.get("stop_reason")  # which files of dkmeans 0.1.0 do not have
            if reason not in (None, *ENDS):
                raise ValueError(f"stop_reason {reason!r}")
            return cls(steps, _count("best_run", head["best_run"]), stop_reason=reason)
        except PARSE_ERRORS as error:
            raise FormatError(f"{where} is not a dkmeans history of version 1: {error}") from error

    def _table(self) -> list[list[str]]:
        """A head and a line a step, as text."""
        runs, retried = len({i.run for i in self}) > 1, self.retries > 0
        head = [*(["run"] if runs else []), *_HEAD, *(["retries"] if retried else [])]
        lines = [
            [*([str(i.run)] if runs else []), *_cells(i), *([str(i.retries)] if retried else [])]
            for i in self
        ]
        return [head, *lines]

    def __str__(self) -> str:
        table = self._table()
        widths = [max(len(row[c]) for row in table) for c in range(len(table[0]))]
        return "\n".join(
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            for row in table
        )

    def _repr_html_(self) -> str:
        """The table for a notebook, its first and last steps where there are many."""
        head, *rows = self._table()
        if len(rows) > 2 * _SHOWN:
            rows[_SHOWN:-_SHOWN] = [["\N{HORIZONTAL ELLIPSIS}"] * len(head)]
        lines = [_html_row("th", head), *(_html_row("td", row) for row in rows)]
        return f'<table style="font-variant-numeric: tabular-nums">{"".join(lines)}</table>'

    def __repr__(self) -> str:
        return f"<History of {len(self)} steps, {self.passes} passes, {self.seconds:.2f} s>"


def _count(name: str, value: Any) -> int:
    """An integer that counts something."""
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(f"{name} {value!r}")
    return value


def _number(name: str, value: Any) -> float:
    """A finite number."""
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"{name} {value!r}")
    return float(value)


def _centers(values: Any, dtype: str) -> Floats:
    """A table of finite numbers."""
    if dtype not in _DTYPES:
        raise ValueError(f"centers of type {dtype!r}")
    flat = [number for row in values for number in row]
    if not all(type(number) in (int, float) for number in flat):
        raise ValueError("centers that are no numbers")
    centers = np.array(values, dtype=dtype)
    if centers.ndim != 2 or not np.isfinite(centers).all():
        raise ValueError(f"centers of shape {centers.shape}, or not finite")
    return centers


def _html_row(tag: str, cells: Sequence[str]) -> str:
    style = f'<{tag} style="text-align: right; padding: 0 .6em">'
    return f"<tr>{''.join(f'{style}{escape(cell)}</{tag}>' for cell in cells)}</tr>"


def _cells(i: Iteration) -> list[str]:
    def number(value: float) -> str:
        return "-" if math.isnan(value) else f"{value:.7g}"

    sizes = i.sizes or ()
    return [
        i.phase,
        str(i.step),
        number(i.inertia),
        number(i.shift),
        str(min(sizes)) if sizes else "-",
        str(max(sizes)) if sizes else "-",
        f"{i.seconds:.3f}",
        str(i.passes),
        f"{i.bytes_read / 1e6:.1f}",
    ]
