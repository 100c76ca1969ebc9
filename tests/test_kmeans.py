"""The estimator: scikit-learn's own checks, and scikit-learn's own answers."""

import warnings

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import zarr
from sklearn.base import clone
from sklearn.cluster import KMeans as SklearnKMeans
from sklearn.datasets import make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils._test_common.instance_generator import _get_expected_failed_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from dkmeans import KMeans, k_means

DECLARED = _get_expected_failed_checks(SklearnKMeans())  # those that its own KMeans may fail


@parametrize_with_checks([KMeans(2, max_iter=5, n_init=2), KMeans(2, init="random", n_init=2)])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learns_checks(estimator, check):
    try:
        check(estimator)
    except AssertionError:
        if check.func.__name__ not in DECLARED:
            raise


@pytest.fixture(scope="module")
def X():
    return make_blobs(300, 3, centers=4, random_state=0)[0]


@pytest.fixture(scope="module")
def model(X):
    return KMeans(4, random_state=0).fit(X)


@pytest.fixture(scope="module")
def peer(X, model):
    """A scikit-learn model with the same centers."""
    return SklearnKMeans(4, init=model.cluster_centers_, n_init=1, max_iter=1).fit(X)


def kinds(X, tmp_path):
    """X as each kind of input."""
    names = [f"f{i}" for i in range(X.shape[1])]
    path = tmp_path / "x.zarr"
    stored = zarr.create_array(path, data=X, chunks=(70, X.shape[1]))
    frame = pd.DataFrame(X, columns=names)
    frame.to_parquet(tmp_path / "x.parquet", row_group_size=80)
    return {
        "array": X,
        "list": X.tolist(),
        "fortran": np.asfortranarray(X),
        "pandas": frame,
        "dask": da.from_array(X, chunks=(90, 2)),
        "dask frame": dd.from_pandas(frame, npartitions=3),
        "zarr": stored,
        "zarr path": path,
        "parquet": str(tmp_path / "x.parquet"),
    }


def test_every_kind_of_input_gives_the_same_model(X, model, tmp_path):
    for kind, given in kinds(X, tmp_path).items():
        other = KMeans(4, random_state=0).fit(given)
        np.testing.assert_array_equal(other.cluster_centers_, model.cluster_centers_, kind)
        labels = other.labels_
        assert isinstance(labels, da.Array) == (kind.split()[0] in ("dask", "zarr", "parquet"))
        np.testing.assert_array_equal(np.asarray(labels), model.labels_, kind)
        np.testing.assert_array_equal(np.asarray(other.predict(given)), model.labels_, kind)
        np.testing.assert_array_equal(np.asarray(other.transform(given)), model.transform(X), kind)
        assert other.score(given) == pytest.approx(-model.inertia_, rel=1e-12)
        assert other.inertia_ == model.inertia_
        assert labels.dtype == np.int32


def test_predict_transform_and_score_are_those_of_scikit_learn(X, model, peer):
    peer.cluster_centers_ = model.cluster_centers_
    fresh = np.random.default_rng(1).normal(size=(50, 3)) * 10
    weights = np.random.default_rng(2).uniform(size=50)
    np.testing.assert_array_equal(model.predict(fresh), peer.predict(fresh))
    np.testing.assert_allclose(model.transform(fresh), peer.transform(fresh))
    assert model.score(fresh) == pytest.approx(peer.score(fresh))
    assert model.score(fresh, sample_weight=weights) == pytest.approx(
        peer.score(fresh, sample_weight=weights)
    )
    assert model.predict(fresh).dtype == peer.predict(fresh).dtype
    assert isinstance(model.score(fresh), float)


def test_fit_predict_and_fit_transform(X, model):
    np.testing.assert_array_equal(KMeans(4, random_state=0).fit_predict(X), model.labels_)
    np.testing.assert_array_equal(KMeans(4, random_state=0).fit_transform(X), model.transform(X))


def test_labels_match_predict(X, model):
    np.testing.assert_array_equal(model.labels_, model.predict(X))


def test_the_functional_form_returns_centroid_label_and_inertia(X, model):
    centroid, label, inertia, n_iter = k_means(X, 4, random_state=0, return_n_iter=True)
    np.testing.assert_array_equal(centroid, model.cluster_centers_)
    np.testing.assert_array_equal(label, model.labels_)
    assert (inertia, n_iter) == (model.inertia_, model.n_iter_)


def test_clone_and_parameters(model):
    again = clone(model)
    assert again.get_params() == model.get_params()
    assert not hasattr(again, "cluster_centers_")
    assert again.set_params(n_clusters=7).n_clusters == 7
    assert set(KMeans().get_params()) == {
        "n_clusters",
        "dedupe",
        "init",
        "n_init",
        "max_iter",
        "tol",
        "algorithm",
        "random_state",
        "oversampling_factor",
        "init_rounds",
        "memory_limit",
        "residency",
        "nan_policy",
        "history_rows",
        "callbacks",
        "checkpoint",
        "verbose",
    }


def test_pipelines_and_grid_search(X):
    pipeline = make_pipeline(StandardScaler(), KMeans(4, random_state=0))
    labels = pipeline.fit_predict(X)
    np.testing.assert_array_equal(labels, pipeline.predict(X))
    search = GridSearchCV(KMeans(random_state=0), {"n_clusters": [2, 4]}, cv=2).fit(X)
    assert search.best_params_ == {"n_clusters": 4}


def test_set_output_and_feature_names_out(X):
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    model = KMeans(2, random_state=0).set_output(transform="pandas").fit(frame)
    out = model.transform(frame)
    assert list(out.columns) == ["kmeans0", "kmeans1"] == list(model.get_feature_names_out())
    assert list(model.feature_names_in_) == ["a", "b", "c"]


def test_feature_names_are_checked(X):
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    model = KMeans(2, random_state=0).fit(frame)
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[["b", "a", "c"]])
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(dd.from_pandas(frame[["b", "a", "c"]], npartitions=2))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(X)
    model.fit(X)
    assert not hasattr(model, "feature_names_in_")
    model.fit(dd.from_pandas(frame, npartitions=2))
    assert list(model.feature_names_in_) == ["a", "b", "c"]
    model.fit(da.from_array(X))
    assert not hasattr(model, "feature_names_in_")


@pytest.mark.parametrize("kind", ["array", "dask", "zarr"])
def test_another_number_of_features_is_refused(X, model, kind, tmp_path):
    with pytest.raises(ValueError, match="X has 2 features, but KMeans is expecting 3 features"):
        model.predict(kinds(X[:, :2].copy(), tmp_path)[kind])


def test_before_a_fit_nothing_is_predicted(X):
    for method in ("predict", "transform", "score"):
        with pytest.raises(NotFittedError):
            getattr(KMeans(), method)(X)
    with pytest.raises(NotFittedError):
        KMeans().to_sklearn()


def test_weights_count_as_repeated_rows(X):
    times = np.random.default_rng(0).integers(0, 4, size=len(X))
    init = X[:4]
    weighted = KMeans(4, init=init, tol=0).fit(X, sample_weight=times)
    repeated = KMeans(4, init=init, tol=0).fit(np.repeat(X, times, axis=0))
    np.testing.assert_allclose(weighted.cluster_centers_, repeated.cluster_centers_, rtol=1e-12)
    assert weighted.inertia_ == pytest.approx(repeated.inertia_, rel=1e-12)
    assert weighted.score(X, sample_weight=times) == pytest.approx(-weighted.inertia_)


@pytest.mark.parametrize("as_dask", [False, True])
def test_weights_on_every_kind_of_input(X, as_dask, tmp_path):
    weights = np.random.default_rng(0).uniform(size=len(X))
    expected = KMeans(4, random_state=0).fit(X, sample_weight=weights)
    for kind, given in kinds(X, tmp_path).items():
        lazy = as_dask and kind.split()[0] in ("dask", "zarr", "parquet")
        if kind == "dask frame" and not as_dask:
            continue  # its rows are not known, so weights in memory cannot be laid beside them
        if kind == "dask frame":
            given = given.repartition(npartitions=1)
        chunks = 300 if kind == "dask frame" else 110
        mine = da.from_array(weights, chunks=chunks) if lazy else weights
        other = KMeans(4, random_state=0).fit(given, sample_weight=mine)
        np.testing.assert_array_equal(other.cluster_centers_, expected.cluster_centers_, kind)
        assert other.score(given, sample_weight=mine) == pytest.approx(-expected.inertia_)
        again = KMeans(4, random_state=0).fit_predict(given, sample_weight=mine)
        np.testing.assert_array_equal(np.asarray(again), expected.labels_)


def test_weights_on_unknown_sizes_must_be_lazy(X):
    frame = dd.from_pandas(pd.DataFrame(X), npartitions=2)
    with pytest.raises(ValueError, match="pass sample_weight as a dask array"):
        KMeans(4).fit(frame, sample_weight=np.ones(len(X)))


def test_unit_weights_change_nothing(X, model):
    other = KMeans(4, random_state=0).fit(X, sample_weight=np.ones(len(X)))
    np.testing.assert_array_equal(other.cluster_centers_, model.cluster_centers_)


@pytest.mark.parametrize("method", ["array", "labels"])
def test_to_sklearn(X, model, method):
    other = model.to_sklearn()
    assert isinstance(other, SklearnKMeans)
    np.testing.assert_array_equal(other.predict(X), model.predict(X))
    np.testing.assert_allclose(other.transform(X), model.transform(X))
    np.testing.assert_array_equal(other.labels_, model.labels_)
    assert (other.inertia_, other.n_iter_) == (model.inertia_, model.n_iter_)
    assert list(other.get_feature_names_out()) == [f"kmeans{i}" for i in range(4)]
    other.cluster_centers_[:] = 0
    assert model.cluster_centers_.any()


def test_to_sklearn_from_float32_and_lazy_input(X):
    narrow = X.astype(np.float32)
    model = KMeans(4, random_state=0).fit(da.from_array(narrow, chunks=(100, 3)))
    other = model.to_sklearn()
    np.testing.assert_array_equal(other.predict(narrow), model.labels_.compute())


def test_the_best_of_n_init_is_kept(X):
    many = KMeans(6, init="random", n_init=5, random_state=0).fit(X)
    last = [i.inertia for i in many.history_ if i.phase in ("lloyd", "final")]
    assert many.inertia_ == min(last)
    assert len({i.run for i in many.history_}) == 5


def test_auto_restarts_only_where_the_draw_is_blind(X):
    runs = {}
    for init in ("k-means||", "k-means++", "random"):
        fit = KMeans(3, init=init, random_state=0).fit(X)
        runs[init] = len({i.run for i in fit.history_})
    assert runs == {"k-means||": 1, "k-means++": 1, "random": 10}


def test_given_centers_and_n_init_warn_once(X):
    with pytest.warns(RuntimeWarning, match="performing only one init") as caught:
        KMeans(4, init=X[:4], n_init=3).fit(X)
    assert len(caught) == 1


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8", "int16", "bool"])
def test_types(X, dtype):
    data = (X * 10 + 120).astype(dtype)
    data[0] = 0
    with warnings.catch_warnings(action="ignore"):  # of few distinct rows, for bool
        model = KMeans(2, random_state=0).fit(data)
    expected = np.float32 if dtype == "float32" else np.float64
    assert model.cluster_centers_.dtype == expected
    assert model.transform(data).dtype == expected
    assert model.labels_.dtype == np.int32


def test_lazy_float32_stays_float32(X):
    model = KMeans(2, random_state=0).fit(da.from_array(X.astype(np.float32), chunks=(50, 3)))
    assert model.cluster_centers_.dtype == np.float32


@pytest.mark.parametrize("fitted", ["float32", "float64", "int64"])
@pytest.mark.parametrize("given", ["float32", "float64", "int64"])
def test_lazy_transform_is_what_it_says(X, fitted, given):
    model = KMeans(2, random_state=0).fit(X.astype(fitted))
    out = model.transform(da.from_array(X.astype(given), chunks=(50, 3)))
    assert out.shape == (300, 2)
    computed = out.compute()
    assert computed.dtype == out.dtype
    np.testing.assert_allclose(computed, model.transform(X.astype(given)), rtol=1e-6)


def test_big_endian_and_half_floats(X, model):
    other = KMeans(4, random_state=0).fit(X.astype(">f8"))
    np.testing.assert_array_equal(other.cluster_centers_, model.cluster_centers_)
    half = da.from_array(X.astype(np.float16), chunks=(100, 3))
    assert KMeans(4, random_state=0).fit(half).cluster_centers_.dtype == np.float32


def with_gaps(X):
    X = X.copy()
    X[[3, 100, 299], [0, 1, 2]] = [np.nan, np.inf, -np.inf]
    return X


def test_omit_leaves_rows_out_on_every_kind_of_input(X, tmp_path):
    gaps = with_gaps(X)
    held = np.isfinite(gaps).all(axis=1)
    init = X[10:14]
    expected = KMeans(4, init=init).fit(X[held])
    for kind, given in kinds(gaps, tmp_path).items():
        other = KMeans(4, init=init, nan_policy="omit").fit(given)
        np.testing.assert_allclose(
            other.cluster_centers_, expected.cluster_centers_, rtol=1e-12, err_msg=kind
        )
        assert other.inertia_ == pytest.approx(expected.inertia_)
        labels = np.asarray(other.labels_)
        np.testing.assert_array_equal(np.flatnonzero(labels < 0), [3, 100, 299])
        np.testing.assert_array_equal(labels[held], expected.labels_)
        np.testing.assert_array_equal(np.asarray(other.predict(given)), labels)
        assert np.isnan(np.asarray(other.transform(given))[~held]).all()
        assert other.score(given) == pytest.approx(-expected.inertia_)


@pytest.mark.parametrize("init", ["k-means||", "k-means++", "random"])
def test_omitted_rows_are_never_drawn(X, init):
    gaps = X.copy()
    gaps[::2, 1] = np.nan
    for seed in range(3):
        model = KMeans(4, init=init, random_state=seed, nan_policy="omit").fit(gaps)
        assert np.isfinite(model.cluster_centers_).all()
        assert (model.labels_ >= 0).sum() == 150


def test_unknown_sizes_and_empty_blocks(X, model):
    parts = [X[:0], X[:120], X[120:120], X[120:], X[:0]]
    pieces = [da.from_delayed(dask.delayed(p), (np.nan, 3), X.dtype) for p in parts]
    lazy = da.concatenate(pieces, allow_unknown_chunksizes=True)
    other = KMeans(4, random_state=0).fit(lazy)
    np.testing.assert_array_equal(other.cluster_centers_, model.cluster_centers_)
    np.testing.assert_array_equal(other.labels_.compute(), model.labels_)
    np.testing.assert_array_equal(other.predict(lazy).compute(), model.labels_)


def test_predict_of_no_rows_is_as_scikit_learn_has_it(model, peer):
    with pytest.raises(ValueError, match="minimum of 1 is required"):
        peer.predict(np.empty((0, 3)))
    with pytest.raises(ValueError, match="minimum of 1 is required"):
        model.predict(np.empty((0, 3)))


def test_the_data_and_the_initial_centers_are_left_alone(X):
    data, init = X.copy(), X[:4].copy()
    KMeans(4, init=init).fit(data, sample_weight=np.ones(300))
    np.testing.assert_array_equal(data, X)
    np.testing.assert_array_equal(init, X[:4])
    data.flags.writeable = False
    KMeans(4, random_state=0).fit(data)


@pytest.mark.parametrize("random_state", [0, np.random.RandomState(0), None])
def test_any_random_state(X, random_state):
    assert KMeans(3, random_state=random_state).fit(X).n_iter_ >= 1


def test_verbose_goes_to_the_log(X, caplog):
    caplog.set_level("INFO", logger="dkmeans")
    KMeans(3, random_state=0).fit(X)
    assert not caplog.records
    model = KMeans(3, random_state=0, verbose=1).fit(X)
    assert len(caplog.records) == len(model.history_)


def test_the_docstring_example():
    import doctest

    from dkmeans import kmeans

    assert doctest.testmod(kmeans).failed == 0
