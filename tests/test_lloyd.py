"""Whole runs from given centers, against the naive k-means and scikit-learn's."""

import warnings
from itertools import pairwise

import dask.array as da
import naive
import numpy as np
import pytest
from hypothesis import given
from sklearn.cluster import KMeans as SklearnKMeans
from sklearn.datasets import make_blobs
from strategies import cases, lazy

from dkmeans import KMeans


def blobs(seed, n=400, d=3, k=6, dtype=np.float64):
    X, _ = make_blobs(n, d, centers=k, cluster_std=2.0, random_state=seed)
    return X.astype(dtype)


def start(X, k, seed):
    return X[np.random.default_rng(seed).permutation(len(X))[:k]].astype(np.float64)


@pytest.mark.parametrize("d", [1, 2, 3, 8, 13, 30])
@pytest.mark.parametrize("seed", range(5))
def test_scikit_learn_finds_the_same(seed, d):
    k = 2 + seed * 3
    X = blobs(seed, d=d)
    options = {"init": start(X, k, seed), "n_init": 1}
    ours, theirs = KMeans(k, **options).fit(X), SklearnKMeans(k, **options).fit(X)
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, rtol=1e-9)
    assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=1e-11)
    assert ours.n_iter_ == theirs.n_iter_


@pytest.mark.parametrize("seed", range(4))
def test_scikit_learn_finds_the_same_with_weights(seed):
    X = blobs(seed)
    weights = np.random.default_rng(seed).uniform(0.0, 3.0, size=len(X))
    weights[::7] = 0
    options = {"init": start(X, 7, seed), "n_init": 1, "tol": 0.0}
    ours = KMeans(7, **options).fit(X, sample_weight=weights)
    theirs = SklearnKMeans(7, **options).fit(X, sample_weight=weights)
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, rtol=1e-9)
    assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=1e-11)
    assert ours.n_iter_ == theirs.n_iter_


@pytest.mark.parametrize("seed", range(4))
def test_float32_data_give_float32_centers_near_those_of_float64(seed):
    X = blobs(seed, dtype=np.float32)
    options = {"init": start(X, 5, seed), "n_init": 1, "tol": 0.0}
    ours = KMeans(5, **options).fit(X)
    theirs = SklearnKMeans(5, **options).fit(X.astype(np.float64))
    assert ours.cluster_centers_.dtype == np.float32
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, rtol=1e-5)
    assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int64"])
def test_integers_give_the_answer_of_the_same_floats(dtype):
    X = (blobs(1) * 5 + 100).astype(dtype)
    options = {"init": start(X, 5, 1), "n_init": 1}
    ours, theirs = KMeans(5, **options).fit(X), KMeans(5, **options).fit(X.astype(np.float64))
    assert ours.cluster_centers_.dtype == np.float64
    np.testing.assert_array_equal(ours.cluster_centers_, theirs.cluster_centers_)
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)


@pytest.mark.parametrize("tol", [0.0, 1e-4, 1e-2, 0.5])
@pytest.mark.parametrize("max_iter", [1, 2, 300])
def test_the_naive_k_means_stops_at_the_same_iteration_for_the_same_reason(tol, max_iter):
    X = blobs(11)
    init = start(X, 6, 3)
    ours = KMeans(6, init=init, tol=tol, max_iter=max_iter).fit(X)
    theirs = naive.lloyd(X, init, tol=tol, max_iter=max_iter)
    assert (ours.n_iter_, ours.stop_reason_) == (theirs.n_iter, theirs.stop_reason)
    np.testing.assert_array_equal(ours.labels_, theirs.labels)
    np.testing.assert_allclose(ours.cluster_centers_, theirs.centers, rtol=1e-12)
    assert ours.inertia_ == pytest.approx(theirs.inertia, rel=1e-12)


@given(cases(max_rows=40))
def test_one_iteration_is_the_naive_one_over_any_chunks(case):
    if (case.unit_weights > 0).sum() == 0 or len(case.X) < len(case.centers):
        return
    X = lazy(case.X, case.chunks)
    model = KMeans(len(case.centers), init=case.centers, max_iter=1, tol=0.0)
    with warnings.catch_warnings(action="ignore"):  # of fewer clusters than asked for
        model.fit(X, sample_weight=case.weights)
    dtype = model.cluster_centers_.dtype
    init = case.centers.astype(dtype).astype(np.float64)
    expected = naive.update(case.X, case.unit_weights, init, dtype)
    scale = float(np.abs(case.X.astype(np.float64)).max() + np.abs(init).max())
    eps = 1e-6 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(model.cluster_centers_, expected, rtol=eps, atol=scale * eps)
    held = model.cluster_centers_.astype(np.float64)
    np.testing.assert_array_equal(model.labels_.compute(), naive.assign(case.X, held))


@pytest.mark.parametrize("seed", range(5))
def test_inertia_never_rises(seed):
    X = blobs(seed, n=300)
    model = KMeans(8, init=start(X, 8, seed), tol=0.0).fit(X)
    steps = [i.inertia for i in model.history_ if i.phase == "lloyd"]
    assert len(steps) == model.n_iter_ > 3
    assert all(after <= before for before, after in pairwise(steps))
    assert model.inertia_ == steps[-1]


def test_strict_convergence_leaves_centers_that_are_the_means_of_their_labels():
    X = blobs(2)
    model = KMeans(5, init=start(X, 5, 0), tol=0.0).fit(X)
    assert model.stop_reason_ == "converged"
    means = [X[model.labels_ == j].mean(axis=0) for j in range(5)]
    np.testing.assert_allclose(model.cluster_centers_, means, rtol=1e-12)


def test_labels_match_the_final_centers_when_the_iterations_were_cut_short():
    X = blobs(3)
    model = KMeans(6, init=start(X, 6, 0), max_iter=2, tol=0.0).fit(X)
    assert model.stop_reason_ == "max_iter"
    assert model.history_[-1].phase == "final"
    np.testing.assert_array_equal(model.labels_, naive.assign(X, model.cluster_centers_))
    np.testing.assert_array_equal(model.labels_, model.predict(X))


def test_tol_is_relative_to_the_mean_variance():
    """The same data in another unit stop at the same iteration."""
    X = blobs(4)
    init = start(X, 6, 1)
    fits = [KMeans(6, init=init * s, tol=1e-2).fit(X * s) for s in (1.0, 1024.0, 2.0**-20)]
    assert {fit.stop_reason_ for fit in fits} == {"tol"}
    assert len({fit.n_iter_ for fit in fits}) == 1
    shifted = KMeans(6, init=init + 1e6, tol=1e-2).fit(X + 1e6)
    assert shifted.n_iter_ == fits[0].n_iter_


def test_a_hand_worked_run():
    """Two pairs on a line from centers 0 and 1: (0, 1, 10, 11) -> (0, 22/3) -> (1/2, 21/2)."""
    X = np.array([[0.0], [1.0], [10.0], [11.0]])
    model = KMeans(2, init=np.array([[0.0], [1.0]]), tol=0.0).fit(X)
    steps = [i.centers.ravel() for i in model.history_ if i.phase == "lloyd"]
    np.testing.assert_allclose(steps, [[0, 1], [0, 22 / 3], [0.5, 10.5]])
    np.testing.assert_array_equal(model.labels_, [0, 0, 1, 1])
    assert (model.inertia_, model.n_iter_) == (1.0, 3)
    lloyd = [i for i in model.history_ if i.phase == "lloyd"]
    assert [i.inertia for i in lloyd] == pytest.approx([181.0, 1 + 64 / 9 + 121 / 9, 1.0])
    assert [i.sizes for i in lloyd] == [(1, 3), (2, 2), (2, 2)]


@pytest.mark.parametrize("outlier", [1e6, 1e9, 1e12])
def test_a_far_outlier_costs_the_other_clusters_no_digits(outlier):
    X = np.concatenate([blobs(5, d=2), [[outlier, 0.0]]])
    init = np.concatenate([start(X[:-1], 5, 0), X[-1:]])
    ours = KMeans(6, init=init, tol=0.0, max_iter=100).fit(X)
    theirs = naive.lloyd(X, init, tol=0.0, max_iter=100)
    np.testing.assert_array_equal(ours.labels_, theirs.labels)
    assert ours.inertia_ == pytest.approx(theirs.inertia, rel=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_fill_value_left_in_the_data_costs_the_other_clusters_no_digits(dtype):
    X = np.concatenate([blobs(5, d=2), [[9.969209968386869e36, 0.0]]]).astype(dtype)
    init = np.concatenate([start(X[:-1], 5, 0), X[-1:]])
    ours = KMeans(6, init=init, tol=0.0, max_iter=100).fit(X)
    alone = KMeans(5, init=init[:-1], tol=0.0, max_iter=100).fit(X[:-1])
    np.testing.assert_array_equal(ours.labels_[:-1], alone.labels_)
    np.testing.assert_allclose(ours.cluster_centers_[:-1], alone.cluster_centers_, rtol=1e-6)


def test_one_enormous_weight_costs_the_other_clusters_no_digits():
    X, weights = blobs(6, d=2), np.ones(len(blobs(6, d=2)))
    weights[0] = 1e15
    options = {"init": start(X, 3, 0), "n_init": 1, "tol": 0.0}
    ours = KMeans(3, **options).fit(X, sample_weight=weights)
    theirs = SklearnKMeans(3, **options).fit(X, sample_weight=weights)
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, rtol=1e-9)
    assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=1e-11)


def test_clusters_of_light_rows_move_too():
    random = np.random.default_rng(0)
    X = np.concatenate([random.normal(size=(200, 2)), random.normal(size=(200, 2)) + 10])
    weights = np.repeat([1.0, 1e-25], 200)
    options = {"init": np.array([[1.0, 1.0], [8.0, 8.0]]), "n_init": 1, "tol": 0.0}
    ours = KMeans(2, **options).fit(X, sample_weight=weights)
    theirs = SklearnKMeans(2, **options).fit(X, sample_weight=weights)
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, rtol=1e-9)


def test_blocks_without_rows_have_no_say_in_the_weights():
    X, weights = blobs(0), np.full(len(blobs(0)), 1e-20)
    options = {"init": start(X, 3, 0), "n_init": 1}
    chunks = (100, 0, len(X) - 100)
    parts = da.from_array(weights, chunks=(chunks,))
    ours = KMeans(3, **options).fit(lazy(X, chunks), sample_weight=parts)
    whole = KMeans(3, **options).fit(X, sample_weight=weights)
    np.testing.assert_array_equal(ours.cluster_centers_, whole.cluster_centers_)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_the_largest_integers_can_be_seeded_from(dtype):
    top = np.iinfo(dtype).max
    X = np.array([[0], [1], [top - 1], [top]] * 5, dtype=dtype)
    model = KMeans(2, random_state=0).fit(X)
    assert sorted(np.bincount(model.labels_)) == [10, 10]


def test_the_smallest_floats_are_told_apart():
    X = np.array([[0.0], [5e-310]])
    assert KMeans(2, init=X[::-1], n_init=1).fit(X).labels_.tolist() == [1, 0]
