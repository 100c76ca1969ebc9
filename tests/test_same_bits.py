"""The same centers, to the bit, whatever the chunks, the storage, the threads and the cluster."""

import hashlib
import os
import time
from itertools import product

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


def every_bit(model):
    """Hash of all that a fit says, but for what it cost."""
    steps = [
        (i.phase, i.run, i.step, np.asarray(i.centers).tobytes(), i.inertia, i.shift, i.sizes)
        for i in model.history_
        if i.phase in ("lloyd", "final")
    ]
    found = np.asarray(model.labels_).tobytes(), repr((model.inertia_, model.n_iter_, steps))
    centers = np.ascontiguousarray(model.cluster_centers_)
    return hashlib.sha256(centers.tobytes() + found[0] + found[1].encode()).hexdigest()


def chunkings(many):
    """Different cuts of N rows, the one chunk and single rows among them."""
    random = np.random.default_rng(0)
    cuts = [(N,), (0, N, 0), (1,) * 30 + (N - 30,), (N - 1, 1), (650, 650)]
    while len(cuts) < many:
        at = np.sort(random.integers(0, N + 1, size=random.integers(1, 25)))
        cuts.append(tuple(int(s) for s in np.diff(np.concatenate([[0], at, [N]]))))
    return cuts


class TestDefaults:
    """The defaults: a search of a sample, rows kept between passes."""

    @pytest.fixture(autouse=True)
    def small(self, monkeypatch):
        from dkmeans.engine import survey

        monkeypatch.setattr(survey, "SAMPLE_VALUES", 300 * D)

    def hashed(self, X, **options):
        return every_bit(KMeans(K + 2, random_state=3, tol=0.0, **options).fit(X))

    @pytest.fixture
    def expected(self, X):
        with dask.config.set(num_workers=1):
            return self.hashed(X, algorithm="lloyd")

    @pytest.mark.parametrize("threads", [1, 2])
    def test_twenty_chunkings(self, X, expected, threads):
        with dask.config.set(num_workers=threads):
            found = {self.hashed(X)}
            for at, sizes in enumerate(chunkings(20)):
                lazy = da.from_array(X, chunks=(sizes, D))
                found.add(self.hashed(lazy, residency=("stream", "memory")[at % 2]))
        assert found == {expected}

    @pytest.mark.parametrize("threads", [1, 2])
    def test_storage_and_memory(self, X, expected, tmp_path, threads):
        frame, found = pd.DataFrame(X, columns=list("abcd")), set()
        for chunk, limit in product((70, N), (None, "400 MiB", "4 GiB")):
            options = {"memory_limit": limit, "residency": "stream"}
            with dask.config.set(num_workers=threads):
                zarr.create_array(tmp_path / "x.zarr", data=X, chunks=(chunk, D), overwrite=True)
                found.add(self.hashed(tmp_path / "x.zarr", **options))
                frame.to_parquet(tmp_path / "x.parquet", row_group_size=chunk)
                found.add(self.hashed(tmp_path / "x.parquet", **options))
        assert found == {expected}

    @pytest.mark.parametrize("share", [0.01, 0.1, 1.0])
    def test_any_share_of_rows_kept(self, X, expected, monkeypatch, share):
        from dkmeans.engine import lloyd

        monkeypatch.setattr(lloyd, "KEPT_SHARE", share)
        lazy = da.from_array(X, chunks=(300, D))
        assert self.hashed(lazy, residency="stream") == expected

    def cluster_hashes(self, X, tmp_path):
        zarr.create_array(tmp_path / "x.zarr", data=X, chunks=(200, D))
        pd.DataFrame(X, columns=list("abcd")).to_parquet(tmp_path / "x.parquet", row_group_size=300)
        lazy = da.from_array(X, chunks=((1, 0, 500, 799), D))
        sources = [tmp_path / "x.zarr", tmp_path / "x.parquet", lazy]
        found = {self.hashed(s, residency="stream") for s in sources}
        return found | {self.hashed(lazy, residency="memory"), self.hashed(X)}

    def test_two_worker_processes(self, X, expected, client, tmp_path):
        assert self.cluster_hashes(X, tmp_path) == {expected}

    @pytest.mark.slow
    def test_four_worker_processes(self, X, expected, tmp_path):
        """Thirteen blocks of unlike sizes, which all four workers take part in."""
        from distributed import Client, LocalCluster

        def noted(block):
            (tmp_path / str(os.getpid())).touch()
            time.sleep(0.02)
            return block

        sizes = (1, 0, 300, 7, *(110,) * 8, N - 1188)
        lazy = da.from_array(X, chunks=(sizes, D)).map_blocks(noted, meta=X[:0])
        options = {"n_workers": 4, "threads_per_worker": 1, "dashboard_address": ":0"}
        with LocalCluster(**options) as cluster, Client(cluster):
            assert {self.hashed(lazy, residency=r) for r in ("stream", "memory")} == {expected}
        assert len(list(tmp_path.iterdir())) == 4

    def test_one_worker(self, X, expected, tmp_path):
        from distributed import Client, LocalCluster

        options = {"n_workers": 1, "threads_per_worker": 2, "dashboard_address": ":0"}
        with LocalCluster(processes=False, **options) as cluster, Client(cluster):
            assert self.cluster_hashes(X, tmp_path) == {expected}
