"""Profiles of clusters: the obvious numbers, in the units of X, from one read."""

import dask.array as da
import naive
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import zarr
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans as SklearnKMeans
from sklearn.datasets import make_blobs
from sklearn.decomposition import PCA
from sklearn.kernel_approximation import RBFSampler
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from strategies import cases, lazy
from test_passes import INPUTS, Reads, zarr_input

from dkmeans import DataError, KMeans, MemoryLimitError, OutputError, profile

FIELDS = ["sizes", "means", "stds", "distances", "nearest_rows", "nearest_values"]


@pytest.fixture(scope="module")
def X():
    return make_blobs(1000, 3, centers=4, cluster_std=2.0, random_state=0)[0]


def same(one, other):
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field), err_msg=field)


def check(found, X, Z, centers, nearest):
    """The profile is that of rows X, clustered as Z."""
    labels = naive.assign(Z, centers)
    distances = np.sqrt(naive.sq_to_own(Z, centers, labels))
    for j in range(len(centers)):
        rows = np.flatnonzero(labels == j)
        assert found.sizes[j] == len(rows)
        held = found.nearest_rows[j] >= 0
        near = rows[np.lexsort((rows, distances[rows]))][:nearest]
        assert sum(held) == len(near)
        np.testing.assert_allclose(distances[found.nearest_rows[j][held]], distances[near])
        np.testing.assert_array_equal(found.nearest_values[j][held], X[found.nearest_rows[j][held]])
        assert np.isnan(found.nearest_values[j][~held]).all()
        if len(rows):
            own = X[rows].astype(np.longdouble)
            scale = np.abs(own).max() or 1
            np.testing.assert_allclose(found.means[j], own.mean(axis=0), atol=1e-14 * scale)
            np.testing.assert_allclose(
                found.stds[j], own.std(axis=0), rtol=1e-9, atol=1e-15 * scale
            )
            assert found.distances[j] == pytest.approx(distances[rows].mean(), rel=1e-12)
        else:
            assert np.isnan([*found.means[j], *found.stds[j], found.distances[j]]).all()


@given(cases(), st.integers(0, 4))
def test_it_is_the_obvious_one_whatever_the_blocks(case, nearest):
    found = profile(case.centers, case.X, nearest=nearest)
    check(found, case.X, case.X, case.centers, nearest)
    same(profile(case.centers, lazy(case.X, case.chunks), nearest=nearest), found)


def test_by_hand():
    X = np.array([[1.0, 5], [3, 5], [10, 0], [20, 6], [12, 0]])
    found = profile([[2.0, 5.0], [14.0, 2.0], [99.0, 99.0]], X, nearest=2)
    assert found.sizes.tolist() == [2, 3, 0]
    assert found.shares.tolist() == [0.4, 0.6, 0.0]
    assert found.means[:2].tolist() == [[2, 5], [14, 2]]
    np.testing.assert_allclose(found.stds[:2] ** 2, [[1, 0], [56 / 3, 8]], rtol=1e-15)
    assert found.distances[0] == 1
    assert found.nearest_rows.tolist() == [[0, 1], [4, 2], [-1, -1]]
    assert found.nearest.loc[1].to_numpy().tolist() == [[12, 0], [10, 0]]
    assert found.nearest.index.tolist() == [(0, 0), (0, 1), (1, 4), (1, 2)]


def test_the_table_has_a_line_a_cluster_with_names_of_features(X):
    frame = pd.DataFrame(X, columns=["width", "height", "depth"])
    model = KMeans(4, random_state=0).fit(frame)
    found = profile(model, frame)
    table = found.table
    assert table.index.tolist() == [0, 1, 2, 3]
    assert table.columns.tolist() == [
        *(("rows", name) for name in ("size", "share", "distance")),
        *((f, s) for f in frame.columns for s in ("mean", "std")),
    ]
    groups = frame.groupby(model.labels_)
    np.testing.assert_allclose(table["width", "mean"], groups["width"].mean())
    np.testing.assert_allclose(table["depth", "std"], groups["depth"].std(ddof=0))
    assert table["rows", "share"].sum() == pytest.approx(1)
    lines = str(found).splitlines()
    assert len(lines) == 3 + 4
    assert "width" in lines[0]
    assert profile(model.cluster_centers_, X).feature_names == (
        "feature 0",
        "feature 1",
        "feature 2",
    )


@pytest.mark.parametrize("offset", [1e6, 1e9])
def test_the_spread_of_data_far_from_the_origin_is_exact(offset):
    X = np.round(np.random.default_rng(0).normal(size=(500, 2)) * 2**10) / 2**10
    centers = np.array([[-1.0, 0.0], [1.0, 0.0]])
    near, far = profile(centers, X), profile(centers + offset, X + offset)
    np.testing.assert_allclose(far.stds, near.stds, rtol=1e-14)
    np.testing.assert_allclose(far.means - offset, near.means, atol=1e-15 * offset)
    np.testing.assert_array_equal(far.nearest_rows, near.nearest_rows)


@pytest.mark.parametrize("last", [KMeans(4, random_state=0), SklearnKMeans(4, random_state=0)])
@pytest.mark.parametrize("named", [False, True])
def test_behind_a_pipeline_the_units_are_those_of_x(X, last, named):
    rows = X * [1, 10, 100] + 50
    given_ = pd.DataFrame(rows, columns=list("abc")) if named else rows
    model = make_pipeline(StandardScaler(), PCA(2), last).fit(given_)
    found = profile(model, given_, nearest=3)
    Z = model[:-1].transform(given_)
    check(found, rows, Z, model[-1].cluster_centers_.astype(np.float64), 3)
    assert found.feature_names == (
        ("a", "b", "c") if named else ("feature 0", "feature 1", "feature 2")
    )
    pieces = da.from_array(rows, chunks=((10, 490, 500), 3))
    check(profile(model, pieces, nearest=3), rows, Z, model[-1].cluster_centers_, 3)


def test_a_pipeline_may_be_sparse_inside_or_have_one_step():
    X = np.random.default_rng(0).integers(0, 3, size=(200, 2)).astype(float)
    model = make_pipeline(OneHotEncoder(), KMeans(3, random_state=0)).fit(X)
    assert scipy.sparse.issparse(model[:-1].transform(X))
    found = profile(model, X)
    check(found, X, model[:-1].transform(X).toarray(), model[-1].cluster_centers_, 5)
    alone = make_pipeline(KMeans(3, random_state=0)).fit(X)
    same(profile(alone, X), profile(alone[-1], X))


def test_blocks_without_rows_and_of_unknown_size_have_their_place(X):
    model = make_pipeline(StandardScaler(), KMeans(4, random_state=0)).fit(X)
    same(profile(model, lazy(X, (0, 300, 0, 700), unknown=True)), profile(model, X))


@pytest.mark.parametrize("make", INPUTS, ids=lambda f: f.__name__.removesuffix("_input"))
def test_it_reads_each_piece_once(make, X, tmp_path, monkeypatch):
    reads = Reads()
    rows = make(X, reads, tmp_path, monkeypatch)
    model = KMeans(4, random_state=0).fit(rows)
    reads.counts.clear()
    found = profile(model, rows)
    assert reads.each() == 1
    same(found, profile(model.cluster_centers_, X))


def test_labels_are_written_in_the_same_pass(X, tmp_path, monkeypatch):
    reads, bad, folder = Reads(), X.copy(), tmp_path / "out"
    bad[5, 1] = np.nan
    folder.mkdir()
    model = KMeans(4, random_state=0, nan_policy="omit").fit(bad)
    rows = zarr_input(bad, reads, tmp_path, monkeypatch)
    found = profile(model, rows, labels_path=folder / "labels.zarr")
    assert reads.each() == 1
    same(found, profile(model, bad))
    written = zarr.open_array(folder / "labels.zarr")[:]
    np.testing.assert_array_equal(written, model.labels_)
    assert written[5] == -1
    with pytest.raises(OutputError, match="exists already"):
        profile(model, rows, labels_path=folder / "labels.zarr")
    assert reads.each() == 1
    assert [path.name for path in folder.iterdir()] == ["labels.zarr"]


def test_rows_left_out_are_left_out(X):
    bad = X.copy()
    bad[::9, 1] = np.nan
    model = KMeans(4, random_state=0, nan_policy="omit").fit(bad)
    found = profile(model, bad)
    good = np.flatnonzero(np.isfinite(bad).all(axis=1))
    clean = profile(model, bad[good])
    np.testing.assert_array_equal(found.nearest_rows, good[clean.nearest_rows])
    for field in set(FIELDS) - {"nearest_rows"}:
        np.testing.assert_array_equal(getattr(found, field), getattr(clean, field))


def test_three_hundred_clusters_of_fifty_features():
    random = np.random.default_rng(0)
    X, centers = random.normal(size=(2000, 50)), random.normal(size=(300, 50))
    found = profile(centers, da.from_array(X, chunks=(250, 50)), nearest=2)
    check(found, X, X, centers, 2)
    assert found.table.shape == (300, 3 + 2 * 50)


def test_what_a_pipeline_makes_of_a_block_is_planned_for(X, tmp_path):
    rows = np.tile(X, (30, 1))
    model = make_pipeline(RBFSampler(n_components=150, random_state=0), KMeans(4, random_state=0))
    model.fit(X)
    last = model[-1].set_params(memory_limit="350 MiB")
    zarr.create_array(tmp_path / "whole.zarr", data=rows, chunks=rows.shape)
    zarr.create_array(tmp_path / "pieces.zarr", data=rows, chunks=(1000, 3))
    same_limit = KMeans(4, random_state=0, memory_limit="350 MiB").fit(X)
    assert profile(same_limit, str(tmp_path / "whole.zarr")).sizes.sum() == len(rows)
    with pytest.raises(MemoryLimitError, match=r"350\.00 MiB: raise memory_limit, or store X in"):
        profile(model, str(tmp_path / "whole.zarr"))
    found = profile(model, str(tmp_path / "pieces.zarr"))
    np.testing.assert_array_equal(found.sizes, 30 * np.bincount(last.labels_, minlength=4))


def test_what_cannot_be_is_named(X):
    model = KMeans(4, random_state=0).fit(X)
    for wrong in (-1, 2.0, True):
        with pytest.raises(ValueError, match="nearest must be an integer of at least 0"):
            profile(model, X, nearest=wrong)
    bad = X.copy()
    bad[700, 1] = np.nan
    with pytest.raises(DataError, match="NaN: nan at row 700, column 1"):
        profile(model, da.from_array(bad, chunks=(300, 3)))
    with pytest.raises(DataError, match="got PCA, which has no cluster_centers_"):
        profile(make_pipeline(StandardScaler(), PCA(2)).fit(X), X)
    scaled = make_pipeline(StandardScaler(), model).fit(X)
    with pytest.raises(ValueError, match="X has 2 features, but Pipeline is expecting 3"):
        profile(scaled, da.from_array(X[:, :2], chunks=300))
