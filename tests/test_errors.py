"""Bad input: each a clear error that is also the builtin that a caller would expect."""

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import zarr

import dkmeans
from dkmeans import DataError, KMeans, MemoryLimitError, SourceError
from dkmeans.data.sources import open_source


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(60, 3))


def as_zarr(X, tmp_path):
    return zarr.create_array(tmp_path / "x.zarr", data=X, chunks=(25, 2))


def as_parquet(X, tmp_path):
    path = tmp_path / "x.parquet"
    pd.DataFrame(X, columns=["a", "b", "c"]).to_parquet(path, row_group_size=25)
    return path


def as_unknown(X, tmp_path):
    parts = [
        da.from_delayed(dask.delayed(X[i : i + 25]), (np.nan, 3), X.dtype) for i in (0, 25, 50)
    ]
    return da.concatenate(parts, allow_unknown_chunksizes=True)


KINDS = {
    "array": (lambda X, _: X, 2),
    "pandas": (lambda X, _: pd.DataFrame(X, columns=["a", "b", "c"]), "'c'"),
    "dask": (lambda X, _: da.from_array(X, chunks=(25, 2)), 2),
    "unknown": (as_unknown, 2),
    "frame": (
        lambda X, _: dd.from_pandas(pd.DataFrame(X, columns=["a", "b", "c"]), npartitions=3),
        "'c'",
    ),
    "zarr": (as_zarr, 2),
    "parquet": (as_parquet, "'c'"),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


@each_kind
@pytest.mark.parametrize(
    ("value", "name"),
    [(np.nan, "NaN: nan"), (np.inf, "infinity: inf"), (-np.inf, "infinity: -inf")],
)
@pytest.mark.parametrize("residency", ["memory", "stream"])
def test_a_value_that_is_not_finite_is_named_by_row_and_column(
    X, kind, value, name, residency, tmp_path
):
    X[31, 2] = X[50, 0] = value
    make, column = KINDS[kind]
    with pytest.raises(DataError, match=f"Input X contains {name} at row 31, column {column}"):
        KMeans(2, residency=residency).fit(make(X, tmp_path))


@each_kind
def test_so_is_one_met_by_predict_transform_and_score(X, kind, tmp_path):
    make, column = KINDS[kind]
    model = KMeans(2, random_state=0).fit(X)
    if column == "'c'":
        model.feature_names_in_ = np.array(["a", "b", "c"], dtype=object)
    X[31, 2] = np.inf
    bad = make(X, tmp_path)
    row = {"unknown": "6 of its block .*", "frame": "11 of its block .*"}.get(kind, "31")
    message = f"infinity: inf at row {row}, column {column}"
    with pytest.raises(DataError, match=message):
        np.asarray(model.predict(bad))
    with pytest.raises(DataError, match=message):
        np.asarray(model.transform(bad))
    with pytest.raises(DataError, match=f"infinity: inf at row 31, column {column}"):
        model.score(bad)


@each_kind
def test_more_clusters_than_rows(X, kind, tmp_path):
    with pytest.raises(DataError, match="n_samples=60 should be >= n_clusters=61"):
        KMeans(61).fit(KINDS[kind][0](X, tmp_path))


def test_more_clusters_than_finite_rows(X):
    X[2:] = np.nan
    with pytest.raises(DataError, match="n_samples=2 should be >= n_clusters=3, rows with NaN"):
        KMeans(3, nan_policy="omit").fit(X)


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("unknown", "frame")])
def test_no_rows(kind, tmp_path):
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        KMeans(1).fit(KINDS[kind][0](np.empty((0, 3)), tmp_path))


def test_no_rows_known_only_by_reading():
    nothing = da.from_delayed(dask.delayed(np.empty((0, 3))), (np.nan, 3), float)
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        KMeans(1).fit(nothing)


def test_no_columns():
    for given in (np.empty((5, 0)), da.empty((5, 0), chunks=(5, 1))):
        with pytest.raises(ValueError, match=r"0 feature\(s\)"):
            KMeans(1).fit(given)


@pytest.mark.parametrize(
    "make",
    [
        np.asarray,
        da.from_array,
        zarr.array,
    ],
    ids=["array", "dask", "zarr"],
)
@pytest.mark.parametrize("dimensions", [1, 3])
def test_other_than_two_dimensions(make, dimensions):
    with pytest.raises(ValueError, match=r"Expected 2D array|dim 3|3 dimensions|3D array"):
        KMeans(1).fit(make(np.zeros((4,) * dimensions)))


def test_a_series(X):
    series = dd.from_pandas(pd.Series(X[:, 0]), npartitions=2)
    with pytest.raises(DataError, match=r"Use X\.to_frame\(\)"):
        KMeans(1).fit(series)


@pytest.mark.parametrize(
    "make",
    [np.asarray, da.from_array, zarr.array],
    ids=["array", "dask", "zarr"],
)
def test_complex_numbers(make):
    with pytest.raises(ValueError, match="Complex data not supported"):
        KMeans(1).fit(make(np.ones((4, 2), complex)))


@pytest.mark.parametrize(
    "make",
    [
        np.asarray,
        pd.DataFrame,
        da.from_array,
        lambda X: dd.from_pandas(pd.DataFrame(X), npartitions=1),
    ],
    ids=["array", "pandas", "dask", "frame"],
)
def test_words(make):
    with pytest.raises(
        ValueError,
        match=r"could not convert string to float|Expected numbers|arrays of bytes/strings",
    ):
        KMeans(1).fit(make(np.array([["a", "b"], ["c", "d"]])))


def test_ragged_lists():
    with pytest.raises(ValueError, match=r"inhomogeneous|setting an array element"):
        KMeans(1).fit([[1.0, 2.0], [3.0]])


def test_a_scalar_and_nothing():
    for given in (3.0, None):
        with pytest.raises((ValueError, TypeError)):
            KMeans(1).fit(given)


def test_a_block_of_another_width_than_it_says():
    parts = [da.from_delayed(dask.delayed(np.ones((5, d))), (np.nan, 3), float) for d in (3, 2)]
    lazy = da.concatenate(parts, allow_unknown_chunksizes=True)
    with pytest.raises(ValueError, match=r"must match|dimension|shape|width|features"):
        KMeans(1).fit(lazy)


def test_a_missing_path(tmp_path):
    with pytest.raises(SourceError, match=r"no such file or folder: .*nothing"):
        KMeans(1).fit(tmp_path / "nothing.zarr")


def test_a_missing_uri():
    with pytest.raises(SourceError, match="memory://nothing"):
        KMeans(1).fit("memory://nothing.zarr")


def test_a_folder_that_is_not_a_store(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(SourceError, match="is not a Zarr store or a Parquet dataset"):
        KMeans(1).fit(tmp_path)


@pytest.mark.parametrize("name", ["x.csv", "x.parquet", "x.zarr"])
def test_a_file_that_is_neither(tmp_path, name):
    (tmp_path / name).write_text("a,b\n1,2\n")
    with pytest.raises(SourceError, match=r"cannot open|is not a Zarr store"):
        KMeans(1).fit(tmp_path / name)


def test_a_group_names_its_arrays(tmp_path):
    group = zarr.create_group(tmp_path / "g.zarr")
    group.create_array("one", data=np.ones((3, 2)))
    with pytest.raises(SourceError, match="component='one'"):
        KMeans(1).fit(tmp_path / "g.zarr")
    with pytest.raises(SourceError, match="with component 'two'"):
        open_source(str(tmp_path / "g.zarr"), component="two")


def test_a_wrong_column(X, tmp_path):
    path = as_parquet(X, tmp_path)
    with pytest.raises(SourceError, match=r"no column 'z' in .*it has a, b, c"):
        open_source(path, columns=["a", "z"])
    frame = dd.from_pandas(pd.DataFrame(X, columns=list("abc")), npartitions=1)
    with pytest.raises(SourceError, match="no column 'z' in the dask DataFrame; it has a, b, c"):
        open_source(frame, columns=["z"])
    with pytest.raises(SourceError, match="columns= needs names"):
        open_source(as_zarr(X, tmp_path), columns=["a"])
    with pytest.raises(SourceError, match="columns= names columns"):
        open_source(da.from_array(X), columns=["a"])


def test_a_column_of_words_in_parquet(tmp_path):
    frame = pd.DataFrame({"a": [1.0, 2.0], "name": ["x", "y"]})
    frame.to_parquet(tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"column 'name' .* choose columns from a"):
        KMeans(1).fit(tmp_path / "x.parquet")


def test_a_corrupt_chunk_is_named_by_its_rows(X, tmp_path):
    as_zarr(X, tmp_path)
    (tmp_path / "x.zarr" / "c" / "1" / "0").write_bytes(b"junk")
    for residency in ("stream", "memory"):
        with pytest.raises(SourceError, match=r"cannot read rows \d+ to \d+ of .*x\.zarr"):
            KMeans(2, residency=residency).fit(tmp_path / "x.zarr")


def test_a_corrupt_row_group_is_named_by_its_rows(X, tmp_path):
    path = as_parquet(X, tmp_path)
    data = bytearray(path.read_bytes())
    data[4:200] = b"\xff" * 196
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"cannot read rows 0 to 25 of .*x\.parquet"):
        KMeans(2).fit(path)


@pytest.mark.parametrize("limit", ["lots", "", "12 parsecs", "-1 GiB", "0 B", True])
def test_a_memory_limit_that_is_none(X, limit):
    with pytest.raises(ValueError, match="memory_limit"):
        KMeans(2, memory_limit=limit).fit(X)


@pytest.mark.parametrize("limit", [0, -5])
def test_a_memory_limit_that_is_not_positive(X, limit):
    with pytest.raises(ValueError, match="memory_limit"):
        KMeans(2, memory_limit=limit).fit(X)


def test_too_small_a_memory_limit_is_refused_before_anything_is_read(computes):
    X = da.zeros((10**6, 3), chunks=(10**5, 3))
    with pytest.raises(MemoryLimitError, match=r"needs .* and memory_limit is 1\.00 MiB"):
        KMeans(2, memory_limit="1 MiB").fit(X)
    assert computes.computes == 0


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("unknown", "frame")])
@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_weights_below_zero_or_not_finite(X, kind, bad, tmp_path):
    weights = np.ones(60)
    weights[7] = bad
    with pytest.raises(ValueError, match="weight"):
        KMeans(2).fit(KINDS[kind][0](X, tmp_path), sample_weight=weights)


def test_a_negative_weight_is_named_by_its_row(X):
    weights = np.ones(60)
    weights[37] = -2.0
    with pytest.raises(DataError, match=r"not negative, got -2\.0 at row 37"):
        KMeans(2).fit(da.from_array(X, chunks=(10, 3)), sample_weight=weights)


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("unknown", "frame")])
def test_weights_of_another_length(X, kind, tmp_path):
    with pytest.raises(ValueError, match=r"sample_weight.shape == \(59,\), expected \(60,\)"):
        KMeans(2).fit(KINDS[kind][0](X, tmp_path), sample_weight=np.ones(59))


def test_weights_of_two_dimensions(X):
    for given in (X, da.from_array(X)):
        with pytest.raises(ValueError, match="1D"):
            KMeans(2).fit(given, sample_weight=np.ones((60, 1)))


def test_weights_that_are_all_zero(X):
    for given in (X, da.from_array(X)):
        with pytest.raises(ValueError, match="zero"):
            KMeans(2).fit(given, sample_weight=np.zeros(60))


def test_dates_are_no_numbers(X):
    with pytest.raises(DataError, match="Expected numbers in X, got dtype datetime64"):
        KMeans(2).fit((X * 1e6).astype("i8").astype("M8[s]"))


def test_a_plan_for_more_clusters_than_rows(X):
    with pytest.raises(DataError, match="n_samples=60 should be >= n_clusters=61"):
        KMeans(61).plan(da.from_array(X))


def test_a_column_asked_for_twice(X, tmp_path):
    with pytest.raises(SourceError, match="asked for twice: a, a"):
        open_source(as_parquet(X, tmp_path), columns=["a", "a"])


def test_a_component_of_parquet(X, tmp_path):
    with pytest.raises(SourceError, match=r"component= names .* is Parquet"):
        open_source(as_parquet(X, tmp_path), component="a")


@pytest.mark.parametrize("weight", [1e-300, 1e300])
def test_weights_whose_sums_do_not_fit(X, weight):
    with pytest.raises(DataError, match="scale the weights first"):
        KMeans(2).fit(X, sample_weight=np.full(60, weight))


def test_initial_centers_whose_distances_overflow(X):
    with pytest.raises(DataError, match="squared distances overflow"):
        KMeans(2, init=X[:2] + 1e200).fit(X)


def test_values_whose_squares_overflow():
    X = np.array([[1e200, 0.0], [-1e200, 0.0], [0.0, 1.0]])
    with pytest.raises(DataError, match="squared distances would overflow float64"):
        KMeans(2).fit(X)


@pytest.mark.parametrize(
    ("init", "message"),
    [
        (np.ones((3, 3)), r"initial centers \(3, 3\) does not match the number of clusters 2"),
        (np.ones((2, 4)), r"initial centers \(2, 4\) does not match the number of features .* 3"),
        (np.full((2, 3), np.nan), "initial centers contain NaN or infinity"),
        (lambda X, k, random_state: X[: k + 1], "does not match the number of clusters 2"),
    ],
)
def test_wrong_initial_centers(X, init, message):
    with pytest.raises(DataError, match=message):
        KMeans(2, init=init).fit(X)


@pytest.mark.parametrize(
    "options",
    [
        {"n_clusters": 0},
        {"n_clusters": 2.5},
        {"init": "kmeans"},
        {"n_init": 0},
        {"max_iter": 0},
        {"tol": -1.0},
        {"oversampling_factor": 0},
        {"init_rounds": 0},
        {"residency": "disk"},
        {"nan_policy": "ignore"},
        {"random_state": "x"},
    ],
    ids=lambda o: next(iter(o)),
)
def test_wrong_parameters_are_named(X, options):
    name = next(iter(options))
    with pytest.raises(ValueError, match=f"The '{name}' parameter of KMeans must be"):
        KMeans(**options).fit(X)


def test_errors_are_builtins_too():
    for error in (DataError, SourceError, MemoryLimitError, dkmeans.OutputError):
        assert issubclass(error, ValueError)
        assert issubclass(error, dkmeans.DkmeansError)
    error = dkmeans.MissingExtraError("reading s3://", "s3")
    assert isinstance(error, ImportError)
    assert 'pip install "dkmeans[s3]"' in str(error)


def test_a_failed_fit_leaves_no_model(X):
    X[5, 1] = np.nan
    model = KMeans(2)
    with pytest.raises(DataError):
        model.fit(da.from_array(X))
    assert not hasattr(model, "cluster_centers_")


@pytest.mark.parametrize("rows", [10, 499, 600])
def test_weights_whose_blocks_are_of_another_size(rows):
    def parts(block, shape):
        delayed = [da.from_delayed(dask.delayed(block), shape, float) for _ in range(2)]
        return da.concatenate(delayed, allow_unknown_chunksizes=True)

    X = parts(np.random.default_rng(0).normal(size=(500, 2)), (np.nan, 2))
    weights = parts(np.ones(rows), (np.nan,))
    with pytest.raises(DataError, match=rf"sample_weight .*: {rows} rows in block [01], X has 500"):
        KMeans(2).fit(X, sample_weight=weights)


def test_blocks_that_are_not_of_the_size_they_claim():
    X = da.zeros((100, 2), chunks=(50, 2)).map_blocks(lambda block: block[1:], dtype=float)
    with pytest.raises(DataError, match=r"block [01] of X has 49 rows, its chunks say 50"):
        KMeans(2, residency="stream").fit(X)


def test_weights_too_far_apart(X):
    weights = np.ones(60)
    weights[30:] = 1e-36
    with pytest.raises(DataError, match="sample_weight reaches from 1e-36 to 1"):
        KMeans(2).fit(X, sample_weight=weights)
