"""Standardizing: scikit-learn's checks and answers, exact sums, and no read that is not needed."""

import pickle
from fractions import Fraction

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import zarr
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.cluster import KMeans as SklearnKMeans
from sklearn.datasets import make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler as SklearnScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from strategies import chunkings, lazy, tables, weights_for
from test_kmeans import kinds
from test_passes import INPUTS, N, Reads

import dkmeans
from dkmeans import DataError, KMeans, MemoryLimitError, open_source
from dkmeans.data.source import Source
from dkmeans.preprocessing import StandardScaler

ATTRIBUTES = ("mean_", "var_", "scale_")


@parametrize_with_checks([StandardScaler(), StandardScaler(with_mean=False)])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def X():
    return make_blobs(N, 3, centers=4, random_state=0)[0]


@pytest.fixture(params=INPUTS, ids=lambda f: f.__name__.removesuffix("_input"))
def counted(request, X, tmp_path, monkeypatch):
    """An input and the count of its reads, from here on."""
    reads = Reads()
    made = request.param(X, reads, tmp_path, monkeypatch)
    reads.counts.clear()
    return made, reads


def attributes(scaler):
    return [np.asarray(getattr(scaler, name)) for name in ATTRIBUTES]


def assert_same(scaler, other, rtol=0.0):
    for name, mine, theirs in zip(ATTRIBUTES, attributes(scaler), attributes(other), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=rtol, err_msg=name)
    np.testing.assert_allclose(scaler.n_samples_seen_, other.n_samples_seen_, rtol=rtol)


def as_array(rows):
    """Rows of any kind in memory."""
    if isinstance(rows, Source):
        rows = rows.blocks(50).array
    return np.asarray(rows.compute() if hasattr(rows, "compute") else rows)


def naive_moments(X, weights):
    """Mean and variance of each feature in rational numbers, rounded once."""
    weights = np.ones(len(X)) if weights is None else weights
    means, variances = [], []
    for column in X.T:
        pairs = [
            (Fraction(float(x)), Fraction(float(w))) for x, w in zip(column, weights, strict=True)
        ]
        total = sum(w for _, w in pairs)
        mean = sum(x * w for x, w in pairs) / total
        means.append(float(mean))
        variances.append(float(sum((x - mean) ** 2 * w for x, w in pairs) / total))
    return np.array(means), np.array(variances)


@pytest.mark.parametrize("offset", [0.0, 1e6, 1e8, -1e8])
@pytest.mark.parametrize("weighted", [False, True])
def test_offset_data_are_as_scikit_learn_has_them_to_1e_12(offset, weighted):
    random = np.random.default_rng(0)
    X = random.normal(size=(4000, 5)) * [1, 10, 0.1, 1e3, 3] + offset
    weights = random.uniform(0.1, 3, size=4000) if weighted else None
    theirs = SklearnScaler().fit(X, sample_weight=weights)
    for given_X in (X, da.from_array(X, chunks=(700, 2))):
        ours = StandardScaler().fit(given_X, sample_weight=weights)
        assert_same(ours, theirs, rtol=1e-12)
    scaled = ours.transform(X)
    np.testing.assert_allclose(scaled, theirs.transform(X), atol=1e-12 * max(1, abs(offset)))


@given(tables(dtypes=("float32", "float64", "uint8", "int64")), st.data())
def test_moments_are_the_nearest_numbers_for_every_chunking(X, data):
    weights = data.draw(weights_for(len(X)))
    sizes = data.draw(chunkings(len(X)))
    scaler = StandardScaler().fit(lazy(X, sizes), sample_weight=weights)
    mean, variance = naive_moments(X, weights)
    np.testing.assert_array_equal(scaler.mean_, mean)
    np.testing.assert_array_equal(
        scaler.var_, np.where(np.abs(X).max(axis=0) < 1e-150, 0, variance)
    )
    held = data.draw(st.integers(0, len(X)))
    parts = StandardScaler()
    for rows in (slice(0, held), slice(held, None)):
        w = None if weights is None else weights[rows]
        if len(X[rows]) and (w is None or w.any()):
            parts.partial_fit(X[rows], sample_weight=w)
    assert_same(parts, scaler)


def test_a_worked_answer():
    X = np.array([[0.0, 7.0], [2.0, 7.0], [4.0, 7.0], [6.0, 7.0]])
    scaler = StandardScaler().fit(X)
    np.testing.assert_array_equal(scaler.mean_, [3.0, 7.0])
    np.testing.assert_array_equal(scaler.var_, [5.0, 0.0])
    np.testing.assert_array_equal(scaler.scale_, [np.sqrt(5.0), 1.0])
    assert scaler.n_samples_seen_ == 4
    np.testing.assert_array_equal(scaler.transform(X)[:, 1], 0.0)
    weighted = StandardScaler().fit(X, sample_weight=[1, 0, 0, 2])
    np.testing.assert_array_equal(weighted.mean_, [4.0, 7.0])
    np.testing.assert_array_equal(weighted.var_, [8.0, 0.0])
    assert weighted.n_samples_seen_ == 3.0


@pytest.mark.parametrize("value", [0.0, 1e-100, 0.1, 1.0, 1e10, 1e6 / 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_constant_features_have_the_scale_1(value, dtype):
    X = np.full((1000, 1), value, dtype)
    ours, theirs = StandardScaler().fit(X), SklearnScaler().fit(X)
    assert ours.scale_ == theirs.scale_ == [1.0]
    assert (ours.transform(X) == 0).all() or dtype == "float32"


def test_a_constant_with_rounding_is_constant_and_a_small_deviation_is_not():
    sums = np.array([[0.1 + 0.2], [0.3]] * 50)
    assert StandardScaler().fit(sums).scale_ == SklearnScaler().fit(sums).scale_ == [1.0]
    far = 1e8 + np.random.default_rng(0).normal(size=(100_000, 1))
    assert StandardScaler().fit(far * 1e-3).scale_ == pytest.approx(1e-3, rel=0.01)


@pytest.mark.parametrize("options", [{"with_mean": False}, {"with_std": False}, {}])
def test_options_nan_and_both_directions_are_as_in_scikit_learn(options, X):
    gaps = X.copy()
    gaps[::7, 1], gaps[3, 2] = np.nan, np.nan
    ours, theirs = StandardScaler(**options).fit(gaps), SklearnScaler(**options).fit(gaps)
    np.testing.assert_allclose(ours.mean_, theirs.mean_, rtol=1e-13)
    for name in ("var_", "scale_"):
        if "with_std" in options:
            assert getattr(ours, name) is None
        else:
            np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-13)
    np.testing.assert_array_equal(ours.n_samples_seen_, theirs.n_samples_seen_)
    np.testing.assert_allclose(ours.transform(gaps), theirs.transform(gaps), rtol=1e-11)
    back = ours.inverse_transform(ours.transform(gaps))
    np.testing.assert_allclose(back, gaps, rtol=1e-12)


def test_neither_mean_nor_deviation(X):
    scaler = StandardScaler(with_mean=False, with_std=False).fit(X)
    assert (scaler.mean_, scaler.var_, scaler.scale_) == (None, None, None)
    assert scaler.n_samples_seen_ == len(X)
    np.testing.assert_array_equal(scaler.transform(X), X)


def test_a_feature_of_nothing_but_nan_stays_nan():
    X = np.array([[1.0, np.nan], [3.0, np.nan]])
    scaler = StandardScaler().fit(X)
    np.testing.assert_array_equal(scaler.mean_, [2.0, np.nan])
    np.testing.assert_array_equal(scaler.n_samples_seen_, [2, 0])
    np.testing.assert_array_equal(scaler.transform(X), [[-1, np.nan], [1, np.nan]])
    scaler.partial_fit([[5.0, 8.0]])
    np.testing.assert_array_equal(scaler.mean_, [3.0, 8.0])


@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "float64", "int16", "uint8", "bool", ">f8"]
)
def test_types_and_the_data_are_left_alone(X, dtype, tmp_path):
    data = (X * 10 + 120).astype(dtype)
    before = data.copy()
    scaler = StandardScaler().fit(data)
    expected = np.float32 if dtype in ("float16", "float32") else np.float64
    stored = zarr.create_array(tmp_path / "x.zarr", data=data, chunks=(300, 3))
    for given_X in (data, da.from_array(data, chunks=(400, 2)), stored):
        scaled = scaler.transform(given_X)
        assert scaled.dtype == expected
        assert as_array(scaled).dtype == expected
        np.testing.assert_array_equal(as_array(scaled), scaler.transform(data))
    theirs = SklearnScaler().fit_transform(data.astype(float))
    np.testing.assert_allclose(scaled_of(scaler, data), theirs, rtol=2e-6, atol=2e-6)
    np.testing.assert_array_equal(data, before)


def scaled_of(scaler, X):
    return as_array(scaler.transform(X))


def test_float32_far_from_the_origin_keeps_its_digits():
    X = (np.random.default_rng(0).normal(size=(500, 2)) * 100 + 1e6 + 0.03).astype(np.float32)
    scaled = StandardScaler().fit_transform(X)
    exact = SklearnScaler().fit_transform(X.astype(np.float64))
    np.testing.assert_allclose(scaled, exact, rtol=2**-23, atol=1e-12)


def test_every_kind_of_input_gives_the_same_bits_and_its_own_kind(X, tmp_path):
    X = X[:300]
    expected = StandardScaler().fit(X)
    rows = expected.transform(X)
    returned = {
        "pandas": pd.DataFrame,
        "dask": da.Array,
        "dask frame": dd.DataFrame,
        "zarr": Source,
        "zarr path": Source,
        "parquet": Source,
    }
    for kind, given_X in kinds(X, tmp_path).items():
        scaler = StandardScaler().fit(given_X)
        assert_same(scaler, expected)
        scaled = scaler.transform(given_X)
        assert isinstance(scaled, returned.get(kind, np.ndarray)), kind
        np.testing.assert_array_equal(as_array(scaled), rows, kind)
        back = scaler.inverse_transform(scaled)
        assert type(back) is type(scaled)
        np.testing.assert_allclose(as_array(back), X, rtol=1e-12)
        again = scaler.transform(scaled)  # a source that is scaled already
        np.testing.assert_array_equal(as_array(again), expected.transform(rows))


def test_a_pipeline_gives_the_same_bits_on_every_kind_of_input(X, tmp_path):
    X = X[:300] * [1, 1000, 0.01]
    pipeline = make_pipeline(StandardScaler(), KMeans(4, random_state=0)).fit(X)
    labels, score = pipeline.predict(X), pipeline.score(X)
    for kind, given_X in kinds(X, tmp_path).items():
        other = clone(pipeline).fit(given_X)
        np.testing.assert_array_equal(other[-1].cluster_centers_, pipeline[-1].cluster_centers_)
        np.testing.assert_array_equal(as_array(other.predict(given_X)), labels, kind)
        np.testing.assert_array_equal(as_array(other.transform(given_X)), pipeline.transform(X))
        np.testing.assert_array_equal(as_array(other[-1].labels_), labels, kind)
        assert other.score(given_X) == score
        if kind in ("pandas", "dask frame", "parquet"):
            assert list(other[-1].feature_names_in_) == ["f0", "f1", "f2"]


def test_names_go_through_a_pipeline_from_one_kind_to_another(X, tmp_path):
    given_X = kinds(X, tmp_path)
    pipeline = make_pipeline(StandardScaler(), KMeans(4, random_state=0)).fit(given_X["parquet"])
    expected = pipeline.predict(given_X["pandas"])
    np.testing.assert_array_equal(as_array(pipeline.predict(given_X["dask frame"])), expected)
    assert list(pipeline[0].get_feature_names_out()) == ["f0", "f1", "f2"]
    swapped = given_X["pandas"][["f1", "f0", "f2"]]
    for wrong in (swapped, dd.from_pandas(swapped, npartitions=2)):
        with pytest.raises(ValueError, match="feature names should match"):
            pipeline.predict(wrong)
    chosen = open_source(given_X["parquet"], columns=["f0", "f2"])
    with pytest.raises(DataError, match="X has 2 features, but StandardScaler is expecting 3"):
        pipeline.predict(chosen)
    np.testing.assert_array_equal(
        pipeline[0].inverse_transform(pipeline[-1].cluster_centers_).shape, (4, 3)
    )


@pytest.mark.parametrize("residency", ["stream", "memory"])
def test_a_pipeline_reads_each_piece_once_a_pass(counted, residency):
    """One read for the scaler; then one for each pass of KMeans, and one for labels or scores."""
    given_X, reads = counted
    model = KMeans(4, random_state=0, residency=residency)
    pipeline = make_pipeline(StandardScaler(), model)
    pipeline[0].fit(given_X)
    assert reads.each() == 1
    reads.counts.clear()
    pipeline.fit(given_X)
    passes = 1 + (model.history_.passes if residency == "stream" else 1)
    assert reads.each() == passes
    as_array(pipeline.predict(given_X))
    pipeline.score(given_X)
    assert reads.each() == passes + 2


def test_nothing_is_read_before_it_is_asked_for(computes, counted):
    given_X, reads = counted
    scaler = StandardScaler().fit(given_X)
    assert computes.computes == 1
    reads.counts.clear()
    scaler.inverse_transform(scaler.transform(given_X))
    assert (computes.computes, len(reads.counts)) == (1, 0)


def test_blocks_are_scaled_in_the_buffers_that_they_are_read_into(tmp_path):
    """Integers are read into the memory of the floats, without a block beside it."""
    X = np.random.default_rng(0).integers(0, 200, size=(600, 4)).astype(np.int16)
    path = tmp_path / "x.zarr"
    zarr.create_array(path, data=X, chunks=(100, 4))
    scaled = StandardScaler().fit(path).transform(path)
    assert scaled.row_bytes == 4 * 8
    assert (scaled.units, scaled.where, scaled.kind) == ((100,) * 6, f"{path}, scaled", "zarr")
    buffer = np.empty((250, 4))
    scaled.rows.read(100, 350, buffer)
    np.testing.assert_array_equal(buffer, StandardScaler().fit(X).transform(X)[100:350])
    assert KMeans(2, random_state=0).fit(scaled).history_.facts.source == f"{path}, scaled"
    assert KMeans(2).plan(scaled).pass_bytes == 600 * 4 * 8 == 4 * KMeans(2).plan(path).pass_bytes


def test_a_scaler_and_its_sources_are_pickled_and_used_on_a_cluster(client, X, tmp_path):
    path = kinds(X, tmp_path)["zarr path"]
    scaler = StandardScaler().fit(path)
    assert_same(scaler, StandardScaler().fit(X))
    again = pickle.loads(pickle.dumps(scaler))
    source = pickle.loads(pickle.dumps(again.transform(path)))
    model = KMeans(4, random_state=0).fit(source)
    alone = KMeans(4, random_state=0).fit(scaler.transform(X))
    np.testing.assert_array_equal(model.cluster_centers_, alone.cluster_centers_)
    np.testing.assert_array_equal(model.labels_.compute(), alone.labels_)
    again.partial_fit(X)
    assert again.n_samples_seen_ == 2 * len(X)


def test_dask_arrays_of_sparse_blocks_are_scaled_dense():
    dense = np.random.default_rng(0).poisson(0.5, size=(90, 4)).astype(float)
    blocks = [dask.delayed(scipy.sparse.csr_matrix)(dense[i : i + 30]) for i in (0, 30, 60)]
    meta = scipy.sparse.csr_matrix((0, 0))
    X = da.concatenate([da.from_delayed(b, (30, 4), meta=meta) for b in blocks])
    scaler = StandardScaler().fit(X)
    np.testing.assert_array_equal(as_array(scaler.transform(X)), scaler.transform(dense))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([[1.0, 2.0], [np.inf, 1.0]], r"contains infinity: inf at row 1, column 0; clean the data"),
        ([[1.0, 2.0], [3.0, -np.inf]], r"contains infinity: -inf at row 1, column 1"),
        ([[1.0, 1e200], [3.0, 4.0]], r"too large to be squared: 1e\+200 at row 0, column 1"),
        (np.empty((0, 2)), r"0 sample\(s\)"),
        ([1.0, 2.0], "Expected 2D array, got 1D array"),
        (scipy.sparse.eye(3, format="csr"), r"a sparse X would be dense .* pass X.toarray\(\)"),
    ],
)
def test_bad_input_is_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        StandardScaler().fit(bad)


def test_bad_blocks_weights_names_and_memory_are_refused(X, tmp_path):
    frame = pd.DataFrame(X, columns=list("abc"))
    frame.loc[700, "b"] = np.inf
    with pytest.raises(DataError, match="infinity: inf at row 700, column 'b'"):
        StandardScaler().fit(dd.from_pandas(frame, npartitions=4))
    empty = lazy(X[:0], (0, 0), unknown=True)
    with pytest.raises(DataError, match=r"0 sample\(s\) \(shape=\(0, 3\)\)"):
        StandardScaler().fit(empty)
    with pytest.raises(DataError, match="sample_weight is zero for every row"):
        StandardScaler().fit(da.from_array(X), sample_weight=np.zeros(len(X)))
    with pytest.raises(DataError, match="sample_weight must be finite and not negative, got -1"):
        StandardScaler().fit(X, sample_weight=np.full(len(X), -1.0))
    with pytest.raises(MemoryLimitError, match=r"memory_limit is 1\.00 MiB"):
        StandardScaler(memory_limit="1 MiB").fit(kinds(X, tmp_path)["zarr path"])
    with pytest.raises(DataError, match="X has 2 features, but StandardScaler is expecting 3"):
        StandardScaler().fit(X).inverse_transform(X[:, :2])
    for method in ("transform", "inverse_transform"):
        with pytest.raises(NotFittedError):
            getattr(StandardScaler(), method)(X)


def test_what_was_fitted_stays_when_more_rows_are_refused(X):
    scaler = StandardScaler().fit(X)
    with pytest.raises(DataError, match="infinity"):
        scaler.partial_fit([[np.inf, 0, 0]])
    assert_same(scaler, StandardScaler().fit(X))
    scaler.fit(X[:100])
    assert scaler.n_samples_seen_ == 100


def test_set_output_and_the_lazy_module():
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 5.0]}, index=[7, 8])
    scaler = StandardScaler().fit(frame)
    named = scaler.transform(frame)
    assert (list(named.columns), list(named.index)) == (["a", "b"], [7, 8])
    assert isinstance(scaler.set_output(transform="pandas").transform(frame), pd.DataFrame)
    assert dkmeans.preprocessing.StandardScaler is StandardScaler
    assert "preprocessing" in dkmeans.__all__


def test_the_docstring_example():
    import doctest

    assert doctest.testmod(dkmeans.preprocessing).failed == 0


def test_scaled_blobs_are_clustered_as_scikit_learn_does():
    X = make_blobs(400, centers=4, cluster_std=0.9, random_state=42)[0]
    ours = make_pipeline(StandardScaler(), KMeans(4, n_init=10, random_state=0)).fit(X)
    theirs = make_pipeline(SklearnScaler(), SklearnKMeans(4, n_init=10, random_state=0)).fit(X)
    assert ours[-1].inertia_ == pytest.approx(theirs[-1].inertia_, rel=1e-12)
