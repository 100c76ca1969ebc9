"""The one place that reads the data: a step mapped over the blocks, and a tree that combines.

A *step* is a picklable function ``step(X, weights, offset, block) -> part``; a *part* has a static
``combine(parts)``. Blocks in memory, and blocks that threads of this process only have to read,
are mapped without a task graph. All others are mapped by dask's ``map_blocks`` and combined by
``dask.array.reduction``, on the cluster of the current ``distributed.Client`` where there is one
and by dask's own scheduler otherwise.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import dask
import dask.array as da
from dask.system import CPU_COUNT

from dkmeans._typing import AnyArray
from dkmeans.data.blocks import Blocks, Reader
from dkmeans.data.buffers import Buffers
from dkmeans.data.cluster import CLUSTER, Cluster, current_client
from dkmeans.data.threads import in_order
from dkmeans.engine import progress
from dkmeans.engine.jobs import Away, Job, Outcome, P, Step, finished, stays
from dkmeans.engine.trees import (
    FAN_IN,
    loading,
    parts_of,
    small_tree,
    spread,
    staying_tree,
    tree,
)

TASKS_PER_THREAD = 64  # at least, before small blocks share a task: threads end a pass together
TASK_BYTES = 64 * 2**20  # of the blocks that share a task, at most
CLUSTER_TASK_BYTES = 512 * 2**20  # likewise on a cluster, whose scheduler does a thousand a second
HELD_BYTES = 4 * 2**20  # likewise where a task has all of its blocks at once
ALSO = 3  # tasks in place of one where kept rows stay: to read, for the sums, and for the rows


@dataclass(frozen=True)
class Tally:
    """What some passes cost, and the most memory that a process which read for them had so far."""

    passes: int = 0
    bytes_read: int = 0
    rows: int = 0
    seconds: float = 0.0
    retries: int = 0
    peak_bytes: int = 0

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(
            self.passes + other.passes,
            self.bytes_read + other.bytes_read,
            self.rows + other.rows,
            self.seconds + other.seconds,
            self.retries + other.retries,
            max(self.peak_bytes, other.peak_bytes),
        )

    def since(self, before: Tally, seconds: float) -> Tally:
        """What was spent after another tally was taken, in so many seconds."""
        return Tally(
            self.passes - before.passes,
            self.bytes_read - before.bytes_read,
            self.rows - before.rows,
            seconds,
            self.retries - before.retries,
            self.peak_bytes,
        )


def default_threads() -> int:
    """Threads that dask's threaded scheduler would use."""
    return int(dask.config.get("num_workers", None) or CPU_COUNT)


class Passes:
    """Runs passes and counts them.

    Parameters
    ----------
    threads : threads of this process; a cluster has its own.
    local : whether to stay in this process, though there is a cluster.

    Attributes
    ----------
    every : seconds after which what follows a pass is to wait for the next one, unless a pass
        takes longer; see ``patience``.
    """

    def __init__(self, threads: int | None = None, *, local: bool = False) -> None:
        client = None if local else current_client()
        self.cluster = None if client is None else Cluster(client)
        self.threads = threads or default_threads()
        self.every = math.inf
        self.total = Tally()
        self._shortest = math.inf
        self._since = Tally()
        self._buffers = Buffers()
        self._mark = time.perf_counter()

    def lap(self) -> Tally:
        """What was spent since the last lap."""
        now, mark = time.perf_counter(), self._mark
        lap = self.total.since(self._since, now - mark)
        self._since, self._mark = self.total, now
        return lap

    @property
    def patience(self) -> float:
        """Seconds for what follows a pass without reading: not less than a pass takes."""
        return max(self.every, self._shortest if math.isfinite(self._shortest) else 0.0)

    def recall(self, spent: Tally) -> None:
        """Count what was spent by an earlier process."""
        self.total = self.total.plus(replace(spent, seconds=0.0))
        self._mark -= spent.seconds
        if spent.passes:
            self._shortest = min(self._shortest, spent.seconds)

    def run(self, blocks: Blocks, step: Step[P], name: str) -> P:
        """Take one pass: ``step`` on each block, all parts combined."""
        progress.pass_started("search" if blocks.counted else name, blocks.count)
        began = time.perf_counter()
        with ExitStack() as held:
            if blocks.in_memory or self._reads_itself(blocks):
                outcome = self._run_threads(blocks, step)
            else:
                outcome = self._run_dask(blocks, step, held)
            self._shortest = min(self._shortest, time.perf_counter() - began)
            self.total = Tally(
                self.total.passes + (not blocks.counted),
                self.total.bytes_read + (0 if blocks.resident else outcome.read_bytes),
                self.total.rows + outcome.rows,
                retries=self.total.retries + outcome.retries,
                peak_bytes=max(self.total.peak_bytes, outcome.peak_bytes),
            )
            on_worker = self.cluster is not None and not blocks.in_memory and not stays(step)
            part = outcome.part if on_worker else finished(step, outcome.part, self.threads)
        return cast(P, part)

    def peek(self, columns: Sequence[Any]) -> Sequence[Sequence[AnyArray]]:
        """A few rows of each of several arrays or readers, the same of all, spread over them."""
        pieces = dask.delayed([spread(rows) for rows in columns])
        if self.cluster is not None:
            found = self.cluster.result(pieces)
        else:
            found = pieces.compute(scheduler=self._scheduler(), num_workers=self.threads)
        return cast(Sequence[Sequence[AnyArray]], found)

    def load(self, blocks: Blocks) -> Blocks:
        """Read the blocks once into memory, of this process or of the cluster."""
        if isinstance(blocks.X, tuple):
            return blocks
        progress.pass_started("read", blocks.count)
        relay = self.cluster is not None and progress.watched()
        X, retries = loading(blocks, relay)
        arrays = [retries, X] if blocks.weights is None else [retries, X, blocks.weights]
        if self.cluster is not None:
            with progress.relaying(self.cluster.client):
                retries, *held = self.cluster.held(arrays)
            retried = int(self.cluster.result(retries))
            loaded = replace(blocks, X=held[0], weights=(held[1:] or [None])[0], resident=True)
            read_bytes = (blocks.n_rows or 0) * blocks.row_bytes
        else:
            parts = [part for array in arrays for part in parts_of(array)]
            retried, *both = dask.compute(
                *parts, scheduler=self._scheduler(), num_workers=self.threads
            )
            rows, weights = tuple(both[: blocks.count]), tuple(both[blocks.count :]) or None
            sizes = tuple(len(a) for a in rows)
            loaded = replace(blocks, X=rows, weights=weights, sizes=sizes, resident=True)
            read_bytes = sum(a.nbytes for a in rows)
        self.total = replace(
            self.total,
            bytes_read=self.total.bytes_read + read_bytes,
            retries=self.total.retries + int(retried),
        )
        return loaded

    def _scheduler(self) -> Any:
        configured = dask.config.get("scheduler", None)
        return "threads" if configured in CLUSTER else configured

    @property
    def by_threads(self) -> bool:
        """Whether threads of this process are what works: no cluster, no scheduler of another."""
        return self.cluster is None and self._scheduler() in (None, "threads", "threading")

    def _reads_itself(self, blocks: Blocks) -> bool:
        """Whether threads of this process read the blocks, and nothing has to be computed."""
        return self.by_threads and isinstance(blocks.X, Reader) and blocks.weights is None

    def _run_threads(self, blocks: Blocks, step: Step[P]) -> Outcome:
        job = Job(step, blocks.offsets, False, sizes=blocks.sizes or ())
        if isinstance(blocks.X, Reader):
            together = self._together(blocks)
            job = replace(job, reader=blocks.X, buffers=self._buffers, together=together)
            tasks = -(-blocks.count // together)
            return _fold(in_order(lambda task: job.read(None, task), tasks, self.threads))
        X, weights = cast(tuple[AnyArray, ...], blocks.X), blocks.weights or (None,) * blocks.count
        offsets = cast(tuple[int, ...], job.offsets)

        def one(block: int) -> Outcome:
            return job(X[block], weights[block], offsets[block], block)

        return _fold(in_order(one, blocks.count, self.threads))

    def _together(self, blocks: Blocks, tasks: int = 1) -> int:
        """Small blocks that share so many tasks, which cost more than they do."""
        sizes, cluster = blocks.sizes or (), self.cluster
        in_turn = isinstance(blocks.X, Reader) and blocks.weights is None
        if not sizes or blocks.resident or not (in_turn or cluster):
            return 1
        threads = self.threads if cluster is None else cluster.threads()
        fair = tasks * len(sizes) // (TASKS_PER_THREAD * max(1, threads))
        whole = TASK_BYTES if cluster is None else CLUSTER_TASK_BYTES
        most = tasks * whole if in_turn else HELD_BYTES
        return max(1, min(fair, most // max(1, max(sizes) * blocks.row_bytes)))

    def _run_dask(self, blocks: Blocks, step: Step[P], held: ExitStack) -> Outcome:
        """The outcome; rows that stay on the workers are there for as long as ``held`` lasts."""
        cluster = self.cluster
        relay = cluster is not None and progress.watched()
        stay = cluster is not None and stays(step)
        together = self._together(blocks, ALSO if stay else 1)
        sizes, on_cluster = blocks.sizes or (), cluster is not None
        job = Job(
            step, blocks.offsets, relay, sizes=sizes, together=together, on_cluster=on_cluster
        )
        if isinstance(blocks.X, Reader):
            job = replace(job, reader=blocks.X, buffers=self._buffers)
            if blocks.weights is None:
                blocks = replace(blocks, sizes=_sums(job.sizes, together))
        if cluster is None:
            whole = tree(blocks, job, on_cluster=False)
            result = whole.compute(scheduler=self._scheduler(), num_workers=self.threads)
            return cast(Outcome, result[0, 0])
        with progress.relaying(cluster.client):
            if not stay:
                return cast(Outcome, cluster.result(tree(blocks, job, on_cluster=True))[0, 0])
            result, pieces = held.enter_context(cluster.staying(*staying_tree(blocks, job)))
        outcome: Outcome = result[0, 0]
        return replace(outcome, part=outcome.part.with_rows(Away(partial(self._on_pieces, pieces))))

    def _on_pieces(self, pieces: da.Array, at: tuple[int, ...], step: Any) -> Any:
        """What a step finds on rows that stay on the workers."""
        assert self.cluster is not None
        outcome = self.cluster.result(small_tree(pieces, at, step))[0, 0]
        peak_bytes = max(self.total.peak_bytes, outcome.peak_bytes)
        self.total = replace(self.total, peak_bytes=peak_bytes)
        return outcome.part


def _sums(sizes: tuple[int, ...], together: int) -> tuple[int, ...]:
    """Rows of each so many blocks."""
    return tuple(sum(sizes[i : i + together]) for i in range(0, len(sizes), together))


def _fold(outcomes: Iterable[Outcome]) -> Outcome:
    """Combine in order, a few at a time, so that few are held."""
    held: list[Outcome] = []
    for outcome in outcomes:
        held.append(outcome)
        if len(held) == FAN_IN:
            held = [Outcome.combine(held)]
    return Outcome.combine(held)
