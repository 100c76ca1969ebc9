"""A scheduler that is told to forgets what ended long ago, and nothing else."""

import time

import dask.array as da
import numpy as np
import pytest
from dask.utils import key_split
from distributed import Client, LocalCluster, span

from dkmeans import KMeans
from dkmeans.data import old_spans
from dkmeans.data.old_spans import ForgetOldSpans


@pytest.fixture
def scheduler():
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
    with LocalCluster(processes=False, **options) as cluster, Client(cluster):
        old_spans.dask_setup(cluster.scheduler)
        yield cluster.scheduler


def fit(times=1):
    X = da.from_array(np.random.default_rng(0).normal(size=(300, 2)), chunks=(100, 2))
    for _ in range(times):
        KMeans(3, random_state=0, residency="stream").fit(X)


def look_later(scheduler, monkeypatch):
    """Let the plugin look as if six minutes had gone by, once the worker has told all it knows."""
    time.sleep(2)
    [plugin] = [p for p in scheduler.plugins.values() if isinstance(p, ForgetOldSpans)]
    with monkeypatch.context() as patch:
        patch.setattr(old_spans, "KEPT", 0.0)
        patch.setattr(plugin, "_next", 0.0)
        plugin.update_graph(scheduler)


def names(known):
    """Of all spans; each is in all the places where it has to be."""
    spans = list(known.spans.values())
    assert sorted(s.id for s in spans) == sorted(
        s.id for root in known.root_spans for s in root.traverse_spans()
    )
    assert sum(map(len, known.spans_search_by_name.values())) == len(spans)
    for one in spans:
        assert one in known.spans_search_by_name[one.name]
        assert all(one in known.spans_search_by_tag[tag] for tag in one.name)
    assert sum(map(len, known.spans_search_by_tag.values())) == sum(len(s.name) for s in spans)
    return [s.name for s in spans]


def test_what_ended_long_ago_is_forgotten(scheduler, monkeypatch):
    known = scheduler.extensions["spans"]
    fit(2)
    assert len(names(known)) >= 4  # a span a pass: none is old yet
    look_later(scheduler, monkeypatch)
    assert names(known) == []
    assert key_split.cache_info().currsize == 0  # names of tasks
    fit()
    assert names(known)


def test_what_is_still_held_is_remembered(scheduler, monkeypatch):
    known = scheduler.extensions["spans"]
    with span("mine"), span("inner"):
        held = da.ones((4, 4), chunks=2).persist()
    held.sum().compute()
    fit()
    look_later(scheduler, monkeypatch)
    assert sorted(names(known)) == [("mine",), ("mine", "inner")]
    assert (held + 1).sum().compute() == 32  # its tasks belong to that span
    del held
    look_later(scheduler, monkeypatch)
    assert names(known) == []
