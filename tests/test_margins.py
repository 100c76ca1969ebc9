"""Margins are never above the true ones, and what is kept by them is what may change sides."""

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import cases, clumps, in_memory, surveyed, tables

from dkmeans.engine import kept, kernels, margin_kernels, sum_kernels
from dkmeans.engine.grid import Grid, levels_of
from dkmeans.engine.kept import BINS, Choice, Chunk, Kept, cuts_for, keep
from dkmeans.engine.lloyd import LloydStep


def reassigned(X, centers):
    """Labels, margins and reach, as the kernel has them."""
    labels, margins = np.empty(len(X), np.int32), np.empty(len(X), np.float32)
    reach = np.zeros(len(centers))
    X = X.view()
    X.flags.writeable = False
    sum_kernels.reassign(X, kernels.prepare(centers), labels, margins, reach)
    return labels, margins, reach


def check_bounds(X, centers):
    labels, margins, reach = reassigned(X, centers)
    np.testing.assert_array_equal(labels, naive.assign(X, centers))
    true, own = naive.margins(X, centers, labels)
    assert (margins >= 0).all()
    assert (margins.astype(np.longdouble) <= np.maximum(true, 0)).all()
    assert (reach[labels].astype(np.longdouble) >= own).all()
    return margins, true


@settings(max_examples=150)
@given(cases(features=(1, 2, 3, 5, 13, 40), dtypes=("float32", "float64", "uint8")))
def test_no_margin_is_above_the_true_one(case):
    check_bounds(case.X, case.centers)


@settings(max_examples=150)
@given(clumps(), st.integers(1, 9), st.integers(0, 2**32 - 1), st.sampled_from([1, 1e-43, 1e60]))
def test_nor_between_centers_and_at_any_scale(X, k, seed, scale):
    """Rows are also put on the lines between centers, within rounding of the middle."""
    random = np.random.default_rng(seed)
    centers = X[random.integers(len(X), size=k)].astype(np.float64)
    pairs = random.integers(k, size=(2, len(X)))
    share = random.choice([0.0, 0.25, 0.5, 0.5 + 1e-15, 0.5 - 1e-8, 0.49, 1.0], size=(len(X), 1))
    between = centers[pairs[0]] * (1 - share) + centers[pairs[1]] * share
    check_bounds(np.concatenate([X.astype(np.float64), between]) * scale, centers * scale)


@pytest.mark.parametrize("d", [2, 8, 20])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_margins_of_separate_clusters_are_nearly_the_true_ones(d, offset):
    random = np.random.default_rng(0)
    centers = random.normal(size=(7, d)) * 30 + offset
    X = centers[random.integers(7, size=500)] + random.normal(size=(500, d))
    margins, true = check_bounds(X, centers)
    assert (margins > 0.999 * true - 0.1).all()


def test_the_pass_writes_the_margins_of_the_kernel_of_its_own():
    random = np.random.default_rng(0)
    X = random.normal(size=(700, 3))
    X[::50] = np.nan
    blocks = in_memory(X, None, (700,))
    passes, survey = surveyed(blocks)
    choice = Choice(None, 1.0, np.full(5, np.inf), 1.0)
    step = LloydStep(X[1:6], survey.grid, choice=choice)
    (chunk,) = passes.run(blocks, step, "lloyd").kept.chunks
    labels, margins, reach = reassigned(X, X[1:6])
    np.testing.assert_array_equal(chunk.labels, labels)
    np.testing.assert_array_equal(chunk.margins, margins)
    assert (labels[::50] == -1).all()
    assert np.isinf(margins[::50]).all()
    assert np.isfinite(reach).all()


def test_a_row_too_far_to_tell_has_no_margin():
    X = np.array([[1.0], [1e30]])
    labels, margins, reach = reassigned(X, np.array([[0.0], [1e-9]]))
    assert labels.tolist() == [1, 0]
    assert margins[1] == 0
    assert reach[0] == np.inf


def test_rows_are_stale_when_the_limit_has_reached_their_bound():
    labels = np.array([0, 0, 1, -1, 1, 0], np.int32)
    bounds = np.array([1.0, 3.0, 1.0, 0.0, 5.0, 2.0], np.float32)
    rows = np.empty(6, np.int64)
    count = margin_kernels.stale(labels, bounds, np.array([2.0, 0.5]), rows)
    assert rows[:count].tolist() == [0, 5]
    assert margin_kernels.stale(labels, bounds, np.full(2, np.inf), rows) == 5
    assert margin_kernels.stale(labels, np.zeros(6, np.float32), np.zeros(2), rows) == 5


def test_fresh_labels_and_bounds_are_entered():
    labels = np.array([0, 1, 1, 0], np.int32)
    bounds = np.zeros(4, np.float32)
    moved, previous = np.empty(3, np.int64), np.empty(3, np.int32)
    total = np.array([10.0, 200.0])
    fresh, margins = np.array([1, 0, 0], np.int32), np.array([3.0, 4.0, 0.5], np.float32)
    rows = np.array([0, 1, 3])
    count = margin_kernels.settle_rows(rows, fresh, margins, total, labels, bounds, moved, previous)
    assert (moved[:count].tolist(), previous[:count].tolist()) == ([0, 1], [0, 1])
    assert labels.tolist() == [1, 0, 1, 0]
    true = np.array([203.0, 14.0, 0.0, 10.5])
    assert (bounds <= true).all()
    np.testing.assert_allclose(bounds, true, rtol=1e-5)


@settings(max_examples=60)
@given(cases(dtypes=("float32", "float64", "uint8")), st.integers(0, 2**32 - 1))
def test_moved_rows_leave_the_sums_of_the_labels_they_have(case, seed):
    """Sums of two passes differ by what the move of the rows that changed adds."""
    X = case.X.view()
    X.flags.writeable = False
    weights = np.empty(0) if case.weights is None else case.weights
    blocks = in_memory(X, case.weights, (len(X),))
    passes, survey = surveyed(blocks)
    grid, k = survey.grid, len(case.centers)
    random = np.random.default_rng(seed)
    other = X[random.integers(len(X), size=k)].astype(np.float64)
    one, two = (
        passes.run(blocks, LloydStep(c, grid, want_labels=True), "lloyd")
        for c in (case.centers, other)
    )
    old, new = one.labels[0], two.labels[0]
    rows = np.flatnonzero(old != new)
    bits = np.zeros((k, len(grid.rows), X.shape[1]), np.int64)
    masses, counts = np.zeros((k, len(grid.weights)), np.int64), np.zeros(k, np.int64)
    sum_kernels.move(X, weights, rows, old[rows], new, grid, bits, masses, counts)
    np.testing.assert_array_equal(one.counts + counts, two.counts)
    np.testing.assert_array_equal(one.masses + masses, two.masses)
    gained = levels_of(bits, np.zeros(k, np.int64), grid)
    exact = (two.sums - one.sums - gained).astype(object)
    assert all(
        sum(v * 2 ** (-28 * at) for at, v in enumerate(cell)) == 0
        for cell in exact.reshape(-1, exact.shape[-1])
    )


def chunk_of(seed, n=200, k=3, d=2):
    random = np.random.default_rng(seed)
    labels = random.integers(-1, k, size=n).astype(np.int32)
    margins = np.abs(random.normal(size=n)).astype(np.float32)
    margins[labels < 0] = np.inf
    weights = np.where(random.random(n) < 0.2, 0.0, 1.0) if seed % 2 else np.empty(0)
    return Chunk(random.normal(size=(n, d)), weights, labels, margins)


def counts_for(chunk):
    held = np.ones(len(chunk.labels)) if not len(chunk.weights) else chunk.weights
    return (chunk.labels >= 0) & (held > 0)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_rows_up_to_the_cut_are_kept_and_the_floor_is_below_all_others(seed, share):
    chunk, cuts = chunk_of(seed), np.array([0.1, 0.5, 2.0])
    found = keep(chunk, np.ones(3), Choice(1000, share, cuts, 4.0))
    part = counts_for(chunk)
    wanted = np.flatnonzero(part & (chunk.margins <= cuts[chunk.labels]))
    wanted = wanted[: int(share * 200) + 64]
    kept_rows = found.chunks[0]
    np.testing.assert_array_equal(kept_rows.X, chunk.X[wanted])
    np.testing.assert_array_equal(kept_rows.labels, chunk.labels[wanted])
    left = np.setdiff1d(np.flatnonzero(part), wanted)
    for j in range(3):
        rest = chunk.margins[left][chunk.labels[left] == j]
        assert found.floor[j] == rest.min(initial=np.inf)
        assert found.spread[j].sum() == (part & (chunk.labels == j)).sum()


def test_margins_are_counted_by_half_octaves_of_the_unit():
    values = np.float32([0.0, 1e-30, 1.0, 1.49, 1.51, 2.1, 3.1, 4.0, 100.0])
    chunk = Chunk(np.zeros((9, 1)), np.empty(0), np.zeros(9, np.int32), values)
    spread = keep(chunk, np.ones(1), kept.no_choice(1, 4.0)).spread[0]
    bins = {at: int(c) for at, c in enumerate(spread) if c}
    top = BINS - 1
    assert bins == {0: 2, top - 4: 2, top - 3: 1, top - 2: 1, top - 1: 1, top: 2}


@pytest.mark.parametrize("most", [0, 1, 50, 130, 10_000])
def test_of_too_many_rows_those_with_the_smallest_margins_stay(most):
    cuts = np.array([0.2, 1.0, 3.0])
    chunks = [chunk_of(2 * s) for s in range(3)]
    parts = [
        keep(c, np.full(3, s + 1.0), Choice(most, 1.0, cuts, 4.0)) for s, c in enumerate(chunks)
    ]
    whole = Kept.combine([Kept.combine(parts[:2]), parts[2]])
    assert whole.n_rows == min(most, sum(p.n_rows for p in parts))
    np.testing.assert_array_equal(whole.reach, np.full(3, 3.0))
    np.testing.assert_array_equal(whole.spread, sum(p.spread for p in parts))
    every = {
        (int(j), float(m))
        for c in chunks
        for j, m in zip(c.labels, c.margins, strict=True)
        if j >= 0
    }
    held = {
        (int(j), float(m)) for c in whole.chunks for j, m in zip(c.labels, c.margins, strict=True)
    }
    for j in range(3):
        left = min((m for i, m in every - held if i == j), default=np.inf)
        assert whole.floor[j] <= left
    ratio = sorted(m / cuts[j] for j, m in every if m <= cuts[j])
    np.testing.assert_allclose(sorted(m / cuts[j] for j, m in held), ratio[: whole.n_rows])
    assert whole.gathered().n_rows == whole.n_rows


def test_a_few_large_chunks_hold_what_came_in_many():
    parts = [
        keep(chunk_of(2 * s), np.ones(3), Choice(10**6, 1.0, np.full(3, 9.0), 4.0))
        for s in range(5)
    ]
    whole = Kept.combine(parts)
    gathered = whole.gathered()
    assert (len(whole.chunks), len(gathered.chunks)) == (5, 1)
    for name in ("X", "labels", "margins"):
        joined = np.concatenate([getattr(c, name) for c in whole.chunks])
        np.testing.assert_array_equal(getattr(gathered.chunks[0], name), joined)


@given(st.integers(0, 10**6), st.integers(0, 400), st.floats(1e-6, 10))
def test_cuts_keep_no_more_rows_than_there_is_room_for(seed, most, size):
    chunk = chunk_of(2 * (seed // 2))
    spread = keep(chunk, np.ones(3), kept.no_choice(3, 4.0)).spread
    drops = np.random.default_rng(seed).uniform(0, size, size=3)
    cuts = cuts_for(spread, 4.0, drops, most)
    part = counts_for(chunk)
    if cuts is None:
        assert (part & (chunk.margins <= 2 * drops[chunk.labels] + 1e-9)).sum() > 0
        return
    assert (part & (chunk.margins <= cuts[chunk.labels])).sum() <= most
    assert (cuts > 0).all()


@given(tables(min_rows=4, dtypes=("float32", "float64")))
def test_one_cluster_has_no_bounds(X):
    labels, margins, reach = reassigned(X, X[:1].astype(np.float64))
    assert (labels == 0).all()
    assert (margins > 0).all() or np.ptp(X) > 1e30
    assert np.isfinite(margins).all()
    assert np.isfinite(reach).all()


def test_a_row_that_moves_is_rounded_as_the_pass_rounds_it():
    """Values a little off half a step of the grid, which rounding twice would take for half."""
    grid = Grid(np.array([1.0]), np.array([[1.5 * 2.0**52 * 2.0**-34]]), np.full(4, 1.5 * 2.0**52))
    halves = (np.arange(24) + 0.5) * 2.0**-34
    X = np.nextafter(halves.astype(np.float32), np.float32(1))[:, None]
    one, two = np.array([[0.0], [9.0]]), np.array([[9.0], [0.0]])
    steps = [LloydStep(centers, grid, want_labels=True) for centers in (one, two)]
    first, second = (step(X, np.empty(0), 0, 0) for step in steps)
    bits, masses = np.zeros((2, 1, 1), np.int64), np.zeros((2, 4), np.int64)
    counts, rows = np.zeros(2, np.int64), np.arange(24)
    old, new = first.labels[0], second.labels[0]
    sum_kernels.move(X, np.empty(0), rows, old, new, grid, bits, masses, counts)
    gained = levels_of(bits, np.zeros(2, np.int64), grid)
    whole = [(sums[..., 0] << 28) + sums[..., 1] for sums in (second.sums - first.sums, gained)]
    np.testing.assert_array_equal(*whole)
    np.testing.assert_array_equal(first.counts + counts, second.counts)
