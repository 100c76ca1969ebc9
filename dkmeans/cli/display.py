"""Progress on stderr, results on stdout."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from dkmeans.engine.progress import watching

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from dkmeans.record.history import Iteration


class Display:
    """Draws passes, blocks and iterations; a :class:`~dkmeans.engine.progress.Watcher`."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task: TaskID = bar.add_task("starting", total=None, note="", speed="")
        self._passes, self._note = 0, ""
        self._bytes, self._since = 0, time.perf_counter()

    def pass_started(self, name: str, blocks: int) -> None:
        """Begin the bar again."""
        name = name.partition(" and ")[0]  # others that share the pass
        if name == "lloyd":
            self._passes += 1
            name = f"lloyd {self._passes}"
        self._begin(name, blocks)

    def _begin(self, name: str, total: int | None) -> None:
        self._bytes, self._since = 0, time.perf_counter()
        self._bar.reset(self._task, total=total, description=name, speed="", note=self._note)

    def block_done(self, rows: int, read_bytes: int) -> None:
        """Move the bar on."""
        self._bytes += read_bytes
        speed = self._bytes / 1e6 / max(1e-3, time.perf_counter() - self._since)
        self._bar.update(self._task, advance=1, speed=f"{speed:,.0f} MB/s")

    def iteration_done(self, iteration: Iteration) -> None:
        """Show the inertia and the shift."""
        notes = []
        for name in ("inertia", "shift"):
            value = getattr(iteration, name)
            if value == value:  # not NaN, which stands for unknown
                notes.append(f"{name} {value:.4g}")
        if notes:
            self._note = " ".join(notes)
            self._bar.update(self._task, note=self._note)

    @contextlib.contextmanager
    def tasks(self, name: str) -> Iterator[None]:
        """Draw the tasks that dask's threads do in the body."""
        from dask.callbacks import Callback

        total = 0

        def started(graph: Any, state: Any) -> None:
            nonlocal total
            total = len(state["waiting"]) + len(state["ready"])
            self._bar.update(self._task, total=total)

        def done(*args: Any) -> None:
            self._bar.update(self._task, advance=1)

        self._begin(name, None)
        with Callback(start_state=started, posttask=done):
            yield


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
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
    )

    columns = (  # 80 characters in all
        TextColumn("{task.description:<11}"),
        BarColumn(bar_width=10),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TextColumn("{task.fields[note]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        display = Display(bar)
        with watching(display):
            yield display


def show_lines(lines: Sequence[tuple[str, str]]) -> None:
    """Print names and values in two columns."""
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        click.echo(f"{click.style(name.rjust(width), bold=True)}  {value}")


def show_json(values: dict[str, Any]) -> None:
    """Print one JSON object."""
    click.echo(json.dumps(values, allow_nan=False))
