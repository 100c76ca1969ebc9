"""Exact counts of distinct rows, labels looked up, and colour spaces."""

import pickle

import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dkmeans.data import blocks as blocks_of
from dkmeans.engine import exact
from dkmeans.engine.color_spaces import SPACES, from_srgb, to_srgb
from dkmeans.engine.distinct import Counts, CountStep, Lookup, Total, pack, unpack
from dkmeans.engine.painting import ErrorStep, Painter
from dkmeans.engine.passes import Passes
from dkmeans.engine.predict import Model

ROWS = st.integers(1, 3).flatmap(
    lambda d: hnp.arrays(
        np.uint8,
        st.tuples(st.integers(1, 60), st.just(d)),
        elements=st.one_of(st.sampled_from([0, 1, 128, 255]), st.integers(0, 255)),
    )
)


def counted(X, step, rows=7):
    """Rows and counts that a pass over blocks of some rows finds."""
    blocks = blocks_of.from_dask(da.from_array(X, chunks=(rows, -1)), None)
    found = Passes(2).run(blocks, step, "").listed()
    return unpack(found.codes, step.columns), found.counts


@given(ROWS)
def test_codes_are_rows(X):
    np.testing.assert_array_equal(unpack(pack(X), X.shape[1]), X)
    assert len(np.unique(pack(X))) == len(np.unique(X, axis=0))


@given(ROWS, st.integers(1, 60), st.booleans())
def test_counts_are_those_of_all_rows_whatever_the_blocks(X, rows, shared):
    d = X.shape[1]
    step = CountStep(d, total=Total(d, len(X)) if shared and d < 3 else None)
    values, counts = counted(X, step, rows)
    expected, n = np.unique(X, axis=0, return_counts=True)
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(counts, n)


def test_rows_without_opacity_are_left_out():
    X = np.array([[1, 2, 3, 255], [1, 2, 3, 0], [9, 9, 9, 1], [1, 2, 3, 7]], np.uint8)
    values, counts = counted(X, CountStep(3, skip_zero=True), 1)
    np.testing.assert_array_equal(values, [[1, 2, 3], [9, 9, 9]])
    np.testing.assert_array_equal(counts, [2, 1])
    values, counts = counted(np.zeros((5, 2), np.uint8), CountStep(1, skip_zero=True), 2)
    assert values.shape == (0, 1)
    assert counts.shape == (0,)


def test_a_copy_of_a_step_adds_to_no_total():
    X = np.zeros((4, 1), np.uint8)
    step = CountStep(1, total=Total(1, 4))
    copy = pickle.loads(pickle.dumps(step))
    part = copy(X, np.empty(0), 0, 0)
    step(X[:3], np.empty(0), 0, 0)
    found = step.finish(part, 1)
    assert found.codes.tolist() == [0]
    assert found.counts.tolist() == [7]


def test_an_array_of_all_codes_pays_once_there_may_be_many():
    assert not Total.pays(3, 1_864_135)
    assert Total.pays(3, 1_864_136)
    assert Total.pays(1, 100)


def test_counts_do_not_overflow():
    many = Counts(np.array([3], np.uint32), np.array([2**31], np.int64))
    assert Counts.combine([many, many, many]).counts.tolist() == [3 * 2**31]
    total = Total(1, 2**33)
    total._dense[3] = 2**32 - 1
    total.add(np.array([[3], [3]], np.uint8), skip_zero=False)
    assert total.counted().listed().counts.tolist() == [2**32 + 1]


@pytest.mark.parametrize("alpha", [False, True])
def test_tables_of_bytes_are_carried(alpha):
    X = np.zeros((10_000, 2 + alpha), np.uint8)
    X[::3, 1], X[: 2 * 256, 0] = 1, 7
    if alpha:
        X[:, 2] = np.arange(len(X)) % 5
    opaque = X[X[:, 2] > 0, :2] if alpha else X
    step = CountStep(2, skip_zero=alpha, total=Total(2, len(X)))
    values, counts = counted(X, step, 6000)
    expected, n = np.unique(opaque, axis=0, return_counts=True)
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(counts, n)


@given(ROWS)
def test_a_table_is_that_of_a_list(X):
    X = X[:, :2]
    total = Total(X.shape[1], len(X))
    total.add(np.ascontiguousarray(X), skip_zero=False)
    table = total.counted()
    assert len(table) == len(table.listed()) == len(np.unique(X, axis=0))
    np.testing.assert_array_equal(table.listed().table(X.shape[1]), table.dense)
    np.testing.assert_array_equal(table.table(X.shape[1]), table.dense)


@given(ROWS, st.randoms(use_true_random=False), st.sampled_from([1, 128, 129, 256, 2**15, 2**16]))
def test_a_lookup_says_what_it_was_told(X, random, k):
    rows = np.unique(X, axis=0)
    values = np.array([random.choice([0, k - 1]) for _ in rows], np.min_scalar_type(k - 1))
    lookup = pickle.loads(pickle.dumps(Lookup(pack(rows), values, X.shape[1], k)))
    told = {tuple(row): value for row, value in zip(rows.tolist(), values.tolist(), strict=True)}
    labels = lookup.labels(X)
    assert labels.itemsize == (1 if k <= 2**7 else 2 if k <= 2**15 else 4)
    assert labels.tolist() == [told[tuple(row)] for row in X.tolist()]


LAB = {  # published with the spaces, D65
    "lab": [(53.24, 80.09, 67.20), (87.73, -86.18, 83.18), (32.30, 79.19, -107.86)],
    "oklab": [(0.628, 0.225, 0.126), (0.866, -0.234, 0.179), (0.452, -0.032, -0.312)],
}


@pytest.mark.parametrize("space", LAB)
def test_the_primaries_are_where_they_were_published(space):
    rgb = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0]], np.uint8)
    found = from_srgb(rgb, space)
    white = (100 if space == "lab" else 1, 0, 0)
    np.testing.assert_allclose(found[:3], LAB[space], atol=0.006 if space == "lab" else 6e-4)
    np.testing.assert_allclose(found[3:], [white, (0, 0, 0)], atol=1e-4)


@pytest.mark.parametrize("space", SPACES)
def test_a_colour_comes_back_from_its_space(space):
    rgb = np.random.default_rng(0).integers(0, 256, (2000, 3)).astype(np.uint8)
    np.testing.assert_allclose(to_srgb(from_srgb(rgb, space), space), rgb, atol=1e-3)


def test_what_sRGB_does_not_have_is_clipped():
    np.testing.assert_allclose(to_srgb(np.array([[150.0, 0, 0]]), "lab"), [[255, 255, 255]])


def test_errors_are_those_of_labels_and_colours():
    X = np.array([[0.0], [1.0], [9.0], [10.0], [np.nan]])
    weights = np.array([1.0, 1, 1, 0, 1])
    model = Model(np.array([[0.4], [9.6]]), "omit", None)
    step = ErrorStep((model, model), (np.array([[1.0], [10.0]]), np.array([[0.0], [9.0]])))
    blocks = blocks_of.from_dask(da.from_array(X, chunks=(2, 1)), weights)
    found = Passes(1).run(blocks, step, "errors")
    assert [exact.to_float(total) for total in found.totals] == [2.0, 1.0]
    assert [sizes.tolist() for sizes in found.sizes] == [[2, 1], [2, 1]]


def test_a_pixel_of_no_colour_is_painted_with_none():
    block = np.array([[[5.0], [np.nan]]])
    painter = Painter(Model(np.array([[4.0]]), "omit", None), np.array([[4.0]]), False, True)
    np.testing.assert_array_equal(painter.labels(block), [[0, -1]])
    np.testing.assert_array_equal(painter.image(block), [[4.0, np.nan]])
