"""A scheduler that is told to forgets what ended long ago, and nothing else."""

import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster, span

from dkmeans import KMeans
from dkmeans.data import old_spans


@pytest.fixture
def scheduler(monkeypatch):
    monkeypatch.setattr(old_spans, "EVERY", 0.0)
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
    with LocalCluster(processes=False, **options) as cluster, Client(cluster):
        old_spans.dask_setup(cluster.scheduler)
        yield cluster.scheduler


def fit(times):
    X = da.from_array(np.random.default_rng(0).normal(size=(300, 2)), chunks=(100, 2))
    for _ in range(times):
        KMeans(3, random_state=0, residency="stream").fit(X)


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
    before = len(names(known))
    assert before >= 4  # a span a pass: none is old yet
    monkeypatch.setattr(old_spans, "KEPT", 0.0)
    fit(3)
    assert len(names(known)) <= 3


def test_what_is_still_held_is_remembered(scheduler, monkeypatch):
    monkeypatch.setattr(old_spans, "KEPT", 0.0)
    known = scheduler.extensions["spans"]
    with span("mine"), span("inner"):
        held = da.ones((4, 4), chunks=2).persist()
    held.sum().compute()
    fit(1)
    assert ("mine", "inner") in names(known)
    assert (held + 1).sum().compute() == 32  # its tasks belong to that span
    del held
    fit(2)
    assert ("mine",) not in names(known)
