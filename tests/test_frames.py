"""The sample of rows that a fit keeps, the frames made from it, and the facts of the fit."""

import json
import math
import platform
from dataclasses import replace

import dask
import dask.array as da
import naive
import numpy as np
import pytest
import zarr
from dask.utils import format_bytes
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_iris

import dkmeans
from dkmeans import History, Iteration, KMeans, MemoryLimitError, RowSample, sweep
from dkmeans.engine import machine, memory
from dkmeans.engine.sampling import stream_key, uniform
from dkmeans.fitting import seeds_of
from dkmeans.plot import tables
from dkmeans.record import history as history_module
from dkmeans.record.facts import Facts, without_secrets

N = 3000


@pytest.fixture(scope="module")
def X():
    rows = np.random.default_rng(0).normal(size=(N, 3)) + 1e6
    rows[::7] = np.nan
    return rows.astype(np.float32)


@pytest.fixture(scope="module")
def weights():
    return np.random.default_rng(1).integers(0, 3, size=N).astype(np.float64)


def model_of(init, **options):
    options = {"random_state": 5, "nan_policy": "omit", "n_init": 1, "max_iter": 2, **options}
    return KMeans(3, init=init, **options)


def expected_sample(X, weights, most, model):
    """The rows of the smallest keys among those that take part, in the order of the data."""
    stream = stream_key(seeds_of(model)[0], 4)
    keys = np.array([uniform(stream, row) for row in range(len(X))])
    keys[~np.isfinite(X).all(axis=1) | (weights <= 0)] = np.inf
    order = np.argsort(keys)[:most]
    return np.sort(order[np.isfinite(keys[order])])


def assert_sample(sample, X, weights, index):
    np.testing.assert_array_equal(sample.index, index)
    np.testing.assert_array_equal(sample.rows, X[index])
    np.testing.assert_array_equal(sample.weights, weights[index])
    assert (sample.rows.dtype, sample.index.dtype) == (X.dtype, np.int64)


@pytest.mark.parametrize("init", ["auto", "k-means||", "k-means++", "random", "array", "callable"])
def test_the_sample_is_that_of_the_smallest_keys_whatever_the_init(X, weights, init):
    first = X[[1, 2, 3]]
    init = {"array": first, "callable": lambda X, k, random_state: first}.get(init, init)
    model = model_of(init, history_rows=100)
    index = expected_sample(X, weights, 100, model)
    model.fit(X, sample_weight=weights)
    assert_sample(model.history_.sample, X, weights, index)


@given(sizes=st.lists(st.integers(1, N), min_size=1, max_size=6), known=st.booleans())
def test_the_sample_does_not_depend_on_the_chunks(X, weights, sizes, known):
    cuts = sorted({size for size in sizes if size < N} | {0, N})
    chunks = tuple(int(c) for c in np.diff(cuts))
    blocks = da.from_array(X, chunks=(chunks, (3,)))
    if not known:
        blocks = blocks.map_blocks(np.copy, chunks=((math.nan,) * len(chunks), (3,)))
    model = model_of("random", history_rows=50, algorithm="lloyd")
    index = expected_sample(X, weights, 50, model)
    model.fit(blocks, sample_weight=da.from_array(weights, chunks=(chunks,)))
    assert_sample(model.history_.sample, X, weights, index)


def test_the_sample_on_a_cluster_is_the_same(X, client):
    here, there = model_of("auto").fit(X), model_of("auto").fit(da.from_array(X, chunks=(700, 3)))
    np.testing.assert_array_equal(here.history_.sample.index, there.history_.sample.index)
    assert len(here.history_.sample) == 2000


def test_most_rows_may_take_no_part():
    X = np.zeros((40_000, 1))
    weights = np.zeros(40_000)
    weights[17:20] = 1
    sample = KMeans(1, random_state=0).fit(X, sample_weight=weights).history_.sample
    np.testing.assert_array_equal(sample.index, [17, 18, 19])
    few = KMeans(1, init="random", history_rows=2, random_state=0).fit(X, sample_weight=weights)
    assert len(few.history_.sample) <= 2


def test_no_rows_are_kept_where_none_are_asked_for(X):
    for init in ("auto", "random"):
        history = model_of(init, history_rows=0).fit(X).history_
        assert history.sample is None
        assert all(frame.labels is None for frame in history.frames())


def test_a_sample_of_wide_rows_has_at_most_two_million_values():
    X = np.random.default_rng(0).normal(size=(300, 10_000)).astype(np.float32)
    sample = KMeans(2, init=X[:2], max_iter=1).fit(X).history_.sample
    assert len(sample) == 2**21 // 10_000


def test_the_plan_counts_the_sample():
    d = 1024
    X = da.zeros((10**6, d), chunks=(10**3, d))
    limit = machine.FIXED_BYTES + 50 * 2**20  # one block of 8 MB, three times
    options = {"init": "random", "n_init": 1, "residency": "stream", "algorithm": "lloyd"}
    with dask.config.set(num_workers=1):
        KMeans(2, memory_limit=limit, history_rows=0, **options).plan(X)
        with pytest.raises(MemoryLimitError, match="raise memory_limit"):
            KMeans(2, memory_limit=limit, **options).plan(X)
        held = memory.SAMPLE_COPIES * 2000 * 8 * d
        assert KMeans(2, memory_limit=limit + held, **options).plan(X).threads == 1


def test_the_models_of_a_sweep_share_the_sample(X):
    models = sweep(X, [2, 3], random_state=5, nan_policy="omit").models
    assert models[2].history_.sample is models[3].history_.sample
    assert len(models[2].history_.sample) == 2000


@pytest.mark.parametrize("wrong", [-1, 2.5, "all"])
def test_history_rows_is_checked(wrong):
    with pytest.raises(ValueError, match="'history_rows' parameter of KMeans must be an int"):
        KMeans(2, history_rows=wrong).fit(np.zeros((5, 1)))


values = st.integers(-3, 3).map(float) | st.floats(-4, 4, width=16)


@given(
    rows=st.lists(st.tuples(values, values), min_size=1, max_size=12),
    centers=st.lists(st.tuples(values, values), min_size=1, max_size=6),
    offset=st.sampled_from([0.0, 1.0, 1e6, 2.0**40]),
    dtype=st.sampled_from([np.float64, np.float32]),
)
def test_labels_of_a_sample_are_those_of_the_direct_formula(rows, centers, offset, dtype):
    rows = (np.array(rows) + offset).astype(dtype)
    centers = (np.array(centers) + offset).astype(dtype).astype(np.float64)
    sample = RowSample(rows, np.arange(len(rows)), np.ones(len(rows)))
    labels = sample.labels(centers)
    np.testing.assert_array_equal(labels, naive.assign(rows, centers))
    assert labels.dtype == np.int32


def test_labels_of_a_sample_are_found_a_few_rows_at_a_time(monkeypatch):
    from dkmeans.record import sample as sample_module

    rows = np.random.default_rng(0).normal(size=(50, 2))
    monkeypatch.setattr(sample_module, "_TABLE", 21)
    sample = RowSample(rows, np.arange(50), np.ones(50))
    np.testing.assert_array_equal(sample.labels(rows[:10]), naive.assign(rows, rows[:10]))


def test_the_frames_of_a_fit_worked_by_hand():
    X = np.array([[0.0], [1.0], [5.0], [9.0]])
    model = KMeans(2, init=np.array([[0.0], [1.0]]), tol=0).fit(X)
    frames = list(model.history_.frames())
    told = [(f.phase, f.step, f.centers.ravel().tolist()) for f in frames]
    # 0 | 1 5 9, then 0 1 | 5 9, which stays
    assert told == [
        ("init", 0, [0, 1]),
        ("assign", 1, [0, 1]),
        ("update", 1, [0, 5]),
        ("assign", 2, [0, 5]),
        ("update", 2, [0.5, 7]),
        ("assign", 3, [0.5, 7]),
        ("update", 3, [0.5, 7]),
        ("converged", 3, [0.5, 7]),
    ]
    assert frames[0].labels is None
    assert [f.labels.tolist() for f in frames[1:4]] == [[0, 1, 1, 1], [0, 1, 1, 1], [0, 0, 1, 1]]
    assert [f.previous.ravel().tolist() for f in frames if f.phase == "update"] == [
        [0, 1],
        [0, 5],
        [0.5, 7],
    ]
    assert all(f.previous is None for f in frames if f.phase != "update")
    assert [f.inertia for f in frames[1:5]] == [80, 80, 17, 17]
    assert math.isnan(frames[0].inertia)
    assert frames[2].shift == 4
    assert [f.caption for f in (frames[0], *frames[3:5], frames[-1])] == [
        "Initial centers",
        "Iteration 2: each row goes to its nearest center",
        "Iteration 2: centers move to the mean of their rows (inertia 17, shift 2.06)",
        "Converged after 3 iterations: no center moves any more (inertia 8.5)",
    ]


def test_the_frames_of_iris_end_where_the_document_does():
    X = load_iris().data[:, :2]
    model = KMeans(3, random_state=42, tol=0).fit(X)
    frames = list(model.history_.frames())
    assert round(frames[-1].inertia, 4) == 37.0507
    np.testing.assert_array_equal(frames[-1].labels, model.labels_[model.history_.sample.index])
    np.testing.assert_array_equal(frames[-1].centers, model.cluster_centers_)
    updates = [f for f in frames if f.phase == "update"]
    assert len(updates) == model.n_iter_
    for frame in updates:
        assert np.linalg.norm(frame.centers - frame.previous) == pytest.approx(frame.shift)


@pytest.mark.parametrize("algorithm", ["auto", "lloyd"])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_iter": 1}, "Stopped after 1 iteration, all that max_iter allows: not converged"),
        ({"max_iter": 2}, "Stopped after 2 iterations, all that max_iter allows: not converged"),
        ({"tol": 0.9}, "Stopped after 2 iterations: centers move by no more than tol"),
    ],
)
def test_the_last_caption_says_what_ended_the_fit(algorithm, options, words):
    X = np.random.default_rng(0).uniform(size=(500, 2))
    model = KMeans(8, init=X[:8], algorithm=algorithm, **options).fit(X)
    last = list(model.history_.frames())[-1]
    assert last.caption == f"{words} (inertia {model.inertia_:.6g})"
    assert (last.phase, last.step) == ("converged", model.n_iter_)
    np.testing.assert_array_equal(last.centers, model.cluster_centers_)
    np.testing.assert_array_equal(last.labels, model.labels_[model.history_.sample.index])
    unknown = History(model.history_)
    assert "before the centers stood still" in list(unknown.frames())[-1].caption


def test_only_the_best_run_has_frames():
    X = np.random.default_rng(2).uniform(size=(400, 2))
    model = KMeans(5, init="random", n_init=4, random_state=3, tol=0).fit(X)
    frames = list(model.history_.frames())
    assert (
        sum(f.phase == "init" for f in frames) == sum(f.phase == "converged" for f in frames) == 1
    )
    assert [f.step for f in frames if f.phase == "assign"] == list(range(1, model.n_iter_ + 1))
    assert frames[-1].inertia == model.inertia_


def test_steps_without_centers_have_no_frames(monkeypatch):
    X = np.random.default_rng(0).uniform(size=(2000, 2))
    monkeypatch.setattr(history_module, "CENTER_BYTES", 6 * 8 * 2 * 8)
    model = KMeans(8, init=X[:8], tol=0).fit(X)
    kept = {i.step for i in model.history_ if i.phase == "lloyd" and i.centers is not None}
    assert len(kept) < model.n_iter_
    frames = list(model.history_.frames())
    assert {f.step for f in frames if f.phase == "assign"} == kept
    both = {step for step in kept if step + 1 in kept or step == model.n_iter_}
    assert {f.step for f in frames if f.phase == "update"} == both
    assert (frames[0].phase, frames[-1].phase) == ("init", "converged")
    bare = History([replace(i, centers=None) for i in model.history_])
    assert list(bare.frames()) == []


def test_the_best_of_many_restarts_has_its_first_and_last_frame(monkeypatch):
    X = np.random.default_rng(0).uniform(size=(2000, 3))
    monkeypatch.setattr(history_module, "CENTER_BYTES", 4000)
    for seed in range(4):
        model = KMeans(8, init="random", n_init=6, random_state=seed).fit(X)
        frames = list(model.history_.frames())
        assert (frames[0].phase, frames[-1].phase) == ("init", "converged")
        first = next(i for i in model.history_.best() if i.phase == "lloyd")
        np.testing.assert_array_equal(frames[0].centers, first.centers)
        np.testing.assert_array_equal(frames[-1].centers, model.cluster_centers_)


def test_a_history_without_iterations_has_no_frames():
    assert list(History().frames()) == []
    assert list(History([Iteration("survey"), Iteration("init", step=1)]).frames()) == []


def test_slices_and_the_best_run_keep_the_sample_and_the_facts(X):
    history = model_of("auto").fit(X).history_
    for part in (history[1:], history.best()):
        assert part.sample is history.sample
        assert part.facts is history.facts
        assert part.stop_reason == history.stop_reason == "converged"


def test_the_facts_of_a_fit(tmp_path):
    path = str(tmp_path / "x.zarr")
    X = np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32)
    zarr.save_array(path, X)
    model = KMeans(np.int64(2), init=X[:2], random_state=np.random.RandomState(0), tol=1e-3)
    facts = model.fit(path).history_.facts
    assert (facts.source, facts.n_rows, facts.n_features) == (path, 500, 2)
    assert (facts.dtype, facts.feature_names, facts.weighted) == ("float32", None, False)
    assert facts.parameters["n_clusters"] == 2
    assert facts.parameters["init"] == "array of shape (2, 2)"
    assert facts.parameters["random_state"] == "RandomState"
    assert set(facts.parameters) == set(model.get_params()) - {"callbacks", "checkpoint"}
    assert facts.plan["n_rows"] == 500
    assert ("rows", "500") in facts.plan_lines
    assert facts.peak_bytes > 2**20
    assert facts.versions["dkmeans"] == dkmeans.__version__
    assert facts.versions["python"] == platform.python_version()
    assert {"numpy", "dask", "scikit-learn", "numba"} < set(facts.versions)


def test_the_facts_of_a_fit_on_a_cluster_have_the_peak_of_its_workers(client, tmp_path):
    X = np.random.default_rng(0).normal(size=(500, 2))
    model = KMeans(2, random_state=0).fit(da.from_array(X, chunks=(100, 2)))
    facts = model.history_.facts
    assert facts.worker_peak_bytes > 2**20
    assert f"of the largest worker {format_bytes(facts.worker_peak_bytes)}" in str(
        tables.plan(facts, tables.Spent.by([model]))
    )
    assert Facts.from_dict(json.loads(json.dumps(facts.to_dict()))) == facts
    here = KMeans(2, random_state=0).fit(X).history_.facts
    assert here.worker_peak_bytes is None
    older = here.to_dict()
    del older["worker_peak_bytes"]
    assert Facts.from_dict(json.loads(json.dumps(older))) == here


def test_the_facts_of_named_and_weighted_rows_of_unknown_number():
    import dask.dataframe as dd
    import pandas as pd

    frame = pd.DataFrame({"wide": np.arange(40.0), "high": np.arange(40.0) % 7})
    model = KMeans(2, init=lambda X, k, random_state: [[0, 0], [30, 3]])
    model.fit(
        dd.from_pandas(frame, npartitions=3),
        sample_weight=dd.from_pandas(frame["wide"], npartitions=3),
    )
    facts = model.history_.facts
    assert (facts.n_rows, facts.feature_names, facts.weighted) == (40, ("wide", "high"), True)
    assert facts.parameters["init"] == "function <lambda>"
    assert KMeans(2).fit(frame).history_.facts.source == "an array in memory"


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("s3://bucket/x.zarr", "s3://bucket/x.zarr"),
        ("https://me:secret@host:80/x.zarr?sig=abc", "https://host:80/x.zarr"),
        ("s3://user:pa@ss@host/x.zarr", "s3://host/x.zarr"),
        ("https://user:p/w@host/x.zarr", "https://host/x.zarr"),
        ("https://user:p?w@host/x.zarr", "https://host/x.zarr"),
        ("https://TOKEN@host/x.zarr", "https://host/x.zarr"),
        ("https://host:80/a@b.zarr", "https://host:80/a@b.zarr"),
        ("https://host/x.zarr?mail=a@b", "https://host/x.zarr"),
        ("zip://x.zarr::https://me:secret@host/x.zip", "zip://x.zarr::https://host/x.zip"),
        ("abfs://data@account/x.zarr", "abfs://data@account/x.zarr"),
        ("wasbs://data:secret@account/x.zarr", "wasbs://data@account/x.zarr"),
        ("/data/what?/a:b@c.zarr", "/data/what?/a:b@c.zarr"),
    ],
)
def test_facts_do_not_tell_passwords(where, told):
    assert without_secrets(where) == told
