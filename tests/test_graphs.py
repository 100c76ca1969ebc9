"""Dask arrays of what is in memory already."""

import numpy as np

from dkmeans.data.graphs import lazy_of


def test_views_are_no_copies():
    array = np.arange(24.0).reshape(6, 4)
    lazy = lazy_of(array, (4, 4))
    assert (lazy.shape, lazy.chunks, lazy.dtype) == ((6, 4), ((4, 2), (4,)), np.float64)
    np.testing.assert_array_equal(lazy.compute(), array)
    shared = lazy.map_blocks(lambda block: np.array([[np.shares_memory(block, array)]]), dtype=bool)
    assert shared.compute().tolist() == [[True], [True]]


def test_views_of_one_array_are_not_mistaken_for_those_of_another():
    one, other = lazy_of(np.zeros(3), 2), lazy_of(np.ones(3), 2)
    np.testing.assert_array_equal((one + other).compute(), np.ones(3))
