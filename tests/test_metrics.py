"""Scores are those of scikit-learn, whatever X and labels come from, in as many reads as told."""

import math
import os
import pickle
import statistics

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import sklearn.metrics
import zarr
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans as SklearnKMeans
from sklearn.datasets import load_iris, make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale
from strategies import chunkings, lazy, tables
from test_passes import INPUTS, CountingStore, Reads
from zarr.storage import LocalStore

from dkmeans import (
    DataError,
    KMeans,
    OutputError,
    SourceError,
    compare,
    metrics,
    profile,
    write_labels,
)
from dkmeans.data import sinks
from dkmeans.engine.cluster_stats import Pairs
from dkmeans.engine.label_sample import label_sample_spec
from dkmeans.engine.sampling import uniform

SCORES = ["davies_bouldin_score", "calinski_harabasz_score"]


@pytest.fixture(scope="module")
def X():
    return make_blobs(1000, 3, centers=4, cluster_std=2.0, random_state=0)[0]


@pytest.fixture(scope="module")
def model(X):
    return KMeans(4, random_state=0).fit(X)


def expected(name, X, labels):
    """scikit-learn's value, of data moved to where its distances keep their digits."""
    X = np.asarray(X, dtype=np.float64)
    return getattr(sklearn.metrics, name)(X - X.mean(axis=0), labels)


def obvious_davies_bouldin(X, labels):
    """By the direct formula; scikit-learn's distances have half the digits where they are short."""
    groups = [X[labels == label].astype(np.longdouble) for label in np.unique(labels)]
    means = np.array([g.mean(axis=0) for g in groups])
    apart = np.linalg.norm((means[:, None] - means).astype(np.float64), axis=2)
    radii = np.array([np.sqrt(np.square(g - g.mean(axis=0)).sum(axis=1)).mean() for g in groups])
    if np.allclose(radii.astype(np.float64), 0) or np.allclose(apart, 0):
        return 0.0
    apart[apart == 0] = np.inf
    return float(((radii[:, None] + radii) / apart).max(axis=1).mean())


def obvious_calinski_harabasz(X, labels):
    X = X.astype(np.longdouble)
    groups = [X[labels == label] for label in np.unique(labels)]
    within = sum(np.square(g - g.mean(axis=0)).sum() for g in groups)
    between = sum(len(g) * np.square(g.mean(axis=0) - X.mean(axis=0)).sum() for g in groups)
    n, k = len(X), len(groups)
    return 1.0 if within == 0 else float(between * (n - k) / (within * (k - 1)))


OBVIOUS = dict(zip(SCORES, (obvious_davies_bouldin, obvious_calinski_harabasz), strict=True))


def labels_for(random, n, kind):
    labels = random.integers(0, 5, size=n)
    return {"plain": labels, "gaps": labels * 10**12 - 7, "minus one": labels - 1}[kind]


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("kind", ["plain", "gaps", "minus one"])
@pytest.mark.parametrize("data", ["float64", "float32", "int16", "uint8", "offset"])
def test_scores_of_given_labels_are_those_of_scikit_learn(X, name, kind, data):
    labels = labels_for(np.random.default_rng(0), len(X), kind)
    moved = X + 1e6 if data == "offset" else np.round(X + 30) if data[0] in "iu" else X
    rows = moved.astype("float64" if data == "offset" else data)
    found = getattr(metrics, name)(rows, labels)
    assert found == pytest.approx(expected(name, rows, labels), rel=1e-9)


@given(st.data())
def test_scores_do_not_depend_on_the_blocks(data):
    X = data.draw(tables(min_rows=8, features=(1, 3), dtypes=("float64", "float32", "int16")))
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    labels = np.append([0, 0, 1], random.integers(0, 3, size=len(X) - 3)) - 1
    cut = lazy(X, data.draw(chunkings(len(X))))
    for name in SCORES:
        whole = getattr(metrics, name)(X, labels)
        assert getattr(metrics, name)(cut, labels) == whole
        if np.abs(X).max() < 1e3 * X.std():  # else means of few digits are told apart by fewer
            assert whole == pytest.approx(OBVIOUS[name](X, labels), rel=1e-9, abs=1e-12)


def sources(X, folder):
    frame = pd.DataFrame(X, columns=list("abc"))
    frame.to_parquet(folder / "x.parquet", row_group_size=130)
    zarr.create_array(folder / "x.zarr", data=X, chunks=(170, 3))
    return {
        "NumPy": X,
        "pandas": frame,
        "dask": da.from_array(X, chunks=(210, 2)),
        "unknown sizes": lazy(X, (300, 0, 700), unknown=True),
        "dask DataFrame": dd.from_pandas(frame, npartitions=3),
        "zarr.Array": zarr.open_array(folder / "x.zarr"),
        "Zarr": folder / "x.zarr",
        "Parquet": str(folder / "x.parquet"),
        "sparse": scipy.sparse.csr_matrix(X),
    }


def test_data_of_any_kind_have_the_same_scores(X, tmp_path):
    model = KMeans(4, random_state=0).fit(pd.DataFrame(X, columns=list("abc")))
    plain = KMeans(4, random_state=0).fit(X)
    wanted = metrics.cluster_scores(X, plain)
    for kind, rows in sources(X, tmp_path).items():
        named = kind in ("pandas", "dask DataFrame", "Parquet")
        found = metrics.cluster_scores(rows, model if named else plain)
        assert str(found).splitlines()[:-1] == str(wanted).splitlines()[:-1], kind
        assert found.inertia == wanted.inertia == plain.inertia_, kind
        assert found.davies_bouldin == wanted.davies_bouldin, kind
        assert found.calinski_harabasz == wanted.calinski_harabasz, kind
        assert found.simplified_silhouette == wanted.simplified_silhouette, kind


def test_labels_of_any_kind_have_the_same_scores(X, model, tmp_path):
    labels = model.labels_
    zarr.create_array(tmp_path / "sharded.zarr", data=labels, chunks=(50,), shards=(150,))
    write_labels(labels, tmp_path / "l.zarr")
    write_labels(da.from_array(labels, chunks=140), tmp_path / "l.parquet")
    kinds = [
        labels,
        labels.astype(np.uint8),
        labels.tolist(),
        pd.Series(labels),
        da.from_array(labels, chunks=300),
        tmp_path / "l.zarr",
        str(tmp_path / "sharded.zarr"),
        zarr.open_array(tmp_path / "l.zarr"),
        tmp_path / "l.parquet",
        model,
        model.to_sklearn(),
    ]
    for rows in (X, da.from_array(X, chunks=(270, 3))):
        found = [metrics.davies_bouldin_score(rows, kind) for kind in kinds]
        assert found == [found[0]] * len(kinds)
    assert found[0] == pytest.approx(expected("davies_bouldin_score", X, labels), rel=1e-9)


def test_blocks_of_unknown_size_have_their_labels_beside_them(X, model):
    rows = lazy(X, (300, 0, 700), unknown=True)
    found = metrics.calinski_harabasz_score(rows, model.predict(rows))
    assert found == metrics.calinski_harabasz_score(X, model)
    frame = dd.from_pandas(pd.DataFrame(X, columns=list("abc")).assign(l=model.labels_), 3)
    assert metrics.calinski_harabasz_score(frame[["a", "b", "c"]], frame["l"]) == found


def test_clusters_without_rows_do_not_count(X, model):
    centers = np.vstack([[[1e6] * 3], model.cluster_centers_[:2], [[-1e6] * 3]])
    centers = np.vstack([centers, model.cluster_centers_[2:]])
    scores = metrics.cluster_scores(X, centers)
    assert scores.sizes[[0, 3]].tolist() == scores.inertias[[0, 3]].tolist() == [0, 0]
    assert scores.davies_bouldin == metrics.davies_bouldin_score(X, model)
    assert metrics.calinski_harabasz_score(X, model) == scores.calinski_harabasz


def test_degenerate_clusters_score_as_in_scikit_learn():
    labels = np.array([0, 0, 1, 1])
    for rows in (
        [[1.0], [1.0], [1.0], [1.0]],
        [[0.0], [2.0], [0.0], [2.0]],
        [[0.0]] * 2 + [[1.0]] * 2,
    ):
        for name in SCORES:
            assert getattr(metrics, name)(rows, labels) == getattr(sklearn.metrics, name)(
                rows, labels
            )


def test_by_hand():
    """Two pairs: radii 1 and 2, means 10 apart; one row alone."""
    X, labels = np.array([[-1.0], [1.0], [8.0], [12.0], [40.0]]), np.array([0, 0, 1, 1, 2])
    assert metrics.davies_bouldin_score(X, labels) == pytest.approx((0.3 + 0.3 + 2 / 30) / 3)
    between = 2 * 12**2 + 2 * 2**2 + 28**2
    assert metrics.calinski_harabasz_score(X, labels) == pytest.approx(between * 2 / (10 * 2))
    rows = 1 - 1 / 11, 1 - 1 / 9, 1 - 2 / 8, 1 - 2 / 12, 0
    found = metrics.simplified_silhouette_score(X, [[0.0], [10.0], [40.0]])
    assert found == pytest.approx(sum(rows) / 5, rel=1e-15)


def test_inertia_of_weighted_rows_and_any_centers(X, model):
    weights = np.random.default_rng(0).uniform(size=len(X))
    other = SklearnKMeans(3, n_init=1, random_state=0).fit(X)
    for given_, rows in [(other, X), (other.cluster_centers_, da.from_array(X, chunks=(99, 3)))]:
        found = metrics.inertia(rows, given_, weights)
        assert found == pytest.approx(-other.score(X, sample_weight=weights), rel=1e-9)
    assert metrics.inertia(X, model) == model.inertia_


@pytest.mark.parametrize("k", [2, 7, 300])
@pytest.mark.parametrize("d", [1, 3, 50])
def test_simplified_silhouette_is_the_obvious_one(k, d):
    random = np.random.default_rng(k + d)
    X, centers = random.normal(size=(700, d)), random.normal(size=(k, d))
    distances = np.linalg.norm(X[:, None] - centers, axis=2)
    labels = distances.argmin(axis=1)
    a, b = np.sort(distances, axis=1)[:, :2].T
    alone = np.bincount(labels, minlength=k)[labels] == 1
    wanted = np.where(alone, 0.0, (b - a) / b).mean()
    found = metrics.simplified_silhouette_score(X, centers)
    assert found == pytest.approx(wanted, rel=1e-12)
    lazy = da.from_array(X, chunks=((1, 99, 600), d))
    assert metrics.simplified_silhouette_score(lazy, centers) == found


@pytest.mark.parametrize("dtype", ["float64", "float32", "int16"])
def test_the_silhouette_of_all_rows_is_that_of_scikit_learn(X, model, dtype):
    rows = (X * 20).round().astype(dtype)
    labels = np.append(model.predict(X)[:-1], 9)  # one alone
    wanted = expected("silhouette_score", rows, labels)
    for source in (rows, da.from_array(rows, chunks=(300, 3))):
        found = metrics.silhouette_score(source, labels)
        assert float(found) == pytest.approx(wanted, rel=1e-9)
        assert (found.standard_error, found.n_rows) == (0.0, len(X))


def test_d1_the_silhouette_of_iris_sepals_is_0_4451():
    X = load_iris().data[:, :2]
    model = KMeans(3, n_init=10, random_state=0).fit(X)
    assert metrics.silhouette_score(X, model) == pytest.approx(0.4451, abs=6e-5)


def test_c6_the_silhouette_of_four_blobs_is_0_820179():
    X = scale(make_blobs(400, centers=4, cluster_std=0.9, random_state=42)[0])
    model = KMeans(4, n_init=10, random_state=0).fit(X)
    assert metrics.silhouette_score(X, model) == pytest.approx(0.820179, abs=6e-7)


@pytest.mark.parametrize("by_model", [True, False])
def test_a_sample_depends_on_the_seed_alone(X, model, by_model):
    labels = model if by_model else model.labels_
    first = metrics.silhouette_score(X, labels, sample_size=100, random_state=3)
    for chunks in (1000, 130, (0, 1, 999)):
        rows = da.from_array(X, chunks=(chunks, 3))
        again = metrics.silhouette_score(rows, labels, sample_size=100, random_state=3)
        assert (again, again.standard_error) == (first, first.standard_error)
    other = metrics.silhouette_score(X, labels, sample_size=100, random_state=4)
    assert first.n_rows == other.n_rows == 100
    assert first != other
    unknown = lazy(X, (300, 700), unknown=True)
    labels = model if by_model else da.from_array(model.labels_, chunks=((300, 700),))
    again = metrics.silhouette_score(unknown, labels, sample_size=100, random_state=3)
    assert (again, again.standard_error) == (first, first.standard_error)


def test_the_standard_error_is_how_far_samples_differ():
    X, labels = make_blobs(3000, 2, centers=3, cluster_std=2.5, random_state=1)
    found = [
        metrics.silhouette_score(X, labels, sample_size=150, random_state=seed)
        for seed in range(150)
    ]
    spread = statistics.stdev(map(float, found))
    errors = statistics.fmean(score.standard_error for score in found)
    assert errors == pytest.approx(spread, rel=0.15)
    whole = metrics.silhouette_score(X, labels)
    assert statistics.fmean(map(float, found)) == pytest.approx(whole, abs=3 * spread / 150**0.5)


def test_the_standard_error_is_that_of_the_jackknife():
    """Which leaves out each row in turn; the infinitesimal one differs in the order 1/m."""
    X, labels = make_blobs(40_000, 2, centers=3, cluster_std=3.0, random_state=2)
    found = metrics.silhouette_score(X, labels, sample_size=200, random_state=0)
    seed = int(np.random.RandomState(0).randint(np.iinfo(np.int32).max))
    stream = label_sample_spec(seed, 200, len(X)).stream
    rows = np.argsort([uniform(stream, row) for row in range(len(X))])[:200]
    X, labels = X[rows], labels[rows]
    wanted = sklearn.metrics.silhouette_score(X, labels)
    assert float(found) == pytest.approx(wanted, rel=1e-9)
    keep = ~np.eye(200, dtype=bool)
    left = [sklearn.metrics.silhouette_score(X[k], labels[k]) for k in keep]
    jackknife = math.sqrt(199 * np.var(left)) * math.sqrt(1 - 200 / 40_000)
    assert found.standard_error == pytest.approx(jackknife, rel=0.02)


def test_a_sampled_score_prints_with_its_error_and_survives_a_pickle():
    score = metrics.SampledScore(0.5, 0.0125, 10_000)
    assert str(score) == "0.5000 ± 0.0125 (10,000 rows)"
    again = pickle.loads(pickle.dumps(score))
    assert (again, again.standard_error, again.n_rows) == (0.5, 0.0125, 10_000)


@given(st.data())
def test_rand_index_is_that_of_scikit_learn(data):
    n = data.draw(st.integers(2, 80))
    ours, theirs = (
        np.array(data.draw(st.lists(st.integers(-2, 4), min_size=n, max_size=n))) for _ in "ab"
    )
    wanted = sklearn.metrics.adjusted_rand_score(ours, theirs)
    assert metrics.adjusted_rand_score(ours, theirs) == pytest.approx(wanted, abs=1e-12)
    lazy = da.from_array(ours, chunks=(data.draw(chunkings(n)),))
    assert metrics.adjusted_rand_score(lazy, theirs) == pytest.approx(wanted, abs=1e-12)
    other = da.from_array(theirs * 10**15, chunks=(data.draw(chunkings(n)),))
    assert metrics.adjusted_rand_score(lazy, other) == pytest.approx(wanted, abs=1e-12)


def test_rand_index_of_stored_labels_is_one_read_of_each(X, model, tmp_path):
    ours, theirs = Reads(), Reads()
    for name, labels in [("a", model.labels_), ("b", model.labels_[::-1])]:
        zarr.create_array(LocalStore(tmp_path / name), data=labels, chunks=(90,))
    stored = [
        zarr.open_array(CountingStore(LocalStore(tmp_path / name), reads), mode="r+")
        for name, reads in (("a", ours), ("b", theirs))
    ]
    ours.counts.clear()
    theirs.counts.clear()
    wanted = sklearn.metrics.adjusted_rand_score(model.labels_, model.labels_[::-1])
    assert metrics.adjusted_rand_score(*stored) == pytest.approx(wanted, abs=1e-12)
    assert (ours.each(), theirs.each()) == (1, 1)


def test_rand_index_of_many_rows_does_not_overflow():
    counts = np.array([4 * 10**9, 10**9, 2 * 10**9, 3 * 10**9])
    pairs = Pairs(np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), counts)
    small = Pairs(pairs.labels, counts // 10**6)
    assert metrics.adjusted_rand(pairs) == pytest.approx(metrics.adjusted_rand(small), abs=1e-3)


PASSES = {
    "inertia": 1,
    "simplified_silhouette_score": 1,
    "silhouette_score": 1,
    "davies_bouldin_score": 2,
    "calinski_harabasz_score": 2,
    "cluster_scores": 2,
}


@pytest.mark.parametrize("make", INPUTS, ids=lambda f: f.__name__.removesuffix("_input"))
def test_each_score_reads_each_piece_as_often_as_it_says(make, X, computes, tmp_path, monkeypatch):
    reads = Reads()
    rows = make(X, reads, tmp_path, monkeypatch)
    model = KMeans(4, random_state=0, residency="stream").fit(rows)
    reads.counts.clear()
    total = 0
    for name, passes in PASSES.items():
        computes.computes = 0
        getattr(metrics, name)(rows, model)
        total += passes
        assert (reads.each(), computes.computes) == (total, passes), name


@pytest.mark.parametrize("name", ["davies_bouldin_score", "silhouette_score"])
def test_labels_are_read_once_a_pass_too(X, model, tmp_path, name):
    reads = Reads()
    zarr.create_array(LocalStore(tmp_path / "l"), data=model.labels_, chunks=(90,))
    stored = zarr.open_array(CountingStore(LocalStore(tmp_path / "l"), reads), mode="r+")
    zarr.create_array(tmp_path / "x.zarr", data=X, chunks=(70, 3))
    for rows in (tmp_path / "x.zarr", da.from_array(X, chunks=(230, 3))):
        reads.counts.clear()
        found = getattr(metrics, name)(rows, stored)
        assert found == getattr(metrics, name)(X, model)
        assert reads.each() == PASSES[name]


@pytest.mark.parametrize("ending", ["zarr", "parquet"])
def test_labels_are_written_in_the_read_that_scores(X, model, tmp_path, monkeypatch, ending):
    monkeypatch.setattr(sinks, "LABEL_ROWS", 128)
    reads = Reads()
    zarr.create_array(LocalStore(tmp_path / "x"), data=X, chunks=(90, 3))
    rows = zarr.open_array(CountingStore(LocalStore(tmp_path / "x"), reads), mode="r+")
    reads.counts.clear()
    path = tmp_path / f"l.{ending}"
    scores = metrics.cluster_scores(rows, model, labels_path=path)
    assert reads.each() == scores.passes == 2
    assert scores.bytes_read == 2 * X.nbytes
    assert sorted(os.listdir(tmp_path)) == [path.name, "x"]
    assert scores.inertia == scores.inertias.sum() == pytest.approx(model.inertia_)
    np.testing.assert_array_equal(scores.sizes, np.bincount(model.labels_))
    assert metrics.adjusted_rand_score(path, model.labels_) == 1.0
    write_labels(model.labels_, tmp_path / f"again.{ending}")
    files = [
        {f.relative_to(folder): f.read_bytes() for f in folder.rglob("*") if f.is_file()}
        for folder in (path, tmp_path / f"again.{ending}")
    ]
    assert files[0] == files[1]
    assert metrics.davies_bouldin_score(X, path) == scores.davies_bouldin


def test_labels_of_blocks_of_unknown_size_are_written_too(X, model, tmp_path):
    rows = lazy(X, (300, 0, 700), unknown=True)
    metrics.cluster_scores(rows, model, labels_path=tmp_path / "l.zarr")
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "l.zarr")[:], model.labels_)


def test_all_runs_on_a_cluster_too(X, model, tmp_path, client):
    rows = da.from_array(X, chunks=(130, 3))
    scores = metrics.cluster_scores(rows, model, labels_path=tmp_path / "l.zarr")
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "l.zarr")[:], model.labels_)
    assert scores.calinski_harabasz == metrics.calinski_harabasz_score(X, model)
    assert os.listdir(tmp_path) == ["l.zarr"]
    draw = {"sample_size": 100, "random_state": 0}
    assert metrics.silhouette_score(rows, model, **draw) == metrics.silhouette_score(
        X, model, **draw
    )
    lazy_labels = model.predict(rows)
    assert metrics.adjusted_rand_score(lazy_labels, tmp_path / "l.zarr") == 1.0
    assert metrics.davies_bouldin_score(rows, lazy_labels) == scores.davies_bouldin
    pipeline = make_pipeline(StandardScaler(), KMeans(4, random_state=0)).fit(X)
    assert str(profile(pipeline, rows)) == str(profile(pipeline, X))
    assert str(compare(model, X[:3], rows)) == str(compare(model, X[:3], X))


def test_a_failure_leaves_the_old_labels(X, model, tmp_path):
    path = tmp_path / "l.zarr"
    write_labels(model.labels_, path)
    with pytest.raises(OutputError, match="exists already"):
        metrics.cluster_scores(X, model, labels_path=path)
    bad = X.copy()
    bad[900, 1] = np.inf
    with pytest.raises(DataError, match="infinity: inf at row 900, column 1"):
        metrics.cluster_scores(
            da.from_array(bad, chunks=(100, 3)), model, labels_path=path, overwrite=True
        )
    np.testing.assert_array_equal(zarr.open_array(path)[:], model.labels_)
    assert os.listdir(tmp_path) == ["l.zarr"]
    metrics.cluster_scores(X[:500], model, labels_path=path, overwrite=True)
    assert zarr.open_array(path).shape == (500,)


def test_rows_left_out_are_left_out_of_the_scores(X, tmp_path):
    bad = X.copy()
    bad[::9, 1] = np.nan
    good = np.delete(X, np.s_[::9], axis=0)
    model = KMeans(4, random_state=0, nan_policy="omit").fit(bad)
    path = tmp_path / "l.parquet"
    scores = metrics.cluster_scores(bad, model, labels_path=path)
    clean = metrics.cluster_scores(good, model)
    assert str(scores) == str(clean)
    for labels in (model, path):
        assert metrics.davies_bouldin_score(bad, labels) == clean.davies_bouldin
        found = metrics.silhouette_score(bad, labels)
        assert float(found) == pytest.approx(
            sklearn.metrics.silhouette_score(good, model.predict(good)), rel=1e-9
        )
        assert (found.n_rows, found.standard_error) == (len(good), 0.0)


@pytest.mark.parametrize("name", [*SCORES, "silhouette_score"])
def test_a_bad_row_with_a_label_is_named(X, model, name):
    bad = X.copy()
    bad[700, 1] = np.nan
    rows = da.from_array(bad, chunks=(300, 3))
    for labels in (model.labels_, model):
        with pytest.raises(DataError, match="NaN: nan at row 700, column 1"):
            getattr(metrics, name)(rows, labels)


@pytest.mark.parametrize("name", [*SCORES, "silhouette_score"])
@pytest.mark.parametrize("labels", [[0] * 6, list(range(6))])
def test_one_label_or_one_for_each_row_is_refused_in_scikit_learns_words(name, labels):
    X = np.arange(12.0).reshape(6, 2)
    with pytest.raises(ValueError, match="Number of labels is") as theirs:
        getattr(sklearn.metrics, name)(X, labels)
    with pytest.raises(DataError) as ours:
        getattr(metrics, name)(X, labels)
    assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([0, 1], DataError, "labels has 2 rows, X has 6"),
        (np.zeros((6, 1), int), DataError, "labels must be a 1D array, got 2 dimensions"),
        (np.zeros(6), DataError, "labels must be integers, got dtype float64"),
        ([2**53, 0, 0, 1, 1, 1], DataError, "labels must be below 9007199254740992 in size"),
        ("nowhere.zarr", SourceError, "no such file or folder"),
        ("nowhere.parquet", SourceError, "no such file or folder"),
        (__file__, SourceError, "cannot open labels at"),
        (KMeans(2), NotFittedError, "not fitted"),
    ],
)
def test_labels_that_cannot_be_are_named(labels, error, message):
    with pytest.raises(error, match=message):
        metrics.davies_bouldin_score(np.arange(12.0).reshape(6, 2), labels)


def test_labels_whose_rows_cannot_be_known_are_named(X, model):
    unknown = lazy(X, (300, 700), unknown=True)
    with pytest.raises(DataError, match="pass labels as a dask array of as many blocks"):
        metrics.davies_bouldin_score(unknown, model.labels_)
    with pytest.raises(DataError, match=r"\(or labels\): [46]00 rows in block [01], X has"):
        metrics.davies_bouldin_score(unknown, da.from_array(model.labels_, chunks=((400, 600),)))
    with pytest.raises(DataError, match=r"call labels.compute_chunk_sizes\(\) first"):
        metrics.davies_bouldin_score(da.from_array(X, chunks=(500, 3)), model.predict(unknown))
    with pytest.raises(DataError, match="labels_pred has 999 rows, X has 1000"):
        metrics.adjusted_rand_score(model.labels_, model.labels_[1:])
    with pytest.raises(DataError, match="labels_true must be integers"):
        metrics.adjusted_rand_score(X[:, 0], model.labels_)


@pytest.mark.parametrize("kind", [list, np.array, pd.Series, pd.Categorical])
def test_labels_in_memory_may_be_strings(X, model, kind):
    names = kind([f"kind {label}" for label in model.labels_])
    assert metrics.adjusted_rand_score(names, model.labels_) == 1.0
    for name in ("davies_bouldin_score", "calinski_harabasz_score", "silhouette_score"):
        score = getattr(metrics, name)
        assert score(X, names) == pytest.approx(score(X, model.labels_), rel=1e-12)


@pytest.mark.parametrize("labels", [["a", None, "b"], ["a", 1, "b"], [1, 2, np.nan], [1, 2, pd.NA]])
def test_labels_that_are_no_labels_are_named(labels):
    with pytest.raises(DataError, match=r"labels_true must be .*integers"):
        metrics.adjusted_rand_score(np.array(labels, object), [0, 1, 1])


def test_strings_that_are_not_in_memory_are_refused_with_a_cure():
    labels = da.from_array(np.array(["a", "b", "c"]), chunks=2)
    with pytest.raises(DataError, match=r"got dtype <U1; store the codes of categories in their"):
        metrics.adjusted_rand_score(labels, [0, 1, 2])


def test_labels_that_change_from_read_to_read_are_refused(X):
    draws = iter(range(100))

    def draw(block):
        return np.arange(len(block)) % 5 + 7 * next(draws)

    labels = da.zeros(1000, chunks=1000).map_blocks(draw, dtype=int, meta=np.empty(0, int))
    with pytest.raises(DataError, match="labels differ from one read to the next"):
        metrics.davies_bouldin_score(da.from_array(X, chunks=(1000, 3)), labels)


def test_what_is_no_model_is_named(X):
    with pytest.raises(DataError, match="got StandardScaler, which has no cluster_centers_"):
        metrics.simplified_silhouette_score(X, StandardScaler().fit(X))
    with pytest.raises(DataError, match="Number of labels is 1"):
        metrics.simplified_silhouette_score(X, X[:1])
    with pytest.raises(ValueError, match="X has 3 features, but KMeans is expecting 2"):
        metrics.inertia(X, X[:4, :2])
    for size in (2, True, 10.0):
        with pytest.raises(ValueError, match="sample_size must be an integer of at least 3"):
            metrics.silhouette_score(X, X[:, 0] > 0, sample_size=size)


@pytest.mark.parametrize("lazy_side", [0, 1])
def test_labels_in_parquet_beside_an_array_are_read_in_blocks(lazy_side, tmp_path, monkeypatch):
    monkeypatch.setattr(sinks, "LABEL_ROWS", 100)
    random = np.random.default_rng(0)
    sides = [random.integers(4, size=1000), random.integers(3, size=1000)]
    expected = sklearn.metrics.adjusted_rand_score(*sides)
    columns = {"label": sides[lazy_side].astype(np.int32)}
    pd.DataFrame(columns).to_parquet(tmp_path / "l.parquet", row_group_size=70)
    sides[lazy_side] = tmp_path / "l.parquet"
    assert metrics.adjusted_rand_score(*sides) == pytest.approx(expected, abs=1e-12)
    labels = sides[lazy_side]
    X = random.normal(size=(1000, 2))
    score = metrics.davies_bouldin_score(da.from_array(X, chunks=(333, 2)), labels)
    known = sklearn.metrics.davies_bouldin_score(X, columns["label"])
    assert score == pytest.approx(known, rel=1e-9)


def test_labels_of_a_dask_series_beside_a_frame_are_checked(X, model):
    frame = dd.from_pandas(pd.DataFrame(X, columns=list("abc")), npartitions=3)
    labels = pd.Series(model.labels_)
    score = metrics.davies_bouldin_score
    expected = pytest.approx(score(X, model.labels_), rel=1e-12)
    assert score(frame, dd.from_pandas(labels, npartitions=3)) == expected
    with pytest.raises(DataError, match="labels must be integers, got dtype float64"):
        score(frame, dd.from_pandas(labels + 0.5, npartitions=3))
    with pytest.raises(DataError, match="labels must have the index of X: some rows have none"):
        score(frame, dd.from_pandas(labels[:-10], npartitions=3))
