"""The same centers, to the bit, whatever the chunks, the storage, the threads and the cluster."""

import hashlib

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
import zarr
from sklearn.datasets import make_blobs

from dkmeans import KMeans

N, D, K = 1300, 4, 7
INITS = ["k-means||", "k-means++", "random"]


@pytest.fixture(scope="module", params=["float32", "float64"])
def X(request):
    X = make_blobs(N, D, centers=K, cluster_std=3.0, random_state=1)[0]
    return (X + 1000.0).astype(request.param)


def digest(model):
    centers = np.ascontiguousarray(model.cluster_centers_)
    text = f"{centers.dtype} {model.inertia_!r} {model.n_iter_} {model.stop_reason_}"
    return hashlib.sha256(centers.tobytes() + text.encode()).hexdigest()


def fitted(X, weights=None, init="k-means||", **options):
    model = KMeans(K, init=init, n_init=1, random_state=3, max_iter=6, **options)
    return digest(model.fit(X, sample_weight=weights))


@pytest.fixture(scope="module")
def expected(X):
    return {init: fitted(X, init=init) for init in INITS}


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("chunks", [N, 257, (1, 0, 1000, 299), (13,) * 100])
@pytest.mark.parametrize("residency", ["memory", "stream"])
def test_any_chunks_and_residency(X, expected, init, chunks, residency):
    lazy = da.from_array(X, chunks=(chunks, 3))
    assert fitted(lazy, init=init, residency=residency) == expected[init]


@pytest.mark.parametrize("chunk", [100, N])
@pytest.mark.parametrize("residency", ["memory", "stream"])
def test_zarr(X, expected, tmp_path, chunk, residency):
    zarr.create_array(tmp_path / "x.zarr", data=X, chunks=(chunk, 2))
    assert fitted(tmp_path / "x.zarr", residency=residency) == expected["k-means||"]


@pytest.mark.parametrize("group", [100, N])
@pytest.mark.parametrize("residency", ["memory", "stream"])
def test_parquet(X, expected, tmp_path, group, residency):
    frame = pd.DataFrame(X, columns=list("abcd"))
    frame.to_parquet(tmp_path / "x.parquet", row_group_size=group)
    assert fitted(tmp_path / "x.parquet", residency=residency) == expected["k-means||"]


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("residency", ["memory", "stream"])
def test_any_number_of_threads(X, expected, workers, residency):
    with dask.config.set(num_workers=workers):
        assert fitted(X) == expected["k-means||"]
        lazy = da.from_array(X, chunks=(300, D))
        assert fitted(lazy, residency=residency) == expected["k-means||"]


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_any_scheduler_of_dask(X, expected, scheduler):
    with dask.config.set(scheduler=scheduler):
        assert fitted(da.from_array(X, chunks=(300, D))) == expected["k-means||"]


@pytest.mark.parametrize("chunks", [(N,), (300, 1000), (1,) * 5 + (N - 5,)])
def test_weights(X, chunks):
    weights = np.random.default_rng(0).uniform(0, 2, size=N)
    weights[::5] = 0
    whole = fitted(X, weights)
    lazy = da.from_array(X, chunks=(chunks, D))
    assert fitted(lazy, weights, residency="stream") == whole
    assert fitted(lazy, da.from_array(weights, chunks=333), residency="memory") == whole


def test_rows_left_out(X):
    gaps = X.copy()
    gaps[5::100, 2] = np.nan
    whole = fitted(gaps, nan_policy="omit")
    for chunks in (100, 1111):
        lazy = da.from_array(gaps, chunks=(chunks, D))
        assert fitted(lazy, nan_policy="omit", residency="stream") == whole


def test_empty_clusters(X):
    init = np.repeat(X[:1], 30, axis=0)

    def run(given, **options):
        return digest(KMeans(30, init=init, max_iter=4, **options).fit(given))

    whole = run(X)
    for chunks in (20, 650, (1,) * 40 + (N - 40,)):
        lazy = da.from_array(X, chunks=(chunks, D))
        assert run(lazy, residency="stream") == whole


def test_restarts(X):
    options = {"init": "random", "n_init": 3, "random_state": 0, "max_iter": 5}
    whole = digest(KMeans(K, **options).fit(X))
    lazy = da.from_array(X, chunks=(300, D))
    assert digest(KMeans(K, **options, residency="stream").fit(lazy)) == whole


@pytest.mark.parametrize("residency", ["memory", "stream"])
def test_two_worker_processes(X, expected, client, residency, tmp_path):
    lazy = da.from_array(X, chunks=(300, D))
    assert fitted(lazy, residency=residency) == expected["k-means||"]
    zarr.create_array(tmp_path / "x.zarr", data=X, chunks=(500, D))
    assert fitted(tmp_path / "x.zarr", residency=residency) == expected["k-means||"]


def test_unknown_sizes_on_two_worker_processes(X, expected, client):
    parts = [
        da.from_delayed(dask.delayed(X[s : s + 400]), (np.nan, D), X.dtype)
        for s in range(0, N, 400)
    ]
    lazy = da.concatenate(parts, allow_unknown_chunksizes=True)
    assert fitted(lazy) == expected["k-means||"]


def test_in_memory_data_and_labels_beside_a_cluster(X, expected, client):
    assert fitted(X) == expected["k-means||"]
    model = KMeans(K, random_state=3).fit(da.from_array(X, chunks=(300, D)))
    np.testing.assert_array_equal(model.labels_.compute(), model.predict(X))


def test_one_worker_of_two_threads(X, expected):
    from distributed import Client, LocalCluster

    options = {"n_workers": 1, "threads_per_worker": 2, "dashboard_address": ":0"}
    with LocalCluster(processes=False, **options) as cluster, Client(cluster):
        assert fitted(da.from_array(X, chunks=(300, D))) == expected["k-means||"]
