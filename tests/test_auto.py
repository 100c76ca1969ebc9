"""init="auto": a sample that depends on the rows alone, and clusters that it missed are found."""

import dask.array as da
import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import make_blobs
from strategies import chunkings, in_memory, lazy

from dkmeans import KMeans
from dkmeans.data.blocks import from_dask
from dkmeans.engine import survey as survey_module
from dkmeans.engine.passes import Passes
from dkmeans.engine.survey import SurveyStep, sample_rows, sample_spec, survey_streams
from dkmeans.fitting import seeds_of

N, D, K = 1500, 3, 6


@pytest.fixture(scope="module")
def X():
    return make_blobs(N, D, centers=K, random_state=3)[0]


@pytest.fixture
def small(monkeypatch):
    """A sample of about 200 rows."""
    monkeypatch.setattr(survey_module, "SAMPLE_VALUES", 200 * D)


def numbers(model):
    steps = [
        (i.phase, i.step, None if i.centers is None else i.centers.tobytes(), i.inertia, i.sizes)
        for i in model.history_
        if i.phase in ("lloyd", "final") or (i.phase, i.step) == ("init", 1)
    ]
    return repr((model.cluster_centers_.tobytes(), model.inertia_, model.n_iter_, steps))


def searched(blocks, known, most, seed=5):
    wanted = sample_spec(seed, most, N if known else None)
    step = SurveyStep(survey_streams([seed]), 1, wanted)
    found = Passes(2).run(blocks, step, "survey").searched
    return found.rows(sample_spec(seed, 150, N))


@settings(max_examples=30)
@given(chunkings(N, most=12), st.sampled_from([150, 400, 5000]), st.integers(0, 1))
def test_the_sample_is_of_the_rows_alone(chunks, most, weighted):
    random = np.random.default_rng(1)
    X = random.normal(size=(N, 2)).astype(np.float32)
    X[::9, 1] = np.nan
    weights = np.where(random.random(N) < 0.3, 0.0, 1.5) if weighted else None
    whole = searched(in_memory(X, weights, (N,)), True, 150)
    for known in (True, False):
        found = searched(in_memory(X, weights, chunks), known, max(most, 150))
        np.testing.assert_array_equal(found.index, whole.index)
        np.testing.assert_array_equal(found.values, whole.values)
        np.testing.assert_array_equal(found.weights, whole.weights)
    assert len(whole) > 40
    assert (np.diff(whole.index) > 0).all()
    assert np.isfinite(whole.values).all()
    assert (whole.weights > 0).all()


def test_unknown_sizes_give_the_sample_too():
    X = np.random.default_rng(0).normal(size=(N, 2))
    whole = searched(in_memory(X, None, (N,)), True, 150)
    found = searched(from_dask(lazy(X, (700, 0, 800), unknown=True), None), False, 9999)
    np.testing.assert_array_equal(found.index, whole.index)
    np.testing.assert_array_equal(found.values, whole.values)
    assert len(whole) == 150


@pytest.mark.parametrize("k", [1, 8, 5000])
@pytest.mark.parametrize("d", [1, 100, 10**6])
def test_the_sample_of_fewer_clusters_is_part_of_that_of_more(k, d):
    for n in (10, 10**5, 10**9):
        few, many = sample_rows(n, d, k), sample_rows(n, d, 2 * k)
        assert 0 < few <= many <= n
        assert many <= sample_rows(None, d, 2 * k)
        assert sample_spec(0, few, n).limit <= sample_spec(0, many, n).limit <= 1.0


@pytest.mark.parametrize("options", [{}, {"nan_policy": "omit"}])
@pytest.mark.parametrize("algorithm", ["auto", "lloyd"])
def test_fits_are_the_same_however_the_rows_come(X, small, options, algorithm):
    given = X.copy()
    if options:
        given[::40, 1] = np.nan
    sizes = (400, 0, 1, 1099)
    inputs = [
        (given, {}),
        (lazy(given, sizes), {"residency": "memory"}),
        (lazy(given, sizes), {"residency": "stream"}),
        (lazy(given, sizes, unknown=True), {}),
        (da.from_array(given, chunks=(77, D)), {"residency": "stream"}),
    ]
    found = set()
    for table, more in inputs:
        model = KMeans(K, random_state=1, algorithm=algorithm, **options, **more)
        found.add(numbers(model.fit(table)))
    assert len(found) == 1


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("spread", [1.0, 4.0])
def test_more_clusters_than_there_are_give_the_same_fits(small, seed, spread):
    """Whether the first pass settles all iterations or one, it decides alike on a rescue."""
    X = make_blobs(N, D, centers=K, cluster_std=spread, random_state=seed)[0]
    options = {"random_state": seed, "tol": 0.0}
    found = set()
    for algorithm, residency in [("auto", "memory"), ("auto", "stream"), ("lloyd", "memory")]:
        model = KMeans(K + 3, algorithm=algorithm, residency=residency, **options)
        found.add(numbers(model.fit(lazy(X, (700, 800)))))
    assert len(found) == 1


def rare(seed, n=60_000, few=40):
    """Four clusters, and a fifth of a few rows far away."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(n, 2)) + random.integers(2, size=(n, 2)) * 12.0
    rows = random.permutation(n)[:few]
    X[rows] = random.normal(size=(few, 2)) + 300.0
    return X, rows


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("residency", ["memory", "stream"])
def test_a_rare_cluster_that_the_sample_missed_is_found(monkeypatch, residency, weighted):
    monkeypatch.setattr(survey_module, "SAMPLE_VALUES", 2 * 500)
    X, rows = rare(0)
    weights = np.random.default_rng(1).uniform(0.5, 2.0, size=len(X)) if weighted else None
    seed = next(s for s in range(99) if not np.isin(sampled(X, s), rows).any())
    lazily = da.from_array(X, chunks=(7000, 2))
    model = KMeans(5, random_state=seed, residency=residency)
    model.fit(lazily, sample_weight=weights)
    far = np.abs(model.cluster_centers_ - 300.0).max(axis=1) < 2
    assert far.sum() == 1
    assert model.history_.passes <= 6
    size = model.history_[-1].sizes[int(np.argmax(far))]
    assert size == len(rows)
    near = np.sort(np.round(model.cluster_centers_[~far] / 12), axis=0)
    np.testing.assert_array_equal(near, [[0, 0], [0, 0], [1, 1], [1, 1]])


def sampled(X, random_state):
    """Rows of the sample of a fit."""
    seed = seeds_of(KMeans(5, random_state=random_state))[0]
    spec = sample_spec(seed, sample_rows(len(X), 2, 5), len(X))
    assert spec.most == 500
    step = SurveyStep(survey_streams([seed]), 1, spec)
    blocks = in_memory(X, None, (len(X),))
    return Passes(1).run(blocks, step, "survey").searched.rows(spec).index


def test_no_pass_is_spent_on_a_rescue_that_is_not_needed(monkeypatch):
    monkeypatch.setattr(survey_module, "SAMPLE_VALUES", 2 * 2000)
    X = rare(1, few=0)[0]
    model = KMeans(4, random_state=0, residency="stream", algorithm="lloyd", max_iter=1, tol=0.0)
    model.fit(da.from_array(X, chunks=(7000, 2)))
    assert model.history_.passes <= 3  # survey, verification, which is an iteration, and final


@pytest.mark.parametrize("seed", range(3))
def test_separate_clusters_take_few_passes(monkeypatch, seed):
    monkeypatch.setattr(survey_module, "SAMPLE_VALUES", 3 * 3000)
    X, y = make_blobs(60_000, 3, centers=10, cluster_std=0.5, random_state=seed)
    model = KMeans(10, random_state=seed, tol=0.0, residency="stream")
    model.fit(da.from_array(X, chunks=(7000, 3)))
    assert model.stop_reason_ == "converged"
    assert model.history_.passes <= 6
    best = naive.lloyd(X[::20], np.array([X[y == j].mean(axis=0) for j in range(10)]))
    assert model.inertia_ / len(X) < 1.05 * best.inertia / len(X[::20])


@pytest.mark.parametrize("k", [1, 40])
@pytest.mark.parametrize("algorithm", ["auto", "lloyd"])
def test_one_cluster_and_as_many_as_rows(k, algorithm):
    X = np.random.default_rng(0).normal(size=(40, 2))
    for table in (X, da.from_array(X, chunks=(7, 2))):
        model = KMeans(k, random_state=0, algorithm=algorithm).fit(table)
        assert sorted(set(np.asarray(model.labels_))) == list(range(k))
        if k == 1:
            np.testing.assert_allclose(model.cluster_centers_[0], X.mean(axis=0), atol=1e-14)
        else:
            assert model.inertia_ < 1e-30


def test_few_rows_that_take_part_are_found_though_the_sample_has_none_of_them():
    X = np.random.default_rng(0).normal(size=(200_000, 2))
    weights = np.zeros(len(X))
    weights[[5, 150_000]] = 1.0
    for seed in range(5):
        model = KMeans(2, random_state=seed).fit(X, sample_weight=weights)
        assert model.inertia_ == pytest.approx(0, abs=1e-20)
