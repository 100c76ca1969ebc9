"""Blocks of an image that threads read, which are those of its dask array."""

import dask
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from dkmeans.data.image_source import open_image
from dkmeans.data.image_tiles import Tiles
from dkmeans.image import quantize

SIZES = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)


class Stored:
    """An array that has to be read."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.ndim = array, array.shape, array.dtype, array.ndim

    def __getitem__(self, key):
        return self.array[key]


@given(heights=SIZES, widths=SIZES, bands=st.integers(0, 3), kept=st.booleans(), same=st.booleans())
def test_rows_are_those_of_the_blocks(heights, widths, bands, kept, same):
    shape = (sum(heights), sum(widths), *(bands,) * bool(bands))
    array = np.random.default_rng(0).integers(0, 250, shape).astype(np.uint8)
    dtype = np.dtype(np.uint8 if same else np.float32)
    tiles = Tiles(array if kept else Stored(array), heights, widths, dtype)
    blocks, out = tiles.blocks(), np.empty(tiles.block_bytes, np.uint8)
    assert sum(blocks.sizes) == tiles.shape[0] == sum(heights) * sum(widths)
    assert blocks.in_memory == (kept and same and len(widths) == 1)
    assert not blocks.in_memory or all(np.shares_memory(rows, array) for rows in blocks.X)
    start = 0
    for at, size in enumerate(blocks.sizes):
        row, column = divmod(at, len(widths))
        expected = array[tiles.span(row, column)].astype(dtype).reshape(size, -1)
        rows = blocks.X[at] if blocks.in_memory else tiles[start : start + size, :]
        np.testing.assert_array_equal(rows, expected)
        block = tiles.block(row, column, out)
        assert block.shape == (heights[row], widths[column], max(1, bands))
        np.testing.assert_array_equal(block.reshape(size, -1), expected)
        start += size


def test_a_part_of_a_block_is_refused():
    tiles = Tiles(np.zeros((4, 6, 3), np.uint8), (2, 2), (3, 3), np.dtype(np.uint8))
    with pytest.raises(ValueError, match="rows 6 to 7 are not those of whole blocks"):
        tiles[0:7, :]
    with pytest.raises(ValueError, match="rows 3 to 6"):
        tiles[3:6, :]


@pytest.mark.parametrize("ending", [".png", ".tif", ".zarr"])
def test_another_scheduler_writes_the_same(tmp_path, ending):
    """Of an image in chunks, by threads of this process and by whatever else dask is to use."""
    pytest.importorskip("tifffile")
    pixels = np.random.default_rng(0).integers(0, 9, (70, 90, 3)).astype(np.uint8)
    stored = zarr.create_array(
        tmp_path / "in.zarr", shape=pixels.shape, dtype="uint8", chunks=(16, 32, 3)
    )
    stored[:] = pixels
    for name in ("threads", "sync"):
        with dask.config.set(scheduler=name):
            found = quantize(tmp_path / "in.zarr", 5, random_state=0)
            found.write(tmp_path / (name + ending), labels=tmp_path / (name + "-labels.zarr"))
    for one, other in (("threads", "sync"), ("threads-labels", "sync-labels")):
        suffix = ending if one == "threads" else ".zarr"
        files = [tmp_path / (name + suffix) for name in (one, other)]
        if files[0].is_dir():
            assert (zarr.open_array(files[0])[:] == zarr.open_array(files[1])[:]).all()
        else:
            assert files[0].read_bytes() == files[1].read_bytes()
    assert open_image(tmp_path / "threads-labels.zarr").shape == (70, 90)
