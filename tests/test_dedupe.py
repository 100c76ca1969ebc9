"""Fits of distinct rows are those of all rows."""

import pickle

import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from dkmeans import KMeans
from dkmeans.data import blocks as blocks_of
from dkmeans.engine import dedupe
from dkmeans.engine.dedupe import DistinctStep, budget
from dkmeans.engine.passes import Passes

TYPES = ["uint8", "int8", "int16", "uint16", "int32", "float32", "int64"]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Count the distinct rows of few rows too."""
    monkeypatch.setattr(dedupe, "LEAST_ROWS", 8)


def rows_of(dtype="uint8", d=2, n=3000, values=10, seed=0):
    """Rows that are there many times, in three groups."""
    random = np.random.default_rng(seed)
    X = random.integers(0, values, (n, d)) + 40 * random.integers(0, 3, (n, 1))
    return X.astype(dtype)


def counted(X, most, rows=7, threads=2):
    blocks = blocks_of.from_dask(da.from_array(X, chunks=(rows, -1)), None)
    return Passes(threads).run(blocks, DistinctStep(most, X.shape[1] * X.itemsize), "")


@pytest.mark.parametrize("dtype", TYPES)
def test_rows_and_their_counts_come_back(dtype):
    X = rows_of(dtype, d=8 // np.dtype(dtype).itemsize, values=2, n=300)
    X = X[:, : 2 if dtype != "int64" else 1]
    if np.dtype(dtype).kind != "u":
        X[:50] -= 50
    found = counted(X, 300).blocks(X.shape[1], X.dtype, 50)
    rows = np.concatenate(found.X)
    order = np.lexsort(rows.T[::-1])
    expected, counts = np.unique(X, axis=0, return_counts=True)
    np.testing.assert_array_equal(rows[order], expected)
    np.testing.assert_array_equal(np.concatenate(found.weights)[order], counts)
    assert (found.counted, found.in_memory, found.dtype) == (True, True, X.dtype)


@given(
    d=st.integers(1, 40),
    dtype=st.sampled_from(TYPES),
    rows=st.integers(1, 70),
    colliding=st.booleans(),
)
def test_rows_of_any_width_are_counted(d, dtype, rows, colliding):
    X = np.random.default_rng(d).integers(0, 3, (60, 1 + d % 3)).astype(dtype)
    X = np.ascontiguousarray(np.resize(X.T, (d, 60)).T)
    with pytest.MonkeyPatch.context() as patch:
        if colliding:
            patch.setattr(dedupe, "_hashes", lambda codes: codes[:, 0] % np.uint64(2))
        found = counted(X, 60, rows).blocks(d, X.dtype, 50)
    expected, counts = np.unique(X, axis=0, return_counts=True)
    order = np.lexsort(np.concatenate(found.X).T[::-1])
    np.testing.assert_array_equal(np.concatenate(found.X)[order], expected)
    np.testing.assert_array_equal(np.concatenate(found.weights)[order], counts)


@given(st.integers(1, 60), st.integers(1, 40), st.integers(1, 70), st.sampled_from([1, 2]))
def test_it_is_the_number_of_distinct_rows_that_decides_and_not_the_blocks(distinct, most, rows, d):
    X = np.random.default_rng(0).permutation(np.arange(60) % distinct)[:, None].repeat(d, axis=1)
    found = counted(X, most, rows)
    assert (found.codes is None) == (distinct > most)
    if distinct <= most:
        assert len(found.codes) == distinct


def test_a_process_gives_up_once_and_a_copy_starts_anew():
    step, X = DistinctStep(3, 8), np.arange(10)[:, None]
    assert step(X, np.empty(0), 0, 0).codes is None
    assert step(X[:1], np.empty(0), 0, 1).codes is None
    assert len(pickle.loads(pickle.dumps(step))(X[:1], np.empty(0), 0, 1).codes) == 1


def test_a_process_gives_up_where_its_first_blocks_have_too_many_together():
    step, X = DistinctStep(3, 8), np.arange(10)[:, None]
    assert len(step(X[:3], np.empty(0), 0, 0).codes) == 3
    assert step(X[3:4], np.empty(0), 3, 1).codes is not None
    assert step(X[:1], np.empty(0), 0, 2).codes is None


@pytest.mark.parametrize(
    ("n", "dtype", "d", "weighted", "expected"),
    [
        (100, "uint8", 8, False, 25),
        (100, "uint8", 9, False, 25),
        (100, "uint8", 8, True, 0),
        (7, "uint8", 8, False, 0),
        (None, "uint8", 8, False, 0),
        (10**8, "float64", 1, False, dedupe.MOST),
        (10**8, "uint8", 9, False, dedupe.WIDE_BYTES // 24),
        (10**8, "float64", 2, False, dedupe.WIDE_BYTES // 24),
    ],
)
def test_the_budget_depends_on_sizes_alone(n, dtype, d, weighted, expected):
    assert budget(n, np.dtype(dtype), d, weighted=weighted) == expected


def both(X, k=3, init="given", **options):
    """The same fit of distinct rows and of all."""
    finite = X[np.isfinite(X).all(axis=1)]
    first = np.unique(finite, axis=0)[::7][:k].astype(float) if init == "given" else init
    options = {"random_state": 0, "n_init": 1} | options
    models = [KMeans(k, init=first, dedupe=how, **options) for how in ("auto", "never")]
    return [model.fit(X) for model in models]


def sizes_of(model):
    """Rows of each cluster in each iteration."""
    return [i.sizes for i in model.history_ if i.phase == "lloyd"]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("tol", [0, 1e-4, 0.1])
def test_from_the_same_centers_the_fit_is_the_same(dtype, tol):
    X = rows_of(dtype)
    one, other = both(X, tol=tol)
    np.testing.assert_array_equal(one.cluster_centers_, other.cluster_centers_)
    np.testing.assert_array_equal(one.labels_, other.labels_)
    assert one.labels_.dtype == other.labels_.dtype
    assert one.inertia_ == pytest.approx(other.inertia_, rel=1e-14)
    assert (one.n_iter_, one.stop_reason_) == (other.n_iter_, other.stop_reason_)
    assert sizes_of(one) == sizes_of(other)
    np.testing.assert_array_equal(one.history_.sample.rows, other.history_.sample.rows)
    assert one.history_.passes == 1 < other.history_.passes


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32"])
def test_means_are_rounded_as_those_of_all_rows(dtype):
    random = np.random.default_rng(0)
    X = (random.beta(0.3, 2, (4000, 2)) * 40).astype(dtype)  # most rows are not in the middle
    one, other = both(X, k=5, tol=0)
    np.testing.assert_array_equal(one.cluster_centers_, other.cluster_centers_)
    assert one.history_.passes == 1 < other.history_.passes


@pytest.mark.parametrize("init", ["auto", "k-means||", "k-means++", "random"])
@pytest.mark.parametrize("algorithm", ["auto", "lloyd"])
@pytest.mark.parametrize("d", [2, 9])
def test_the_same_bits_over_chunks_and_kinds_of_data(tmp_path, init, algorithm, d):
    X = np.resize(rows_of("int16").T, (d, 3000)).T.copy()
    stored = zarr.create_array(tmp_path / "x", shape=X.shape, chunks=(100, d), dtype=X.dtype)
    stored[:] = X
    options = {"init": init, "random_state": 1, "algorithm": algorithm}
    expected = KMeans(4, **options).fit(X)
    for other, residency in [
        (da.from_array(X, chunks=(321, d)), "stream"),
        (da.from_array(X, chunks=(1000, 1)), "memory"),
        (stored, "stream"),
    ]:
        found = KMeans(4, residency=residency, **options).fit(other)
        np.testing.assert_array_equal(found.cluster_centers_, expected.cluster_centers_)
        np.testing.assert_array_equal(np.asarray(found.labels_), expected.labels_)
        assert (found.inertia_, found.n_iter_) == (expected.inertia_, expected.n_iter_)
        assert (found.history_.bytes_read, found.history_.passes) == (X.nbytes, 1)


def test_the_same_bits_on_a_cluster(client):
    X = rows_of("int16").repeat(3, axis=1)
    found = KMeans(4, random_state=1).fit(da.from_array(X, chunks=(500, 6)))
    expected = KMeans(4, random_state=1).fit(X)
    np.testing.assert_array_equal(found.cluster_centers_, expected.cluster_centers_)
    assert found.inertia_ == expected.inertia_
    assert found.history_.passes == 1


def test_many_distinct_rows_are_fitted_as_they_are():
    X = np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32)
    one, other = both(X, init="auto")
    np.testing.assert_array_equal(one.cluster_centers_, other.cluster_centers_)
    assert one.inertia_ == other.inertia_
    assert one.history_.passes == other.history_.passes


def test_rows_with_nan_are_left_out():
    X = rows_of("float32")
    X[::9, 1] = np.nan
    one, other = both(X, nan_policy="omit")
    np.testing.assert_array_equal(one.cluster_centers_, other.cluster_centers_)
    np.testing.assert_array_equal(one.labels_, other.labels_)
    assert (one.labels_[::9] == -1).all()
    with pytest.raises(ValueError, match="Input X contains NaN: nan at row 0, column 1"):
        KMeans(3).fit(X)
