"""Swaps of the in-memory search that are judged after a local Lloyd, tried by several threads.

What counts is the first try that helps, in the order of their numbers, each of which draws its own
row. So threads may try ahead of each other without a trace of it in what is found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dkmeans._typing import Ints
from dkmeans.data.threads import in_order

if TYPE_CHECKING:
    from dkmeans.engine.search import Effort
    from dkmeans.engine.search_workspace import Workspace

MOST_THREADS = 4  # each has a state of its own, and tries ahead are in vain after one that helps
_ALONE = 4096  # rows up to which one thread is as fast as several
_NONE = np.iinfo(np.int64).max  # no try has helped


def shake(work: Workspace, effort: Effort, threads: int) -> float:
    """Try swaps until too many in a row are in vain; return the cost."""
    from dkmeans.engine import shake_kernels

    threads = min(threads, MOST_THREADS) if work.own.size > _ALONE else 1
    cost, kept = (float(value) for value in shake_kernels.begin(work))
    works = [work, *(work.twin() for _ in range(threads - 1))]
    tried = failed = 0
    while failed < effort.shake_patience and tried < effort.shakes and cost > 0:
        last = min(tried + effort.shake_patience - failed, effort.shakes)
        number, explained, best = _first_that_helps(works, effort, cost, kept, tried, last)
        if number == _NONE:
            break
        failed = 0 if explained > kept + 1e-4 * cost else failed + number - tried + 1
        tried = number + 1
        cost, kept = shake_kernels.keep(best)
        for other in works:
            other.follow(best)
    return cost


def _first_that_helps(
    works: Sequence[Workspace], effort: Effort, cost: float, kept: float, first: int, last: int
) -> tuple[int, float, Workspace]:
    """The first try that helps, what is explained after it, and where its state is."""
    from dkmeans.engine import shake_kernels

    count = len(works)
    helped: Ints = np.full(count, _NONE, np.int64)

    def tries(me: int) -> float:
        limits = (first + me, last, count)
        worth, iterations = effort.worth, effort.shake_iterations
        explained: float = shake_kernels.try_swaps(
            works[me], cost, kept, *limits, helped, me, worth, iterations
        )
        return explained

    explained = list(in_order(tries, count, count))
    best = int(np.argmin(helped))
    return int(helped[best]), explained[best], works[best]
