"""Whatever is in the files of a checkpoint or a model: they are refused as such, or read."""

import copy
import hashlib
import io
import json
import os
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dkmeans import CheckpointError, FormatError, History, KMeans
from dkmeans.record.checkpoint import parse

INITS = ["auto", "k-means||", "k-means++", "random"]
JUNK = [None, True, 2**70, "x", "\x1b[31m", [], {}, [[]], {"a": 1}, "<f8", [0.5, "nan"]]
X = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
MOST_BYTES = 2**24  # that a file of some thousand bytes may cost


def fit(folder, init):
    return KMeans(3, init=init, random_state=0, max_iter=3, n_init=1, checkpoint=folder).fit(X)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The files of a checkpoint for each init."""
    folders = {init: tmp_path_factory.mktemp("whole") / "run.ckpt" for init in INITS}
    for init, folder in folders.items():
        fit(folder, init)
    return {
        init: {name: (folder / name).read_bytes() for name in sorted(os.listdir(folder))}
        for init, folder in folders.items()
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzzed") / "run.ckpt"


def written(folder, files):
    folder.mkdir(exist_ok=True)
    for name in os.listdir(folder):
        os.remove(folder / name)
    for name, raw in files.items():
        (folder / name).write_bytes(raw)


@st.composite
def spoilt(draw, raw):
    """Bytes with some of them changed, cut off, added or repeated."""
    raw = bytearray(raw)
    at = draw(st.integers(0, len(raw) - 1))
    kind = draw(st.sampled_from(["flip", "cut", "add", "repeat", "zero"]))
    if kind == "flip":
        raw[at] ^= draw(st.integers(1, 255))
    elif kind == "cut":
        del raw[at:]
    elif kind == "add":
        raw[at:at] = draw(st.binary(min_size=1, max_size=50))
    elif kind == "repeat":
        raw += raw[at:]
    else:
        del raw[at + 1 :]
        raw += bytes(draw(st.integers(1, 1000)))
    return bytes(raw)


@settings(max_examples=150)
@given(st.sampled_from(INITS), st.data())
def test_spoilt_entries_are_refused(whole, folder, init, data):
    files = dict(whole[init])
    name = data.draw(st.sampled_from(sorted(files)))
    files[name] = data.draw(spoilt(files[name]))
    if files[name] == whole[init][name]:
        return
    written(folder, files)
    with pytest.raises(CheckpointError, match="is torn or no entry"):
        fit(folder, init)


@settings(max_examples=150)
@given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode)), st.booleans())
def test_any_bytes_are_no_entry(raw, summed):
    start = b'{"format": "dkmeans-checkpoint", "version": 1'
    for body in (raw, start + raw, start + b", " + raw + b"}\n"):
        digest = hashlib.sha256(body).digest() if summed else b""
        with pytest.raises(ValueError, match=r"."):
            parse(body + digest)


def places(value, at=()):
    """Where values stand in plain JSON."""
    yield at
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for key, one in inner:
            yield from places(one, (*at, key))


def changed(value, at, junk):
    """The same JSON with one value replaced; None where it would be one of the same kind."""
    value = copy.deepcopy(value)
    inner = value
    for key in at[:-1]:
        inner = inner[key]
    old = inner[at[-1]]
    same = type(old) is type(junk) and not isinstance(old, list | dict)
    if (same and not isinstance(old, int)) or old == junk:
        return None
    inner[at[-1]] = junk
    return value


def relinked(files, name, head):
    """The files with another head in one of them, and all checksums as they should be."""
    found, after = {}, ""
    for one, raw in files.items():
        line, _, rest = raw[:-32].partition(b"\n")
        own = copy.deepcopy(head) if one == name else json.loads(line)
        if isinstance(own, dict) and one != name:
            own["after"] = after
        body = json.dumps(own).encode() + b"\n" + rest
        after = hashlib.sha256(body).hexdigest()
        found[one] = body + bytes.fromhex(after)
    return found


@settings(max_examples=400)
@given(st.sampled_from(INITS), st.data())
def test_entries_of_other_values_are_refused(whole, folder, init, data):
    """Also those whose checksums are right; nothing but the cost of a pass may be another."""
    files = whole[init]
    name = data.draw(st.sampled_from(sorted(files)))
    head = json.loads(files[name].partition(b"\n")[0])
    at = data.draw(st.sampled_from([place for place in places(head) if place]))
    head = changed(head, at, data.draw(st.sampled_from(JUNK)))
    if head is None:
        return
    written(folder, relinked(files, name, head))
    try:
        model = fit(folder, init)
    except CheckpointError:
        return
    assert model.cluster_centers_.shape == (3, 2)


HOSTILE = [
    ["<f8", [2**40, 2**40]],
    ["<f8", [2**62]],
    ["<f8", [-1, -8]],
    ["<f8", [2**47, 0]],
    ["|O", [1]],
    ["<f8", [1] * 40],
    ["<f8", [1.0]],
    ["<f8", "3"],
    ["V8", [3]],
    ["<f8,<f8", [3]],
    ["<M8[ns]", [3]],
    [["<f8"], [3]],
    "<f8",
    None,
    [],
]


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("last", [True, False])
def test_claims_are_not_believed(hostile, last, whole, folder):
    files = whole["random"]
    head = json.loads(files["000001.entry"].partition(b"\n")[0])
    head["arrays"][-1 if last else 0] = hostile
    written(folder, relinked(files, "000001.entry", head))
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match=r"000001\.entry"):
            fit(folder, "random")
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()


def test_deep_nesting_is_refused(whole, folder):
    files = dict(whole["auto"])
    deep = b'{"format": "dkmeans-checkpoint", "version": 1, "value": ' + b"[" * 100_000 + b"\n"
    files["000001.entry"] = deep + hashlib.sha256(deep).digest()
    written(folder, files)
    with pytest.raises(CheckpointError, match="nested too deeply"):
        fit(folder, "auto")


@pytest.mark.parametrize(
    "name",
    ["x.entry", "000001.entry.bak", "1.entry", "entry", "000000.ENTRY", "\uff1000001.entry"],
)
def test_other_names_are_not_read(name, whole, folder):
    written(folder, whole["auto"])
    (folder / name).write_bytes(b"")
    with pytest.raises(CheckpointError, match="is not a checkpoint: it holds"):
        fit(folder, "auto")


@pytest.fixture(scope="module")
def model_bytes(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "m.npz"
    KMeans(3, random_state=0).fit(X).save(path)
    return path.read_bytes()


def check_model(raw, path):
    path.write_bytes(raw)
    tracemalloc.start()
    try:
        KMeans.load(path)
    except FormatError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < MOST_BYTES


@settings(max_examples=200)
@given(st.data())
def test_spoilt_models_are_refused_or_read(model_bytes, tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "fuzzed.npz"
    check_model(data.draw(spoilt(model_bytes)), path)


@settings(max_examples=200)
@given(st.data())
def test_models_of_other_values_are_refused_or_read(model_bytes, tmp_path_factory, data):
    """Their zip file is whole, but what is in it is not what a model has."""
    with np.load(io.BytesIO(model_bytes)) as file:
        arrays = {name: file[name] for name in file.files}
    name = data.draw(st.sampled_from(["head", "history", "facts"]))
    lines = arrays[name].tobytes().decode().splitlines()
    line = data.draw(st.integers(0, min(3, len(lines) - 1)))
    plain = json.loads(lines[line])
    at = data.draw(st.sampled_from([place for place in places(plain) if place]))
    plain = changed(plain, at, data.draw(st.sampled_from(JUNK)))
    lines[line] = json.dumps(plain)
    arrays[name] = np.frombuffer("\n".join(lines).encode(), np.uint8)
    written = io.BytesIO()
    np.savez(written, **arrays)
    check_model(written.getvalue(), tmp_path_factory.getbasetemp() / "fuzzed.npz")


def npz(members, compression=zipfile.ZIP_STORED):
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return raw.getvalue()


def npy(header, body=b""):
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + body


@pytest.mark.parametrize(
    "members",
    [
        {"head.npy": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776,)}")},
        {"head.npy": npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1048576, 1048576)}")},
        {"head.npy": npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", b"c")},
        {"head.npy": npy("{'descr': '|u1', 'fortran_order': False, 'shape': (-1,)}")},
        {"head.npy": npy("{'descr': '|u1', 'shape': (1,)}")},
        {"head.npy": npy("__import__('os')")},
        {"head.npy": b"\x93NUMPY\x09\x00"},
        {"head.npy": b""},
        {"../../head.npy": b"{}"},
        {"head": b"{}", "history": b"{}"},
        {},
    ],
)
def test_hostile_models_are_refused(members, tmp_path):
    path = tmp_path / "m.npz"
    path.write_bytes(npz(members))
    with pytest.raises(FormatError, match=r"m\.npz is not a dkmeans model"):
        KMeans.load(path)


def test_a_bomb_is_refused_before_it_is_unpacked(model_bytes, tmp_path):
    with zipfile.ZipFile(io.BytesIO(model_bytes)) as file:
        members = {info.filename: file.read(info) for info in file.infolist()}
    size = 2**28
    members["bomb.npy"] = npy(
        f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({size},)}}", bytes(size)
    )
    raw = npz(members, zipfile.ZIP_DEFLATED)
    assert len(raw) < 2**20
    check_model(raw, tmp_path / "m.npz")
    with pytest.raises(FormatError, match=r"is not a dkmeans model: .*compressed"):
        KMeans.load(tmp_path / "m.npz")


@settings(max_examples=200)
@given(st.data())
def test_histories_of_other_values_are_refused_or_read(data):
    lines = KMeans(2, random_state=0, max_iter=2).fit(X[:9]).history_.dump()
    line = data.draw(st.integers(0, len(lines) - 1))
    plain = json.loads(lines[line])
    at = data.draw(st.sampled_from([place for place in places(plain) if place]))
    lines[line] = json.dumps(changed(plain, at, data.draw(st.sampled_from(JUNK))))
    try:
        read = History.parse(lines, "h.jsonl")
    except FormatError:
        return
    assert str(read)
    assert "<script" not in read._repr_html_()
