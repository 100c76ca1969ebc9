"""The compiled kernels against the direct formula, bit for bit where that is promised."""

import functools
import math
from itertools import pairwise

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import assigned, called, cases, chunkings, in_memory

from dkmeans.data.source import kernel_view
from dkmeans.engine import exact, kernels, sampling
from dkmeans.engine.grid import sums_to_floats, weights_to_floats
from dkmeans.engine.lloyd import LloydStep
from dkmeans.engine.partial import Partial

NO_WEIGHTS = np.empty(0)


def labels_of(X, centers):
    labels = np.full(len(X), -7, np.int32)
    kernels.assign(kernel_view(X), kernels.prepare(centers), labels)
    return labels


@given(cases(features=(1, 2, 3, 4, 5, 8, 12, 13, 17, 40)))
def test_labels_are_those_of_the_direct_formula(case):
    np.testing.assert_array_equal(
        labels_of(case.X, case.centers), naive.assign(case.X, case.centers)
    )


@pytest.mark.parametrize("d", [1, 3, 4, 12, 13, 31])
@pytest.mark.parametrize("n", [1, 2, 255, 256, 257, 511, 513, 800])
def test_labels_over_tile_boundaries(n, d):
    random = np.random.default_rng(n * 100 + d)
    X = random.normal(size=(n, d)).astype(np.float32)
    centers = random.normal(size=(7, d))
    np.testing.assert_array_equal(labels_of(X, centers), naive.assign(X, centers))


@pytest.mark.parametrize("d", [2, 12, 13, 20])
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 255, 256, 257, 259, 515])
def test_labels_with_any_number_of_centers(k, d):
    random = np.random.default_rng(k)
    X = random.normal(size=(300, d))
    centers = random.normal(size=(k, d))
    np.testing.assert_array_equal(labels_of(X, centers), naive.assign(X, centers))


@pytest.mark.parametrize("d", [3, 16])
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int8", "uint16", "int16"])
def test_labels_of_each_type(dtype, d):
    random = np.random.default_rng(5)
    X = np.clip(random.normal(size=(600, d)) * 30 + 60, 0, 127).astype(dtype)
    centers = X[:9].astype(np.float64) + 0.5  # halves: equal distances abound
    np.testing.assert_array_equal(labels_of(X, centers), naive.assign(X, centers))


@pytest.mark.parametrize("d", [2, 14])
@pytest.mark.parametrize(
    ("offset", "spread"),
    [(1e6, 1.0), (-1e12, 1.0), (1e15, 1.0), (0, 1e-30), (0, 1e-150), (0, 1e12), (0, 1e100)],
)
def test_labels_far_from_the_origin_and_in_any_unit(offset, spread, d):
    random = np.random.default_rng(9)
    X = random.normal(size=(700, d)) * spread + offset
    centers = random.normal(size=(11, d)) * spread + offset
    np.testing.assert_array_equal(labels_of(X, centers), naive.assign(X, centers))


@pytest.mark.parametrize("d", [2, 14])
def test_rows_halfway_between_two_centers_go_to_the_lower_index(d):
    centers = np.zeros((6, d))
    centers[:, 0] = [4.0, 0.0, 2.0, 2.0, 6.0, 0.0]
    X = np.zeros((5, d))
    X[:, 0] = [1.0, 3.0, 2.0, 0.0, 5.0]
    np.testing.assert_array_equal(labels_of(X, centers), [1, 0, 2, 1, 0])


@pytest.mark.parametrize("d", [3, 15])
def test_near_ties_below_float32_are_decided_in_float64(d):
    random = np.random.default_rng(2)
    X = random.normal(size=(2000, d))
    one = random.normal(size=d)
    centers = np.stack([one, one + 1e-12, one - 1e-12, one + 3e-13, one])
    np.testing.assert_array_equal(labels_of(X, centers), naive.assign(X, centers))


@pytest.mark.parametrize("d", [3, 15])
def test_one_center_far_from_all_others(d):
    random = np.random.default_rng(3)
    X = random.normal(size=(500, d))
    X[17] = 1e9
    centers = np.concatenate([X[:6], X[17:18]])
    np.testing.assert_array_equal(labels_of(X, centers), naive.assign(X, centers))


@pytest.mark.parametrize("d", [3, 15])
def test_rows_that_are_not_finite_have_the_label_minus_one(d):
    random = np.random.default_rng(4)
    X = random.normal(size=(520, d))
    bad = [0, 255, 256, 519]
    X[bad, [0, 1, 2, d - 1]] = [np.nan, np.inf, -np.inf, np.nan]
    labels = labels_of(X, random.normal(size=(5, d)))
    np.testing.assert_array_equal(np.flatnonzero(labels < 0), bad)


@given(cases(features=(1, 2, 5, 13)))
def test_a_step_equals_the_naive_one(case):
    X, weights, centers = case.X, case.unit_weights, case.centers
    part, grid = assigned(in_memory(X, case.weights, (len(X),)), centers, want_labels=True)
    labels = naive.assign(X, centers)
    np.testing.assert_array_equal(part.labels[0], labels)
    held = np.where(weights > 0, labels, -1)
    k = len(centers)
    np.testing.assert_array_equal(part.counts, [(held == j).sum() for j in range(k)])
    sums, moved = sums_to_floats(part.sums, grid), X.astype(np.float64) - grid.origin
    bound = np.abs(moved[weights > 0]).max(axis=0) * weights.max()
    digits = 2.0**-36 if len(grid.rows) == 1 else 2.0**-52
    for j in range(k):
        own = (held == j)[:, None] * weights[:, None] * moved
        for f in range(X.shape[1]):
            allowed = len(X) * digits * bound[f] * 2
            assert abs(sums[j, f] - math.fsum(own[:, f])) <= allowed
    true = naive.inertia(X, weights, centers, labels)
    assert exact.to_float(part.inertia) == pytest.approx(true, rel=1e-15)
    if case.weights is not None:
        masses = weights_to_floats(part.masses, grid)
        np.testing.assert_allclose(masses, [math.fsum(weights[held == j]) for j in range(k)])


@given(cases(), st.data())
def test_parts_combine_to_the_same_bits_in_any_order_and_grouping(case, data):
    whole, grid = assigned(in_memory(case.X, case.weights, (len(case.X),)), case.centers)
    blocks = in_memory(case.X, case.weights, case.chunks)
    weights = blocks.weights or (NO_WEIGHTS,) * blocks.count
    step = LloydStep(case.centers, grid)
    parts = [
        step(kernel_view(X), w, offset, 0)
        for X, w, offset in zip(blocks.X, weights, blocks.offsets, strict=True)
    ]
    parts = data.draw(st.permutations(parts))
    at = np.cumsum([0, *data.draw(chunkings(len(parts), most=4))])
    grouped = [Partial.combine(parts[a:b]) for a, b in pairwise(at) if b > a]
    total = functools.reduce(lambda a, b: Partial.combine([a, b]), grouped)
    np.testing.assert_array_equal(
        sums_to_floats(total.sums, grid), sums_to_floats(whole.sums, grid)
    )
    np.testing.assert_array_equal(
        weights_to_floats(total.masses, grid), weights_to_floats(whole.masses, grid)
    )
    np.testing.assert_array_equal(total.counts, whole.counts)
    np.testing.assert_array_equal(exact.carry(total.inertia), exact.carry(whole.inertia))
    np.testing.assert_array_equal(total.far.keys, whole.far.keys)
    np.testing.assert_array_equal(total.far.index, whole.far.index)
    np.testing.assert_array_equal(total.far.values, whole.far.values)


def test_a_step_names_the_first_value_that_is_not_finite():
    X = np.ones((6, 3))
    X[4, 1], X[5, 0] = np.inf, np.nan
    part, _ = assigned(in_memory(X, None, (1, 3, 2)), np.zeros((1, 3)))
    assert (part.bad.row, part.bad.column, part.bad.value) == (4, 1, np.inf)


@given(
    st.lists(st.integers(0, 20), max_size=60),
    st.integers(1, 12),
)
def test_the_heap_keeps_the_smallest_keys_and_of_equal_ones_the_lowest_rows(offered, most):
    keys, rows = np.empty(most), np.empty(most, np.int64)
    size = 0
    for row, key in enumerate(offered):
        size = called(sampling.offer)(keys, rows, size, float(key), row)
    kept = sorted(zip(keys[:size], rows[:size], strict=True))
    assert kept == sorted((float(key), row) for row, key in enumerate(offered))[:most]


def test_uniform_numbers_are_uniform():
    key = sampling.stream_key(0, 1)
    u = naive.uniforms(key, 20_000)
    assert u.min() > 0
    assert u.max() < 1
    counts = np.histogram(u, bins=50, range=(0, 1))[0]
    chi_sq = float(((counts - 400.0) ** 2 / 400.0).sum())
    assert chi_sq < 94  # 49 degrees of freedom; beyond with probability 1e-4
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 0.03
    other = naive.uniforms(sampling.stream_key(0, 2), 20_000)
    assert abs(np.corrcoef(u, other)[0, 1]) < 0.03
    assert len(np.unique(u)) == len(u)


def test_uniform_numbers_depend_on_seed_stream_and_row_alone():
    keys = [sampling.stream_key(*s) for s in [(0, 1), (1, 1), (0, 2), (0, 1, 3), (0, 2, 1)]]
    firsts = {sampling.uniform(key, 7) for key in keys}
    assert len(firsts) == len(keys)
    assert sampling.uniform(keys[0], 7) == sampling.uniform(sampling.stream_key(0, 1), np.int64(7))


@given(cases(features=(1, 3, 13), dtypes=("float32", "float64")))
def test_distances_are_euclidean(case):
    out = np.empty((len(case.X), len(case.centers)))
    kernels.distances(kernel_view(case.X), case.centers, out)
    np.testing.assert_allclose(out, np.sqrt(naive.sq_distances(case.X, case.centers)), rtol=1e-14)


@given(cases(features=(1, 3, 8, 9, 14)))
def test_a_step_that_measures_nothing_has_the_same_sums(case):
    whole, grid = assigned(in_memory(case.X, case.weights, (len(case.X),)), case.centers)
    weights = NO_WEIGHTS if case.weights is None else case.weights
    part = LloydStep(case.centers, grid, measure=False)(kernel_view(case.X), weights, 0, 0)
    for name in ("sums", "masses", "counts", "bad"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name))
    assert not part.inertia.any()
    assert len(part.far) == 0


@pytest.mark.parametrize("d", [1, 2, 3, 4, 5, 8, 9, 16, 17, 24, 63, 64, 65, 80, 130, 300])
@pytest.mark.parametrize("k", [1, 7, 8, 70])
def test_labels_and_sums_of_any_number_of_features(k, d):
    random = np.random.default_rng(d)
    n = 1100 if d < 20 else 150
    X = random.normal(size=(n, d)).astype(np.float32) + np.float32(3)
    X[5] = X[6]
    centers = X[random.integers(0, n, size=k)].astype(np.float64)
    part, grid = assigned(in_memory(X, None, (n,)), centers, want_labels=True)
    labels = naive.assign(X, centers)
    np.testing.assert_array_equal(part.labels[0], labels)
    rows = naive.levels_of_rows(X.astype(np.float64), np.ones(n), grid)
    sums = np.zeros_like(part.sums)
    np.add.at(sums, labels, rows)
    np.testing.assert_array_equal(sums_to_floats(part.sums, grid), sums_to_floats(sums, grid))


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int8", "uint16", "int32"])
@pytest.mark.parametrize("d", [3, 11, 16, 75])
def test_sums_of_each_type(dtype, d):
    random = np.random.default_rng(6)
    X = np.clip(random.normal(size=(300, d)) * 30 + 60, 0, 127).round().astype(dtype)
    centers = X[:5].astype(np.float64)
    part, grid = assigned(in_memory(X, None, (120, 180)), centers)
    labels = naive.assign(X, centers)
    sums = [X[labels == j].astype(np.float64).sum(axis=0) for j in range(5)]
    origins = part.counts[:, None] * grid.origin
    np.testing.assert_array_equal(sums_to_floats(part.sums, grid) + origins, sums)


@pytest.mark.parametrize("d", [2, 16, 40])
@pytest.mark.parametrize(
    ("offset", "spread"),
    [(1e6, 1e-3), (1e20, 1e18), (0, 1e-30), (0, 1e-42), (0, 1e37), (3e38, 1e36)],
)
def test_labels_of_float32_far_from_the_origin_and_in_any_unit(offset, spread, d):
    random = np.random.default_rng(8)
    X = np.clip(random.normal(size=(600, d)) * spread + offset, -3.3e38, 3.3e38).astype(np.float32)
    centers = X[random.choice(600, 9)].astype(np.float64)
    np.testing.assert_array_equal(labels_of(X, centers), naive.assign(X, centers))


def test_labels_of_float32_rows_and_centers_that_float32_cannot_hold():
    random = np.random.default_rng(12)
    X = random.normal(size=(300, 5)).astype(np.float32)
    for scale in (1e-60, 1e-20, 1e60):
        centers = random.normal(size=(6, 5)) * scale
        np.testing.assert_array_equal(labels_of(X, centers), naive.assign(X, centers))
