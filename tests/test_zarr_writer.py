"""Chunks written without zarr-python: what it reads back, and how it would have written them."""

import itertools

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from dkmeans.data.zarr_writer import create_chunked


@given(
    data=st.data(),
    shape=st.lists(st.integers(1, 20), min_size=1, max_size=3).map(tuple),
    dtype=st.sampled_from(["uint8", "int32", "float64", ">i2"]),
    threads=st.integers(1, 3),
)
def test_what_is_written_is_read(tmp_path_factory, data, shape, dtype, threads):
    """In pieces that begin and end anywhere, along any axis, from first to last."""
    chunks = tuple(data.draw(st.integers(1, size)) for size in shape)
    axis = data.draw(st.integers(0, len(shape) - 1))
    cuts = sorted(data.draw(st.sets(st.integers(0, shape[axis]), max_size=4)) | {0, shape[axis]})
    values = np.random.default_rng(0).integers(0, 99, shape).astype(dtype)
    path = tmp_path_factory.mktemp("written") / "a.zarr"
    writer = create_chunked(str(path), shape=shape, chunks=chunks, dtype=dtype)
    for start, stop in itertools.pairwise(cuts):
        places = [start if at == axis else 0 for at in range(len(shape))]
        writer.write(np.take(values, range(start, stop), axis), places, threads)
    found = zarr.open_array(path, mode="r")
    assert found.chunks == chunks
    np.testing.assert_array_equal(found[:], values)


@pytest.mark.parametrize("shape", [(512, 300), (500, 256)])
def test_files_are_those_of_zarr(tmp_path, shape):
    values = np.random.default_rng(0).integers(1, 9, shape, np.int32)
    options = {"shape": shape, "chunks": (256, 128), "dtype": "int32"}
    create_chunked(str(tmp_path / "ours.zarr"), **options).write(values, (0, 0), 2)
    zarr.create_array(tmp_path / "zarr.zarr", **options)[:] = values
    ours, theirs = (
        {
            str(file.relative_to(folder)): file.read_bytes()
            for file in folder.rglob("*")
            if file.is_file()
        }
        for folder in (tmp_path / "ours.zarr", tmp_path / "zarr.zarr")
    )
    files = {name: data for name, data in theirs.items() if name != "zarr.json"}
    assert len(files) > 3
    assert {name: ours[name] for name in files} == files
