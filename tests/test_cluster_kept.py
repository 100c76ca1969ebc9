"""Rows kept between passes stay on the workers that read them: fewer passes, the same bits."""

from __future__ import annotations

import pickle
import time
from dataclasses import replace

import dask.array as da
import numpy as np
import pytest

from dkmeans import Checkpoint, KMeans, MemoryLimitError, fitting
from dkmeans.data.source import Source
from dkmeans.engine.passes import Passes
from tests.clusters import D, DaskCluster, N, Rigged, made

K = 6
OPTIONS = {"random_state": 0, "init": "random", "n_init": 1, "tol": 0.0, "residency": "stream"}
ROOM = 9000  # rows for which the workers have room in all, of 40,000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two workers, of which one has a third of the threads, and so of the memory."""
    with DaskCluster(tmp_path_factory.mktemp("cluster")) as own:
        own.start_worker(threads=1)
        own.start_worker(threads=2, memory="2GiB")
        yield own


@pytest.fixture
def client(cluster):
    with cluster.client() as own:
        yield own


@pytest.fixture
def source(tmp_path):
    """Rows in ten pieces."""
    units = (N // 10,) * 10
    return Source("zarr", "rigged rows", units, D, np.dtype("f4"), None, Rigged(tmp_path))


def fitted(X, weights=None, **options):
    return KMeans(K, **{**OPTIONS, **options}).fit(X, sample_weight=weights)


def all_of(model):
    """All that a fit says, but for what it cost."""
    steps = sorted(
        (i.run, i.step, i.phase, np.asarray(i.centers).tobytes(), i.inertia, i.shift, i.sizes)
        for i in model.history_
        if i.phase in ("lloyd", "final")
    )
    return steps, model.cluster_centers_.tobytes(), model.inertia_, model.n_iter_


@pytest.fixture(scope="module")
def expected():
    return fitted(made(0, N), algorithm="lloyd")


def limit_for(rows, X, weights=None, **options):
    """A limit that leaves room for so many rows on all workers together."""
    low, high = 2**26, 2**33
    while high - low > 2**10:
        limit = (low + high) // 2
        try:
            model = KMeans(K, **{**OPTIONS, **options}, memory_limit=limit)
            enough = model.plan(X, sample_weight=weights).kept_rows >= rows
        except MemoryLimitError:
            enough = False
        low, high = (low, limit) if enough else (limit, high)
    return high


@pytest.fixture
def iterations(client, monkeypatch):
    """Workers that had the rows in each iteration on them, and what is called before it."""

    class Iterations(list):
        act = None

    seen, do = Iterations(), Passes._on_pieces

    def watched(passes, pieces, at, step):
        where = client.who_has(client.futures_of(pieces)).values()
        seen.append([worker for workers in where for worker in workers])
        if seen.act is not None:
            seen.act()
        part = do(passes, pieces, at, step)
        assert len(pickle.dumps((step, part))) < 10_000
        return part

    monkeypatch.setattr(Passes, "_on_pieces", watched)
    return seen


def wait_until(true):
    """Wait for what is told to the scheduler without waiting for its answer."""
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def travelled(client):
    """Names of what workers got from each other."""
    logs = client.run(lambda dask_worker: list(dask_worker.transfer_incoming_log))
    return {str(key) for log in logs.values() for entry in log for key in entry["keys"]}


def test_rows_stay_on_all_workers_and_save_passes(
    client, source, expected, iterations, monkeypatch
):
    limit = limit_for(ROOM, source)
    plan = KMeans(K, **OPTIONS, memory_limit=limit).plan(source)
    assert plan.kept_stay
    assert "on the workers that read them" in str(plan)
    model = fitted(source, memory_limit=limit)
    assert all_of(model) == all_of(expected)
    assert all(len(set(workers)) == len(workers) == 2 for workers in iterations)
    assert len(iterations) == model.n_iter_ - (model.history_.passes - 1) > 10
    names = travelled(client)
    assert any("FollowStep" in name for name in names)
    moved = [name for name in names if "rows" in name or "read" in name]
    assert len(moved) <= model.history_.passes  # of ten tasks a pass, which idle workers may take

    def at_one(*args):
        return replace(plan_of(*args), kept_rows=plan.kept_at_one)

    plan_of, many = fitting.plan_of, len(iterations)
    monkeypatch.setattr(fitting, "plan_of", at_one)
    before = fitted(source, memory_limit=limit)
    assert len(iterations) == many
    assert all_of(before) == all_of(expected)
    assert model.history_.passes <= before.history_.passes - 4


@pytest.mark.parametrize(
    ("rows", "options"),
    [
        (2 * ROOM, {"n_init": 2, "max_iter": 9}),
        (ROOM, {"residency": "memory", "max_iter": 9}),
        (ROOM, {"init": "auto"}),
    ],
    ids=["two restarts", "rows in memory", "init auto"],
)
def test_the_same_bits_with_weights(client, iterations, rows, options):
    weights = np.random.default_rng(0).uniform(0, 2, size=N).round(1)
    X = da.from_array(made(0, N), chunks=(N // 7, D))
    limit = limit_for(rows, X, weights, **options)
    model = fitted(X, weights, **options, memory_limit=limit)
    expected = fitted(made(0, N), weights, **{**options, "algorithm": "lloyd"})
    assert all_of(model) == all_of(expected)
    assert iterations


def test_a_fit_ended_on_kept_rows_lets_them_go_and_goes_on(client, source, iterations, tmp_path):
    """Ctrl-C at the third iteration; the next fit goes on where the last pass began."""

    def interrupt():
        if len(iterations) == 3:
            raise KeyboardInterrupt

    iterations.act = interrupt
    checkpoint = Checkpoint(tmp_path / "run.ckpt", seconds=0.0)
    options = {"memory_limit": limit_for(ROOM, source), "max_iter": 12, "checkpoint": checkpoint}
    with pytest.raises(KeyboardInterrupt):
        fitted(source, **options)
    wait_until(lambda: not client.who_has())
    again = fitted(source, **options)
    assert all_of(again) == all_of(fitted(made(0, N), algorithm="lloyd", max_iter=12))
    wait_until(lambda: not client.who_has())


def test_rows_that_fit_in_one_worker_are_iterated_on_there(client, source, iterations):
    plan = KMeans(K, **OPTIONS, memory_limit="4GiB").plan(source)
    assert not plan.kept_stay
    model = fitted(source, memory_limit="4GiB", max_iter=8)
    assert model.history_.passes < 8
    assert not iterations
