"""Dask arrays with fewer tasks, as on a cluster each costs as much as a MiB of rows, or copies."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import dask.array as da
import numpy as np
from dask._task_spec import List, Task, TaskRef
from dask.array.core import normalize_chunks, slices_from_chunks
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

Graph = Mapping[Hashable, Any]


def lazy_of(array: Any, chunks: Any) -> da.Array:
    """A dask array of another one: of views where it is in memory, which dask would copy whole."""
    if not isinstance(array, np.ndarray):
        return da.from_array(array, chunks=chunks, name=False)
    name = f"views-{uuid.uuid4().hex}"
    cut = normalize_chunks(chunks, array.shape, dtype=array.dtype)
    places = np.ndindex(*map(len, cut))
    views = {
        (name, *place): array[at] for place, at in zip(places, slices_from_chunks(cut), strict=True)
    }
    return da.Array(views, name, cut, meta=array[(slice(0, 0),) * array.ndim])


def gathered(boxes: da.Array, each: int, combine: Callable[[Any], Any]) -> da.Array:
    """Chunks (1, 1) of a column combined ``each`` at a time, by ``combine(list of chunks)``.

    All that only the chunks of one task need is done in that task, such as to make the rows that
    they tell of. What several tasks need stays a task of its own, so that it is done once.
    """
    keys = [key for (key,) in boxes.__dask_keys__()]
    graph = dict(boxes.__dask_optimize__(boxes.__dask_graph__(), keys))
    users = Counter(needed for task in graph.values() for needed in task.dependencies)
    name = f"gathered-{tokenize(boxes.name, each)}"
    tasks: dict[Hashable, Any] = {}
    for number, first in enumerate(range(0, len(keys), each)):
        wanted = keys[first : first + each]
        own = _own(graph, users, wanted)
        head = Task((name, number, 0), combine, List(*(TaskRef(key) for key in wanted)))
        tasks[name, number, 0] = Task.fuse(head, *(graph[key] for key in own))
        for key in own:
            del graph[key]
    whole = HighLevelGraph.from_collections(name, {**graph, **tasks}, dependencies=())
    return da.Array(whole, name, ((1,) * len(tasks), (1,)), dtype=boxes.dtype, meta=boxes._meta)


def _own(graph: Graph, users: Counter[Hashable], wanted: Sequence[Hashable]) -> list[Hashable]:
    """The wanted keys, and those that nothing but these needs."""
    own, met = list(wanted), Counter[Hashable]()
    for key in own:  # which grows meanwhile
        for needed in graph[key].dependencies:
            met[needed] += 1
            if met[needed] == users[needed] and needed in graph:
                own.append(needed)
    return own
