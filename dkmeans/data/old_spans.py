"""A scheduler that stays as small as it is: ``dask scheduler --preload dkmeans.data.old_spans``.

The scheduler of ``distributed`` remembers a span, with its task groups, of everything that was
ever submitted to it (dask/distributed#7977), and the names of the last 100,000 tasks. Here it
forgets the spans that ended a while ago, and the names now and then.
"""

from __future__ import annotations

import time
from typing import Any

from dask.utils import key_split
from distributed.diagnostics.plugin import SchedulerPlugin

KEPT = 360.0  # seconds: a worker that tells nothing for 300 is taken for lost, and may tell no more
EVERY = 10.0  # seconds between looks


class ForgetOldSpans(SchedulerPlugin):  # type: ignore[misc]
    """Forgets spans whose tasks the scheduler itself has forgotten."""

    name = "dkmeans-forget-old-spans"
    _next = 0.0

    def update_graph(self, scheduler: Any, **_: Any) -> None:
        """Look through them when work comes in."""
        known = scheduler.extensions.get("spans")
        if known is None or time.time() < self._next:
            return
        self._next = time.time() + EVERY
        key_split.cache_clear()  # of keys of which none comes again
        for root in [span for span in known.root_spans if _is_old(span, scheduler)]:
            known.root_spans.remove(root)
            for span in root.traverse_spans():
                del known.spans[span.id]
                known.spans_search_by_name[span.name].remove(span)
                for tag in span.name:
                    known.spans_search_by_tag[tag].remove(span)


def _is_old(root: Any, scheduler: Any) -> bool:
    groups = list(root.traverse_groups())
    gone = all(scheduler.task_groups.get(group.name) is not group for group in groups)
    ended = max((group.stop for group in groups), default=root.enqueued)
    return gone and max(root.enqueued, ended) < time.time() - KEPT


def dask_setup(scheduler: Any) -> None:
    """Called by ``--preload``."""
    scheduler.add_plugin(ForgetOldSpans())
