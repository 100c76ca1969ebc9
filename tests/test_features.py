"""Figures of the reference documents, reached from the best of ten starts.

Each was found with scikit-learn (n_init=10); a row of the feature table names its source.
"""

import dask.array as da
import numpy as np
import pytest
from sklearn.cluster import KMeans as SklearnKMeans
from sklearn.datasets import load_iris, make_blobs, make_moons
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import scale

from dkmeans import KMeans, compare, compare_inits, k_means, profile, sweep
from dkmeans.metrics import adjusted_rand_score, silhouette_score
from dkmeans.preprocessing import StandardScaler


def blobs(n, centers, std, seed, standardised=True):
    X, y = make_blobs(n, centers=centers, cluster_std=std, random_state=seed)
    return (scale(X) if standardised else X), y


CORNERS = [(1, 1), (-1, -1), (1, -1)]


@pytest.mark.parametrize("init", ["k-means||", "k-means++", "random"])
def test_a1_three_standardised_blobs_have_inertia_212_3913(init):
    """Centres (0.6226, 1.3173), (-1.3027, -0.6570), (0.6955, -0.6444)."""
    X, _ = blobs(750, CORNERS, 0.4, 0)
    model = KMeans(3, init=init, n_init=10, random_state=0).fit(X)
    assert model.inertia_ == pytest.approx(212.3913, abs=6e-5)
    found = model.cluster_centers_[np.argsort(model.cluster_centers_[:, 0])]
    expected = [(-1.3027, -0.6570), (0.6226, 1.3173), (0.6955, -0.6444)]
    np.testing.assert_allclose(found, expected, atol=6e-5)


def test_a3_the_function_returns_centroid_label_and_inertia_212_3913():
    X, _ = blobs(750, CORNERS, 0.4, 0)
    centroid, label, inertia = k_means(X, 3, n_init=10, random_state=0)
    assert (centroid.shape, label.shape) == ((3, 2), (750,))
    assert inertia == pytest.approx(212.3913, abs=6e-5)


@pytest.mark.parametrize(
    ("data", "k", "inertia"),
    [
        pytest.param((300, 3, 0.8, 42, False), 3, 362.7901, id="B1-362.7901"),
        pytest.param((150, 3, 0.7, 42), 3, 4.666143, id="C2-4.666143"),
        pytest.param((400, 4, 0.9, 42), 4, 18.842568, id="C6-18.842568"),
    ],
)
def test_b1_c2_c6_inertia_of_blobs(data, k, inertia):
    X, y = blobs(*data)
    model = KMeans(k, n_init=10, random_state=0).fit(X)
    assert model.inertia_ == pytest.approx(inertia, rel=3e-7)
    steps = [i.inertia for i in model.history_.best() if i.phase in ("lloyd", "final")]
    assert steps == sorted(steps, reverse=True)
    if k == 4:
        assert adjusted_rand_score(y, model.labels_) == 1.0


@pytest.mark.parametrize("lazy", [False, True])
def test_c6_the_pipeline_finds_the_same_with_silhouette_0_820179(lazy):
    rows, y = blobs(400, 4, 0.9, 42, standardised=False)
    X = da.from_array(rows, chunks=(90, 2)) if lazy else rows
    model = KMeans(4, init="k-means++", n_init=20, random_state=0)
    pipeline = make_pipeline(StandardScaler(), model).fit(X)
    assert model.inertia_ == pytest.approx(18.842568, abs=6e-7)
    scaled = pipeline[0].transform(X)
    assert silhouette_score(scaled, model.labels_) == pytest.approx(0.820179, abs=6e-7)
    assert adjusted_rand_score(y, model.labels_) == 1.0
    described = profile(pipeline, X)
    assert described.sizes.tolist() == [100] * 4
    means = [rows[y == j].mean(axis=0) for j in range(4)]
    found = described.means[np.argsort(described.means[:, 0])]
    np.testing.assert_allclose(found, sorted(means, key=lambda mean: mean[0]), rtol=1e-12)


def test_b4_iris_petals_have_inertia_18_0270_and_ari_0_8857():
    iris = load_iris()
    model = KMeans(3, n_init=10, random_state=0).fit(scale(iris.data[:, 2:]))
    assert model.inertia_ == pytest.approx(18.0270, abs=6e-5)
    assert adjusted_rand_score(iris.target, model.labels_) == pytest.approx(0.8857, abs=6e-5)


@pytest.mark.parametrize("seed", [0, 1, 2, 42])
def test_d1_d3_iris_sepals_have_inertia_37_0507_from_any_seed(seed):
    """D1: silhouette 0.4451, and frames of all phases; D3: the same from other seeds."""
    X = load_iris().data[:, :2]
    model = KMeans(3, init="random", n_init=10, random_state=seed).fit(X)
    assert model.inertia_ == pytest.approx(37.0507, abs=6e-5)
    assert silhouette_score(X, model.labels_) == pytest.approx(0.4451, abs=6e-5)
    frames = list(model.history_.frames())
    phases = ["init", *["assign", "update"] * model.n_iter_, "converged"]
    assert [frame.phase for frame in frames] == phases
    np.testing.assert_array_equal(frames[-1].labels, model.labels_)
    assert frames[-1].inertia == model.inertia_


def test_b6_the_starts_of_five_seeds_have_a_best_a_worst_and_a_difference():
    X, _ = blobs(300, 3, 0.8, 42, standardised=False)
    line = compare_inits(X, 3, "k-means++", n_runs=5, random_state=0).table.loc["k-means++"]
    assert line["best"] == pytest.approx(362.7901, abs=6e-5)
    assert line["worst"] - line["best"] == pytest.approx(0, abs=6e-5)


def drawn_by_scikit_learn():
    """Rows from which its own KMeans(3, init="random") starts, for the seeds 0 to 19."""
    even = np.full(200, 1 / 200)
    for seed in range(20):
        yield np.random.RandomState(seed).choice(200, 3, replace=False, p=even)


def test_c4_over_twenty_seeds_the_best_is_7_864161_and_randoms_worst_122_0():
    X, _ = blobs(200, 3, 0.8, 42)
    found = compare_inits(X, 3, ["random", "k-means++"], n_runs=20, random_state=0)
    assert found.table["best"].to_numpy() == pytest.approx(7.864161, abs=6e-7)
    assert found.table.loc["k-means++", "worst"] == pytest.approx(7.864161, abs=6e-7)
    assert found.table.loc["random", "worst"] >= 122.0
    inertias = [KMeans(3, init=X[rows]).fit(X).inertia_ for rows in drawn_by_scikit_learn()]
    assert min(inertias) == pytest.approx(7.864161, abs=6e-7)
    assert max(inertias) == pytest.approx(122.0, abs=0.06)


def test_b7_compare_finds_no_difference_from_scikit_learn():
    X, _ = blobs(300, 3, 0.8, 42, standardised=False)
    theirs = SklearnKMeans(3, n_init=10, random_state=1).fit(X)
    found = compare(KMeans(3, n_init=10, random_state=0).fit(X), theirs, X)
    assert found.inertia_ratio == pytest.approx(1, rel=1e-12)
    assert found.adjusted_rand == 1.0
    assert found.agreement == 1.0
    np.testing.assert_allclose(found.distances, 0, atol=1e-12)


def test_c5_every_way_to_start_reaches_11_317023():
    X, _ = blobs(300, 4, 0.8, 42)
    table = compare_inits(X, 4, n_runs=10, random_state=0).table
    assert {"random", "k-means++", "k-means||", "auto"} <= set(table.index)
    assert {"mean", "std", "best", "n_iter", "seconds"} <= set(table.columns)
    assert table["best"].to_numpy() == pytest.approx(11.317023, abs=6e-7)
    assert table.loc["auto", "std"] == pytest.approx(0, abs=1e-9)


def test_c7_moons_are_beyond_k_means_ari_0_4790():
    X, y = make_moons(300, noise=0.08, random_state=42)
    model = KMeans(2, n_init=10, random_state=0).fit(scale(X))
    assert adjusted_rand_score(y, model.labels_) == pytest.approx(0.4790, abs=6e-5)


A4 = [1500, 688.538, 212.391, 186.477, 160.973, 136.007, 119.663, 104.420, 90.966]
B5 = [20120.54, 5526.51, 362.79, 317.97, 272.85, 230.52, 198.02, 174.52, 151.14, 138.89]


@pytest.mark.parametrize(
    ("data", "inertias", "digits"),
    [
        pytest.param((750, CORNERS, 0.4, 0), A4, 3, id="A4"),
        pytest.param((300, 3, 0.8, 42, False), B5, 2, id="B5"),
    ],
)
def test_a4_b5_a_sweep_finds_the_inertias_of_the_elbow_and_its_knee(data, inertias, digits):
    X, _ = blobs(*data)
    found = sweep(X, range(1, len(inertias) + 1), n_init=10, random_state=0)
    for inertia, expected in zip(found.table["inertia"], inertias, strict=True):
        assert round(inertia, digits) <= expected
    assert found.best_by("knee") == 3
    if data[-1] is False:  # well apart: all criteria agree
        assert {found.best_by(name) for name in found.criteria} == {3}
        assert found.best_k == 3
