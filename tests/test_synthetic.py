"""Made data: the same rows for a seed, however they are cut and wherever they go."""

from itertools import pairwise

import numpy as np
import pyarrow.dataset as ds
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from dkmeans import DataError, KMeans
from dkmeans.data.synthetic import GROUP_ROWS, Blobs, write_blobs

BLOBS = Blobs(10_000, 3, 4, seed=7)
ROWS = BLOBS.rows(0, 10_000)


@given(st.lists(st.integers(0, 10_000), max_size=4))
def test_rows_do_not_depend_on_where_they_are_cut(cuts):
    edges = [0, *sorted(cuts), 10_000]
    pieces = [BLOBS.rows(a, b) for a, b in pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate(pieces), ROWS)


@pytest.mark.parametrize("chunk_rows", [None, 999, GROUP_ROWS, 20_000])
def test_stores_hold_the_same_rows_whatever_the_chunks(tmp_path, chunk_rows):
    for ending in (".zarr", ".parquet"):
        write_blobs(BLOBS, tmp_path / f"X{ending}", chunk_rows=chunk_rows)
    stored = zarr.open_array(tmp_path / "X.zarr", mode="r")
    np.testing.assert_array_equal(stored[:], ROWS)
    assert stored.attrs["columns"] == ["f0", "f1", "f2"]
    assert stored.chunks[0] == min(chunk_rows or 10_000, 10_000)
    table = ds.dataset(tmp_path / "X.parquet").to_table()
    assert table.column_names == ["f0", "f1", "f2"]
    np.testing.assert_array_equal(np.column_stack(list(table.columns)), ROWS)


def test_a_smaller_store_is_the_beginning_of_a_larger():
    np.testing.assert_array_equal(Blobs(5000, 3, 4, seed=7).rows(0, 5000), ROWS[:5000])


def test_seeds_differ():
    assert not np.isin(Blobs(100, 3, 4, seed=8).rows(0, 100), ROWS).any()


@pytest.mark.parametrize("dtype", ["float32", "float64", "int8", "uint8", "int32", "uint64"])
@pytest.mark.parametrize("spread", [1.0, 1e25])
def test_types_are_kept_and_integers_clipped(dtype, spread):
    rows = Blobs(500, 2, 3, spread=spread, dtype=dtype).rows(0, 500)
    assert rows.dtype == dtype
    assert np.isfinite(rows).all()
    if dtype == "uint8" and spread > 1:
        assert set(np.unique(rows)) <= {0, 255}


def test_blobs_are_where_they_say():
    blobs = Blobs(3000, 2, 3, seed=1, spread=0.01, dtype="float64")
    model = KMeans(3, init=blobs.centers()).fit(blobs.rows(0, 3000))
    np.testing.assert_allclose(model.cluster_centers_, blobs.centers(), atol=0.01)
    assert model.inertia_ == pytest.approx(3000 * 2 * 0.01**2, rel=0.1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n_rows": 0}, "n_rows must be at least 1"),
        ({"n_features": 0}, "n_features must be at least 1"),
        ({"n_centers": -1}, "n_centers must be at least 1"),
        ({"seed": -1}, "seed must not be negative"),
        ({"spread": float("nan")}, "spread must be a number from 0"),
        ({"dtype": "complex64"}, "dtype must be float32, float64 or an integer"),
        ({"dtype": "no such"}, "dtype must be float32, float64 or an integer"),
    ],
)
def test_mistakes_are_named(values, message):
    with pytest.raises(DataError, match=message):
        Blobs(**{"n_rows": 10, "n_features": 2, "n_centers": 2, **values})
