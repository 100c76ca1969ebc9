"""From sums to centers: means, empty clusters, the shift."""

import naive
import numpy as np
import pytest
from hypothesis import given
from sklearn.cluster import KMeans as SklearnKMeans
from strategies import assigned, cases, in_memory

from dkmeans import KMeans
from dkmeans.engine.update import update


def updated(X, centers, weights=None, sizes=None):
    blocks = in_memory(X, weights, sizes or (len(X),))
    partial, grid = assigned(blocks, centers)
    return update(partial, grid, centers, np.dtype(np.float64), weights is not None)


def test_the_mean_of_each_cluster():
    X = np.array([[0.0, 0.0], [0.0, 2.0], [10.0, 0.0]])
    found = updated(X, np.array([[0.0, 1.0], [9.0, 0.0]]))
    np.testing.assert_array_equal(found.centers, [[0.0, 1.0], [10.0, 0.0]])
    assert found.sq_shift == 1.0


def test_the_weighted_mean():
    X = np.array([[0.0], [4.0], [100.0]])
    found = updated(X, np.array([[1.0]]), np.array([3.0, 1.0, 0.0]))
    np.testing.assert_array_equal(found.centers, [[1.0]])


def test_an_empty_cluster_takes_the_farthest_row_which_leaves_its_own():
    X = np.array([[0.0], [1.0], [2.0], [9.0]])
    found = updated(X, np.array([[1.0], [1000.0]]))
    np.testing.assert_array_equal(found.centers, [[1.0], [9.0]])


def test_two_empty_clusters_take_the_two_farthest_rows_the_farthest_first():
    X = np.array([[0.0], [1.0], [5.0], [9.0]])
    found = updated(X, np.array([[0.0], [1000.0], [2000.0]]))
    np.testing.assert_array_equal(found.centers, [[0.5], [9.0], [5.0]])


def test_of_rows_equally_far_the_first_is_taken():
    X = np.array([[-3.0], [0.0], [3.0]])
    found = updated(X, np.array([[0.0], [1000.0]]))
    np.testing.assert_array_equal(found.centers, [[1.5], [-3.0]])


def test_rows_of_weight_zero_are_never_taken():
    X = np.array([[0.0], [2.0], [50.0]])
    found = updated(X, np.array([[0.0], [1000.0]]), np.array([1.0, 1.0, 0.0]))
    np.testing.assert_array_equal(found.centers, [[0.0], [2.0]])


def test_an_empty_cluster_stays_where_all_rows_are_on_their_centers():
    X = np.array([[1.0], [1.0], [3.0]])
    found = updated(X, np.array([[1.0], [3.0], [7.0]]))
    np.testing.assert_array_equal(found.centers, [[1.0], [3.0], [7.0]])
    assert found.sq_shift == 0


@given(cases())
def test_an_update_equals_the_naive_one_over_any_chunks(case):
    X, centers = case.X, case.centers
    found = updated(X, centers, case.weights, case.chunks).centers
    scale = float(np.abs(X.astype(np.float64)).max() + np.abs(centers).max())
    expected = naive.update(X, case.unit_weights, centers)
    eps = 1e-9 if X.dtype == np.float32 or X.dtype.itemsize <= 2 else 1e-13  # digits of the grid
    np.testing.assert_allclose(found, expected, rtol=10 * eps, atol=scale * eps)


def test_blocks_smaller_than_the_number_of_empty_clusters_still_offer_enough_rows():
    X = np.random.default_rng(0).normal(size=(40, 2))
    centers = np.repeat(X[:1], 12, axis=0)
    whole = updated(X, centers)
    assert len(np.unique(whole.centers, axis=0)) == 12
    for sizes in [(1,) * 40, (0, 1, 39), (3,) * 13 + (1,)]:
        found = updated(X, centers, sizes=sizes)
        np.testing.assert_array_equal(found.centers, whole.centers)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("weighted", [False, True])
def test_relocation_equals_that_of_scikit_learn(seed, weighted):
    random = np.random.default_rng(seed)
    X = random.normal(size=(60, 3))
    weights = random.uniform(0.5, 2.0, size=60) if weighted else None
    init = np.concatenate([X[:3], X[:1], X[:1], X[1:2] + 1e6])  # three of them empty
    options = {"init": init, "n_init": 1, "max_iter": 1, "tol": 0.0}
    ours = KMeans(6, **options).fit(X, sample_weight=weights)
    theirs = SklearnKMeans(6, **options).fit(X, sample_weight=weights)
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, rtol=1e-12)
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)


@pytest.mark.parametrize("k", [2, 65, 80])
def test_no_cluster_is_lost_when_all_start_at_one_point(k):
    X = np.random.default_rng(k).normal(size=(400, 2))
    model = KMeans(k, init=np.zeros((k, 2)), max_iter=50).fit(X)
    assert len(np.unique(model.labels_)) == k
