"""Models on disk."""

import io
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from dkmeans import FormatError, KMeans, OutputError


@pytest.fixture
def model():
    X = np.random.default_rng(0).normal(size=(80, 3)).astype(np.float32)
    return KMeans(3, random_state=4, tol=1e-3).fit(X)


def assert_same_sample(one, other):
    for name in ("rows", "index", "weights"):
        a, b = getattr(one, name), getattr(other, name)
        np.testing.assert_array_equal(a, b)
        assert a.dtype == b.dtype


def rewritten(path, **changes):
    """Change arrays of a model file; None takes one out."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    arrays.update(changes)
    np.savez(path, **{name: a for name, a in arrays.items() if a is not None})


def test_a_saved_model_comes_back_whole(model, tmp_path):
    path = tmp_path / "m.npz"
    model.save(path)
    again = KMeans.load(path)
    assert again.get_params() == model.get_params()
    np.testing.assert_array_equal(again.cluster_centers_, model.cluster_centers_)
    assert again.cluster_centers_.dtype == np.float32
    for name in ("inertia_", "n_iter_", "stop_reason_", "n_features_in_", "history_"):
        assert getattr(again, name) == getattr(model, name), name
    X = np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32)
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    np.testing.assert_array_equal(again.transform(X), model.transform(X))
    assert_same_sample(again.history_.sample, model.history_.sample)
    assert again.history_.facts == model.history_.facts
    assert again.history_.stop_reason == model.stop_reason_
    frames = list(zip(again.history_.frames(), model.history_.frames(), strict=True))
    assert len(frames) > 3
    for a, b in frames:
        assert (a.phase, a.step, a.caption) == (b.phase, b.step, b.caption)
        np.testing.assert_array_equal(a.labels, b.labels)
    assert [p.name for p in tmp_path.iterdir()] == ["m.npz"]


def test_feature_names_come_back(tmp_path):
    import pandas as pd

    X = pd.DataFrame(np.random.default_rng(0).normal(size=(30, 2)), columns=["a", "b"])
    model = KMeans(2, random_state=0).fit(X)
    model.save(tmp_path / "m.npz")
    again = KMeans.load(tmp_path / "m.npz")
    assert list(again.feature_names_in_) == ["a", "b"]
    np.testing.assert_array_equal(again.predict(X), model.labels_)


def test_a_model_without_a_sample_comes_back_without(tmp_path):
    X = np.random.default_rng(0).normal(size=(30, 2))
    model = KMeans(2, history_rows=0).fit(X)
    model.save(tmp_path / "m.npz")
    assert KMeans.load(tmp_path / "m.npz").history_.sample is None


def test_a_file_from_before_histories_had_samples_is_read(tmp_path):
    old = Path(__file__).parent / "data" / "model-of-0.1.0.npz"
    shutil.copy(old, tmp_path / "m.npz")
    model = KMeans.load(tmp_path / "m.npz")
    X = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)  # what it was fitted to
    same = KMeans(3, init=X[:3], random_state=4).fit(X)
    np.testing.assert_array_equal(model.cluster_centers_, same.cluster_centers_)
    assert list(model.feature_names_in_) == ["a", "b"]
    assert model.get_params()["history_rows"] == 2000
    history = model.history_
    assert (history.sample, history.facts, history.stop_reason) == (None, None, None)
    assert [f.phase for f in history.frames()] == [f.phase for f in same.history_.frames()]
    model.save(tmp_path / "again.npz")
    assert KMeans.load(tmp_path / "again.npz").history_ == history


@pytest.mark.parametrize(
    "changes",
    [
        {"sample_index": None},
        {"sample_rows": np.zeros((80, 2))},
        {"sample_rows": np.zeros((79, 3))},
        {"sample_rows": np.zeros(80)},
        {"sample_rows": np.full((80, 3), "a")},
        {"sample_rows": np.full((80, 3), np.nan)},
        {"sample_index": np.zeros(80, np.int64)},
        {"sample_index": np.arange(80.0)},
        {"sample_index": np.arange(-1, 79)},
        {"sample_weights": np.ones(79)},
        {"sample_weights": np.zeros(80)},
        {"sample_weights": np.full(80, np.inf)},
        {"sample_weights": np.ones(80, np.float32)},
    ],
)
def test_a_sample_that_no_fit_writes_is_refused(model, tmp_path, changes):
    path = tmp_path / "m.npz"
    model.save(path)
    rewritten(path, **changes)
    with pytest.raises(FormatError, match=r"m\.npz is not a dkmeans model: .*sample|'index'"):
        KMeans.load(path)


@pytest.mark.parametrize(
    "changes",
    [
        None,
        {"n_rows": "many"},
        {"weighted": 1},
        {"plan_lines": [["one"]]},
        {"plan_lines": [[1, 2]]},
        {"feature_names": 3},
        {"feature_names": [3]},
        {"peak_bytes": "all"},
        {"parameters": []},
        {"versions": {"dkmeans": 1}},
    ],
)
def test_facts_that_no_fit_writes_are_refused(model, tmp_path, changes):
    path = tmp_path / "m.npz"
    model.save(path)
    with np.load(path) as file:
        facts = json.loads(file["facts"].tobytes())
    rewritten(path, facts=as_bytes({} if changes is None else {**facts, **changes}))
    with pytest.raises(FormatError, match=r"m\.npz is not a dkmeans model: "):
        KMeans.load(path)


@pytest.mark.parametrize("reason", ["tired", None, 1, ["tol"], {}])
def test_a_model_with_an_unknown_end_is_refused(model, tmp_path, reason):
    path = tmp_path / "m.npz"
    model.save(path)
    with np.load(path) as file:
        head = json.loads(file["head"].tobytes())
    rewritten(path, head=as_bytes({**head, "stop_reason": reason}))
    with pytest.raises(FormatError, match=r"m\.npz is not a dkmeans model: .*stop_reason"):
        KMeans.load(path)


def test_a_history_with_an_unknown_end_is_refused(model, tmp_path):
    path = tmp_path / "m.npz"
    model.save(path)
    lines = model.history_.dump()
    lines[0] = lines[0].replace('"converged"', '"tired"')
    rewritten(path, history=np.frombuffer("\n".join(lines).encode(), np.uint8))
    with pytest.raises(FormatError, match="stop_reason 'tired'"):
        KMeans.load(path)


def test_an_array_of_initial_centers_comes_back(tmp_path):
    X = np.random.default_rng(0).normal(size=(30, 2))
    KMeans(2, init=X[:2]).fit(X).save(tmp_path / "m.npz")
    np.testing.assert_array_equal(KMeans.load(tmp_path / "m.npz").init, X[:2])


def test_parameters_of_numpy_types_are_saved(tmp_path):
    X = np.random.default_rng(0).normal(size=(30, 2))
    model = KMeans(np.int64(2), tol=np.float32(0.5), random_state=np.int32(3)).fit(X)
    model.save(tmp_path / "m.npz")
    assert KMeans.load(tmp_path / "m.npz").n_clusters == 2


@pytest.mark.parametrize("init", [lambda X, k, random_state: X[:k], "random"])
def test_what_cannot_be_saved_is_left_out(init, tmp_path):
    X = np.random.default_rng(0).normal(size=(30, 2))
    model = KMeans(2, init=init, random_state=np.random.RandomState(0)).fit(X)
    model.save(tmp_path / "m.npz")
    again = KMeans.load(tmp_path / "m.npz")
    assert again.random_state is None
    assert isinstance(again.init, str)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_torn_file_is_refused(model, tmp_path, share):
    path = tmp_path / "m.npz"
    model.save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(FormatError, match=r"m\.npz is not a dkmeans model"):
        KMeans.load(path)


def test_a_flipped_bit_is_refused(model, tmp_path):
    path = tmp_path / "m.npz"
    model.save(path)
    data = bytearray(path.read_bytes())
    data[data.index(model.cluster_centers_.tobytes()) + 5] ^= 1
    path.write_bytes(data)
    with pytest.raises(FormatError, match="is not a dkmeans model"):
        KMeans.load(path)


class Bomb:
    def __reduce__(self):
        return pytest.fail, ("a pickle was loaded",)


def test_a_pickle_in_the_file_is_refused(model, tmp_path):
    path = tmp_path / "m.npz"
    model.save(path)
    rewritten(path, cluster_centers=np.array([Bomb()], dtype=object))
    with pytest.raises(FormatError, match="is not a dkmeans model"):
        KMeans.load(path)
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(FormatError, match="is not a dkmeans model"):
        KMeans.load(path)


def test_a_foreign_file_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", a=np.arange(3))
    with pytest.raises(FormatError, match=r"other\.npz is not a dkmeans model"):
        KMeans.load(tmp_path / "other.npz")
    np.save(tmp_path / "other.npy", np.arange(3))
    with pytest.raises(FormatError, match=r"other\.npy is not a dkmeans model"):
        KMeans.load(tmp_path / "other.npy")


def head_of(path):
    with np.load(path) as file:
        return json.loads(file["head"].tobytes())


def as_bytes(value):
    return np.frombuffer(json.dumps(value).encode(), np.uint8)


def test_a_later_version_is_refused_by_number(model, tmp_path):
    path = tmp_path / "m.npz"
    model.save(path)
    rewritten(path, head=as_bytes({**head_of(path), "version": 7}))
    with pytest.raises(FormatError, match="version 7; this dkmeans reads up to 1"):
        KMeans.load(path)


@pytest.mark.parametrize("name", ["cluster_centers", "history", "head"])
def test_a_file_without_one_of_its_parts_is_refused(model, tmp_path, name):
    path = tmp_path / "m.npz"
    model.save(path)
    rewritten(path, **{name: None})
    with pytest.raises(FormatError, match="is not a dkmeans"):
        KMeans.load(path)


@pytest.mark.parametrize("head", ["params", "inertia", "n_iter", "feature_names"])
def test_a_head_without_one_of_its_values_is_refused(model, tmp_path, head):
    path = tmp_path / "m.npz"
    model.save(path)
    values = head_of(path)
    del values[head]
    rewritten(path, head=as_bytes(values))
    with pytest.raises(FormatError, match="is not a dkmeans model"):
        KMeans.load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FormatError, match=r"no such file: .*none\.npz"):
        KMeans.load(tmp_path / "none.npz")


def test_a_missing_folder_is_named_and_nothing_is_left(model, tmp_path):
    with pytest.raises(OutputError, match="no such folder"):
        model.save(tmp_path / "no" / "m.npz")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(model, tmp_path, monkeypatch):
    path = tmp_path / "m.npz"
    model.save(path)
    before = path.read_bytes()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OutputError, match="No space left"):
        model.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.npz"]


def test_an_unfitted_model_is_not_saved(tmp_path):
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        KMeans().save(tmp_path / "m.npz")


def test_models_pickle_too(model):
    again = pickle.load(io.BytesIO(pickle.dumps(model)))
    np.testing.assert_array_equal(again.cluster_centers_, model.cluster_centers_)
    assert again.history_ == model.history_
