"""The in-memory search: its bookkeeping is that of brute force, and what it finds is good."""

import itertools

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, load_iris, load_wine

from dkmeans.engine import search as module
from dkmeans.engine import search_kernels as kernels
from dkmeans.engine import search_state_kernels as steps
from dkmeans.engine.search import improve, search
from tests import naive
from tests.strategies import called

UNIT = np.empty(0)


def naive_cost(points, weights, centers):
    weights = weights if len(weights) else np.ones(len(points))
    return naive.inertia(points, weights, centers, naive.assign(points, centers))


def state(points, weights, k, seed=0):
    """Rows in tiles, a workspace, and the rows as the search sees them."""
    tiles = module.tiles_of(points, weights)
    work = steps.workspace(tiles.values, tiles.weights, k, np.uint64(seed))
    m, d = points.shape
    rows = tiles.values.transpose(0, 2, 1).reshape(-1, tiles.values.shape[1])[:m, :d]
    return tiles, work, rows.astype(np.float64), tiles.weights.ravel()[:m].astype(np.float64)


def call(function, *args):
    return called(function)(*args)


def centers_in(work, k, d):
    return work.centers.transpose(0, 2, 1).reshape(-1, work.centers.shape[1])[:k, :d].astype(float)


def two_nearest_are_exact(work, rows, centers):
    sq = np.sort(naive.sq_distances(rows, centers), axis=1)
    count = len(rows)
    np.testing.assert_allclose(work.dist[0].ravel()[:count], sq[:, 0], rtol=1e-4, atol=1e-10)
    np.testing.assert_allclose(work.dist[1].ravel()[:count], sq[:, 1], rtol=1e-4)
    assert (work.own.ravel()[:count] == naive.assign(rows, centers)).all()


def blobs(seed, k, side, n=40, spread=1.0, sizes=None):
    """Rows about the points of a grid, and those points."""
    rng = np.random.default_rng(seed)
    grid = side * np.argwhere(np.ones((10, 10)))[:k].astype(np.float64)
    labels = np.repeat(np.arange(k), n if sizes is None else sizes)
    return grid[labels] + spread * rng.normal(size=(len(labels), 2)), grid


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
@pytest.mark.parametrize(("d", "k"), [(2, 1), (3, 8), (17, 40)])
def test_the_cost_is_that_of_the_centers(dtype, d, k):
    rng = np.random.default_rng(0)
    points = (rng.random((500, d)) * 100).astype(dtype)
    points.flags.writeable = False
    weights = rng.random(500)
    for given in (UNIT, weights):
        for found in [*search(points, given, k, 0), improve(points, given, points[:k], 0)]:
            assert found.centers.shape == (k, d)
            assert found.centers.dtype == np.float64
            assert found.cost == pytest.approx(naive_cost(points, given, found.centers), rel=1e-5)


def test_costs_ascend_and_differ():
    points = np.random.default_rng(1).normal(size=(800, 3))
    costs = [found.cost for found in search(points, UNIT, 8, 0)]
    assert 1 <= len(costs) <= 3
    assert all(a < b for a, b in itertools.pairwise(costs))


@pytest.mark.parametrize("d", [1, 2, 5, 20])
def test_seeding_keeps_the_two_nearest(d):
    rng = np.random.default_rng(2)
    _tiles, work, rows, weights = state(rng.normal(size=(300, d)), rng.random(300), 9)
    cost = call(kernels._seed, work)
    centers = centers_in(work, 9, d)
    assert all((rows == center).all(axis=1).any() for center in centers)
    two_nearest_are_exact(work, rows, centers)
    assert cost == pytest.approx(naive_cost(rows, weights, centers), rel=1e-5)
    assert cost == pytest.approx(work.share.sum())


def test_seeding_draws_by_the_squared_distance():
    points = np.array([[0.0, 0], [1, 0], [3, 0]])
    drawn = []
    for seed in range(600):
        _, work, rows, _ = state(points, UNIT, 2, seed + 1)
        call(kernels._seed, work)
        pair = [int(np.abs(rows - c).sum(axis=1).argmin()) for c in centers_in(work, 2, 2)]
        drawn.append(tuple(pair))
    after_first = [second for first, second in drawn if first == 0]
    assert len(after_first) == pytest.approx(200, abs=50)
    assert after_first.count(2) / len(after_first) == pytest.approx(0.9, abs=0.07)


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize(("d", "k"), [(2, 7), (7, 7), (2, 20), (7, 20)])
def test_a_swap_is_weighed_and_made_as_by_brute_force(d, k, ordered):
    rng = np.random.default_rng(3)
    _tiles, work, rows, weights = state(rng.normal(size=(1600, d)), rng.random(1600), k)
    call(kernels._seed, work)
    if ordered:
        order = np.argsort(work.own.ravel(), kind="stable")
        work, rows, weights = work.take(order), rows[order], weights[order]
        assert any(len(set(tile)) == 1 for tile in work.own)
    cost = call(steps.cost_of, work)
    call(steps.tally, work)
    centers = centers_in(work, k, d)
    work.point[:d] = rows[5]
    call(steps.sweep, work.tiles, work.point, work.dist[2])
    gain = call(steps.weigh, work)
    expected = []
    for j in range(k):
        swapped = centers.copy()
        swapped[j] = rows[5]
        expected.append(naive_cost(rows, weights, swapped))
    np.testing.assert_allclose(cost + work.stats[1] - gain, expected, rtol=1e-4)
    j = int(np.argmin(expected))
    call(steps.swap, work, j)
    assert call(steps.cost_of, work) == pytest.approx(expected[j], rel=1e-5)
    centers[j] = rows[5]
    labels = naive.assign(rows, centers)
    assert (work.own.ravel() == labels).all()
    sums = np.array([(weights[labels == c, None] * rows[labels == c]).sum(0) for c in range(k)])
    np.testing.assert_allclose(work.sums[:, :d], sums, atol=1e-9)
    two_nearest_are_exact(work, rows, centers)


@pytest.mark.parametrize("d", [2, 7])
@pytest.mark.parametrize("k", [2, 6, 40, 150])
def test_after_shakes_the_two_nearest_are_known(d, k):
    _tiles, work, rows, _ = state(np.random.default_rng(8).normal(size=(1600, d)), UNIT, k)
    before = call(kernels._seed, work)
    after = call(kernels._shake, work, 60, 60, 1e-5, 5)
    assert after < 0.95 * before  # so some were kept
    two_nearest_are_exact(work, rows, centers_in(work, k, d))
    assert call(steps.cost_of, work) == pytest.approx(after)


def test_a_local_lloyd_explains_what_its_assignment_does():
    rng = np.random.default_rng(4)
    _, work, rows, _weights = state(rng.normal(size=(500, 3)), UNIT, 12)
    call(kernels._seed, work)
    call(steps.tally, work)
    explained = call(kernels._settle, work, 0.0, 0.0, 8)
    labels = work.own.ravel()[:500]
    assert (labels == naive.assign(rows, centers_in(work, 12, 3))).all()
    sums = np.array([rows[labels == c].sum(0) for c in range(12)])
    counts = np.bincount(labels, minlength=12)
    assert explained == pytest.approx(((sums**2).sum(1) / counts).sum(), rel=1e-9)


@pytest.mark.parametrize("k", [5, 30])
def test_lloyd_ends_where_the_naive_one_does(k):
    points = np.random.default_rng(5).normal(size=(600, 3))
    _tiles, work, rows, _ = state(points, UNIT, k)
    call(kernels._seed, work)
    start = centers_in(work, k, 3)
    cost = call(kernels._lloyd, work, 1.0, 0.0, 300)
    fit = naive.lloyd(rows, start, max_iter=300, tol=0.0)
    assert cost == pytest.approx(fit.inertia, rel=1e-4)


def test_repetition_and_threads_do_not_matter_and_the_seed_does():
    points = np.random.default_rng(6).normal(size=(9000, 8))
    for rows, k in ((500, 8), (5000, 8), (9000, 8)):  # one thread, several, some of the rows
        first, again = (search(points[:rows], UNIT, k, 3, threads=t) for t in (1, 3))
        assert [f.cost for f in first] == [a.cost for a in again]
        assert all((a.centers == b.centers).all() for a, b in zip(first, again, strict=True))
        assert (search(points[:rows], UNIT, k, 4)[0].centers != first[0].centers).any()


@pytest.mark.parametrize("k", [15, 32])
def test_more_is_tried_for_rows_that_stand_for_many(k):
    points = np.random.default_rng(9).random((20_000, 2)).astype(np.float32)
    plain, thorough = (
        [search(points, UNIT, k, seed, polish=False, of=of)[0].cost for seed in range(6)]
        for of in (0, 10**6)
    )
    assert all(a <= b * (1 + 1e-4) for a, b in zip(thorough, plain, strict=True))
    assert sum(thorough) < sum(plain)


def test_without_polish_the_cost_is_an_estimate():
    rng = np.random.default_rng(6)
    points, weights = rng.normal(size=(20_000, 3)), rng.uniform(1, 3, size=20_000)
    [rough] = search(points, weights, 8, 0, polish=False)
    true = naive.inertia(points, weights, rough.centers, naive.assign(points, rough.centers))
    assert rough.cost == pytest.approx(true, rel=0.05)
    [polished] = search(points, weights, 8, 0)
    assert polished.cost < true


def test_whole_weights_cost_as_rows_repeated():
    rng = np.random.default_rng(7)
    points, weights = rng.normal(size=(300, 2)), rng.integers(0, 4, size=300).astype(np.float64)
    repeated = np.repeat(points, weights.astype(int), axis=0)
    found = search(points, weights, 6, 0)[0]
    assert found.cost == pytest.approx(naive_cost(repeated, UNIT, found.centers), rel=1e-6)
    assert found.cost <= 1.03 * search(repeated, UNIT, 6, 0)[0].cost


def test_rows_without_weight_are_never_chosen():
    rng = np.random.default_rng(8)
    points, weights = rng.normal(size=(500, 2)), np.ones(500)
    points[::2] += 1000
    weights[::2] = 0
    for seed in range(20):
        assert np.abs(search(points, weights, 10, seed)[0].centers).max() < 10


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 8, 9])
def test_fewer_rows_than_clusters(rows):
    points = np.arange(rows * 2, dtype=np.float64).reshape(rows, 2)
    for found in search(points, UNIT, 8, 0):
        assert found.centers.shape == (8, 2)
        assert np.isfinite(found.centers).all()
        assert found.cost == pytest.approx(0.5 * 4 if rows == 9 else 0, abs=2.1)
    assert np.isfinite(improve(points, UNIT, np.zeros((8, 2)), 0).centers).all()


def test_duplicates_and_rows_all_alike():
    few = np.random.default_rng(9).normal(size=(5, 3))
    for points in (np.repeat(few, 60, axis=0), np.zeros((100, 2)), np.full((70, 1), 1e9)):
        found = search(points, UNIT, 8, 0)[0]
        assert np.isfinite(found.centers).all()
        assert found.cost <= 1e-10 * max(1.0, float(np.square(points).sum()))


def test_no_weight_at_all():
    found = search(np.random.default_rng(0).normal(size=(50, 2)), np.zeros(50), 3, 0)[0]
    assert found.cost == 0
    assert np.isfinite(found.centers).all()


@pytest.mark.parametrize(("scale", "offset"), [(1, 1e6), (1e-100, 0), (1e100, 0), (1e-3, -1e5)])
def test_offset_and_unit_do_not_matter(scale, offset):
    points = np.random.default_rng(10).normal(size=(500, 3))
    plain = search(points, UNIT, 6, 0)[0].cost
    moved = search(points * scale + offset, UNIT, 6, 0)[0].cost
    assert moved / scale**2 == pytest.approx(plain, rel=0.02)


def test_improve_finds_what_lloyd_does_not():
    points, grid = blobs(0, 25, 10.0)
    trapped = grid.copy()
    trapped[:3] = grid[10] + np.array([[0, 0], [0.5, 0], [0, 0.5]])
    found = improve(points, UNIT, trapped, 0)
    assert found.cost < 1.01 * naive_cost(points, UNIT, search(points, UNIT, 25, 0)[0].centers)
    assert naive.sq_distances(grid, found.centers).min(axis=1).max() < 1


@pytest.mark.parametrize("k", [15, 40, 100])
@pytest.mark.parametrize("unequal", [False, True])
def test_every_cluster_that_is_apart_is_found(k, unequal):
    sizes = np.where(np.arange(k) % 5 == 0, 200, 12) if unequal else None
    points, grid = blobs(k, k, 12.0, sizes=sizes)
    for seed in range(25):
        centers = search(points, UNIT, k, seed)[0].centers
        assert naive.sq_distances(grid, centers).min(axis=1).max() < 4


@pytest.mark.parametrize("name", ["iris", "wine", "digits", "noise", "mixture"])
def test_as_good_as_ten_restarts(name):
    rng = np.random.default_rng(11)
    points, k = {
        "iris": lambda: (load_iris().data, 3),
        "wine": lambda: (load_wine().data, 3),
        "digits": lambda: (load_digits().data, 10),
        "noise": lambda: (rng.random((2000, 2)), 20),
        "mixture": lambda: (rng.normal(size=(2000, 8)) + rng.integers(0, 3, (2000, 8)) * 2, 30),
    }[name]()
    best = KMeans(k, n_init=10, random_state=0).fit(points).inertia_
    ratios = [search(points, UNIT, k, seed)[0].cost / best for seed in range(15)]
    assert np.median(ratios) <= 1.001
    assert max(ratios) <= 1.03
