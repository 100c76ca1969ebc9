"""Lloyd's algorithm on counts of colours, box after box, is that on the colours one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive import assign, sq_to_own

from dkmeans.engine import cell_kernels
from dkmeans.engine.cells import Cells
from dkmeans.engine.distinct import Counts, pack, places

THREADS = 2


def cells_of(colors, weights):
    """Cells of distinct colours (n, 3), and the colours with their weights in order."""
    codes = pack(colors)
    order = np.argsort(codes)
    counts = Counts(codes[order], np.asarray(weights, np.int64)[order])
    return Cells.of(counts.table(3)), colors[order], counts.counts


def drawn(seed, n, spread):
    """Distinct colours around a few, and how often each is there."""
    random = np.random.default_rng(seed)
    around = random.integers(0, 256, (4, 3))[random.integers(0, 4, n)]
    colors = np.unique(
        np.clip(around + random.normal(0, spread, (n, 3)), 0, 255).astype(np.uint8), axis=0
    )
    return colors, random.integers(1, 2**33, len(colors)) if seed % 2 else np.ones(len(colors), int)


def check(colors, weights, centers):
    """What each center has, and labels, against the direct formula; ties go to the first."""
    cells, colors, weights = cells_of(colors, weights)
    labels = np.zeros(256**3, np.uint16)
    owned = cells.assign(centers, THREADS, labels)
    points = colors.astype(np.float64)
    expected = assign(points, centers)
    np.testing.assert_array_equal(labels[places(pack(colors), 3)], expected)
    sums = np.zeros((len(centers), 3), np.int64)
    np.add.at(sums, expected, weights[:, None] * colors.astype(np.int64))
    np.testing.assert_array_equal(owned.sums, sums)
    masses = np.zeros(len(centers), np.int64)
    np.add.at(masses, expected, weights)
    np.testing.assert_array_equal(owned.masses, masses)
    error = (weights * sq_to_own(points, centers, expected)).sum()
    assert owned.inertia(centers) == pytest.approx(error, rel=1e-9, abs=1e-3)


@given(
    st.integers(0, 99),
    st.integers(1, 400),
    st.sampled_from([0.5, 3, 40]),
    st.integers(1, 9),
    st.booleans(),
)
def test_all_colours_go_to_their_nearest_centers(seed, n, spread, k, whole):
    colors, weights = drawn(seed, n, spread)
    random = np.random.default_rng(seed)
    centers = colors[random.integers(0, len(colors), k)] + random.normal(0, 2, (k, 3))
    check(colors, weights, np.rint(centers) if whole else centers)  # whole ones are often alike


def test_equally_near_centers():
    grid = np.stack(np.meshgrid(*[np.arange(0, 24, 2)] * 3), axis=-1).reshape(-1, 3)
    centers = np.array([[8.0, 8, 8], [4, 4, 4], [4, 4, 4], [12, 8, 8], [300, -50, 8]])
    check(grid.astype(np.uint8), np.ones(len(grid), int), centers)


def test_boxes_by_hand():
    colors = np.array([[0, 0, 0], [3, 0, 1], [255, 255, 255]], np.uint8)
    cells, _, _ = cells_of(colors, [1, 2, 5])
    assert [len(m) for m in cells.masses] == [8**3, 8**4, 8**5, 8**6]
    for masses, sums in zip(cells.masses, cells.sums, strict=True):
        assert masses[[0, -1]].tolist() == [3, 5]
        assert masses.sum() == 8
        assert sums[[0, -1]].tolist() == [[6, 0, 2], [1275, 1275, 1275]]
    assert cells.square == 2 * 10 + 5 * 3 * 255**2
    means, masses = cells.means(3)
    assert means.tolist() == [[2, 0, 2 / 3], [255, 255, 255]]
    assert masses.tolist() == [3, 5]


def test_the_offsets_of_a_cell_are_those_of_its_codes():
    offsets = cell_kernels._OFFSETS.T.astype(np.uint8)
    np.testing.assert_array_equal(places(pack(offsets), 3), np.arange(cell_kernels.CELL))


@pytest.mark.parametrize("threads", [1, 3])
def test_iterations_end_where_no_center_moves(threads):
    colors, weights = drawn(3, 3000, 20)
    cells, colors, weights = cells_of(colors, weights)
    start = colors[:: len(colors) // 5][:5].astype(np.float64)
    centers = cells.lloyd(start, 0, 1000, threads)
    owned = cells.assign(centers, threads)
    np.testing.assert_array_equal(owned.means, centers)
    points, slow = colors.astype(np.float64), start
    for _ in range(1000):
        labels = assign(points, slow)
        slow = np.stack(
            [np.average(points[labels == j], 0, weights[labels == j]) for j in range(5)]
        )
    plain = (weights * sq_to_own(points, slow, assign(points, slow))).sum()
    assert owned.inertia(centers) == pytest.approx(plain, rel=0.01)


def test_a_tolerance_ends_it_sooner_and_no_worse_than_it_began():
    colors, weights = drawn(4, 3000, 30)
    cells, _, _ = cells_of(colors, weights)
    start = colors[::500].astype(np.float64)
    inertias = []
    for tol in (1.0, 1e-3, 0):
        centers = cells.lloyd(start, tol, 1000, THREADS)
        inertias.append(cells.assign(centers, THREADS).inertia(centers))
    assert cells.assign(start, THREADS).inertia(start) > inertias[0] > inertias[1] > inertias[2]


def test_a_center_without_colours_is_told():
    colors = np.array([[0, 0, 0], [9, 9, 9]], np.uint8)
    cells, _, _ = cells_of(colors, [1, 1])
    assert cells.lloyd(np.array([[0.0, 0, 0], [200, 0, 0], [8, 8, 8]]), 0, 10, THREADS) is None
