"""Graphs of dask arrays with fewer tasks: on a cluster, each costs as much as a MiB of rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import dask.array as da
from dask._task_spec import List, Task, TaskRef
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph

Graph = Mapping[Hashable, Any]


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
