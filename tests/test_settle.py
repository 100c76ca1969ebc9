"""Iterations on kept rows are those of plain Lloyd's, to the bit, and end where they should."""

import pickle
from fractions import Fraction
from unittest import mock

import naive
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from strategies import Case, clumps, in_memory, journeys, ran, surveyed

from dkmeans import KMeans
from dkmeans.engine import bounds, settle
from dkmeans.engine import lloyd as lloyd_module
from dkmeans.engine.jobs import Away
from dkmeans.engine.kept import Choice
from dkmeans.engine.settle import Stop
from dkmeans.engine.staying import Moved

STOPS = [Stop(300, 0.0), Stop(300, 1e-3), Stop(1, 0.0), Stop(4, 0.0)]


def takes_part(case):
    return np.isfinite(case.X.astype(np.float64)).all(axis=1) & (case.unit_weights > 0)


def same(one, other):
    assert one.numbers == other.numbers
    assert one.fit.centers.tobytes() == other.fit.centers.tobytes()
    assert one.fit.counts.tolist() == other.fit.counts.tolist()
    assert (one.fit.inertia, one.fit.n_iter) == (other.fit.inertia, other.fit.n_iter)
    assert one.fit.stop_reason == other.fit.stop_reason


def blobs(seed, n=300, k=5, d=2):
    random = np.random.default_rng(seed)
    return random.normal(size=(n, d)) + random.normal(size=(k, d))[np.arange(n) % k] * 3


@settings(max_examples=150)
@given(journeys(), st.sampled_from(STOPS), st.sampled_from([0.05, 0.25, 1.0]), st.data())
def test_whatever_is_kept_the_iterations_are_the_same(case, stop, share, data):
    assume(takes_part(case).any())
    n = len(case.X)
    room = data.draw(st.sampled_from([1, 3, n // 8 + 1, n // 2 + 1, n]))
    plain = ran(case, 0, stop=stop)
    whole = ran(Case(case.X, case.weights, (n,), case.centers), 0, stop=stop, streamed=False)
    same(whole, plain)
    with mock.patch.object(lloyd_module, "KEPT_SHARE", share):
        kept = ran(case, room, stop=stop)
    same(kept, plain)
    assert kept.passes <= plain.passes
    everything = ran(case, n, stop=stop, streamed=False)
    same(everything, plain)
    held = plain.fit.centers
    np.testing.assert_array_equal(everything.fit.labels, naive.assign(case.X, held))
    np.testing.assert_array_equal(whole.fit.labels, everything.fit.labels)


class Apart(lloyd_module.RunStep):
    """A pass whose kept rows stay in two places, each with rows of every other block."""

    def finish(self, whole, threads):
        """Iterate on the rows where they are."""
        whole, rows = whole.without_rows(), whole.split_off()
        assert all(len(chunk.labels) for chunk in rows)
        halves = [[c.take(np.arange(len(c.labels)) % 2 == half) for c in rows] for half in (0, 1)]

        def do(at, step):
            assert at == ()
            step = pickle.loads(pickle.dumps(step))
            return Moved.combine([step(half, threads) for half in halves])

        return super().finish(whole.with_rows(Away(do)), threads)


@settings(max_examples=150)
@given(journeys(), st.sampled_from(STOPS), st.sampled_from([0.05, 0.25, 1.0]), st.data())
def test_rows_that_stay_apart_lead_to_the_same_iterations(case, stop, share, data):
    assume(takes_part(case).any())
    n = len(case.X)
    room = data.draw(st.sampled_from([1, 3, n // 8 + 1, n // 2 + 1, n]))
    plain = ran(case, 0, stop=stop)
    with (
        mock.patch.object(lloyd_module, "KEPT_SHARE", share),
        mock.patch.object(lloyd_module, "RunStep", Apart),
    ):
        apart = ran(case, room, stop=stop)
    same(apart, plain)
    assert apart.passes <= plain.passes


def test_rows_that_stay_apart_save_as_many_passes():
    X = blobs(5, n=20_000, k=8, d=4)
    case = Case(X, None, (5_000,) * 4, X[np.argsort(X[:, 0])[:20]])
    stop = Stop(40, 0.0)
    together = ran(case, 5_000, stop=stop)
    with mock.patch.object(lloyd_module, "RunStep", Apart):
        apart = ran(case, 5_000, stop=stop, threads=3)
    same(apart, together)
    assert apart.passes <= together.passes < apart.fit.n_iter


@settings(max_examples=100)
@given(journeys(), st.sampled_from(STOPS))
def test_inertia_is_that_of_the_centers(case, stop):
    assume(takes_part(case).any())
    found = ran(case, len(case.X), stop=stop, streamed=False).fit
    weights = np.where(takes_part(case), case.unit_weights, 0.0)
    expected = naive.inertia(case.X, weights, found.centers, found.labels)
    assert found.inertia == pytest.approx(expected, rel=1e-11, abs=0)


@settings(max_examples=100)
@given(clumps(), st.integers(1, 9))
def test_strict_convergence_is_a_fixed_point(X, k):
    """One more naive step changes no label but those of rows between two centers."""
    X, k = X.astype(np.float64), min(k, len(X))
    case = Case(X, None, (len(X),), X[:k])
    found = ran(case, len(X), streamed=False).fit
    assert found.stop_reason == "converged"
    after = naive.update(X, case.unit_weights, found.centers, case.X.dtype)
    scale = np.abs(X).max() * np.finfo(X.dtype).eps
    np.testing.assert_allclose(after, found.centers, rtol=0, atol=4 * scale)
    clear = naive.margins(X, found.centers, found.labels)[0] > 8 * np.sqrt(X.shape[1]) * scale
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(naive.assign(X, after)[clear], found.labels[clear])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("tol", [0.0, 1e-3])
def test_whole_runs_are_naive_ones(seed, tol):
    X = blobs(seed)
    init = X[np.argsort(X[:, 0])[:6]]  # all in one place, to travel
    expected = naive.lloyd(X, init, tol=tol)
    for algorithm in ("auto", "lloyd"):
        found = KMeans(6, init=init, tol=tol, algorithm=algorithm).fit(X)
        assert (found.n_iter_, found.stop_reason_) == (expected.n_iter, expected.stop_reason)
        np.testing.assert_array_equal(found.labels_, expected.labels)
        assert found.inertia_ == pytest.approx(expected.inertia, rel=1e-12)


@pytest.mark.parametrize("scale", [1e-140, 1e-45, 1e-44, 1e-38, 1e37, 1e38, 1e60, 1e140])
def test_values_beyond_the_range_of_float32(scale):
    X = blobs(0) * scale
    case = Case(X, None, (100, 200), X[:5])
    plain = ran(case, 0)
    assert plain.fit.n_iter > 4
    with mock.patch.object(lloyd_module, "KEPT_SHARE", 1.0):
        same(ran(case, 150), plain)
    everything = ran(case, 300, streamed=False)
    same(everything, plain)
    expected = naive.lloyd(X, X[:5], tol=0.0)
    np.testing.assert_array_equal(everything.fit.labels, expected.labels)
    assert everything.fit.n_iter == expected.n_iter


@pytest.mark.parametrize("max_iter", [1, 2, 3, 4])
@pytest.mark.parametrize("empties", ["one place", "far away"])
def test_empty_clusters_move_alike_until_any_iteration(max_iter, empties):
    X = blobs(3)
    init = np.repeat(X[:1], 12, axis=0)
    if empties == "far away":
        init[1:] += np.arange(11)[:, None] * 100.0
    case, stop = Case(X, None, (90, 0, 210), init), Stop(max_iter, 0.0)
    plain, whole = ran(case, 0, stop=stop), ran(case, 300, streamed=False, stop=stop)
    same(whole, plain)
    with mock.patch.object(lloyd_module, "KEPT_SHARE", 1.0):
        same(ran(case, 150, stop=stop), plain)
    expected = naive.lloyd(X, init, tol=0.0, max_iter=max_iter)
    np.testing.assert_array_equal(whole.fit.labels, expected.labels)
    np.testing.assert_allclose(whole.fit.centers, expected.centers, rtol=1e-12)


def test_a_cluster_that_empties_on_the_way_is_moved_to_the_farthest_row():
    emptied = 0
    for seed in range(300):
        random = np.random.default_rng(seed)
        X = random.normal(size=(12, 1)) * 4
        init = random.normal(size=(5, 1)) * 4
        case = Case(X, None, (12,), init)
        plain, whole = ran(case, 0), ran(case, 12, streamed=False)
        same(whole, plain)
        later = [n for n in plain.numbers[1:] if n[0] == "lloyd" and 0 in n[5]]
        emptied += bool(later)
        expected = naive.lloyd(X, init, tol=0.0)
        np.testing.assert_array_equal(whole.fit.labels, expected.labels)
    assert emptied > 5


@pytest.mark.parametrize("apart", [1e2, 1e4, 1e6, 1e8])
@pytest.mark.parametrize("tol", [0.0, 1e-9])
def test_clusters_far_apart_cost_the_inertia_no_digits(apart, tol):
    for seed in range(20):
        random = np.random.default_rng(seed)
        X = random.normal(size=(60, 2)) + (random.normal(size=(3, 2)) * apart)[np.arange(60) % 3]
        case = Case(X, None, (60,), X[:9] + 0.1)
        found = ran(case, 60, streamed=False, stop=Stop(300, tol)).fit
        expected = naive.inertia(X, case.unit_weights, found.centers, found.labels)
        assert found.inertia == pytest.approx(expected, rel=1e-11)


def test_an_inertia_that_is_all_rounding_is_measured():
    """Each row a cluster: the centers are off by a digit, and so is nearly all of the inertia."""
    X = np.random.default_rng(0).normal(size=(12, 1))
    found = ran(Case(X, None, (12,), X), 12, streamed=False).fit
    expected = naive.inertia(X, np.ones(12), found.centers, found.labels)
    assert found.inertia == expected


def test_inertia_that_lost_its_digits_is_measured_by_a_pass_more():
    X = blobs(1, k=2) + 1e7 * (np.arange(300) % 2)[:, None]
    case = Case(X, None, (300,), X[[0, 2, 4, 1, 3]])
    plain, whole = ran(case, 0), ran(case, 300, streamed=False)
    same(whole, plain)
    assert whole.numbers[-1][0] == "final"
    assert whole.passes == 2
    assert plain.passes == plain.fit.n_iter + 1
    near = Case(blobs(1), None, (300,), blobs(1)[:5])
    assert ran(near, 300, streamed=False).passes == 1


@settings(max_examples=100)
@given(clumps(max_rows=40), st.integers(1, 8), st.integers(0, 3))
@example(np.array([[0.0], [1.0], [2.0]]), 3, 0)
def test_no_row_within_its_reach_is_near_a_center_that_is_apart(X, k, seed):
    random = np.random.default_rng(seed)
    centers = X[random.integers(len(X), size=k)].astype(np.float64)
    reach = np.abs(random.normal(size=k)) * 10.0 ** random.uniform(-3, 5, size=k)
    pairs = [(a, b) for a in range(k) for b in range(k)]
    gaps = np.sqrt(naive.sq_distances(centers, centers))
    reach = np.where(random.random(k) < 0.5, gaps[:, 0] / 2, reach)  # at the very limit
    apart = bounds.apart_from(centers, reach)
    for a, b in pairs:
        steps = [Fraction(u) - Fraction(v) for u, v in zip(centers[a], centers[b], strict=True)]
        touching = sum(s * s for s in steps) <= (2 * Fraction(reach[a])) ** 2
        assert not (touching and apart[a, b])
    far = bounds.apart_from(np.array([[0.0], [10.0], [20.0]]), np.array([4.9, 5.1, 1.0]))
    np.testing.assert_array_equal(far, [[0, 1, 1], [0, 0, 0], [1, 1, 0]])


def test_by_how_much_margins_drop():
    moves = np.array([1.0, 5.0, 2.0])
    np.testing.assert_array_equal(settle.drops_of(moves), [6.0, 7.0, 7.0])
    np.testing.assert_array_equal(settle.drops_of(np.array([3.0])), [6.0])
    near = np.array([[1, 0, 1], [0, 1, 0], [1, 1, 1]], bool)
    np.testing.assert_array_equal(bounds._largest_near(moves, near), [2.0, 0.0, 5.0])


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_of_iterations_in_memory(threads):
    X = blobs(5, n=20_000, k=8, d=4)
    case = Case(X, None, (5_000,) * 4, X[np.argsort(X[:, 0])[:70]])
    stop = Stop(12, 0.0)
    plain = ran(case, 0, stop=stop)
    same(ran(case, 20_000, stop=stop, threads=threads, streamed=False), plain)
    assert plain.fit.n_iter == 12


@settings(max_examples=150)
@given(st.integers(0, 2**32 - 1), st.sampled_from([None, 0.3, 0.8]), st.integers(2, 8))
def test_labels_follow_centers_wherever_they_go(seed, share, k):
    """Centers creep, leap to rows of other groups and come back; others stay where they are."""
    random = np.random.default_rng(seed)
    d, n = int(random.integers(1, 4)), 90
    groups = random.normal(size=(4, d)) * 10.0 ** random.uniform(0, 2.5)
    X = groups[np.arange(n) % 4] + random.normal(size=(n, d))
    centers = X[random.integers(n, size=k)] + random.normal(size=(k, d)) * 0.1
    blocks = in_memory(X, None, (n,))
    passes, survey = surveyed(blocks)
    cuts = np.full(k, np.inf if share is None else np.quantile(np.ptp(X, axis=0), share) / 4)
    choice = Choice(None if share is None else n, 1.0, cuts, survey.span)
    step = lloyd_module.LloydStep(centers, survey.grid, choice=choice)
    partial = passes.run(blocks, step, "lloyd")
    rules = settle.Rules(survey.grid, np.dtype(float), False, STOPS[0])
    sums = settle.Sums(partial, rules)
    rows = bounds.KeptRows(partial.kept, centers, 1)
    at_pass = naive.assign(X, centers)
    kept_rows = np.concatenate([c.X for c in rows._kept.chunks]) if partial.kept.n_rows else X[:0]
    held = np.isin(X[:, 0], kept_rows[:, 0])
    goal, traveller = X[random.integers(n)], int(random.integers(k))
    for _ in range(14):
        centers = centers.copy()
        if seed % 2:  # one comes from afar, little by little
            centers[traveller] += 0.3 * (goal - centers[traveller])
            moved = np.array([traveller])
        else:
            moved = random.integers(k, size=int(random.integers(1, 3)))
        size = 10.0 ** random.uniform(-3, 0.5 - seed % 2 * 2, size=(len(moved), 1))
        centers[moved] += random.normal(size=(len(moved), d)) * size
        if seed % 2 == 0 and random.random() < 0.3:
            centers[moved[0]] = X[random.integers(n)] + random.normal(size=d) * 10.0
        if not rows.follow(centers, sums):
            assert share is not None
            break
        labels = naive.assign(X, centers)
        found = np.concatenate([c.labels for c in rows._kept.chunks] or [labels[:0]])
        np.testing.assert_array_equal(found, labels[held])
        np.testing.assert_array_equal(labels[~held], at_pass[~held])
        np.testing.assert_array_equal(sums.counts, np.bincount(labels, minlength=k))
        own = np.sqrt(naive.sq_to_own(X, centers, labels))
        assert (own[held] <= rows._reach[labels[held]]).all()


def test_centers_that_come_from_afar_are_seen_in_time():
    """Clusters that were apart at the pass come near: rows are looked at although none is due."""
    random = np.random.default_rng(2)
    line = np.concatenate([random.normal(size=(40, 1)) + 12.0 * at for at in range(12)])
    case = Case(line, None, (len(line),), line[:12] + np.linspace(0, 0.1, 12)[:, None])
    plain, whole = ran(case, 0), ran(case, len(line), streamed=False)
    same(whole, plain)
    assert plain.fit.n_iter > 10
    expected = naive.lloyd(line, case.centers, tol=0.0)
    np.testing.assert_array_equal(whole.fit.labels, expected.labels)
