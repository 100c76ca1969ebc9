"""Progress on stderr, results on stdout."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from dkmeans.cli.errors import printable
from dkmeans.engine.progress import watching

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

    from dkmeans._typing import Ints
    from dkmeans.record.history import Iteration
    from dkmeans.record.sample import RowSample

_MOST_WORK = 2**27  # values that are looked at to tell how many rows changed, in one iteration
_LEAST_BAR, _MOST_BAR = 5, 30  # characters
_GAP = "  "
_LINE = "\N{BOX DRAWINGS HEAVY HORIZONTAL}"


@dataclass
class Bar:
    """How far a pass over the data is; ``total`` is None where it is not known."""

    name: str
    total: int | None
    began: float
    done: int = 0
    rows: int = 0
    read_bytes: int = 0

    def parts(self) -> list[str]:
        """What there is to say beside the name, piece by piece."""
        if self.total is None:
            return []
        seconds = max(1e-3, time.perf_counter() - self.began)
        parts = [f"{self.done}/{self.total}"]
        if self.rows:
            parts += [f"{_short(self.rows / seconds)} rows/s"]
            parts += [f"{self.read_bytes / 1e6 / seconds:,.0f} MB/s"]
        if self.done >= self.total:
            parts.append("done")
        elif self.done:
            parts.append(f"{_clock(seconds * (self.total - self.done) / self.done)} left")
        return parts

    def filled(self, width: int) -> int:
        """How many of so many characters are done."""
        return 0 if not self.total else width * min(self.done, self.total) // self.total


@dataclass
class Changes:
    """Which share of the rows changed clusters, as the sample of a fit of ``n_rows`` tells it."""

    sample: RowSample | None = None
    n_rows: int = 0
    labels: dict[tuple[int, int], Ints] = field(default_factory=dict)

    def note(self, iteration: Iteration) -> str | None:
        """Share of the rows that changed since the iteration before, where that is known.

        A ``~`` marks that of a sample of them.
        """
        if not self.sample or iteration.centers is None:  # no sample, or one without rows
            return None
        k, d = iteration.centers.shape
        labels = self.sample.thinned(_MOST_WORK // (k * d)).labels(iteration.centers)
        run = k, iteration.run
        before, self.labels[run] = self.labels.get(run), labels
        if before is None:
            return None
        mark = "~" if len(labels) < self.n_rows else ""
        return f"{mark}{(before != labels).mean():.1%} changed"


class Display:
    """Draws passes, blocks and iterations; a :class:`~dkmeans.engine.progress.Watcher`."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._bar = Bar("starting", None, self._began)
        self._passes, self._notes, self._changes = 0, list[str](), Changes()
        self._resumed = ""
        self._seen: set[tuple[int, int]] = set()
        self._lock = threading.Lock()

    def pass_started(self, name: str, blocks: int) -> None:
        """Begin the bar again."""
        name = name.partition(" and ")[0]  # others that share the pass
        if name not in ("read", "search"):  # which are no passes over the data
            self._passes += 1
            name = f"pass {self._passes} {name.rstrip(' 0123456789')}"
        self._bar = Bar(name, blocks, time.perf_counter())

    def resumed(self, how: str, passes: int | None) -> None:
        """Show it above all else, and count on from the passes taken before."""
        self._resumed = printable(f"resumed {how}")
        self._passes = passes or 0

    def block_done(self, rows: int, read_bytes: int) -> None:
        """Move the bar on."""
        with self._lock:
            self._bar.done += 1
            self._bar.rows += rows
            self._bar.read_bytes += read_bytes

    def sample_drawn(self, sample: RowSample | None, n_rows: int) -> None:
        """Follow these rows from now on."""
        self._changes = Changes(sample, n_rows)

    def iteration_done(self, iteration: Iteration) -> None:
        """Show the inertia, the shift, and how many rows changed."""
        notes = []
        for name in ("inertia", "shift"):
            value = getattr(iteration, name)
            if value == value:  # not NaN, which stands for unknown
                notes.append(f"{name} {value:.4g}")
        if changed := self._changes.note(iteration):
            notes.append(changed)
        if notes:
            self._notes = [self._title(iteration), *notes]

    def _title(self, iteration: Iteration) -> str:
        """Which step this is; of which restart and how many clusters, where there are several."""
        title = f"{'iteration' if iteration.phase == 'lloyd' else iteration.phase} {iteration.step}"
        if iteration.centers is not None:
            self._seen.add((len(iteration.centers), iteration.run))
            if any(run for _, run in self._seen):
                title = f"run {iteration.run + 1} {title}"
            if len({k for k, _ in self._seen}) > 1:
                title = f"k={len(iteration.centers)} {title}"
        return title

    @contextlib.contextmanager
    def tasks(self, name: str) -> Iterator[None]:
        """Draw the tasks that dask's threads do in the body."""
        from dask.callbacks import Callback

        self._bar = Bar(name, None, time.perf_counter())

        def started(graph: Any, state: Any) -> None:
            self._bar.total = len(state["waiting"]) + len(state["ready"])

        def done(*args: Any) -> None:
            with self._lock:
                self._bar.done += 1

        with Callback(start_state=started, posttask=done):
            yield

    def lines(self, width: int) -> list[str]:
        """What is shown in so many columns; in the line of the bar, a tab stands for it."""
        bar = self._bar
        first, *others = _wrapped([bar.name, *bar.parts()], width)
        if width - len(first) >= _LEAST_BAR + len(_GAP) and not others:
            first = first.replace(bar.name, f"{bar.name}{_GAP}\t", 1)
        elapsed = f"{_clock(time.perf_counter() - self._began)} elapsed"
        above = _folded(self._resumed, width)
        return [*above, first, *others, *_wrapped([*self._notes, elapsed], width)]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the lines, the bar in colors."""
        from rich.text import Text

        width = options.max_width
        line = "-" if options.ascii_only else _LINE
        rest = " " if console.no_color or console.color_system is None else line
        for text in self.lines(width):
            before, tab, after = text.partition("\t")
            room = min(_MOST_BAR, width - len(before) - len(after)) if tab else 0
            filled = self._bar.filled(room)
            yield Text.assemble(
                before,
                (line * filled, "bar.complete"),
                (rest * (room - filled), "bar.back"),
                after,
                no_wrap=True,
            )


class Hidden:
    """Stands for a display where nobody looks."""

    @contextlib.contextmanager
    def tasks(self, name: str) -> Iterator[None]:
        """Draw nothing."""
        yield


@contextlib.contextmanager
def showing(*, hidden: bool) -> Iterator[Display | Hidden]:
    """Show progress while the body lasts, unless hidden or stderr is no terminal."""
    if hidden or not sys.stderr.isatty():
        yield Hidden()
        return
    from rich.console import Console
    from rich.live import Live

    display = Display()
    live = Live(display, console=Console(stderr=True), transient=True, refresh_per_second=10)
    with live, watching(display):
        yield display


def _wrapped(parts: Sequence[str], width: int) -> list[str]:
    """The parts in as few lines as hold them, none cut."""
    lines = [parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + len(_GAP) + len(part) <= width:
            lines[-1] += _GAP + part
        else:
            lines.append(part)
    return lines


def _folded(text: str, width: int) -> list[str]:
    """A text of any length in lines that hold it."""
    return [text[at : at + width] for at in range(0, len(text), width)]


def _short(number: float) -> str:
    """A number in three digits and a letter."""
    for unit in ("", "k", "M"):
        if number < 999.5:
            return f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:.3g}G"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def show_lines(lines: Sequence[tuple[str, str]]) -> None:
    """Print names and values in two columns."""
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        name = click.style(printable(name.rjust(width)), bold=True)
        click.echo(f"{name}  {printable(value)}")


def show_json(values: dict[str, Any]) -> None:
    """Print one JSON object."""
    click.echo(json.dumps(values, allow_nan=False))
