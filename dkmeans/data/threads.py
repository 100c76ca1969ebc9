"""Work shared by the threads of this process, which live on from one pass to the next."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import TypeVar

T = TypeVar("T")
_MOST = 256  # threads that ever help


@cache
def _helpers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_MOST, "dkmeans")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_helpers.cache_clear)  # threads are not in the copy


def in_order(work: Callable[[int], T], count: int, threads: int) -> Iterator[T]:
    """Yield ``work(0)`` to ``work(count - 1)``, done by this thread and ``threads - 1`` others.

    This thread works while the next one is not there yet, so it never waits for a thread that has
    not begun. However the iteration ends, nobody works on after it.
    """
    found: dict[int, T] = {}
    turns = iter(range(count))

    def take_turns() -> None:
        try:
            for turn in turns:
                found[turn] = work(turn)
        finally:
            deque(turns, maxlen=0)  # after an error nobody begins another

    helpers = [_helpers().submit(take_turns) for _ in range(min(threads, count) - 1)]
    try:
        for at in range(count):
            while at not in found and (turn := next(turns, None)) is not None:
                found[turn] = work(turn)
            while at not in found:  # who has it, ends with it
                helper = helpers.pop()
                if not helper.cancel():
                    helper.result()
            yield found.pop(at)
    finally:
        deque(turns, maxlen=0)
        wait([helper for helper in helpers if not helper.cancel()])
