"""A sweep gives the models of separate fits, and reads the data once for all of them.

Its metrics are those of scikit-learn, and cost a pass for all models.
"""

import dask.array as da
import numpy as np
import pandas as pd
import pytest
import zarr
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.metrics import (
    calinski_harabasz_score,
    davies_bouldin_score,
    silhouette_score,
)
from test_passes import CountingStore, Reads
from zarr.storage import LocalStore

from dkmeans import DataError, KMeans, sweep
from dkmeans.engine import survey as survey_module
from dkmeans.sweeping import knee

N, D = 900, 3
KS = (2, 5, 3)


@pytest.fixture(scope="module")
def X():
    return make_blobs(N, D, centers=5, cluster_std=2.0, random_state=0)[0]


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(survey_module, "SAMPLE_VALUES", 150 * D)


def same(model, alone):
    assert model.cluster_centers_.tobytes() == alone.cluster_centers_.tobytes()
    assert model.inertia_ == alone.inertia_
    assert (model.n_iter_, model.stop_reason_) == (alone.n_iter_, alone.stop_reason_)
    assert model.history_.best_run == alone.history_.best_run
    np.testing.assert_array_equal(model.labels_, alone.labels_)
    for one, other in zip(
        [i for i in model.history_ if i.phase != "survey"],
        [i for i in alone.history_ if i.phase != "survey"],
        strict=True,
    ):
        assert (one.phase, one.run, one.step, one.sizes) == (
            other.phase,
            other.run,
            other.step,
            other.sizes,
        )
        np.testing.assert_array_equal(one.centers, other.centers)
        np.testing.assert_array_equal(one.inertia, other.inertia)


@pytest.mark.parametrize("init", ["auto", "k-means||", "k-means++", "random"])
@pytest.mark.parametrize("n_init", [1, 3])
@pytest.mark.parametrize("where", ["numpy", "stream"])
def test_each_model_is_that_of_a_fit_of_its_own(X, small, init, n_init, where):
    given = X if where == "numpy" else da.from_array(X, chunks=(200, D))
    options = {"init": init, "n_init": n_init, "random_state": 4, "max_iter": 20}
    if where == "stream":
        options["residency"] = "stream"
    found = sweep(given, KS, **options)
    assert list(found.models) == [2, 3, 5]
    for k, model in found.models.items():
        assert model.n_clusters == k
        same(model, KMeans(k, **options).fit(given))


@pytest.mark.parametrize("algorithm", ["auto", "lloyd"])
def test_with_weights_and_rows_left_out(X, small, algorithm):
    gaps = X.copy()
    gaps[::30, 0] = np.nan
    weights = np.random.default_rng(0).uniform(0, 2, size=N)
    weights[::4] = 0
    options = {"random_state": 0, "nan_policy": "omit", "algorithm": algorithm, "n_init": 2}
    found = sweep(gaps, KS, sample_weight=weights, **options)
    for k, model in found.models.items():
        same(model, KMeans(k, **options).fit(gaps, sample_weight=weights))


@pytest.mark.parametrize("random_state", [np.random.RandomState(3), None, np.int64(7)])
def test_every_model_can_be_fitted_again(X, random_state):
    found = sweep(X, (2, 4), n_init=2, random_state=random_state)
    assert len({m.random_state for m in found.models.values()}) == 1
    for model in found.models.values():
        same(model, clone(model).fit(X))


def test_a_random_state_goes_on_and_an_integer_does_not(X):
    random = np.random.RandomState(3)
    seeds = [sweep(X, [2], random_state=random).models[2].random_state for _ in range(2)]
    assert seeds[0] != seeds[1]
    assert sweep(X, [2], random_state=7).models[2].random_state == 7


@pytest.mark.parametrize(
    ("k", "got"),
    [
        ([], "none"),
        (range(0), "none"),
        ([2, 0], "0"),
        ([-1], "-1"),
        ([2.0], "2.0"),
        ([True], "True"),
        ("23", "'2'"),
        (None, "None"),
        ([[2, 3]], r"\[2, 3\]"),
    ],
)
def test_numbers_of_clusters_that_are_none(X, k, got):
    with pytest.raises(ValueError, match=f"k must be positive integers, .*; got {got}"):
        sweep(X, k)


def test_more_clusters_than_rows_are_refused_before_any_fit(X):
    with pytest.raises(ValueError, match="n_samples=900 should be >= n_clusters=901"):
        sweep(X, [2, 901])


def test_numbers_are_taken_once_from_any_iterable(X):
    for k in (iter([3, 2, 3]), np.array([2, 3]), {3, 2}, (n for n in (2, 3))):
        assert list(sweep(X, k, random_state=0, max_iter=2).models) == [2, 3]
    assert list(sweep(X, 3, random_state=0, max_iter=2).models) == [3]


@pytest.fixture
def counted(X, tmp_path):
    reads, store = Reads(), LocalStore(tmp_path / "x.zarr")
    zarr.create_array(store, data=X, chunks=(90, D))
    given = zarr.open_array(CountingStore(store, reads), mode="r+")
    reads.counts.clear()
    return given, reads


def reads_of_each(reads):
    assert len(reads.counts) == N // 90
    (times,) = set(reads.counts.values())
    return times


@pytest.mark.parametrize("n_init", [1, 3])
@pytest.mark.parametrize("algorithm", ["auto", "lloyd"])
def test_all_fits_read_each_chunk_once_a_pass(X, small, counted, n_init, algorithm):
    given, reads = counted
    options = {"random_state": 1, "n_init": n_init, "residency": "stream", "algorithm": algorithm}
    found = sweep(given, range(2, 7), metrics=(), **options)
    times = reads_of_each(reads)
    assert found.passes == times
    assert found.bytes_read == times * X.nbytes
    alone = []
    for k in range(2, 7):
        reads.counts.clear()
        model = KMeans(k, **options).fit(given)
        alone.append(reads_of_each(reads))
        assert model.history_.passes == alone[-1]
        assert model.history_.bytes_read == alone[-1] * X.nbytes
    assert max(alone) <= times <= 1.5 * max(alone)
    if algorithm == "lloyd":
        assert times == max(alone)


def test_the_table_has_a_line_for_each(X):
    found = sweep(X, (2, 3), random_state=0, metrics=())
    assert found.table.index.tolist() == [2, 3]
    assert found.table.columns.tolist() == ["inertia", "n_iter", "stop_reason"]
    assert found.table.loc[3, "inertia"] == found.models[3].inertia_
    assert str(found.models[2].n_iter_) in str(found)


SKLEARN = {
    "silhouette": silhouette_score,
    "calinski_harabasz": calinski_harabasz_score,
    "davies_bouldin": davies_bouldin_score,
}


@pytest.mark.parametrize("where", ["numpy", "stream", "memory"])
def test_metrics_are_those_of_scikit_learn(X, where):
    given = X if where == "numpy" else da.from_array(X, chunks=(200, D))
    options = {} if where == "numpy" else {"residency": where}
    found = sweep(given, range(1, 7), random_state=0, **options)
    for k, model in found.models.items():
        labels = np.asarray(model.labels_)
        for name, score in SKLEARN.items():
            value = found.table.loc[k, name]
            if k == 1:
                assert np.isnan(value)
            else:
                assert value == pytest.approx(score(X, labels), rel=1e-9), (name, k)
    assert found.table["silhouette_error"].tolist()[1:] == [0] * 5
    for name, choose in (("silhouette", max), ("calinski_harabasz", max), ("davies_bouldin", min)):
        expected = choose(range(2, 7), key=lambda k: found.table.loc[k, name])
        assert found.best_by(name) == expected
    assert found.best_k == found.best_by("silhouette")


@pytest.mark.parametrize(
    ("metrics", "passes"),
    [((), 0), ("silhouette", 1), (("davies_bouldin",), 1), (tuple(SKLEARN), 1)],
)
def test_all_models_are_scored_by_the_same_pass(X, small, counted, metrics, passes):
    given, reads = counted
    found = sweep(given, range(1, 7), metrics=metrics, residency="stream", random_state=1)
    fits = sum(model.history_.passes for model in found.models.values())
    assert reads_of_each(reads) == found.passes == fits + passes
    assert found.bytes_read == found.passes * X.nbytes


def test_metrics_do_not_depend_on_the_blocks_or_the_scheduler(X, client):
    tables = [
        sweep(given, (2, 5), random_state=0).table
        for given in (X, *(da.from_array(X, chunks=(rows, D)) for rows in (130, 900)))
    ]
    for table in tables[1:]:
        pd.testing.assert_frame_equal(table, tables[0], check_exact=True)


@pytest.mark.parametrize("algorithm", ["auto", "lloyd"])
@pytest.mark.parametrize("ends", [{"max_iter": 2}, {"tol": 0.05}, {"dedupe": "never"}])
def test_the_metrics_of_rows_that_repeat_and_of_fits_that_are_cut_short(
    X, monkeypatch, algorithm, ends
):
    monkeypatch.setattr("dkmeans.engine.dedupe.LEAST_ROWS", 8)
    rows = np.repeat(np.round(X), 6, axis=0)
    options = {"random_state": 0, "init": "random", "n_init": 1, "algorithm": algorithm, **ends}
    found = sweep(rows, (2, 5), metrics=tuple(SKLEARN)[1:], **options)
    assert found.scores.passes == 1
    for k, model in found.models.items():
        for name in tuple(SKLEARN)[1:]:
            expected = SKLEARN[name](rows, model.labels_)
            assert found.table.loc[k, name] == pytest.approx(expected, rel=1e-9), (name, k)


def test_weights_move_centers_but_no_metric_counts_them(X):
    weights = np.random.default_rng(0).uniform(0.1, 3, N)
    found = sweep(X, (2, 5), sample_weight=weights, random_state=0)
    assert found.scores.passes == 2
    for k, model in found.models.items():
        for name, score in SKLEARN.items():
            assert found.table.loc[k, name] == pytest.approx(score(X, model.labels_), rel=1e-9)


def test_the_plot_is_the_elbow(X):
    found = sweep(X, (2, 3, 5), random_state=0, metrics=())
    (line, *_) = found.plot().lines
    np.testing.assert_array_equal(line.get_xydata(), found.table["inertia"].reset_index())


def test_data_in_memory_are_not_read_again_to_score(X, counted):
    given, reads = counted
    found = sweep(given, range(2, 7), residency="memory", random_state=1)
    assert reads_of_each(reads) == 1
    assert found.bytes_read == X.nbytes
    assert found.scores.passes == 1


@pytest.mark.parametrize(("metrics", "passes"), [("silhouette", 1), (tuple(SKLEARN), 1)])
def test_the_silhouette_of_few_rows_is_exact_though_the_history_keeps_fewer(
    X, counted, metrics, passes
):
    given, _ = counted
    options = {"random_state": 0, "history_rows": 300, "metrics": metrics}
    found = sweep(given, (2, 5), residency="stream", **options)
    for k, model in found.models.items():
        expected = silhouette_score(X, model.labels_.compute())
        assert found.table.loc[k, "silhouette"] == pytest.approx(expected, rel=1e-9)
    assert found.table["silhouette_error"].tolist() == [0, 0]
    assert found.scores.passes == passes
    none = sweep(X, (2, 5), **(options | {"history_rows": 0}))
    assert none.table["silhouette"].tolist() == found.table["silhouette"].tolist()


def test_the_silhouette_of_many_rows_is_that_of_a_sample(X, monkeypatch):
    monkeypatch.setattr("dkmeans.scoring.SAMPLE_SIZE", 600)
    exact = sweep(X, (2, 5), random_state=0, history_rows=900).table["silhouette"]
    table = sweep(X, (2, 5), random_state=0, history_rows=300).table
    assert (table["silhouette_error"] > 0).all()
    assert (abs(table["silhouette"] - exact) < 4 * table["silhouette_error"]).all()

    def listen(iteration):
        pytest.fail("a fit began")

    with pytest.raises(DataError, match="fit with history_rows above 0"):
        sweep(X, (2, 5), history_rows=0, callbacks=listen)
    assert sweep(X, (2, 5), history_rows=0, metrics=["davies_bouldin"]).criteria == (
        "davies_bouldin",
        "knee",
    )


def test_rows_left_out_have_no_part_in_the_metrics(X):
    gaps = X.copy()
    gaps[::30, 0] = np.nan
    kept = np.delete(X, np.s_[::30], axis=0)
    found = sweep(gaps, (2, 5), random_state=0, nan_policy="omit")
    for k, model in found.models.items():
        labels = model.labels_[model.labels_ >= 0]
        for name, score in SKLEARN.items():
            assert found.table.loc[k, name] == pytest.approx(score(kept, labels), rel=1e-9)
    assert (found.table["silhouette_error"] == 0).all()


def test_a_sample_of_all_rows_that_take_part_has_no_error(X, monkeypatch):
    monkeypatch.setattr("dkmeans.scoring.SAMPLE_SIZE", 600)
    gaps, weights = X.copy(), np.ones(N)
    gaps[::3, 0] = np.nan
    weights[1::3] = 0
    for history_rows, exact in ((300, True), (299, False)):
        options = {"random_state": 0, "nan_policy": "omit", "history_rows": history_rows}
        found = sweep(gaps, (2, 5), sample_weight=weights, **options)
        assert len(found.models[2].history_.sample) == history_rows
        assert ((found.table["silhouette_error"] == 0) == exact).all()


def test_metrics_that_are_not_defined_are_nan():
    found = sweep(np.array([[0.0], [1.0], [5.0]]), (1, 3), random_state=0)
    assert found.table[list(SKLEARN)].isna().all(axis=None)
    assert found.best_k is None
    assert "none by silhouette" in str(found)


def test_a_criterion_that_is_not_there_is_named(X):
    found = sweep(X, (2, 3), random_state=0, metrics=["davies_bouldin"])
    expected = "must be one of davies_bouldin, knee, got 'silhouette'; .* metrics= of the sweep"
    with pytest.raises(ValueError, match=expected):
        _ = found.best_k
    with pytest.raises(ValueError, match=r"must be among silhouette, .*; got 'elbow'"):
        sweep(X, (2, 3), metrics=("silhouette", "elbow"))


@pytest.mark.parametrize(
    ("inertia", "expected"),
    [
        ([10, 4, 1, 0.9, 0.8], 3),  # over the diagonal by .40, .73, .50 and then 0
        ([10, 1, 0.9, 0.8, 0.7], 2),
        ([5, 4, 3, 2, 1], None),  # a straight line has none
        ([5, 5, 5, 5, 5], None),
        ([10, 9, 8, 6, 0], None),  # falls ever faster
    ],
)
def test_the_knee_of_curves_worked_by_hand(inertia, expected):
    assert knee([1, 2, 3, 4, 5], inertia) == expected


def test_the_knee_goes_by_the_numbers_and_not_their_order():
    assert knee([1, 2, 4, 8, 16], [16, 8, 4, 2, 1]) == 4
    assert knee([2, 3], [2, 1]) is None


def test_what_is_chosen_is_shown_in_a_column_of_the_table(X):
    found = sweep(X, range(1, 7), random_state=0)
    columns = {"silhouette", "calinski_harabasz", "davies_bouldin", "inertia"}
    assert {column for column, _ in found.chosen} == columns <= set(found.table)
    assert dict(found.chosen)["inertia"] == found.best_by("knee")
