"""Whatever X may be: Zarr, Parquet, dask, pandas, paths and URIs as tables of rows."""

import pickle
import warnings

import dask.array as da
import dask.dataframe as dd
import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from numcodecs import Blosc, Delta, Zstd
from strategies import chunkings
from zarr.codecs import BloscCodec, BytesCodec, GzipCodec, TransposeCodec, ZstdCodec

from dkmeans import KMeans, SourceError
from dkmeans.data.blocks import cut, group
from dkmeans.data.sources import is_in_memory, open_source
from dkmeans.data.zarr_chunks import local_chunks, zstd_size
from dkmeans.data.zarr_source import ZarrRows


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(103, 4))


def rows_of(source, target=20):
    """All rows of a source, read block by block."""
    return source.blocks(target).array.compute()


def check(source, X, kind):
    assert source.kind == kind
    assert (source.n_rows, source.n_features, source.dtype) == (len(X), X.shape[1], X.dtype)
    np.testing.assert_array_equal(rows_of(source), X)
    np.testing.assert_array_equal(rows_of(source, 10**6), X)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("chunks", [(20, 4), (33, 3), (103, 1), (1, 4), (500, 9)])
def test_zarr(X, tmp_path, version, chunks):
    path = tmp_path / "x.zarr"
    zarr.create_array(path, data=X, chunks=chunks, zarr_format=version)
    check(open_source(path), X, "zarr")
    check(open_source(str(path)), X, "zarr")
    check(open_source(zarr.open_array(path, mode="r")), X, "zarr")
    assert open_source(path).units[0] == min(chunks[0], len(X))


PLAIN = {
    "default": {},
    "raw": {"compressors": None},
    "zstd with a checksum": {"compressors": ZstdCodec(level=3, checksum=True)},
    "blosc": {"compressors": BloscCodec(cname="lz4", shuffle="bitshuffle")},
    "format 2": {"zarr_format": 2},
    "format 2, blosc": {"zarr_format": 2, "compressors": Blosc("zstd")},
    "format 2, raw": {"zarr_format": 2, "compressors": None},
}
OTHER = {
    "gzip": {"compressors": GzipCodec()},
    "two compressors": {"compressors": [BloscCodec(), ZstdCodec()]},
    "transposed": {"filters": TransposeCodec(order=(1, 0))},
    "other byte order": {"serializer": BytesCodec(endian="big")},
    "format 2, columns first": {"zarr_format": 2, "order": "F"},
    "format 2, filter": {"zarr_format": 2, "filters": Delta("f8")},
    "shards": {"shards": (20, 4)},
}


@pytest.mark.parametrize("layout", [*PLAIN, *OTHER])
@pytest.mark.parametrize("picked", [None, [2, 0]])
def test_any_rows_of_any_layout(X, tmp_path, layout, picked):
    options = (PLAIN | OTHER)[layout]
    array = zarr.create_array(tmp_path / "x.zarr", data=X, chunks=(10, 4), **options)
    reader = pickle.loads(pickle.dumps(ZarrRows(array, "x", picked)))
    assert (reader.chunks is not None) == (layout in PLAIN)
    wanted = array[:] if picked is None else array[:][:, picked]
    for start in range(0, 103, 3):
        for stop in (start + 1, start + 10, 103):
            rows = reader[start:stop, :]
            np.testing.assert_array_equal(rows, wanted[start:stop])


@pytest.mark.parametrize("layout", ["default", "raw", "blosc"])
def test_chunks_that_are_damaged_are_left_to_zarr(X, tmp_path, layout):
    """Cut short, or whole but of fewer rows than the others: never what was in the buffer."""
    options = PLAIN[layout]
    array = zarr.create_array(tmp_path / "x.zarr", data=X, chunks=(10, 4), **options)
    zarr.create_array(tmp_path / "small.zarr", data=X, chunks=(5, 4), **options)
    chunk, small = (tmp_path / name / "c" / "1" / "0" for name in ("x.zarr", "small.zarr"))
    whole = chunk.read_bytes()
    cut_short = (
        () if layout == "blosc" else (whole[:17], whole[:40], whole[:-1])
    )  # numcodecs reads on
    for damaged in (small.read_bytes(), b"", b"junk", *cut_short):
        chunk.write_bytes(damaged)
        reader = ZarrRows(array, "x", None)
        np.testing.assert_array_equal(reader[0:10, :], X[:10])
        with pytest.raises(SourceError, match="cannot read rows 10 to 30 of x"):
            reader[0:30, :]
    chunk.unlink()
    np.testing.assert_array_equal(reader[0:30, :], array[:30])
    assert not array[10:20].any()


def test_zstd_frames_state_their_sizes_in_four_ways():
    for size in (20, 300, 70_000):
        assert zstd_size(Zstd().encode(np.random.default_rng(0).bytes(size))[:18]) == size
    long = bytes.fromhex("28b52ffd c0 00") + (2**33).to_bytes(8, "little") + bytes(4)
    assert zstd_size(long) == 2**33
    assert zstd_size(b"\x28\xb5\x2f\xfd\x00" + bytes(13)) is None
    assert zstd_size(bytes(18)) is None


def test_reading_ahead_of_the_end_or_of_a_missing_chunk_is_harmless(X, tmp_path):
    array = zarr.create_array(tmp_path / "x.zarr", data=X, chunks=(10, 4))
    (tmp_path / "x.zarr" / "c" / "1" / "0").unlink()
    for start in (0, 100, 500):
        local_chunks(array).read_ahead(start, start + 50)


def test_a_sharded_array_is_read_by_whole_shards(X, tmp_path):
    path = tmp_path / "x.zarr"
    zarr.create_array(path, data=X, chunks=(10, 4), shards=(40, 4))
    source = open_source(path)
    check(source, X, "zarr")
    assert source.units == (40, 40, 23)


def test_an_array_of_a_group(X, tmp_path):
    root = zarr.create_group(tmp_path / "g.zarr")
    root.create_array("a/points", data=X, chunks=(20, 4))
    check(open_source(tmp_path / "g.zarr", component="a/points"), X, "zarr")
    check(open_source(root["a/points"]), X, "zarr")


def test_names_and_columns_of_zarr(X, tmp_path):
    array = zarr.create_array(tmp_path / "x.zarr", data=X, chunks=(20, 4))
    array.attrs["columns"] = list("abcd")
    source = open_source(tmp_path / "x.zarr", columns=["d", "b"])
    assert source.names == ("d", "b")
    np.testing.assert_array_equal(rows_of(source), X[:, [3, 1]])
    assert open_source(tmp_path / "x.zarr").names == ("a", "b", "c", "d")


@pytest.mark.parametrize(
    "dtype", ["float32", "float16", "uint8", "int16", "int64", "bool", ">f8", ">i4"]
)
def test_types_of_zarr(X, tmp_path, dtype):
    data = (X * 5).astype(dtype)
    zarr.create_array(tmp_path / "x.zarr", data=data, chunks=(20, 4))
    source = open_source(tmp_path / "x.zarr")
    read = rows_of(source)
    assert read.dtype == source.dtype
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, data)


def test_zarr_in_memory_and_by_uri(X, tmp_path):
    check(open_source(zarr.array(X)), X, "zarr")
    zarr.create_array(tmp_path / "x.zarr", data=X, chunks=(20, 4))
    check(open_source(f"file://{tmp_path}/x.zarr"), X, "zarr")
    zarr.create_array("memory://x.zarr", data=X, chunks=(20, 4), overwrite=True)
    check(open_source("memory://x.zarr"), X, "zarr")


def frame_of(X):
    return pd.DataFrame(X, columns=list("abcd"))


def test_one_parquet_file(X, tmp_path):
    path = tmp_path / "x.parquet"
    frame_of(X).to_parquet(path, row_group_size=30)
    source = open_source(path)
    check(source, X, "parquet")
    assert source.units == (30, 30, 30, 13)
    assert source.names == ("a", "b", "c", "d")
    path.rename(tmp_path / "no_suffix")
    check(open_source(tmp_path / "no_suffix"), X, "parquet")


def test_a_folder_of_parquet_files_in_the_order_of_their_names(X, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for i, start in enumerate(range(0, 103, 40)):
        part = frame_of(X[start : start + 40])
        part.to_parquet(folder / f"part-{i}.parquet", row_group_size=25)
    check(open_source(folder), X, "parquet")


def test_what_dask_writes(X, tmp_path):
    dd.from_pandas(frame_of(X), npartitions=3).to_parquet(tmp_path / "d.parquet", write_index=False)
    check(open_source(tmp_path / "d.parquet"), X, "parquet")


def test_columns_of_parquet(X, tmp_path):
    frame = frame_of(X).assign(name="x")
    frame.to_parquet(tmp_path / "x.parquet", row_group_size=30)
    source = open_source(tmp_path / "x.parquet", columns=["c", "a"])
    assert source.names == ("c", "a")
    np.testing.assert_array_equal(rows_of(source), X[:, [2, 0]])


def test_parquet_types_join_to_one_that_holds_them_all(tmp_path):
    table = pa.table(
        {
            "a": pa.array([1, 2, 3], pa.int8()),
            "b": pa.array([0.5, 1.5, 2.5], pa.float32()),
            "c": pa.array([True, False, True]),
        }
    )
    pq.write_table(table, tmp_path / "x.parquet")
    source = open_source(tmp_path / "x.parquet")
    assert source.dtype == np.float32
    np.testing.assert_array_equal(rows_of(source), [[1, 0.5, 1], [2, 1.5, 0], [3, 2.5, 1]])
    whole = open_source(tmp_path / "x.parquet", columns=["a"])
    assert whole.dtype == np.int8


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64(), pa.int32(), pa.bool_()])
def test_nulls_are_nan(tmp_path, kind):
    values = pa.array([1, None, 0, 1], pa.int64()).cast(kind)
    pq.write_table(pa.table({"a": values}), tmp_path / "x.parquet")
    read = rows_of(open_source(tmp_path / "x.parquet"))
    np.testing.assert_array_equal(read.ravel(), [1, np.nan, 0, 1])
    with pytest.raises(ValueError, match="NaN: nan at row 1, column 'a'"):
        KMeans(1).fit(tmp_path / "x.parquet")
    model = KMeans(1, nan_policy="omit").fit(tmp_path / "x.parquet")
    assert model.cluster_centers_[0, 0] == pytest.approx(2 / 3)
    assert model.labels_.compute().tolist() == [0, -1, 0, 0]


def test_parquet_by_uri(X, tmp_path):
    frame_of(X).to_parquet(tmp_path / "x.parquet")
    check(open_source(f"file://{tmp_path}/x.parquet"), X, "parquet")
    with fsspec.filesystem("memory").open("/folder/p0.parquet", "wb") as file:
        frame_of(X).to_parquet(file)
    check(open_source("memory://folder/p0.parquet"), X, "parquet")
    check(open_source("memory://folder"), X, "parquet")


def test_row_groups_without_rows(X, tmp_path):
    schema = pa.Table.from_pandas(frame_of(X)).schema
    with pq.ParquetWriter(tmp_path / "x.parquet", schema) as writer:
        for a, b in [(0, 0), (0, 50), (50, 50), (50, 103)]:
            writer.write_table(pa.Table.from_pandas(frame_of(X[a:b]), schema=schema))
    check(open_source(tmp_path / "x.parquet"), X, "parquet")


@given(st.data())
def test_dask_arrays_of_any_chunks(data):
    X = np.random.default_rng(1).normal(size=(50, 4))
    chunks = (data.draw(chunkings(50)), data.draw(chunkings(4, most=3)))
    source = open_source(da.from_array(X, chunks=chunks))
    target = data.draw(st.integers(1, 60))
    blocks = source.blocks(target)
    np.testing.assert_array_equal(blocks.array.compute(), X)
    assert sum(blocks.sizes) == 50
    assert blocks.array.numblocks[1] == 1


def test_dask_frames(X):
    frame = dd.from_pandas(frame_of(X), npartitions=4)
    source = open_source(frame)
    assert (source.kind, source.n_rows, source.names) == ("dask", None, ("a", "b", "c", "d"))
    np.testing.assert_array_equal(rows_of(source), X)
    np.testing.assert_array_equal(rows_of(open_source(frame, columns=["b"])), X[:, [1]])


def test_dask_frames_of_mixed_types():
    frame = pd.DataFrame({"a": np.arange(9, dtype="int32"), "b": np.linspace(0, 1, 9)})
    source = open_source(dd.from_pandas(frame, npartitions=2))
    read = rows_of(source)
    assert read.dtype == source.dtype == np.float64
    np.testing.assert_array_equal(read, frame.to_numpy())


def test_a_frame_whose_columns_are_numbers_has_no_names(X):
    assert open_source(dd.from_pandas(pd.DataFrame(X), npartitions=2)).names is None


@given(st.lists(st.integers(0, 30), max_size=20), st.integers(1, 100))
def test_units_are_joined_never_split(units, target):
    sizes = group(units, target)
    assert sum(sizes) == sum(units)
    ends, allowed = np.cumsum(sizes), {0, *np.cumsum(units)}
    assert set(ends.tolist()) <= {int(a) for a in allowed}
    assert all(size <= max(target, *units) for size in sizes if units)


@given(st.integers(0, 1000), st.integers(0, 100))
def test_rows_are_cut_to_the_target(n, target):
    sizes = cut(n, target)
    assert sum(sizes) == n
    assert all(size == max(1, target) for size in sizes[:-1])
    assert len(sizes) >= 1


def test_what_is_in_memory(X, tmp_path):
    assert all(is_in_memory(x) for x in (X, X.tolist(), frame_of(X)))
    lazy = (da.from_array(X), dd.from_pandas(frame_of(X), npartitions=1), zarr.array(X), "x.zarr")
    assert not any(is_in_memory(x) for x in (*lazy, tmp_path))


@pytest.mark.parametrize("order", [("i", "f"), ("f", "i")])
def test_parquet_files_whose_types_differ_are_read_in_a_type_that_holds_both(tmp_path, order):
    values = {"i": np.array([1, 2, 3], dtype=np.int32), "f": np.array([1.5, 2.5])}
    for file, kind in enumerate(order):
        pq.write_table(pa.table({"a": values[kind]}), tmp_path / f"{file}.parquet")
    source = open_source(tmp_path)
    assert source.dtype == np.float64
    np.testing.assert_array_equal(
        rows_of(source)[:, 0], np.concatenate([values[kind] for kind in order])
    )


def test_indexes_that_dask_and_pandas_write_are_no_columns(tmp_path):
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    with warnings.catch_warnings(action="ignore"):  # dask uses what pandas 4 will remove
        dd.from_pandas(frame, npartitions=1).to_parquet(tmp_path / "dask.parquet")
    frame.set_index(pd.Index([10.5, 20.0], name="id")).to_parquet(tmp_path / "pandas.parquet")
    for name in ("dask.parquet", "pandas.parquet"):
        assert open_source(tmp_path / name).names == ("a", "b")
    asked = open_source(tmp_path / "pandas.parquet", columns=["id", "a"])
    np.testing.assert_array_equal(rows_of(asked), [[10.5, 1.0], [20.0, 2.0]])


def test_a_slice_of_lazy_rows_is_taken_from_whole_blocks(tmp_path):
    X = np.random.default_rng(0).normal(size=(100, 3))
    frame = pd.DataFrame(X, columns=list("abc"))
    frame.to_parquet(tmp_path / "x.parquet", row_group_size=40)
    lazy = open_source(tmp_path / "x.parquet").blocks(40).array
    np.testing.assert_array_equal(lazy[:, 1].compute(), X[:, 1])
    np.testing.assert_array_equal(lazy[10:90:7, 1].compute(), X[10:90:7, 1])
    np.testing.assert_array_equal(lazy[:, :2].rechunk((30, 2)).compute(), X[:, :2])
