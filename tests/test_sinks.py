"""Labels and rows on disk: whole or not at all, and never gathered."""

import os

import dask.array as da
import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import zarr

from dkmeans import KMeans, OutputError
from dkmeans.data import sinks
from dkmeans.data.outputs import check_output, replacing
from dkmeans.data.sinks import Layout, check_rows_output, write_labels, write_rows

LABELS = np.arange(1000, dtype=np.int32) % 7


def read(path):
    if str(path).endswith(".zarr"):
        return zarr.open_array(str(path), mode="r")[:]
    return ds.dataset(str(path)).to_table()["label"].to_numpy()


def unknown(array):
    """The same dask array, its block sizes not known."""
    return da.Array(array.dask, array.name, ((np.nan,) * array.numblocks[0],), dtype=array.dtype)


def fail(block, block_id=None):
    if block_id == (2,):
        raise KeyboardInterrupt
    return block


@pytest.fixture(params=["zarr", "parquet"])
def path(request, tmp_path):
    return tmp_path / f"labels.{request.param}"


@pytest.mark.parametrize("chunks", [1000, 300, (1, 0, 499, 500), 7])
def test_labels_come_back_in_order(path, chunks):
    write_labels(da.from_array(LABELS, chunks=(chunks,)), path)
    got = read(path)
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, LABELS)
    assert os.listdir(path.parent) == [path.name]


def test_arrays_in_memory_and_unknown_sizes_are_written_too(path):
    write_labels(LABELS, path)
    np.testing.assert_array_equal(read(path), LABELS)
    write_labels(unknown(da.from_array(LABELS[::-1], chunks=300)), path, overwrite=True)
    np.testing.assert_array_equal(read(path), LABELS[::-1])


def test_no_labels_at_all_make_an_empty_output(path):
    write_labels(LABELS[:0], path)
    assert read(path).shape == (0,)


def test_zarr_chunks_are_regular_whatever_the_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(sinks, "LABEL_ROWS", 256)
    stores = []
    for blocks in (1000, 100, (999, 1)):
        path = tmp_path / "labels.zarr"
        write_labels(da.from_array(LABELS, chunks=(blocks,)), path, overwrite=True)
        assert zarr.open_array(path).chunks == (256,)
        files = sorted(f for f in path.rglob("*") if f.is_file())
        stores.append([f.read_bytes() for f in files])
    assert stores[0] == stores[1] == stores[2]


def test_parquet_files_are_ordered_by_name(tmp_path):
    path = tmp_path / "labels.parquet"
    write_labels(da.from_array(LABELS, chunks=10), path)
    files = sorted(path.iterdir())
    assert files[0].name == "part-000000.parquet"
    assert len(files) == 100
    assert pq.read_table(files[99])["label"].to_pylist() == LABELS[990:].tolist()


@pytest.mark.parametrize("kind", ["zarr", "parquet"])
def test_each_block_is_computed_once(tmp_path, kind):
    seen = []

    def count(block, block_id=None):
        seen.append(block_id)
        return block

    labels = da.from_array(LABELS, chunks=90).map_blocks(count, dtype=np.int32, meta=LABELS[:0])
    seen.clear()
    write_labels(labels, tmp_path / f"labels.{kind}")
    assert sorted(seen) == [(i,) for i in range(12)]


def test_an_interrupt_leaves_nothing_behind(path):
    labels = da.from_array(LABELS, chunks=100).map_blocks(fail, dtype=np.int32, meta=LABELS[:0])
    with pytest.raises(KeyboardInterrupt):
        write_labels(labels, path, threads=2)
    assert os.listdir(path.parent) == []


def test_an_interrupt_leaves_the_old_output(path):
    write_labels(LABELS, path)
    labels = da.from_array(LABELS, chunks=100).map_blocks(fail, dtype=np.int32, meta=LABELS[:0])
    with pytest.raises(KeyboardInterrupt):
        write_labels(labels, path, overwrite=True)
    np.testing.assert_array_equal(read(path), LABELS)
    assert os.listdir(path.parent) == [path.name]


def test_an_existing_output_is_refused_without_overwrite(path):
    write_labels(LABELS, path)
    with pytest.raises(OutputError, match=r"exists already; overwrite \(--overwrite\) replaces"):
        write_labels(LABELS[:5], path)
    assert len(read(path)) == 1000
    write_labels(LABELS[:5], path, overwrite=True)
    assert len(read(path)) == 5
    assert os.listdir(path.parent) == [path.name]


def test_an_output_that_came_meanwhile_is_kept(tmp_path):
    path = tmp_path / "history.jsonl"

    def write():
        with replacing(path) as partial:
            open(partial, "w").close()
            path.write_text("mine")

    with pytest.raises(OutputError, match="exists already"):
        write()
    assert path.read_text() == "mine"
    assert os.listdir(tmp_path) == ["history.jsonl"]


def test_a_failed_rename_puts_the_old_output_back(path, monkeypatch):
    write_labels(LABELS, path)
    rename = os.rename

    def refuse(source, target):
        if str(source).endswith(".partial"):
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(OutputError, match=r"cannot write .*: No space left on device"):
        write_labels(LABELS[:5], path, overwrite=True)
    assert len(read(path)) == 1000
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("labels.csv", "must end in .zarr or .parquet"),
        ("labels", "must end in .zarr or .parquet"),
        ("missing/labels.zarr", "no such folder: .*missing"),
        ("https://host/labels.zarr", "can only be read"),
    ],
)
def test_hostile_paths_are_named(tmp_path, name, message):
    path = name if "://" in name else tmp_path / name
    with pytest.raises(OutputError, match=message):
        check_rows_output(path)
    with pytest.raises(OutputError, match=message):
        write_labels(LABELS, path)


def test_overwrite_spares_folders_that_are_no_output(tmp_path):
    folder = tmp_path / "photos.zarr"
    folder.mkdir()
    (folder / "cat.jpg").write_bytes(b"meow")
    with pytest.raises(OutputError, match="is a folder, and not one that such an output"):
        write_labels(LABELS, folder, overwrite=True)
    with pytest.raises(OutputError, match="is a folder, and not one"):
        check_output(tmp_path, overwrite=True)
    assert (folder / "cat.jpg").read_bytes() == b"meow"


def test_a_file_gives_way_to_a_folder(tmp_path):
    path = tmp_path / "labels.parquet"
    path.write_bytes(b"an old file")
    write_labels(LABELS, path, overwrite=True)
    np.testing.assert_array_equal(read(path), LABELS)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="permission denied"):
        check_output(tmp_path / "model.npz")


def test_labels_have_one_dimension(tmp_path):
    with pytest.raises(OutputError, match="labels must be a 1D array"):
        write_labels(LABELS.reshape(10, 100), tmp_path / "labels.zarr")


def test_rows_keep_their_names(tmp_path):
    X = np.arange(12.0).reshape(6, 2)
    rows = da.from_array(X, chunks=(4, 2))
    write_rows(rows, tmp_path / "X.zarr", Layout(2, ("a", "b")))
    stored = zarr.open_array(tmp_path / "X.zarr")
    assert stored.chunks == (2, 2)
    assert stored.attrs["columns"] == ["a", "b"]
    write_rows(rows, tmp_path / "X.parquet", Layout(2, ("a", "b")))
    np.testing.assert_array_equal(ds.dataset(tmp_path / "X.parquet").to_table()["b"], X[:, 1])


def test_labels_are_written_by_the_cluster(path, client):
    X = np.random.default_rng(0).normal(size=(500, 2))
    model = KMeans(3, random_state=0).fit(da.from_array(X, chunks=(100, 2)))
    write_labels(model.labels_, path)
    np.testing.assert_array_equal(read(path), model.predict(X))
