"""Initial centers: k-means|| by hand, k-means++ by its odds, random rows."""

import warnings

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import make_blobs
from strategies import chunkings, in_memory, lazy, surveyed, tables, weights_for

from dkmeans import KMeans
from dkmeans.engine import seeding
from dkmeans.engine.journal import Journal
from dkmeans.engine.lloyd import Run
from dkmeans.engine.programs import run_together
from dkmeans.engine.seeding import Seeding, seed_centers
from dkmeans.engine.settle import Stop
from dkmeans.engine.survey import survey_streams


def seeded(blocks, init, k, seed, *, oversampling=2.0, rounds=5, record=lambda _: None):
    """The initial centers, as a fit with this seed would draw them."""
    passes, survey = surveyed(blocks, seed, k)
    how = Seeding(init, k, oversampling, rounds)
    run = Run(blocks, survey, Stop(300, 0.0), Journal(passes, record))
    return run_together(passes, blocks, [seed_centers(run, how, seed)])[0]


@pytest.fixture
def candidates(monkeypatch):
    """What k-means|| hands to the reclustering: candidates and their weights."""
    seen = []

    def spy(rows, weights, *rest):
        seen.append((rows, weights))
        return recluster(rows, weights, *rest)

    recluster = seeding.recluster
    monkeypatch.setattr(seeding, "recluster", spy)
    return seen


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("weighted", [False, True])
def test_k_means_parallel_takes_the_rows_that_the_paper_would(candidates, seed, weighted):
    X, _ = make_blobs(500, 3, centers=5, random_state=seed)
    weights = np.random.default_rng(seed).integers(0, 3, size=500).astype(float)
    weights = weights if weighted else None
    centers = seeded(in_memory(X, weights, (500,)), "k-means||", 5, seed)
    rounds, masses = naive.parallel_candidates(
        X, np.ones(500) if weights is None else weights, seed, oversampling=10.0, rounds=5
    )
    rows, found = candidates[0]
    held = masses > 0
    np.testing.assert_array_equal(rows, X[np.concatenate(rounds)][held])
    np.testing.assert_allclose(found, masses[held], rtol=1e-12)
    assert centers.shape == (5, 3)
    assert found.sum() == pytest.approx(500 if weights is None else weights.sum())


@pytest.mark.parametrize("init", ["k-means||", "k-means++", "random"])
@settings(max_examples=15)
@given(data=st.data())
def test_draws_do_not_depend_on_the_chunks(init, data):
    X = data.draw(tables(min_rows=8, max_rows=60, features=(2,), dtypes=("float32", "float64")))
    weights = data.draw(weights_for(len(X)))
    sizes = data.draw(chunkings(len(X)))
    if weights is not None:
        weights = weights + 0.25  # all rows take part, so that k of them can be drawn
    k = data.draw(st.integers(1, 6))
    whole = seeded(in_memory(X, weights, (len(X),)), init, k, 3)
    pieces = seeded(in_memory(X, weights, sizes), init, k, 3)
    np.testing.assert_array_equal(whole, pieces)


def test_the_first_center_is_any_row():
    X = np.arange(50.0)[:, None]
    firsts = [float(seeded(in_memory(X, None, (50,)), "random", 1, s)[0, 0]) for s in range(400)]
    assert len(set(firsts)) == 50
    assert abs(np.mean(firsts) - 24.5) < 3  # five standard errors are 3.6


def test_random_rows_are_distinct_and_drawn_in_proportion_to_their_weights():
    X = np.arange(6.0)[:, None]
    weights = np.array([0.0, 1.0, 1.0, 1.0, 1.0, 4.0])
    blocks = in_memory(X, weights, (2, 4))
    draws = [seeded(blocks, "random", 2, s).ravel() for s in range(600)]
    assert all(len(set(draw)) == 2 and 0.0 not in draw for draw in draws)
    firsts = np.bincount([int(draw[0]) for draw in draws], minlength=6) / 600
    np.testing.assert_allclose(firsts, weights / 8, atol=0.08)


def test_candidates_count_for_the_rows_that_they_attract():
    """Two rows that stand for 500 each outweigh one between them that stands for itself."""
    candidates = np.array([[0.0], [10.0], [5.0]])
    drawn = surveyed(in_memory(candidates, None, (3,)), 0, 2)[1].draws[0]
    weights = np.array([500.0, 500.0, 1.0])
    for seed in range(5):
        centers = np.sort(seeding.recluster(candidates, weights, drawn, 2, seed).ravel())
        np.testing.assert_allclose(centers, [0.0, 10.0], atol=0.02)


def test_k_means_plus_plus_draws_in_proportion_to_the_squared_distance():
    """The first of the trials that would follow the row 0 is row 1, 2 or 3 as 1 : 4 : 16."""
    X = np.array([[0.0], [1.0], [2.0], [4.0]])
    blocks = in_memory(X, None, (4,))
    passes, _ = surveyed(blocks)
    rows = []
    for seed in range(1500):
        streams = survey_streams([seed])
        step = seeding.TrialStep(X[:0], X[:1], streams)
        rows.append(int(passes.run(blocks, step, "trial").rows[0].index[0]))
    shares = np.bincount(rows, minlength=4) / len(rows)
    np.testing.assert_allclose(shares, np.array([0, 1, 4, 16]) / 21, atol=0.04)


def test_k_means_plus_plus_finds_well_separated_clusters():
    X, _ = make_blobs(300, 2, centers=[(0, 0), (50, 0), (0, 50), (50, 50)], random_state=0)
    for seed in range(10):
        centers = seeded(in_memory(X, None, (100, 200)), "k-means++", 4, seed)
        assert len(np.unique(np.round(centers / 50), axis=0)) == 4
        assert all((center == X).all(axis=1).any() for center in centers)


@pytest.mark.parametrize("init", ["k-means||", "k-means++", "random"])
def test_as_many_centers_as_distinct_rows(init):
    rows = np.array([[0.0, 0.0], [1.0, 0.0], [5.0, 5.0], [9.0, 1.0]])
    X = np.repeat(rows, 25, axis=0)
    for seed in range(5):
        model = KMeans(4, init=init, random_state=seed, n_init=3).fit(X)
        assert model.inertia_ == 0
        np.testing.assert_array_equal(np.unique(model.cluster_centers_, axis=0), rows)


@pytest.mark.parametrize("init", ["k-means||", "k-means++", "random"])
@pytest.mark.parametrize("chunks", [(30,), (7, 0, 23)])
def test_rows_that_are_all_the_same(init, chunks):
    X = np.full((30, 2), 3.25)
    model = KMeans(3, init=init, random_state=0)
    with pytest.warns(
        Warning, match=r"distinct clusters \(1\) found smaller than n_clusters \(3\)"
    ):
        model.fit(lazy(X, chunks))
    np.testing.assert_array_equal(model.cluster_centers_, np.full((3, 2), 3.25))
    assert (model.inertia_, model.labels_.compute().tolist()) == (0.0, [0] * 30)


def test_fewer_distinct_rows_than_clusters():
    X = np.repeat(np.array([[0.0], [7.0]]), 10, axis=0)
    with warnings.catch_warnings(action="ignore"):
        model = KMeans(5, random_state=1).fit(X)
    assert model.inertia_ == 0
    assert set(np.unique(model.cluster_centers_)) == {0.0, 7.0}


def test_the_rounds_are_recorded_with_the_cost_before_them():
    X, _ = make_blobs(400, 2, centers=6, random_state=3)
    model = KMeans(6, init="k-means||", random_state=0, init_rounds=3).fit(X)
    survey, *rest = [i for i in model.history_ if i.phase in ("survey", "init")]
    assert (survey.phase, survey.passes) == ("survey", 1)
    assert [(i.step, i.passes) for i in rest] == [(1, 1), (2, 1), (3, 1), (4, 1)]
    costs = [i.inertia for i in rest[:3]]
    assert costs == sorted(costs, reverse=True)
    assert np.isnan(rest[3].inertia)


def test_oversampling_draws_so_many_rows_a_round(candidates):
    """Of l = oversampling_factor * k rows a round on average, 5 rounds of 40 add about 200."""
    X = np.random.default_rng(0).normal(size=(5000, 2))
    counts = []
    for seed in range(8):
        seeded(in_memory(X, None, (5000,)), "k-means||", 10, seed, oversampling=4.0)
        counts.append(len(candidates[-1][0]) - 1)
    assert 180 < np.mean(counts) < 210  # at most 200 expected; a little less as rows are used up


def test_each_seed_gives_its_own_draw_and_each_again_the_same():
    X = np.random.default_rng(0).normal(size=(300, 2))
    fits = [KMeans(5, random_state=s, max_iter=1).fit(X).cluster_centers_ for s in (0, 1, 0)]
    np.testing.assert_array_equal(fits[0], fits[2])
    assert not np.array_equal(fits[0], fits[1])


def test_a_callable_gives_the_centers():
    X = np.random.default_rng(0).normal(size=(40, 2))

    def first_rows(X, n_clusters, random_state):
        assert isinstance(random_state, np.random.RandomState)
        return X[:n_clusters]

    by_call = KMeans(3, init=first_rows, n_init=1).fit(X)
    by_array = KMeans(3, init=X[:3]).fit(X)
    np.testing.assert_array_equal(by_call.cluster_centers_, by_array.cluster_centers_)
