"""Exact sums: the same bits in any order, and true to the last digit or the grid."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive import levels_of_rows, levels_of_weights

from dkmeans.engine import exact
from dkmeans.engine.grid import (
    LEVEL_BITS,
    grid_for,
    sums_to_floats,
    weights_to_floats,
)
from dkmeans.engine.sum_kernels import add_exact

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
finite = st.floats(allow_nan=False, allow_infinity=False)


def exact_sum(values):
    limbs = exact.zeros()
    for value in values:
        add_exact(limbs, value)
    return limbs


@given(st.lists(finite, max_size=30))
def test_exact_sums_are_the_true_sums_rounded_once(values):
    total = sum((Fraction(value) for value in values), Fraction(0))
    try:
        expected = float(total)
    except OverflowError:
        expected = math.inf
    if total > -(2**1023):
        assert exact.to_float(exact.carry(exact_sum(values))) == expected


@given(st.lists(finite, min_size=2, max_size=30), st.randoms())
def test_exact_sums_combine_in_any_order_and_grouping(values, random):
    whole = exact.carry(exact_sum(values))
    shuffled = list(values)
    random.shuffle(shuffled)
    cut = random.randint(0, len(values))
    parts = exact.combine([exact_sum(shuffled[:cut]), exact_sum(shuffled[cut:])])
    np.testing.assert_array_equal(parts, whole)


@pytest.mark.parametrize("value", [5e-324, -5e-324, 2.0**-1022, 1.0, math.pi, -1e300, 1.7e308])
def test_one_number_comes_back(value):
    assert exact.to_float(exact_sum([value])) == value


def test_cancellation_leaves_the_small_number():
    assert exact.to_float(exact.carry(exact_sum([1e300, 1e-300, -1e300]))) == 1e-300


def grid_of(X, weights=None, dtype=FLOAT64, sample=None):
    heaviest = 1.0 if weights is None else float(weights.max())
    short = dtype == np.float32
    sample = X if sample is None else sample
    lightest = 1.0 if weights is None else float(weights[weights > 0].min())
    return grid_for(X.min(axis=0), X.max(axis=0), sample, (lightest, heaviest), short=short)


def summed(X, grid):
    """Sum of rows relative to the origin of the grid."""
    levels = levels_of_rows(X, np.ones(len(X)), grid).sum(axis=0, keepdims=True)
    return sums_to_floats(levels, grid)[0]


def test_a_hand_worked_sum():
    X = np.array([[0.5], [0.25], [-2.0]])
    grid = grid_of(X)
    assert summed(X, grid) == -1.25 - 3 * grid.origin[0]


@pytest.mark.parametrize("scale", [1e-150, 1e-30, 1.0, 1e12, 1e140])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_sums_of_float64_have_all_their_digits(scale, offset):
    X = np.random.default_rng(0).normal(size=(1000, 2)) * scale + offset * scale
    grid = grid_of(X)
    true = [math.fsum(column) for column in (X - grid.origin).T]
    np.testing.assert_allclose(summed(X, grid), true, atol=1000 * 2.0**-52 * 4 * scale, rtol=0)


@pytest.mark.parametrize("outlier", [1e3, 1e6, 1e9, 1e12, 1e20])
@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64])
def test_an_outlier_takes_no_digits_from_the_other_rows(outlier, dtype):
    X = np.random.default_rng(0).normal(size=(500, 1)).astype(dtype).astype(np.float64)
    grid = grid_of(np.concatenate([X, [[outlier]]]), dtype=dtype, sample=X[:64])
    mean = summed(X, grid)[0] / 500 + grid.origin[0]
    eps = 1e-12 if dtype == FLOAT64 else 1e-7
    assert mean == pytest.approx(X.mean(), abs=eps)


@pytest.mark.parametrize("value", [0.0, 1e6 / 3, -1e150, 0.1])
def test_a_constant_column_is_its_own_origin(value):
    X = np.full((5, 2), value)
    grid = grid_of(X)
    np.testing.assert_array_equal(summed(X, grid) + 5 * (grid.origin - value), [0.0, 0.0])
    assert grid.origin[0] == value


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64, np.dtype(np.uint8)])
def test_the_origin_lies_on_the_grid(dtype):
    """So that it can be taken from the magic number once rather than from each row."""
    random = np.random.default_rng(1)
    samples = [random.normal(size=(64, 3)) * s + o for s in (1e-3, 1, 1e3) for o in (0, 0.9, 1e4)]
    samples += [np.array([[0.9], [0.9], [1.0]]), np.array([[0.1], [0.7]])]
    for X in samples:
        grid = grid_of(X, dtype=dtype)
        np.testing.assert_array_equal((grid.rows[0] - grid.origin) + grid.origin, grid.rows[0])
        steps = grid.rows[0] / (1.5 * 2.0**52)
        multiples = grid.origin / steps
        np.testing.assert_array_equal(multiples, np.round(multiples))


@given(st.lists(st.floats(1e-3, 1e9), min_size=1, max_size=40), st.randoms())
def test_sums_of_weights_are_the_same_in_any_order_and_true(values, random):
    weights = np.array(values)
    grid = grid_of(np.zeros((2, 1)), weights)
    shuffled = weights.copy()
    random.shuffle(shuffled)
    levels = levels_of_weights(weights, grid).sum(axis=0)
    np.testing.assert_array_equal(levels, levels_of_weights(shuffled, grid).sum(axis=0))
    total = weights_to_floats(levels[None], grid)[0]
    assert total == pytest.approx(math.fsum(values), rel=1e-15)


def test_levels_fit_their_integers():
    X = np.array([[-1.0], [1.0]])
    for dtype in (FLOAT32, FLOAT64):
        levels = levels_of_rows(X, np.ones(2), grid_of(X, dtype=dtype))
        assert np.abs(levels).max() <= 2**LEVEL_BITS
