"""The one place that reads the data: a step mapped over the blocks, and a tree that combines.

A *step* is a picklable function ``step(X, weights, offset, block) -> part``; a *part* has a static
``combine(parts)``. Blocks in memory are mapped by threads, without a task graph. All others are
mapped by dask's ``map_blocks`` and combined by ``dask.array.reduction``, on the cluster of the
current ``distributed.Client`` where there is one and on dask's threads otherwise.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from typing import Any, Protocol, TypeVar, cast

import dask
import dask.array as da
import numpy as np
from dask.system import CPU_COUNT

from dkmeans._typing import AnyArray, Floats
from dkmeans.data.blocks import Blocks, Reader
from dkmeans.data.buffers import Buffers
from dkmeans.data.cluster import CLUSTER, Cluster, current_client
from dkmeans.data.graphs import gathered
from dkmeans.data.retries import counting
from dkmeans.data.source import kernel_view
from dkmeans.engine import progress
from dkmeans.errors import DataError
from dkmeans.record.facts import peak_bytes

FAN_IN = 8  # parts combined at once
TASKS_PER_THREAD = 64  # at least, before small blocks share a task: threads end a pass together
TASK_BYTES = 64 * 2**20  # of the blocks that share a task, at most
_PLACES, _PEEKED = 4, 64  # where rows are looked at without a pass, and how many in each place
CLUSTER_TASK_BYTES = 512 * 2**20  # likewise on a cluster, whose scheduler does a thousand a second
HELD_BYTES = 4 * 2**20  # likewise where a task has all of its blocks at once
_NO_WEIGHTS = np.empty(0)


class _Part(Protocol):
    @staticmethod
    def combine(parts: Sequence[Any]) -> Any:
        """Put parts together."""


P = TypeVar("P", bound=_Part)
P_co = TypeVar("P_co", bound=_Part, covariant=True)


class Step(Protocol[P_co]):
    """What a pass does to one block."""

    def __call__(self, X: AnyArray, weights: Floats, offset: int, block: int) -> P_co:
        """Return the part of rows ``offset`` and following."""


def finished(step: Any, whole: Any, threads: int) -> Any:
    """What becomes of the combined part: ``step.finish(whole, threads)`` where a step has one.

    On a cluster this happens where the part is, on a worker, and only the result is sent on.
    """
    return step.finish(whole, threads) if hasattr(step, "finish") else whole


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


@dataclass(frozen=True)
class _Outcome:
    """A part with what was read for it, reads tried again, and the peak of the processes."""

    part: Any
    rows: int
    read_bytes: int
    retries: int = 0
    peak_bytes: int = 0

    @staticmethod
    def combine(outcomes: Sequence[_Outcome]) -> _Outcome:
        return _Outcome(
            type(outcomes[0].part).combine([o.part for o in outcomes]),
            sum(o.rows for o in outcomes),
            sum(o.read_bytes for o in outcomes),
            sum(o.retries for o in outcomes),
            max(o.peak_bytes for o in outcomes),
        )

    def join(self, other: _Outcome) -> _Outcome:
        """One of both, the other's rows after these."""
        return _Outcome.combine([self, other])


@dataclass(frozen=True)
class _Job:
    """A step and what it needs to know of the pass; sent once to each worker."""

    step: Any
    offsets: tuple[int, ...] | None
    relay: bool
    reader: Reader | None = None
    sizes: tuple[int, ...] = ()
    buffers: Buffers = field(default_factory=Buffers)
    together: int = 1  # blocks that share a task
    on_cluster: bool = False

    def read(self, weights: AnyArray | None, task: int) -> _Outcome:
        """Read the blocks of a task in turn, one where it has weights, and do the step to each."""
        together = self.together if weights is None else 1
        first = task * together
        blocks = range(first, min(first + together, len(self.sizes)))
        return reduce(_Outcome.join, (self._read(weights, block) for block in blocks))

    def _read(self, weights: AnyArray | None, block: int) -> _Outcome:
        """Read a block into a buffer that has served before, and do the step to it."""
        reader = cast(Reader, self.reader)
        start, rows = cast(tuple[int, ...], self.offsets)[block], self.sizes[block]
        with self.buffers.lend(rows * reader.shape[1] * reader.dtype.itemsize) as buffer:
            X = buffer.view(reader.dtype).reshape(rows, reader.shape[1])
            with counting() as retried:
                reader.read(start, start + rows, X)
            return replace(self(X, weights, start, block), retries=retried.total)

    def load(self, block: int) -> _Outcome:
        """Read a block into memory of its own."""
        reader = cast(Reader, self.reader)
        start, rows = cast(tuple[int, ...], self.offsets)[block], self.sizes[block]
        with counting() as retried:
            X = _noted(reader[start : start + rows, :], relay=self.relay)
        return _Outcome(X, rows, X.nbytes, retried.total)

    def _check(self, rows: int, weights: int | None, block: int) -> None:
        if self.sizes and rows != self.sizes[block]:
            raise DataError(
                f"block {block} of X has {rows} rows, its chunks say {self.sizes[block]}"
            )
        if weights is not None and weights != rows:
            raise DataError(
                f"sample_weight (or labels): {weights} rows in block {block}, X has {rows}"
            )

    def __call__(self, X: AnyArray, weights: AnyArray | None, offset: int, block: int) -> _Outcome:
        view = kernel_view(X)
        flat = _NO_WEIGHTS if weights is None else weights.reshape(-1)
        self._check(len(view), None if weights is None else len(flat), block)
        part = self.step(view, np.ascontiguousarray(flat, np.float64), offset, block)
        progress.block_done(len(view), view.nbytes, relay=self.relay)
        peak = peak_bytes() if self.on_cluster else None
        return _Outcome(part, len(view), view.nbytes, peak_bytes=peak or 0)


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
        progress.tell("pass_started", name, blocks.count)
        began = time.perf_counter()
        if blocks.in_memory:
            outcome = self._run_threads(blocks, step)
        else:
            outcome = self._run_dask(blocks, step)
        self._shortest = min(self._shortest, time.perf_counter() - began)
        self.total = Tally(
            self.total.passes + (not blocks.counted),
            self.total.bytes_read + (0 if blocks.resident else outcome.read_bytes),
            self.total.rows + outcome.rows,
            retries=self.total.retries + outcome.retries,
            peak_bytes=max(self.total.peak_bytes, outcome.peak_bytes),
        )
        on_worker = self.cluster is not None and not blocks.in_memory
        return cast(P, outcome.part if on_worker else finished(step, outcome.part, self.threads))

    def peek(self, columns: Sequence[Any]) -> Sequence[Sequence[AnyArray]]:
        """A few rows of each of several arrays or readers, the same of all, spread over them."""
        pieces = dask.delayed([_spread(rows) for rows in columns])
        if self.cluster is not None:
            found = self.cluster.result(pieces)
        else:
            found = pieces.compute(scheduler=self._scheduler(), num_workers=self.threads)
        return cast(Sequence[Sequence[AnyArray]], found)

    def load(self, blocks: Blocks) -> Blocks:
        """Read the blocks once into memory, of this process or of the cluster."""
        if isinstance(blocks.X, tuple):
            return blocks
        progress.tell("pass_started", "read", blocks.count)
        relay = self.cluster is not None and progress.watched()
        X, retries = _loading(blocks, relay)
        arrays = [retries, X] if blocks.weights is None else [retries, X, blocks.weights]
        if self.cluster is not None:
            with progress.relaying(self.cluster.client):
                retries, *held = self.cluster.held(arrays)
            retried = int(self.cluster.result(retries))
            loaded = replace(blocks, X=held[0], weights=(held[1:] or [None])[0], resident=True)
            read_bytes = (blocks.n_rows or 0) * blocks.row_bytes
        else:
            parts = [part for array in arrays for part in _parts_of(array)]
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

    def _run_threads(self, blocks: Blocks, step: Step[P]) -> _Outcome:
        job = _Job(step, blocks.offsets, False, sizes=blocks.sizes or ())
        weights = blocks.weights or (None,) * blocks.count
        work = zip(
            cast(tuple[AnyArray, ...], blocks.X),
            weights,
            job.offsets or (),
            range(blocks.count),
            strict=True,
        )
        if self.threads == 1 or blocks.count == 1:
            return _fold(job(*item) for item in work)
        with ThreadPoolExecutor(self.threads) as pool:
            return _fold(pool.map(lambda item: job(*item), work))

    def _together(self, blocks: Blocks) -> int:
        """Small blocks that share a task, which costs more than they do."""
        sizes, cluster = blocks.sizes or (), self.cluster
        in_turn = isinstance(blocks.X, Reader) and blocks.weights is None
        if not sizes or blocks.resident or not (in_turn or cluster):
            return 1
        threads = self.threads if cluster is None else cluster.threads()
        fair = len(sizes) // (TASKS_PER_THREAD * max(1, threads))
        most = (TASK_BYTES if cluster is None else CLUSTER_TASK_BYTES) if in_turn else HELD_BYTES
        return max(1, min(fair, most // max(1, max(sizes) * blocks.row_bytes)))

    def _run_dask(self, blocks: Blocks, step: Step[P]) -> _Outcome:
        cluster = self.cluster
        relay = cluster is not None and progress.watched()
        together = self._together(blocks)
        sizes, on_cluster = blocks.sizes or (), cluster is not None
        job = _Job(
            step, blocks.offsets, relay, sizes=sizes, together=together, on_cluster=on_cluster
        )
        if isinstance(blocks.X, Reader):
            job = replace(job, reader=blocks.X, buffers=self._buffers)
            if blocks.weights is None:
                blocks = replace(blocks, sizes=_sums(job.sizes, together))
        outcome = _tree(blocks, job, on_cluster=on_cluster)
        if cluster is not None:
            with progress.relaying(cluster.client):
                result = cluster.result(outcome)
        else:
            result = outcome.compute(scheduler=self._scheduler(), num_workers=self.threads)
        return cast(_Outcome, result[0, 0])


def _sums(sizes: tuple[int, ...], together: int) -> tuple[int, ...]:
    """Rows of each so many blocks."""
    return tuple(sum(sizes[i : i + together]) for i in range(0, len(sizes), together))


def _fold(outcomes: Iterable[_Outcome]) -> _Outcome:
    """Combine in order, a few at a time, so that few are held."""
    held: list[_Outcome] = []
    for outcome in outcomes:
        held.append(outcome)
        if len(held) == FAN_IN:
            held = [_Outcome.combine(held)]
    return _Outcome.combine(held)


def _loading(blocks: Blocks, relay: bool) -> tuple[da.Array, da.Array]:
    """The rows as they are kept in memory, and how many reads were tried again for them."""
    dtype, meta = blocks.dtype, np.empty((0, 0), dtype=blocks.dtype)
    if isinstance(blocks.X, da.Array):
        X = blocks.X.map_blocks(_noted, relay=relay, dtype=dtype, meta=blocks.X._meta)
        return X, da.zeros((), np.int64, chunks=())
    job = _Job(None, blocks.offsets, relay, cast(Reader, blocks.X), blocks.sizes or ())
    boxes = _boxes(_load, blocks.count, job=_once(job))
    X = boxes.map_blocks(
        _loaded_rows, chunks=(job.sizes, (blocks.n_features,)), dtype=dtype, meta=meta
    )
    return X, boxes.map_blocks(_loaded_retries, dtype=np.int64, meta=np.empty((0, 0), int)).sum()


def _load(*, job: _Job, block_id: Any = None) -> AnyArray:
    return _box(job.load(block_id[0]))


def _loaded_rows(box: AnyArray) -> AnyArray:
    return cast(AnyArray, box[0, 0].part)


def _loaded_retries(box: AnyArray) -> AnyArray:
    return np.array([[box[0, 0].retries]])


def _noted(X: AnyArray, *, relay: bool) -> AnyArray:
    progress.block_done(len(X), X.nbytes, relay=relay)
    return kernel_view(X)  # once, not in every pass


def _spread(rows: Any) -> list[Any]:
    """Rows in a few places; of a dask array of unknown size the first ones of a few blocks."""
    if hasattr(rows, "to_dask_array"):
        rows = rows.to_dask_array()
    if isinstance(rows, da.Array) and any(np.isnan(rows.chunks[0])):
        blocks = np.unique(np.linspace(0, rows.numblocks[0] - 1, _PLACES).astype(int))
        return [rows.blocks[int(at)].map_blocks(_first, dtype=rows.dtype) for at in blocks]
    rows = np.asarray(rows) if isinstance(rows, list) else rows
    columns = (slice(None),) * (len(rows.shape) - 1)
    starts = np.unique(np.linspace(0, max(0, rows.shape[0] - _PEEKED), _PLACES).astype(int))
    return [rows[(slice(int(at), int(at) + _PEEKED), *columns)] for at in starts]


def _first(X: AnyArray) -> AnyArray:
    return X[:_PEEKED]


def _parts_of(array: da.Array) -> list[Any]:
    unfused = array.to_delayed(optimize_graph=False)  # so that arrays of one source share its reads
    return list(unfused.reshape(-1))


def _box(outcome: _Outcome) -> AnyArray:
    """An outcome as the one element of an object array, which dask can map and reduce."""
    box = np.empty((1, 1), dtype=object)
    box[0, 0] = outcome
    return box


def _map_read(*weights: AnyArray, job: _Job, block_id: Any = None) -> AnyArray:
    return _box(job.read(weights[0] if weights else None, block_id[0]))


def _map(X: AnyArray, *rest: AnyArray, job: _Job, weighted: bool, block_id: Any = None) -> AnyArray:
    weights = rest[0] if weighted else None
    offset = job.offsets[block_id[0]] if job.offsets is not None else int(rest[-1][0, 0])
    return _box(job(X, weights, offset, block_id[0]))


def _combine(boxes: Any, axis: Any = None, keepdims: Any = None) -> AnyArray:
    while isinstance(boxes, list) and len(boxes) == 1:
        boxes = boxes[0]
    if not isinstance(boxes, list):
        return cast(AnyArray, boxes)
    flat: list[AnyArray] = []
    for box in boxes:
        flat.extend(box if isinstance(box, list) else [box])
    return _box(_Outcome.combine([box[0, 0] for box in flat]))


def _finish(boxes: Any, axis: Any = None, keepdims: Any = None, *, step: Any) -> AnyArray:
    """The last task of a pass on a cluster."""
    from distributed import get_worker

    outcome = _combine(boxes)[0, 0]
    part = finished(step, outcome.part, get_worker().state.nthreads)
    peak = max(outcome.peak_bytes, peak_bytes() or 0)
    return _box(replace(outcome, part=part, peak_bytes=peak))


def _same(box: AnyArray, axis: Any = None, keepdims: Any = None) -> AnyArray:
    return box


def _tree(blocks: Blocks, job: _Job, *, on_cluster: bool) -> da.Array:
    """The pass as a dask array of one element, the outcome; on a cluster, it is finished there."""
    arrays = [] if blocks.weights is None else [blocks.weights]
    options: dict[str, Any] = {"job": _once(job)}
    function: Any = _map_read
    if isinstance(blocks.X, da.Array):
        function, options["weighted"] = _map, blocks.weights is not None
        arrays.insert(0, blocks.X)
        if job.offsets is None:
            arrays.append(_offsets(blocks.X))
    boxes = _boxes(function, blocks.count, *arrays, **options)
    if on_cluster and arrays and job.sizes and not blocks.resident:
        boxes = gathered(boxes, job.together, _combine)
    return da.reduction(
        boxes,
        chunk=_same,
        combine=_combine,
        aggregate=partial(_finish, step=job.step) if on_cluster else _combine,
        axis=(0, 1),
        keepdims=True,
        concatenate=False,
        split_every={0: FAN_IN, 1: 1},
        dtype=object,
        meta=np.empty((0, 0), dtype=object),
    )


def _once(what: Any) -> Any:
    """What all tasks share, as one task of its own."""
    return dask.delayed(what, pure=False, traverse=False)


def _boxes(function: Any, count: int, *arrays: da.Array, **options: Any) -> da.Array:
    """A dask array of an object a block, which the function makes."""
    meta, chunks = np.empty((0, 0), dtype=object), ((1,) * count, (1,))
    return da.map_blocks(function, *arrays, **options, chunks=chunks, dtype=object, meta=meta)


def _offsets(X: da.Array) -> da.Array:
    """Global row of each block of unknown size, (blocks, 1), from the sizes of those before it.

    The sizes are passed along a chain of tiny tasks, so the blocks themselves are read once.
    """
    chunks = ((1,) * X.numblocks[0], (1,))
    sizes = X.map_blocks(_size, chunks=chunks, dtype=np.int64, meta=np.empty((0, 0), np.int64))
    return da.cumsum(sizes, axis=0, method="sequential") - sizes


def _size(X: AnyArray) -> AnyArray:
    return np.array([[len(X)]], dtype=np.int64)


def map_lazily(blocks: Blocks, model: Any, what: str, dtype: Any, columns: int = 0) -> da.Array:
    """A lazy array of ``model.what(block, offset)``: (rows,), or (rows, columns) if not 0."""
    X = blocks.array
    shape: dict[str, Any] = {"drop_axis": 1} if columns == 0 else {}
    chunks = (X.chunks[0],) if columns == 0 else (X.chunks[0], (columns,))
    call = _Call(model, what, blocks.offsets)
    return da.map_blocks(
        _call,
        X,
        call=_once(call),
        chunks=chunks,
        dtype=dtype,
        meta=np.empty((0,) * len(chunks), dtype=dtype),
        **shape,
    )


@dataclass(frozen=True)
class _Call:
    """A method of a model, and where the blocks begin, if that is known."""

    model: Any
    what: str
    offsets: tuple[int, ...] | None


def _call(X: AnyArray, *, call: _Call, block_id: Any = None) -> AnyArray:
    offset = call.offsets[block_id[0]] if call.offsets else None
    return cast(AnyArray, getattr(call.model, call.what)(X, offset))
