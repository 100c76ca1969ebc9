"""Fits that go on from a checkpoint end with the bits of those that were never interrupted."""

import json
import os
import shutil
from dataclasses import asdict

import dask
import dask.array as da
import numpy as np
import pytest
import zarr

from dkmeans import Checkpoint, CheckpointError, DataError, KMeans, sweep
from dkmeans.data import durable
from dkmeans.engine import auto
from tests.faults import TABLE

N, D = 900, 3
INITS = ["auto", "k-means||", "k-means++", "random"]


def blobs(dtype=np.float32):
    random = np.random.default_rng(0)
    middles = 2 * random.normal(size=(6, D))
    return (random.normal(size=(N, D)) + middles[random.integers(6, size=N)]).astype(dtype)


@pytest.fixture(scope="module")
def X():
    return blobs()


@pytest.fixture
def store(X, tmp_path):
    zarr.create_array(tmp_path / "X.zarr", data=X, chunks=(100, D))
    return str(tmp_path / "X.zarr")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run.ckpt"


def steps(model, *, passes):
    """The history, each restart by itself, without seconds."""
    found = []
    for i in sorted(model.history_, key=lambda i: i.run):
        plain = asdict(i) | {"centers": None if i.centers is None else i.centers.tobytes()}
        left_out = () if passes else ("passes", "bytes_read", "rows_assigned")
        found.append({k: v for k, v in plain.items() if k not in ("seconds", *left_out)})
    return found


def assert_same(model, other, *, passes=True):
    assert model.cluster_centers_.tobytes() == other.cluster_centers_.tobytes()
    for name in ("inertia_", "n_iter_", "stop_reason_"):
        assert getattr(model, name) == getattr(other, name), name
    assert repr(steps(model, passes=passes)) == repr(steps(other, passes=passes))
    assert model.history_.best_run == other.history_.best_run
    np.testing.assert_array_equal(np.asarray(model.labels_), np.asarray(other.labels_))


def entries(folder):
    return sorted(os.listdir(folder))


def shortened(folder, whole, count):
    """A checkpoint as it was after the first ``count`` entries."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in entries(whole)[:count]:
        shutil.copy(whole / name, folder)


def unknown_chunks(X):
    """X as a dask array whose sizes only a read can tell."""
    return da.from_array(X, chunks=(150, D)).map_blocks(
        np.copy, dtype=X.dtype, chunks=((np.nan,) * 6, (D,))
    )


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("streamed", [True, False])
def test_a_fit_goes_on_from_any_entry(init, streamed, store, folder, tmp_path):
    how = {"init": init, "n_init": 2, "random_state": 3, "max_iter": 8, "tol": 0}
    how["residency"] = "stream" if streamed else "memory"
    plain = KMeans(7, **how).fit(store)
    whole = tmp_path / "whole.ckpt"
    assert_same(KMeans(7, checkpoint=whole, **how).fit(store), plain)
    names = entries(whole)
    assert names == [*(f"{n:06d}.entry" for n in range(len(names) - 1)), "end.entry"]
    for count in range(len(names) + 1):
        shortened(folder, whole, count)
        again = KMeans(7, checkpoint=folder, **how).fit(store)
        assert_same(again, plain, passes=streamed)  # in memory, the data are read once more
        assert entries(folder) == names


@pytest.mark.parametrize("algorithm", ["auto", "lloyd"])
@pytest.mark.parametrize("init", INITS)
def test_pauses_change_no_bit(init, algorithm, X, folder):
    how = {"init": init, "n_init": 2, "random_state": 1, "algorithm": algorithm, "tol": 0}
    plain = KMeans(9, **how).fit(X)
    paused = KMeans(9, checkpoint=Checkpoint(folder, seconds=0), **how)
    from dkmeans.engine.passes import Passes

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Passes, "patience", 0.0)
        paused.fit(X)
    assert_same(paused, plain, passes=False)
    taken = [i.passes for i in paused.history_ if i.phase == "lloyd"]
    assert sum(taken) >= paused.n_iter_ > 1  # a pass an iteration


def test_iterations_in_memory_take_as_long_as_a_pass(X, folder):
    """Or as many seconds as the checkpoint says, if that is more."""
    from dkmeans.data.blocks import from_array
    from dkmeans.engine.passes import Passes
    from dkmeans.engine.survey import SurveyStep

    blocks = from_array(X, None, 100)
    assert Passes(1).patience == np.inf
    for every in (0.0, 1e9):
        passes = Passes(1)
        passes.every = every
        assert passes.patience == every
        passes.run(blocks, SurveyStep((), 1), "survey")
        assert every <= passes.patience
        assert passes.patience > 0


def with_nan(X):
    X = X.copy()
    X[[3, 500]] = np.nan
    return X


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (lambda X: X, {}),
        (lambda X: X.astype(np.float64), {}),
        (lambda X: (40 * X).astype(np.int16), {}),
        (with_nan, {"nan_policy": "omit"}),
        (lambda X: da.from_array(X, chunks=(170, D)), {}),
        (lambda X: da.from_array(with_nan(X), chunks=(170, 2)), {"nan_policy": "omit"}),
        (unknown_chunks, {}),
        (lambda X: X, {"init": lambda X, k, random_state: X[:k]}),
        (lambda X: X, {"init": blobs()[5:9]}),
        (lambda X: X, {"history_rows": 0}),
    ],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_any_data_and_start(kind, options, weighted, X, folder):
    data, weights = kind(X), np.linspace(0.0, 2.0, N) if weighted else None
    if weighted and isinstance(data, da.Array):
        weights = da.from_array(weights, chunks=150 if np.isnan(data.shape[0]) else 170)
        if np.isnan(data.shape[0]):
            weights = unknown_chunks(weights.compute()[:, None] * np.ones(D))[:, 0]
    how = {"n_clusters": 4, "random_state": 0, "n_init": 1, "tol": 0, **options}
    plain = KMeans(**how).fit(data, sample_weight=weights)
    for again in (False, True):
        found = KMeans(checkpoint=folder, **how).fit(data, sample_weight=weights)
        assert_same(found, plain, passes=not again)
        os.remove(folder / "end.entry")
        os.remove(folder / entries(folder)[-1])


@pytest.mark.parametrize("lazy", [False, True])
def test_fits_of_distinct_rows_go_on_too(lazy, X, folder, tmp_path):
    data = np.tile((9 * X).astype(np.int8), (80, 1))
    data = da.from_array(data, chunks=(9000, D)) if lazy else data
    how = {"n_clusters": 4, "random_state": 0, "tol": 0}
    plain, whole = KMeans(**how).fit(data), tmp_path / "whole.ckpt"
    KMeans(**how, checkpoint=Checkpoint(whole, seconds=0)).fit(data)
    for count in range(1, len(entries(whole)) + 1):
        shortened(folder, whole, count)
        assert_same(KMeans(**how, checkpoint=folder).fit(data), plain, passes=False)


def test_a_finished_fit_is_had_again_without_reading(store, folder, monkeypatch):
    how = {"n_clusters": 4, "random_state": 0, "checkpoint": folder}
    seen = []
    first = KMeans(**how, residency="memory").fit(store)
    from dkmeans.engine.passes import Passes

    for name in ("run", "load"):
        monkeypatch.setattr(Passes, name, lambda *given: pytest.fail("it reads"))
    again = KMeans(**how, residency="memory", callbacks=seen.append).fit(store)
    assert_same(again, first)
    assert len(seen) == len(first.history_)


def test_a_fit_may_go_on_by_other_means(store, folder, tmp_path):
    """In other memory, by other threads, and from another path."""
    how = {"n_clusters": 7, "random_state": 2, "tol": 0}
    whole = tmp_path / "whole.ckpt"
    plain = KMeans(**how, checkpoint=whole, residency="stream", algorithm="lloyd").fit(store)
    moved = tmp_path / "moved.zarr"
    shutil.copytree(store, moved)
    for count in range(1, len(entries(whole)), 3):
        shortened(folder, whole, count)
        with dask.config.set(num_workers=1):
            again = KMeans(**how, checkpoint=folder, memory_limit="3 GiB", verbose=1).fit(
                str(moved)
            )
        assert_same(again, plain, passes=False)


def test_seeds_that_were_drawn_are_kept(X, folder):
    models = [KMeans(6, init="random", max_iter=2, checkpoint=folder).fit(X) for _ in range(2)]
    assert_same(*models)
    drawn = KMeans(6, init="random", max_iter=2, random_state=np.random.RandomState(5))
    drawn.set_params(checkpoint=Checkpoint(folder)).fit(X)  # drawn again, but kept from before
    assert_same(drawn, models[0])


def test_a_callable_init_and_the_search_are_not_done_twice(X, folder, monkeypatch):
    def init(X, n_clusters, random_state):
        calls.append(n_clusters)
        return X[:n_clusters]

    calls = []
    for _ in range(2):
        KMeans(3, init=init, n_init=2, checkpoint=folder).fit(X)
    assert calls == [3, 3]
    search = auto.search
    monkeypatch.setattr(auto, "search", lambda *a, **k: calls.append("search") or search(*a, **k))
    for _ in range(2):
        KMeans(3, checkpoint=folder.with_name("other.ckpt")).fit(X)
    assert calls == [3, 3, "search"]


def test_sweeps_share_a_checkpoint(X, store, folder):
    plain = sweep(store, (2, 4, 5), random_state=0)
    found = sweep(store, (2, 4, 5), random_state=0, checkpoint=folder)
    os.remove(folder / "end.entry")
    for name in entries(folder)[3:]:
        os.remove(folder / name)
    again = sweep(store, (2, 4, 5), random_state=0, checkpoint=folder)
    for k in plain.models:
        assert_same(found.models[k], plain.models[k])
        assert_same(again.models[k], plain.models[k], passes=False)
    assert again.table.equals(plain.table)
    with pytest.raises(CheckpointError, match="of another fit: n_clusters: 2 there, 4 here"):
        sweep(store, (4, 5), random_state=0, checkpoint=folder)
    with pytest.raises(ValueError, match="a sweep with a checkpoint needs random_state="):
        sweep(X, (2, 4), checkpoint=folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_clusters": 5}, "n_clusters: 4 there, 5 here"),
        ({"tol": 0.5}, "tol: 0 there, 0.5 here"),
        ({"random_state": 1}, "random_state: 0 there, 1 here"),
        ({"init": "random", "n_init": 1}, "init: 'auto' there, 'random' here"),
        ({"init": np.ones((4, D))}, "other init"),
        ({"n_init": 3}, "n_init: 1 there, 3 here"),
        ({"nan_policy": "omit"}, "nan_policy: 'raise' there, 'omit' here"),
        ({"history_rows": 10}, "history_rows: 2000 there, 10 here"),
    ],
)
def test_a_checkpoint_of_other_parameters_is_refused(change, message, X, folder):
    how = {"n_clusters": 4, "random_state": 0, "tol": 0, "checkpoint": folder}
    first = KMeans(**how).fit(X)
    kept = {name: (folder / name).read_bytes() for name in entries(folder)}
    with pytest.raises(CheckpointError, match=f"is of another fit: {message}; give another path"):
        KMeans(**(how | change)).fit(X)
    assert {name: (folder / name).read_bytes() for name in entries(folder)} == kept
    assert_same(KMeans(**how).fit(X), first)
    if "init" not in change:
        fresh = how | change | {"checkpoint": Checkpoint(folder, fresh=True)}
        assert_same(KMeans(**fresh).fit(X), KMeans(**(fresh | {"checkpoint": None})).fit(X))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X: X[:-1], "n_samples: 900 there, 899 here"),
        (lambda X: X[:, :2], "n_features: 3 there, 2 here"),
        (lambda X: X.astype(np.float64), "dtype: float32 there, float64 here"),
        (lambda X: X[::-1], "other values of X"),
        (lambda X: np.concatenate([X[:10], X[10:20] * 2, X[20:]]), "other values of X"),
    ],
)
def test_a_checkpoint_of_other_data_is_refused(change, message, X, folder):
    KMeans(4, random_state=0, checkpoint=folder).fit(X)
    with pytest.raises(CheckpointError, match=f"of another fit: {message}"):
        KMeans(4, random_state=0, checkpoint=folder).fit(change(X))


def test_names_and_weights_are_part_of_the_data(X, folder):
    import pandas as pd

    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    KMeans(4, random_state=0, checkpoint=folder).fit(frame, sample_weight=np.ones(N))
    for data, weights, message in (
        (frame.rename(columns={"a": "z"}), np.ones(N), "other feature names"),
        (frame, 2 * np.ones(N), "other values of sample_weight"),
        (frame, None, "other values of sample_weight"),
        (X, np.ones(N), "other feature names"),
    ):
        with pytest.raises(CheckpointError, match=message):
            KMeans(4, random_state=0, checkpoint=folder).fit(data, sample_weight=weights)


@pytest.mark.parametrize("residency", ["stream", "memory"])
def test_rows_that_changed_where_nobody_looked_are_found(X, folder, tmp_path, residency):
    """The sums of all rows are those of the first iteration, or the fit ends."""
    array = zarr.create_array(tmp_path / "X.zarr", data=X, chunks=(100, D))
    how = {"n_clusters": 7, "random_state": 0, "init": "random", "n_init": 1, "tol": 0}
    how |= {"residency": residency, "algorithm": "lloyd", "checkpoint": folder}
    KMeans(**how).fit(str(tmp_path / "X.zarr"))
    for name in entries(folder)[4:]:
        os.remove(folder / name)
    array[150, 1] += 1e-5
    with pytest.raises(DataError, match="the rows of X, or their weights, are not those that"):
        KMeans(**how).fit(str(tmp_path / "X.zarr"))


def torn(folder, name, change):
    raw = bytearray((folder / name).read_bytes())
    (folder / name).write_bytes(change(raw))


def flipped(raw):
    raw[len(raw) // 2] ^= 1
    return raw


@pytest.mark.parametrize("name", ["000000.entry", "000001.entry", "000003.entry", "end.entry"])
@pytest.mark.parametrize(
    "change", [lambda raw: b"", lambda raw: raw[:-1], lambda raw: raw + b"\0", flipped]
)
def test_a_torn_entry_is_refused_by_name(name, change, X, folder):
    how = {"n_clusters": 4, "random_state": 0, "checkpoint": folder}
    first = KMeans(**how).fit(X)
    torn(folder, name, change)
    with pytest.raises(CheckpointError, match=f"run.ckpt: {name} is torn or no entry.*--fresh"):
        KMeans(**how).fit(X)
    how["checkpoint"] = Checkpoint(folder, fresh=True)
    assert_same(KMeans(**how).fit(X), first)


def test_a_missing_entry_is_named(X, folder):
    how = {"n_clusters": 4, "random_state": 0}
    KMeans(**how, checkpoint=folder).fit(X)
    os.remove(folder / "000002.entry")
    with pytest.raises(CheckpointError, match=r"is damaged: 000002\.entry is missing.*--fresh"):
        KMeans(**how, checkpoint=folder).fit(X)
    KMeans(**how, checkpoint=Checkpoint(folder, fresh=True)).fit(X)
    os.remove(folder / "000000.entry")
    with pytest.raises(CheckpointError, match=r"000000\.entry is missing"):
        KMeans(**how, checkpoint=folder).fit(X)


def test_an_entry_of_another_fit_does_not_follow(X, folder, tmp_path):
    """Though each is whole."""
    for seed, where in ((0, folder), (1, tmp_path / "other.ckpt")):
        KMeans(4, random_state=seed, checkpoint=where).fit(X)
    shutil.copy(tmp_path / "other.ckpt" / "000002.entry", folder)
    with pytest.raises(CheckpointError, match="it does not follow the entry before"):
        KMeans(4, random_state=0, checkpoint=folder).fit(X)


@pytest.mark.parametrize("fresh", [False, True])
def test_what_is_no_checkpoint_stays_as_it_is(fresh, X, folder, tmp_path):
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match=r"is not a checkpoint: it holds 'notes\.txt'"):
        KMeans(3, checkpoint=Checkpoint(folder, fresh=fresh)).fit(X)
    assert entries(folder) == ["notes.txt"]
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(CheckpointError, match="is a file, and a checkpoint is a folder: give"):
        KMeans(3, checkpoint=Checkpoint(file, fresh=fresh)).fit(X)
    assert file.read_text() == "mine"
    with pytest.raises(CheckpointError, match=r"cannot write .*no/run\.ckpt: no such folder"):
        KMeans(3, checkpoint=tmp_path / "no" / "run.ckpt").fit(X)


def test_what_a_killed_process_left_half_written_goes(X, folder):
    KMeans(4, random_state=0, checkpoint=folder).fit(X)
    names = entries(folder)
    os.remove(folder / "end.entry")
    (folder / ".000003.entry.0123abcd.partial").write_bytes(b"half")
    KMeans(4, random_state=0, checkpoint=folder).fit(X)
    assert entries(folder) == names


def test_an_empty_folder_is_taken(X, folder):
    folder.mkdir()
    KMeans(3, random_state=0, checkpoint=str(folder)).fit(X)
    assert entries(folder)[0] == "000000.entry"


@pytest.mark.faults
@pytest.mark.parametrize("failing", ["fsync", "link"])
def test_a_full_disk_ends_the_fit_and_damages_nothing(failing, store, folder, monkeypatch):
    how = {"n_clusters": 4, "random_state": 0, "residency": "stream"}
    plain, calls, real = KMeans(**how).fit(store), [], getattr(os, failing)

    def full(*given, **options):
        calls.append(given)
        if len(calls) > 4:
            raise OSError(28, "No space left on device")
        return real(*given, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, full)
        with pytest.raises(CheckpointError, match=r"No space left on device\. What the"):
            KMeans(**how, checkpoint=folder).fit(store)
    assert all(name.endswith(".entry") for name in entries(folder))
    assert len(entries(folder)) > 1
    assert_same(KMeans(**how, checkpoint=folder).fit(store), plain)
    TABLE.add("disk full while an entry is written", "clear error")


def test_disks_without_links_are_written_to_as_well(X, folder, monkeypatch):
    def link(*given, **options):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    plain = KMeans(4, random_state=0).fit(X)
    for _ in range(2):
        assert_same(KMeans(4, random_state=0, checkpoint=folder).fit(X), plain)
    with pytest.raises(CheckpointError, match="only one fit can use a checkpoint"):
        durable.LocalFolder(str(folder)).write("end.entry", [b"x"])


def test_two_fits_at_once_are_told_apart(store, folder):
    """The one that is slower ends with an error, and the other goes on."""
    how = {"n_clusters": 4, "random_state": 0, "checkpoint": folder, "residency": "stream"}
    found = []

    def meddle(step):
        if not found:
            found.append(None)
            found[0] = KMeans(**how).fit(store)

    with pytest.raises(CheckpointError, match="at the same time: only one fit can use"):
        KMeans(**how, callbacks=meddle).fit(store)
    assert_same(KMeans(**how).fit(store), found[0])


def test_object_storage_keeps_the_same_entries(store, folder):
    how = {"n_clusters": 4, "random_state": 0}
    where = "memory://bucket/run.ckpt"
    first = KMeans(**how, checkpoint=where).fit(store)
    KMeans(**how, checkpoint=folder.as_uri()).fit(store)
    remote = durable.open_folder(where, None)
    assert sorted(remote.names()) == entries(folder)
    remote.remove(["end.entry", sorted(remote.names())[-2]])
    again = KMeans(**how, checkpoint=Checkpoint(where)).fit(store)
    assert_same(again, first, passes=False)
    with pytest.raises(CheckpointError, match="only one fit can use"):
        remote.write("end.entry", [b"x"])
    with pytest.raises(CheckpointError, match="cannot read"):
        remote.read("000099.entry")
    fresh = KMeans(5, checkpoint=Checkpoint(where, fresh=True)).fit(store)
    assert fresh.cluster_centers_.shape == (5, D)
    with pytest.raises(CheckpointError, match="cannot open the checkpoint nowhere://x"):
        KMeans(3, checkpoint="nowhere://x").fit(store)


def test_a_cluster_keeps_a_checkpoint_too(client, store, folder, tmp_path):
    how = {"n_clusters": 6, "random_state": 0, "init": "k-means||", "tol": 0}
    plain = KMeans(**how).fit(store)
    whole = tmp_path / "whole.ckpt"
    KMeans(**how, checkpoint=Checkpoint(whole, seconds=0)).fit(store)
    for count in (2, len(entries(whole)) - 2):
        shortened(folder, whole, count)
        assert_same(KMeans(**how, checkpoint=folder).fit(store), plain, passes=False)


def test_other_versions_and_other_wishes_are_told(X, folder):
    KMeans(4, random_state=0, checkpoint=folder).fit(X)
    first = folder / "000000.entry"
    changed = first.read_bytes()[:-32].replace(b'"dkmeans": "', b'"dkmeans": "9.')
    rewrite(first, changed)
    with pytest.raises(CheckpointError, match=r"another fit: dkmeans: 9\.\S+ there, \S+ here"):
        KMeans(4, random_state=0, checkpoint=folder).fit(X)
    rewrite(first, changed.replace(b'"version": 1', b'"version": 2'))
    with pytest.raises(CheckpointError, match="version 2; this dkmeans reads 1"):
        KMeans(4, random_state=0, checkpoint=folder).fit(X)


def rewrite(path, body):
    """Write an entry with the checksum that it should have."""
    import hashlib

    path.write_bytes(body + hashlib.sha256(body).digest())


def test_the_first_line_of_an_entry_is_json(X, folder):
    KMeans(4, random_state=0, checkpoint=folder).fit(X)
    for name in entries(folder):
        head = json.loads((folder / name).read_bytes().partition(b"\n")[0])
        assert head["format"] == "dkmeans-checkpoint"


def test_seconds_are_not_negative_and_secrets_not_shown():
    with pytest.raises(ValueError, match="seconds of a checkpoint must be at least 0, got -1"):
        Checkpoint("run.ckpt", seconds=-1)
    assert "hidden" not in repr(Checkpoint("s3://b/c", storage_options={"secret": "hidden"}))


def test_a_model_does_not_remember_where_it_was_kept(X, folder, tmp_path):
    model = KMeans(4, random_state=0, checkpoint=folder).fit(X)
    model.save(tmp_path / "m.npz")
    assert KMeans.load(tmp_path / "m.npz").checkpoint is None
    assert "checkpoint" not in model.history_.facts.parameters
