"""Telling whoever watches how a fit goes on: blocks done, iterations done."""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import threading
from collections.abc import Iterator
from typing import Any, Protocol

TOPIC = "dkmeans-progress"


class Watcher(Protocol):
    """Receives what happens; calls come from any thread."""

    def pass_started(self, name: str, blocks: int) -> None:
        """A pass over ``blocks`` blocks begins; "read" and "search" are no passes over the data."""

    def resumed(self, how: str, passes: int | None) -> None:
        """A fit goes on from a checkpoint, in words, after so many passes; None if after all."""

    def block_done(self, rows: int, read_bytes: int) -> None:
        """A block of the pass is done."""

    def sample_drawn(self, sample: Any, n_rows: int) -> None:
        """The :class:`~dkmeans.record.sample.RowSample` of a fit is known; None if it has none.

        It is of the ``n_rows`` that take part.
        """

    def iteration_done(self, iteration: Any) -> None:
        """An :class:`~dkmeans.record.history.Iteration` was recorded."""


_watchers: dict[int, Watcher] = {}
_numbers = itertools.count(1)
_lock = threading.Lock()
_searching = contextvars.ContextVar("searching", default=False)


@contextlib.contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Send all progress of this process to ``watcher`` while the context lasts."""
    number = next(_numbers)
    with _lock:
        _watchers[number] = watcher
    try:
        yield
    finally:
        with _lock:
            del _watchers[number]


def watched() -> bool:
    """Whether anyone watches."""
    return bool(_watchers)


def tell(event: str, *args: Any) -> None:
    """Call ``event`` on every watcher."""
    for watcher in tuple(_watchers.values()):
        getattr(watcher, event)(*args)


@contextlib.contextmanager
def searching() -> Iterator[None]:
    """Call all passes "search" while this lasts: they are over what one over the data found."""
    token = _searching.set(True)
    try:
        yield
    finally:
        _searching.reset(token)


def pass_started(name: str, blocks: int) -> None:
    """Report the start of a pass."""
    tell("pass_started", "search" if _searching.get() else name, blocks)


def block_done(rows: int, read_bytes: int, *, relay: bool) -> None:
    """Report a block; from a worker of a cluster, through its scheduler, if ``relay`` says so."""
    if watched():
        tell("block_done", rows, read_bytes)
    elif relay:
        from distributed import get_worker

        get_worker().log_event(TOPIC, {"rows": rows, "bytes": read_bytes})


@contextlib.contextmanager
def relaying(client: Any) -> Iterator[None]:
    """Pass on what the workers of ``client`` report, while the context lasts."""
    if client is None or not watched():
        yield
        return

    def relay(event: tuple[float, Any]) -> None:
        tell("block_done", event[1]["rows"], event[1]["bytes"])

    client.subscribe_topic(TOPIC, relay)
    try:
        yield
    finally:
        client.unsubscribe_topic(TOPIC)
