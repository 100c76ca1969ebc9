"""Sparse matrices, in memory and in dask arrays: the bits of the same rows made dense."""

import dask.array as da
import numpy as np
import pytest
import scipy.sparse as sp
from distributed import Client

from dkmeans import DataError, KMeans


@pytest.fixture(params=[np.float32, np.float64, np.int32])
def dense(request):
    random = np.random.default_rng(0)
    X = np.where(random.random((600, 40)) < 0.1, random.normal(size=(600, 40)) * 20, 0)
    return X.astype(request.param)


@pytest.mark.parametrize("form", [sp.csr_matrix, sp.csr_array, sp.csc_matrix, sp.coo_array])
@pytest.mark.parametrize("residency", ["auto", "stream"])
def test_every_format_gives_what_dense_rows_give(dense, form, residency):
    options = {"random_state": 0, "residency": residency}
    ours = KMeans(5, **options).fit(form(dense))
    same = KMeans(5, **options).fit(dense)
    np.testing.assert_array_equal(ours.cluster_centers_, same.cluster_centers_)
    assert isinstance(ours.labels_, np.ndarray)
    np.testing.assert_array_equal(ours.labels_, same.labels_)
    assert ours.inertia_ == same.inertia_
    np.testing.assert_array_equal(ours.predict(form(dense)), same.labels_)
    np.testing.assert_array_equal(ours.transform(form(dense)), same.transform(dense))
    assert ours.score(form(dense)) == same.score(dense)


def test_weights(dense):
    weights = np.random.default_rng(1).uniform(size=len(dense))
    ours = KMeans(5, random_state=0).fit(sp.csr_matrix(dense), sample_weight=weights)
    same = KMeans(5, random_state=0).fit(dense, sample_weight=weights)
    np.testing.assert_array_equal(ours.cluster_centers_, same.cluster_centers_)


def test_a_dask_array_of_sparse_blocks_is_streamed(dense):
    meta = sp.csr_matrix((0, 0), dtype=dense.dtype)
    X = da.from_array(dense, chunks=(100, 20)).map_blocks(sp.csr_matrix, meta=meta)
    ours = KMeans(5, random_state=0, residency="stream").fit(X)
    same = KMeans(5, random_state=0).fit(dense)
    np.testing.assert_array_equal(ours.cluster_centers_, same.cluster_centers_)
    np.testing.assert_array_equal(ours.labels_.compute(), same.labels_)


def test_the_plan_counts_dense_blocks(dense):
    plan = KMeans(5, residency="stream").plan(sp.csr_matrix(dense))
    assert plan.pass_bytes == dense.nbytes
    assert plan.n_rows == 600


def test_what_is_not_finite_is_named():
    X = sp.csr_matrix(np.array([[0.0, 1.0], [np.nan, 0.0], [2.0, 0.0]]))
    with pytest.raises(DataError, match=r"Input X contains NaN: nan at row 1, column 0"):
        KMeans(2).fit(X)


def test_a_matrix_in_memory_stays_in_this_process_though_there_is_a_cluster(dense):
    options = {"random_state": 0, "residency": "stream"}
    alone = KMeans(5, **options).fit(sp.csr_matrix(dense))
    with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=":0"):
        beside = KMeans(5, **options).fit(sp.csr_matrix(dense))
        labels = beside.predict(sp.csr_matrix(dense))
    np.testing.assert_array_equal(alone.cluster_centers_, beside.cluster_centers_)
    np.testing.assert_array_equal(alone.labels_, labels)
