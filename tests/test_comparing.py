"""Two models side by side, and starts side by side."""

from dataclasses import replace

import dask.array as da
import naive
import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans as SklearnKMeans
from sklearn.datasets import make_blobs
from sklearn.preprocessing import scale
from strategies import cases, lazy
from test_passes import INPUTS, Reads

from dkmeans import DataError, History, KMeans, compare, compare_inits, plot
from dkmeans.comparing import InitComparison


@pytest.fixture(scope="module")
def X():
    return make_blobs(1000, 3, centers=4, cluster_std=2.0, random_state=0)[0]


def test_by_hand():
    X = np.array([[0.0], [1.0], [10.0], [11.0], [12.0], [30.0]])
    found = compare([[10.0], [30.0], [0.0]], [[0.0], [11.0]], X)
    assert found.matches.tolist() == [[0, 1], [2, 0]]
    assert found.distances.tolist() == [1, 0]
    assert found.counts.tolist() == [[0, 3], [0, 1], [2, 0]]
    assert found.inertias == (1 + 0 + 1 + 4 + 0, 1 + 1 + 0 + 1 + 19**2)
    assert found.inertia_ratio == 6 / 364
    assert found.agreement == 5 / 6
    assert found.unmatched == ([1], [])
    assert found.table["rows"].tolist() == [3, 2]
    assert found.table["other_rows"].tolist() == [4, 2]
    assert found.table["shared_rows"].tolist() == [3, 2]
    text = str(found)
    assert "6 and 364, ratio 0.01648351648" in text
    assert "83.3333% of 6" in text
    assert "unmatched  1" in text
    assert "other  " not in text.split("\n\n", maxsplit=1)[0]


def test_the_same_clusters_in_another_order_agree_in_full(X):
    model = KMeans(4, random_state=0, tol=0).fit(X)
    order = np.array([2, 0, 3, 1])
    other = SklearnKMeans(4, init=model.cluster_centers_[order], n_init=1, tol=0).fit(X)
    for rows in (X, da.from_array(X, chunks=(130, 3))):
        found = compare(model, other, rows)
        assert order[found.matches[:, 1]].tolist() == [0, 1, 2, 3]
        assert found.distances.max() < 1e-13
        assert (found.agreement, found.adjusted_rand) == (1.0, 1.0)
        assert found.inertia_ratio == pytest.approx(1, rel=1e-14)
        assert found.inertias[0] == model.inertia_
        assert found.unmatched == ([], [])
        assert "unmatched" not in str(found)


@given(cases(), st.data())
def test_it_is_the_obvious_one_whatever_the_blocks(case, data):
    rows = data.draw(st.lists(st.integers(0, len(case.X) - 1), min_size=1, max_size=5))
    other = case.X[rows].astype(np.float64)
    found = compare(case.centers, other, case.X)
    ours, theirs = naive.assign(case.X, case.centers), naive.assign(case.X, other)
    counts = sklearn.metrics.cluster.contingency_matrix(ours, theirs)
    np.testing.assert_array_equal(found.counts[np.ix_(np.unique(ours), np.unique(theirs))], counts)
    assert found.counts.sum() == len(case.X)
    wanted = sklearn.metrics.adjusted_rand_score(ours, theirs)
    assert found.adjusted_rand == pytest.approx(wanted, abs=1e-12)
    for inertia, centers, labels in zip(
        found.inertias, (case.centers, other), (ours, theirs), strict=True
    ):
        assert inertia == pytest.approx(
            naive.inertia(case.X, np.ones(len(case.X)), centers, labels), rel=1e-12
        )
    again = compare(case.centers, other, lazy(case.X, case.chunks))
    assert (again.inertias, again.adjusted_rand) == (found.inertias, found.adjusted_rand)
    np.testing.assert_array_equal(again.counts, found.counts)


@pytest.mark.parametrize("make", INPUTS, ids=lambda f: f.__name__.removesuffix("_input"))
def test_it_reads_each_piece_once(make, X, tmp_path, monkeypatch):
    reads = Reads()
    rows = make(X, reads, tmp_path, monkeypatch)
    model = KMeans(4, random_state=0).fit(rows)
    reads.counts.clear()
    compare(model, X[:5], rows)
    assert reads.each() == 1


def test_rows_that_the_first_model_leaves_out_are_left_out_of_both(X):
    bad = X.copy()
    bad[::9] = np.nan
    model = KMeans(4, random_state=0, nan_policy="omit").fit(bad)
    found = compare(model, X[:5], bad)
    assert found.counts.sum() == np.isfinite(bad).all(axis=1).sum()
    with pytest.raises(DataError, match="NaN: nan at row 0, column 0"):
        compare(X[:5], model, bad)
    with pytest.raises(DataError, match="Found array with 0 sample"):
        compare(model, X[:5], bad[:1])


def test_models_of_other_features_are_refused(X):
    with pytest.raises(DataError, match="the models have 3 and 2 features"):
        compare(X[:4], X[:4, :2], X)


def test_models_of_the_same_features_in_another_order_are_refused(X):
    frame = pd.DataFrame(X, columns=list("abc"))
    model = KMeans(3, random_state=0).fit(frame)
    other = SklearnKMeans(3, random_state=0).fit(frame[["b", "a", "c"]])
    expected = r"fitted to the features \['a', 'b', 'c'\] and \['b', 'a', 'c'\]"
    with pytest.raises(DataError, match=expected):
        compare(model, other, frame)
    assert compare(model, X[:3], frame).counts.sum() == len(X)


def blobs(n, k):
    return scale(make_blobs(n, centers=k, cluster_std=0.8, random_state=42)[0])


@pytest.mark.parametrize(
    ("n", "k", "best"),
    [pytest.param(200, 3, 7.864161, id="C4"), pytest.param(300, 4, 11.317023, id="C5")],
)
def test_c4_c5_twenty_starts_of_each_init(n, k, best):
    found = compare_inits(blobs(n, k), k, random_state=0)
    table = found.table
    assert table.index.tolist() == ["auto", "k-means||", "k-means++", "random"]
    np.testing.assert_allclose(table["best"], best, atol=6e-7)
    assert table["worst"]["random"] > 2 * best
    assert table["worst"]["auto"] == pytest.approx(best, abs=6e-7)
    for init, model in found.models.items():
        inertias = found.inertias[init]
        assert len(inertias) == 20
        line = table.loc[init]
        assert line["mean"] == pytest.approx(np.mean(inertias), rel=1e-12)
        assert line["std"] == pytest.approx(np.std(inertias), rel=1e-9, abs=1e-12)
        assert (line["best"], line["worst"]) == (min(inertias), max(inertias))
        assert line["best"] == model.inertia_
        assert line["passes"] == model.history_.passes
        assert line["seconds"] == model.history_.seconds > 0
    assert str(found).splitlines()[1].split()[0] == "init"


def test_each_start_is_that_of_a_fit_of_its_own(X):
    found = compare_inits(X, 5, ["random", "k-means++"], n_runs=3, random_state=7, max_iter=4)
    for init, curves in found.curves.items():
        model = found.models[init]
        assert (model.n_init, model.max_iter) == (3, 4)
        best = [i.inertia for i in model.history_.best() if i.phase in ("lloyd", "final")]
        assert curves[model.history_.best_run] == best
        assert all(curve == sorted(curve, reverse=True) for curve in curves)
        assert found.table["n_iter"][init] == pytest.approx(
            np.mean([len(c) - 1 if len(c) > 4 else len(c) for c in curves])
        )
        assert found.inertias[init] == [curve[-1] for curve in curves]
    again = compare_inits(
        da.from_array(X, chunks=(130, 3)), 5, "random", n_runs=3, random_state=7, max_iter=4
    )
    assert again.curves == {"random": found.curves["random"]}


def test_starts_of_an_init_share_their_passes(X, tmp_path, monkeypatch):
    reads = Reads()
    rows = INPUTS[0](X, reads, tmp_path, monkeypatch)
    reads.counts.clear()
    options = {"algorithm": "lloyd", "residency": "stream"}
    found = compare_inits(rows, 4, ["random"], n_runs=5, random_state=0, **options)
    assert reads.each() == found.table["passes"]["random"]
    assert found.table["passes"]["random"] <= 2 + max(len(c) for c in found.curves["random"])


def test_what_cannot_be_is_named(X):
    for wrong in ([], [X[:4]], [None]):
        with pytest.raises(ValueError, match="inits must be words such as auto"):
            compare_inits(X, 4, wrong)
    with pytest.raises(ValueError, match=r"inits must be among auto, .*; got 'kmeans'"):
        compare_inits(X, 4, ["random", "kmeans"])
    with pytest.raises(TypeError, match="n_runs, the starts of each init, in place of n_init"):
        compare_inits(X, 4, n_init=3)
    with pytest.raises(ValueError, match="n_runs must be an integer of at least 1"):
        compare_inits(X, 4, n_runs=0)


def test_iterations_whose_inertia_is_not_known_are_no_part_of_a_curve(X):
    model = KMeans(3, init="random", n_init=2, max_iter=3, tol=0, random_state=0).fit(X)
    steps = [
        replace(i, inertia=np.nan) if (i.run, i.phase, i.step) == (1, "lloyd", 2) else i
        for i in model.history_
    ]
    model.history_ = History(steps, model.history_.best_run)
    first, second = InitComparison({"random": model}).curves["random"]
    assert (len(first), len(second)) == (4, 3)
    assert [step for step, _ in model.history_.curve(0)] == [1, 2, 3, 4]
    assert [step for step, _ in model.history_.curve(1)] == [1, 3, 4]
    assert model.history_.curve()[-1] == (4, model.inertia_)
    lines = plot.convergence(model.history_).lines
    assert [len(line.get_xdata()) for line in lines] == [4, 3]
