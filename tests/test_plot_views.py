"""Projections, their inverse, and the moments from which they are made."""

import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plots import data, fitted
from sklearn.decomposition import PCA

from dkmeans import DataError, KMeans
from dkmeans.engine.scatter import Scatter
from dkmeans.plot.scene import scene_of
from dkmeans.plot.view import of_features, principal_of_sample, principal_of_scatter
from dkmeans.record.sample import RowSample


def same_up_to_sign(ours, theirs, atol=1e-9):
    signs = np.sign((ours * theirs).sum(axis=0))
    np.testing.assert_allclose(ours * signs, theirs, atol=atol)


@given(st.lists(st.integers(0, 40), max_size=6))
def test_moments_do_not_depend_on_the_blocks(cuts):
    X = data(3, 4, 40) + np.array([0, 1e6, -5])
    parts = [Scatter.of(part) for part in np.split(X, sorted(cuts))]
    found = Scatter.combine(parts)
    assert found.count == 40
    np.testing.assert_allclose(found.mean, X.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(found.products / 39, np.cov(X.T), rtol=1e-8, atol=1e-8)


def test_moments_are_taken_a_slice_at_a_time(monkeypatch):
    monkeypatch.setattr("dkmeans.engine.scatter._SLICE", 30)
    X = data(3, 4, 95).astype(np.float32)
    np.testing.assert_allclose(Scatter.of(X).products / 94, np.cov(X.T), rtol=1e-5)


@pytest.mark.parametrize("d", [3, 50])
def test_principal_components_are_scikit_learns(d):
    X = data(d, 20)
    expected = PCA(2).fit(X)
    scene = scene_of(fitted(d, 20))
    same_up_to_sign(scene.points, expected.transform(X), atol=1e-8)
    shares = [f"({share:.0%} of the variance)" for share in expected.explained_variance_ratio_]
    assert [label.split(" ", 3)[3] for label in scene.view.labels] == shares


def test_components_of_all_rows_come_from_one_pass(monkeypatch):
    monkeypatch.setattr("dkmeans.plot.scene.ROWS", 50)
    X = data(3, 20)
    scene = scene_of(fitted(3, 20), da.from_array(X, chunks=(123, 3)))
    expected = PCA(2).fit(X)  # of all 700 rows, not of the 50 that are drawn
    same_up_to_sign(scene.points, expected.transform(X[scene.sample.index]), atol=1e-8)


def test_a_pass_reads_each_block_once():
    reads = []

    def read(block):
        if block.size:  # dask asks for the type with an empty one
            reads.append(len(block))
        return block

    X = da.from_array(data(3, 20), chunks=(100, 3)).map_blocks(read, dtype=float)
    scene_of(fitted(3, 20), X)
    assert sorted(reads) == [100] * 7


def test_more_features_than_a_matrix_is_made_for(monkeypatch):
    monkeypatch.setattr("dkmeans.plot.scene.MAX_COVARIANCE", 10)
    X = data(50, 20)
    scene = scene_of(fitted(50, 20), X)
    same_up_to_sign(scene.points, PCA(2).fit_transform(X), atol=1e-8)


def test_values_that_are_not_finite_are_refused_or_left_out():
    X = data(3, 4).copy()
    bad = X.copy()
    bad[7, 1] = np.nan
    model = KMeans(4, random_state=0, nan_policy="omit").fit(bad)
    scene = scene_of(model, bad)
    assert 7 not in scene.sample.index
    assert len(scene.points) == 699
    same_up_to_sign(scene.points, PCA(2).fit_transform(np.delete(X, 7, axis=0)))
    with pytest.raises(DataError, match=r"NaN: nan at row 7, column 1"):
        scene_of(fitted(3, 4), bad)


@pytest.mark.parametrize("p", [1, 2])
def test_projections_split_squared_distances(p):
    X = data(50, 20)
    view = principal_of_scatter(Scatter.of(X)) if p == 2 else of_features([3], ["x"] * 50, X[0])
    flat, apart = view.project(X), view.distance(X)
    back = view.origin + flat[:, :p] @ view.directions
    np.testing.assert_allclose(np.linalg.norm(X - back, axis=1), apart, atol=1e-9)
    centers = X[:7]
    direct = np.linalg.norm(back[:, None] - centers, axis=2).argmin(axis=1)
    np.testing.assert_array_equal(view.nearest(flat, centers), direct)


def test_samples_of_few_or_equal_rows_have_components():
    ones = np.ones(1)
    for rows in (np.zeros((1, 4)), np.ones((5, 4))):
        sample = RowSample(rows, np.arange(len(rows)), np.repeat(ones, len(rows)))
        view = principal_of_sample(sample)
        np.testing.assert_allclose(view.project(rows), 0, atol=1e-12)
        assert view.labels[0] == "principal component 1 (0% of the variance)"


def test_weights_move_the_components():
    X = data(3, 4)
    weights = np.random.default_rng(0).integers(1, 4, len(X)).astype(float)
    view = principal_of_sample(RowSample(X, np.arange(len(X)), weights))
    same_up_to_sign(view.project(X), PCA(2).fit(np.repeat(X, weights.astype(int), 0)).transform(X))
