"""The graphs of passes: a job mapped over the blocks, and a tree that combines what it returns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import getitem
from typing import Any, cast

import dask
import dask.array as da
import numpy as np

from dkmeans._typing import AnyArray
from dkmeans.data.blocks import Blocks, Reader
from dkmeans.data.graphs import gathered
from dkmeans.engine.jobs import Job, Outcome, finished, noted
from dkmeans.record.facts import peak_bytes

FAN_IN = 8  # parts combined at once
_PLACES, _PEEKED = 4, 64  # where rows are looked at without a pass, and how many in each place


def loading(blocks: Blocks, relay: bool) -> tuple[da.Array, da.Array]:
    """The rows as they are kept in memory, and how many reads were tried again for them."""
    dtype, meta = blocks.dtype, np.empty((0, 0), dtype=blocks.dtype)
    if isinstance(blocks.X, da.Array):
        X = blocks.X.map_blocks(noted, relay=relay, dtype=dtype, meta=blocks.X._meta)
        return X, da.zeros((), np.int64, chunks=())
    job = Job(None, blocks.offsets, relay, cast(Reader, blocks.X), blocks.sizes or ())
    boxes = _boxes(_load, blocks.count, job=_once(job))
    X = boxes.map_blocks(
        _loaded_rows, chunks=(job.sizes, (blocks.n_features,)), dtype=dtype, meta=meta
    )
    return X, boxes.map_blocks(_loaded_retries, dtype=np.int64, meta=np.empty((0, 0), int)).sum()


def _load(*, job: Job, block_id: Any = None) -> AnyArray:
    return _box(job.load(block_id[0]))


def _loaded_rows(box: AnyArray) -> AnyArray:
    return cast(AnyArray, box[0, 0].part)


def _loaded_retries(box: AnyArray) -> AnyArray:
    return np.array([[box[0, 0].retries]])


def spread(rows: Any) -> list[Any]:
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


def parts_of(array: da.Array) -> list[Any]:
    """The blocks of an array, each by itself."""
    unfused = array.to_delayed(optimize_graph=False)  # so that arrays of one source share its reads
    return list(unfused.reshape(-1))


def _box(outcome: Outcome) -> AnyArray:
    """An outcome as the one element of an object array, which dask can map and reduce."""
    box = np.empty((1, 1), dtype=object)
    box[0, 0] = outcome
    return box


def _map_read(*weights: AnyArray, job: Job, block_id: Any = None) -> AnyArray:
    return _box(job.read(weights[0] if weights else None, block_id[0]))


def _map(X: AnyArray, *rest: AnyArray, job: Job, weighted: bool, block_id: Any = None) -> AnyArray:
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
    return _box(Outcome.combine([box[0, 0] for box in flat]))


def _finish(boxes: Any, axis: Any = None, keepdims: Any = None, *, step: Any) -> AnyArray:
    """The last task of a pass on a cluster."""
    from distributed import get_worker

    outcome = _combine(boxes)[0, 0]
    part = finished(step, outcome.part, get_worker().state.nthreads)
    peak = max(outcome.peak_bytes, peak_bytes() or 0)
    return _box(replace(outcome, part=part, peak_bytes=peak))


def _same(box: AnyArray, axis: Any = None, keepdims: Any = None) -> AnyArray:
    return box


def tree(blocks: Blocks, job: Job, *, on_cluster: bool) -> da.Array:
    """The pass as a dask array of one element, the outcome; on a cluster, it is finished there."""
    boxes = _leaves(blocks, job, on_cluster=on_cluster)
    return _reduced(boxes, partial(_finish, step=job.step) if on_cluster else _combine)


def staying_tree(blocks: Blocks, job: Job) -> tuple[da.Array, da.Array]:
    """The pass on a cluster without the rows that it keeps, and these, an element for each task."""
    boxes = _leaves(blocks, job, on_cluster=True)
    meta = np.empty((0, 0), dtype=object)
    parts = boxes.map_blocks(_without_rows, dtype=object, meta=meta)
    return _reduced(parts, _combine), boxes.map_blocks(_rows_alone, dtype=object, meta=meta)


def _without_rows(box: AnyArray) -> AnyArray:
    outcome = box[0, 0]
    return _box(replace(outcome, part=outcome.part.without_rows()))


def _rows_alone(box: AnyArray) -> Any:
    return box[0, 0].part.split_off()


def small_tree(pieces: da.Array, at: tuple[int, ...], step: Any) -> da.Array:
    """What a step finds on rows that stay on the workers; see :class:`Away`."""
    meta = np.empty((0, 0), dtype=object)
    boxes = pieces.map_blocks(_on_piece, at=at, step=_once(step), dtype=object, meta=meta)
    return _reduced(boxes, _combine)


def _on_piece(piece: Any, *, at: tuple[int, ...], step: Any) -> AnyArray:
    from distributed import get_worker

    rows = [reduce(getitem, at, leaf) for leaf in piece]
    part = step([chunk for chunks in rows for chunk in chunks], get_worker().state.nthreads)
    return _box(Outcome(part, 0, 0, peak_bytes=peak_bytes() or 0))


def _leaves(blocks: Blocks, job: Job, *, on_cluster: bool) -> da.Array:
    """What the tasks return that read the blocks."""
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
    return boxes


def _reduced(boxes: da.Array, aggregate: Any) -> da.Array:
    """The boxes combined in a tree."""
    return da.reduction(
        boxes,
        chunk=_same,
        combine=_combine,
        aggregate=aggregate,
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
