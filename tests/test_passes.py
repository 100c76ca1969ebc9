"""Each pass reads each stored piece once, and nothing is computed before it is asked for."""

import pickle
import threading
from collections import Counter
from dataclasses import dataclass, fields

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import zarr
from sklearn.datasets import make_blobs
from zarr.storage import LocalStore, WrapperStore

from dkmeans import KMeans
from dkmeans.data import parquet_source, zarr_chunks
from dkmeans.data.blocks import Reader, cut, from_dask, from_reader
from dkmeans.engine import survey
from dkmeans.engine.passes import Passes
from dkmeans.engine.trees import map_lazily

N, CHUNK = 1000, 90
PIECES = -(-N // CHUNK)


@pytest.fixture(scope="module")
def X():
    return make_blobs(N, 3, centers=4, random_state=0)[0]


class Reads:
    """How often each piece was read, by any thread."""

    def __init__(self):
        self.counts, self.lock = Counter(), threading.Lock()

    def add(self, piece):
        with self.lock:
            self.counts[piece] += 1

    def each(self):
        """The one number of reads that all pieces have, of which there must be so many."""
        assert len(self.counts) == PIECES, self.counts
        assert len(set(self.counts.values())) == 1, self.counts
        return next(iter(self.counts.values()))


class CountingStore(WrapperStore):
    """A store that counts the chunks read from it."""

    def __init__(self, store, reads):
        super().__init__(store)
        self.reads = reads

    async def get(self, key, prototype, byte_range=None):
        if "c/" in key:
            self.reads.add(key)
        return await super().get(key, prototype, byte_range)


class CountingGroup:
    """A row group that counts how often it becomes a table."""

    def __init__(self, group, number, reads):
        self.group, self.number, self.reads = group, number, reads

    def __getattr__(self, name):
        return getattr(self.group, name)

    def to_table(self, **options):
        self.reads.add(self.number)
        return self.group.to_table(**options)


def zarr_input(X, reads, tmp_path, monkeypatch):
    store = LocalStore(tmp_path / "x.zarr")
    zarr.create_array(store, data=X, chunks=(CHUNK, 3))
    return zarr.open_array(CountingStore(store, reads), mode="r+")


def local_zarr_input(X, reads, tmp_path, monkeypatch):
    """A store whose chunks are read without zarr-python, so they are counted as they are loaded."""
    zarr.create_array(tmp_path / "local.zarr", data=X, chunks=(CHUNK, 3))
    load = zarr_chunks.LocalChunks._load

    def counting(self, number, out):
        reads.add(number)
        return load(self, number, out)

    monkeypatch.setattr(zarr_chunks.LocalChunks, "_load", counting)
    return tmp_path / "local.zarr"


def parquet_input(X, reads, tmp_path, monkeypatch):
    pd.DataFrame(X, columns=list("abc")).to_parquet(tmp_path / "x.parquet", row_group_size=CHUNK)
    plain = parquet_source.ParquetRows.__init__

    def counting(self, groups, *rest):
        plain(self, [CountingGroup(g, i, reads) for i, g in enumerate(groups)], *rest)

    monkeypatch.setattr(parquet_source.ParquetRows, "__init__", counting)
    return tmp_path / "x.parquet"


def map_blocks_input(X, reads, tmp_path, monkeypatch):
    def load(block, block_id):
        reads.add(block_id)
        return block

    return da.map_blocks(load, da.from_array(X, chunks=(CHUNK, 3)), dtype=X.dtype, meta=X[:0])


def column_chunks_input(X, reads, tmp_path, monkeypatch):
    """Two column chunks a row block; the second is the one that counts."""

    def load(block, block_id):
        if block_id[1] == 1:
            reads.add(block_id)
        return block

    return da.map_blocks(load, da.from_array(X, chunks=(CHUNK, 2)), dtype=X.dtype, meta=X[:0])


def unknown_sizes_input(X, reads, tmp_path, monkeypatch):
    @dask.delayed(pure=False)
    def load(start):
        reads.add(start)
        return X[start : start + CHUNK]

    parts = [da.from_delayed(load(s), (np.nan, 3), X.dtype) for s in range(0, N, CHUNK)]
    return da.concatenate(parts, allow_unknown_chunksizes=True)


class LoadFrame:
    """Makes a partition, and says so."""

    def __init__(self, X, reads):
        self.X, self.reads = X, reads

    def __dask_tokenize__(self):
        return id(self)

    def __call__(self, start):
        self.reads.add(start)
        return pd.DataFrame(self.X[start : start + CHUNK], columns=list("abc"))


def frame_input(X, reads, tmp_path, monkeypatch):
    meta = pd.DataFrame(X[:0], columns=list("abc"))
    return dd.from_map(LoadFrame(X, reads), list(range(0, N, CHUNK)), meta=meta)


INPUTS = [
    zarr_input,
    local_zarr_input,
    parquet_input,
    map_blocks_input,
    column_chunks_input,
    unknown_sizes_input,
    frame_input,
]


@pytest.fixture(params=INPUTS, ids=lambda f: f.__name__.removesuffix("_input"))
def counted(request, X, tmp_path, monkeypatch):
    """An input and the count of its reads, from here on."""
    reads = Reads()
    given = request.param(X, reads, tmp_path, monkeypatch)
    reads.counts.clear()
    return given, reads


@pytest.mark.parametrize("init", ["k-means||", "k-means++", "random", "array"])
def test_every_pass_reads_every_piece_once(counted, X, init):
    given, reads = counted
    model = KMeans(4, init=X[:4] if init == "array" else init, n_init=1, random_state=0)
    model.set_params(residency="stream", algorithm="lloyd").fit(given)
    assert reads.each() == model.history_.passes
    assert model.history_.bytes_read == model.history_.passes * X.nbytes
    lloyd = [i for i in model.history_ if i.phase == "lloyd"]
    assert [i.passes for i in lloyd] == [1] * model.n_iter_
    seeding = {"k-means||": 6, "k-means++": 4, "random": 0, "array": 0}[init]
    final = sum(i.phase == "final" for i in model.history_)
    assert model.history_.passes == 1 + seeding + model.n_iter_ + final


def test_labels_predict_transform_and_score_read_every_piece_once(counted, X):
    given, reads = counted
    model = KMeans(4, random_state=0, residency="stream").fit(given)
    reads.counts.clear()
    assert model.labels_.compute().min() == 0
    assert reads.each() == 1
    model.predict(given).compute()
    assert reads.each() == 2
    model.transform(given).compute()
    assert reads.each() == 3
    model.score(given)
    assert reads.each() == 4


def test_data_kept_in_memory_are_read_once_in_all(counted, X):
    given, reads = counted
    model = KMeans(4, random_state=0, n_init=2, residency="memory").fit(given)
    assert reads.each() == 1
    assert model.history_.bytes_read == X.nbytes
    assert model.history_.passes >= 2


def test_restarts_share_the_survey(counted, X):
    given, reads = counted
    options = {"init": "random", "random_state": 0, "residency": "stream"}
    model = KMeans(4, n_init=3, **options).fit(given)
    assert reads.each() == model.history_.passes
    assert sum(i.phase == "survey" for i in model.history_) == 1


def test_weights_are_read_once_a_pass_too(X):
    reads = Reads()
    weights = da.map_blocks(
        lambda block, block_id: (reads.add(block_id), block)[1],
        da.ones(N, chunks=CHUNK),
        dtype=float,
        meta=np.empty(0),
    )
    model = KMeans(4, random_state=0, residency="stream")
    model.fit(da.from_array(X, chunks=(CHUNK, 3)), sample_weight=weights)
    assert reads.each() == model.history_.passes


@pytest.mark.parametrize("make", INPUTS, ids=lambda f: f.__name__.removesuffix("_input"))
def test_a_bad_value_is_found_in_the_first_pass(make, X, tmp_path, monkeypatch):
    reads, bad = Reads(), X.copy()
    bad[700, 1] = np.nan
    given = make(bad, reads, tmp_path, monkeypatch)
    reads.counts.clear()
    with pytest.raises(ValueError, match="NaN: nan at row 700, column"):
        KMeans(4, residency="stream").fit(given)
    assert reads.each() == 1


def test_nothing_is_computed_before_it_is_asked_for(computes, counted):
    given, reads = counted
    model = KMeans(4, random_state=0, residency="stream")
    model.plan(given)
    assert (computes.computes, len(reads.counts)) == (0, 0)
    model.fit(given)
    assert computes.computes == model.history_.passes
    computes.computes = 0
    reads.counts.clear()
    labels, predicted, distances = model.labels_, model.predict(given), model.transform(given)
    assert (computes.computes, len(reads.counts)) == (0, 0)
    dask.compute(labels, predicted, distances)
    assert computes.computes == 1


def test_asking_for_labels_again_costs_nothing(computes, counted):
    given, _ = counted
    model = KMeans(4, random_state=0).fit(given)
    before = computes.computes
    assert model.labels_ is model.labels_
    assert model.labels_.ndim == 1
    assert computes.computes == before


def test_labels_have_known_sizes_once_a_fit_has_told_them(counted):
    given, _ = counted
    labels = KMeans(4, random_state=0).fit(given).labels_
    assert labels.shape == (N,)
    assert int((labels >= 0).sum().compute()) == N


def test_the_tree_has_no_wide_task():
    """A pass over many blocks combines a few parts at once, however many there are."""
    from dkmeans.data.blocks import from_dask
    from dkmeans.engine.jobs import Job
    from dkmeans.engine.trees import FAN_IN, tree

    blocks = from_dask(da.zeros((300, 2), chunks=(1, 2)), None)
    graph = tree(blocks, Job(None, blocks.offsets, False), on_cluster=False).__dask_graph__()
    widest = max(len(needed) for needed in graph.get_all_dependencies().values())
    assert widest <= FAN_IN


def test_centers_are_in_the_graph_once():
    from dkmeans.data.blocks import from_dask
    from dkmeans.engine.jobs import Job
    from dkmeans.engine.trees import tree

    blocks = from_dask(da.zeros((300, 2), chunks=(1, 2)), None)
    job = Job(np.zeros((50, 2)), blocks.offsets, False)
    graph = dict(tree(blocks, job, on_cluster=False).__dask_graph__())
    holders = [key for key, task in graph.items() if _holds(task, job)]
    assert len(holders) == 1


def _holds(task, job):
    if task is job:
        return True
    parts = [*getattr(task, "args", ()), *getattr(task, "kwargs", {}).values()]
    return getattr(task, "value", None) is job or any(part is job for part in parts)


class Numbers(Reader):
    """Row i is i."""

    dtype = np.dtype(np.float64)

    def __init__(self, n_rows):
        self.shape = (n_rows, 1)

    def read(self, start, stop, out):
        out[:, 0] = np.arange(start, stop)


@dataclass(frozen=True)
class Seen:
    """What the step was given: the rows, the weights, and (offset, block) of each block."""

    rows: tuple
    weights: tuple
    blocks: tuple

    @staticmethod
    def combine(parts):
        return Seen(*(sum((getattr(p, f.name) for p in parts), ()) for f in fields(Seen)))


def see(X, weights, offset, block):
    return Seen(tuple(X[:, 0]), tuple(weights), ((offset, block),))


def check_seen(sizes, weights, passes):
    n = sum(sizes)
    seen = passes.run(from_reader(Numbers(n), sizes, weights), see, "see")
    starts = np.cumsum((0, *sizes))[:-1]
    assert seen.rows == tuple(range(n))
    assert seen.weights == (() if weights is None else tuple(weights))
    assert seen.blocks == tuple((int(start), b) for b, start in enumerate(starts))
    assert (passes.total.rows, passes.total.bytes_read) == (n, 8 * n)


@pytest.mark.parametrize("n_blocks", [1, 3, 255, 256, 700])
@pytest.mark.parametrize("weighted", [False, True])
def test_small_blocks_share_tasks_in_their_order(n_blocks, weighted):
    sizes = cut(5 * n_blocks - 2, 5)
    check_seen(sizes, np.arange(sum(sizes)) + 0.5 if weighted else None, Passes(2))


def test_small_blocks_share_tasks_on_a_cluster(client):
    check_seen(cut(1498, 5), None, Passes())


def test_ten_thousand_small_blocks_are_few_tasks_and_large_ones_are_not_joined():
    def together(rows):
        return Passes(2)._together(from_reader(Numbers(10_000 * rows), (rows,) * 10_000, None))

    assert together(1) == 10_000 // 128
    assert together(2**20) == 8
    assert together(2**23) == together(2**25) == 1


def test_large_chunks_are_split_for_the_threads_and_read_once():
    reads = []

    def chunk(block, block_id=None):
        reads.append(len(block))
        return np.random.default_rng(block_id[0]).random(block.shape)

    zeros = da.zeros((400_000, 2), chunks=(200_000, 2))
    X = zeros.map_blocks(chunk, dtype=float, meta=np.empty((0, 0)))
    model = KMeans(2, init="random", n_init=1, max_iter=2, tol=0.0, residency="stream")
    assert model.plan(X).n_blocks > 2
    model.fit(X)
    assert reads == [200_000] * 2 * model.history_.passes


def test_data_and_weights_of_one_source_are_loaded_in_one_read():
    reads = []

    def chunk(block):
        reads.append(1)
        return np.random.default_rng(len(reads)).random(block.shape)

    Z = da.zeros((400, 3), chunks=(100, 3)).map_blocks(chunk, dtype=float, meta=np.empty((0, 0)))
    model = KMeans(2, random_state=0, residency="memory")
    model.fit(Z[:, :2], sample_weight=Z[:, 2])
    assert len(reads) == 4


def test_lazy_labels_do_not_carry_all_offsets_in_every_task():
    X = da.zeros((20_000, 2), chunks=(10, 2)) + da.arange(2, chunks=2)
    model = KMeans(1, init="random", n_init=1, max_iter=1).fit(np.arange(8.0).reshape(4, 2))
    labels = map_lazily(from_dask(X, None), model._model(), "labels", np.int32)
    tasks = dict(labels.__dask_graph__())
    sizes = sorted(len(pickle.dumps(task)) for task in tasks.values())
    assert sizes[len(sizes) // 2] < 2000


def test_a_frame_and_weights_of_it_are_read_once_a_pass():
    reads = []

    def part(number):
        reads.append(number)
        random = np.random.default_rng(number)
        return pd.DataFrame(random.random((50, 3)), columns=["a", "b", "w"]).astype("float32")

    meta = pd.DataFrame(columns=["a", "b", "w"], dtype="float32")
    frame = dd.from_map(part, range(4), meta=meta)
    model = KMeans(2, random_state=0).fit(frame[["a", "b"]], sample_weight=frame["w"])
    whole = pd.concat([part(number) for number in range(4)])
    again = KMeans(2, random_state=0).fit(whole[["a", "b"]], sample_weight=whole["w"])
    assert model.cluster_centers_.dtype == np.float32
    np.testing.assert_array_equal(model.cluster_centers_, again.cluster_centers_)
    assert list(model.feature_names_in_) == ["a", "b"]
    assert len(reads) == 4 * model.history_.passes + 4


@pytest.mark.parametrize("n_init", [1, 3])
@pytest.mark.parametrize("init", ["auto", "random"])
def test_with_rows_kept_each_pass_still_reads_every_piece_once(
    counted, X, monkeypatch, n_init, init
):
    monkeypatch.setattr(survey, "SAMPLE_VALUES", 3 * 100)
    given, reads = counted
    options = {"init": init, "n_init": n_init, "random_state": 1, "residency": "stream"}
    plain = KMeans(7, **options, tol=0.0, algorithm="lloyd").fit(given)
    assert reads.each() == plain.history_.passes
    reads.counts.clear()
    model = KMeans(7, **options, tol=0.0).fit(given)
    assert reads.each() == model.history_.passes <= plain.history_.passes
    assert model.history_.bytes_read == model.history_.passes * X.nbytes
    np.testing.assert_array_equal(model.cluster_centers_, plain.cluster_centers_)
    assert (model.inertia_, model.n_iter_) == (plain.inertia_, plain.n_iter_)


def test_iterations_on_kept_rows_cost_no_pass():
    X = make_blobs(40_000, 3, centers=8, cluster_std=1.5, random_state=4)[0]
    init = X[np.argsort(X[:, 0])[::5000]]
    options = {"init": init, "tol": 0.0, "residency": "stream"}
    lazy = da.from_array(X, chunks=(5000, 3))
    plain = KMeans(8, algorithm="lloyd", **options).fit(lazy).history_
    kept = KMeans(8, **options).fit(lazy).history_
    assert kept.passes < plain.passes / 2
    assert plain.passes > 10
    steps = [i for i in kept if i.phase == "lloyd"]
    assert len(steps) == sum(i.phase == "lloyd" for i in plain)
    assert all(i.rows_assigned < 0.3 * len(X) for i in steps if i.passes == 0)
