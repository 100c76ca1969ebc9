"""What passes that measure learn of a block is planned for as it is, before they read."""

from dataclasses import fields, is_dataclass

import dask.array as da
import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from test_passes import Reads, zarr_input

from dkmeans import KMeans, MemoryLimitError, compare, metrics, plot, profile, scoring, sweep
from dkmeans.engine.cluster_stats import (
    Labelling,
    MeansStep,
    Moments,
    Scored,
    ScoreStep,
    Silhouettes,
    SilhouetteStep,
    Spread,
    SpreadStep,
)
from dkmeans.engine.feature_sums import FEATURE_BYTES, FeatureSumsStep
from dkmeans.engine.machine import FIXED_BYTES
from dkmeans.engine.parity_step import Parity, ParityStep
from dkmeans.engine.predict import Model
from dkmeans.engine.profile_step import Profiled, ProfileStep

N, K, M, D, MOST = 50, 4, 3, 5, 6
MIB = 2**20


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(N, D))


def bytes_in(part):
    """Of all arrays that a part holds."""
    if isinstance(part, np.ndarray):
        return part.nbytes
    held = [getattr(part, field.name) for field in fields(part)] if is_dataclass(part) else []
    return sum(map(bytes_in, held))


def steps(X):
    model, other = (Model(X[:k].copy(), "raise", None) for k in (K, M))
    labelling, values = Labelling(model), np.arange(K)
    return {
        "means": (MeansStep(labelling), Moments.part_bytes(K, D)),
        "spread": (SpreadStep(labelling, values, X[:K]), Spread.part_bytes(K)),
        "silhouettes": (SilhouetteStep(model), Silhouettes.part_bytes(K)),
        "scores": (ScoreStep(model, X[:K], None), Scored.part_bytes(K)),
        "profile": (ProfileStep(model, None, MOST), Profiled.part_bytes(K, D, MOST)),
        "compare": (ParityStep(model, other), Parity.part_bytes(K, M)),
        "scale": (FeatureSumsStep(), FEATURE_BYTES * D),
    }


@pytest.mark.parametrize(
    "name", ["means", "spread", "silhouettes", "scores", "profile", "compare", "scale"]
)
def test_a_part_holds_as_many_bytes_as_are_planned_for(X, name):
    step, planned = steps(X)[name]
    assert bytes_in(step(X, np.empty(0), 0, 0)) == planned


def with_centers(k, d, limit):
    model = KMeans(k, memory_limit=limit)
    model.cluster_centers_, model.n_features_in_ = np.random.default_rng(1).normal(size=(k, d)), d
    return model


PASSES = {
    "profile": lambda model, X: profile(model, X, nearest=20_000),
    "profile of a pipeline": lambda model, X: profile(
        make_pipeline(StandardScaler().fit(np.ones((2, D))), model), X, nearest=20_000
    ),
    "cluster_scores": lambda model, X: metrics.cluster_scores(X, model),
    "davies_bouldin": lambda model, X: metrics.davies_bouldin_score(X, model),
    "calinski_harabasz": lambda model, X: metrics.calinski_harabasz_score(X, model),
    "simplified": lambda model, X: metrics.simplified_silhouette_score(X, model),
    "compare": lambda model, X: compare(model, np.ones((2000, D)), X),
}


@pytest.mark.parametrize("name", PASSES)
def test_passes_that_learn_too_much_are_refused_before_they_read(X, tmp_path, monkeypatch, name):
    reads = Reads()
    rows = zarr_input(X, reads, tmp_path, monkeypatch)
    reads.counts.clear()
    k = 20 if name.startswith("profile") else 6000
    model = with_centers(k, D, FIXED_BYTES + 40 * MIB)
    model.predict(X)  # which learns nothing of a block
    with pytest.raises(MemoryLimitError, match=r"needs .* and memory_limit is 320\.00 MiB"):
        PASSES[name](model, rows)
    assert not reads.counts


def test_the_scores_of_a_sweep_are_planned_for_before_the_fits():
    X = np.random.default_rng(0).normal(size=(3000, 1))
    limit = {"memory_limit": FIXED_BYTES + 20 * MIB, "max_iter": 1, "random_state": 0}
    limit |= {"history_rows": 10, "metrics": ("davies_bouldin",), "init": "random", "n_init": 1}

    def listen(iteration):
        pytest.fail("a fit began")

    with pytest.raises(MemoryLimitError, match=r"the sweep needs .* MiB: raise memory_limit"):
        sweep(X, (2, 3000), callbacks=listen, **limit)
    scored = sweep(X, (2, 5), **limit)
    assert scored.scores.passes == 1


def test_scores_of_a_sweep_that_do_not_fit_together_take_turns(monkeypatch):
    X = np.random.default_rng(0).normal(size=(300, 1))
    options = {"max_iter": 1, "random_state": 0, "init": "random", "n_init": 1}
    ks, together = range(2, 100), []
    run = scoring.run_together
    monkeypatch.setattr(
        scoring, "run_together", lambda p, b, some: together.append(len(some)) or run(p, b, some)
    )
    whole = sweep(X, ks, **options)
    assert (together, whole.scores.passes) == ([98], 1)
    together.clear()
    parts = sweep(X, ks, memory_limit=FIXED_BYTES + 30 * MIB, **options)
    assert sum(together) == 98
    assert 1 < len(together) < 20
    assert parts.scores.passes == len(together) > 1
    pd.testing.assert_frame_equal(parts.table, whole.table, rtol=1e-12)


LABELLED = {
    "davies_bouldin": metrics.davies_bouldin_score,
    "calinski_harabasz": metrics.calinski_harabasz_score,
    "adjusted_rand": lambda X, labels, **options: metrics.adjusted_rand_score(
        da.from_array(np.arange(len(X)) % 3, chunks=len(X) // 3), labels, **options
    ),
}


@pytest.mark.parametrize("name", LABELLED)
@pytest.mark.parametrize("chunk", [100_000, 10_000])
def test_more_labels_than_fit_are_refused_with_both_numbers(name, chunk):
    rows = np.random.default_rng(0).normal(size=(100_000, 1))
    X, labels = da.from_array(rows, chunks=(chunk, 1)), np.arange(len(rows))
    limit = {"memory_limit": FIXED_BYTES + 60 * MIB}
    with pytest.raises(
        MemoryLimitError,
        match=r"different labels so far, needs .* and memory_limit is 340\.00 MiB: raise",
    ):
        LABELLED[name](X, labels, **limit)
    few = labels % 7
    assert LABELLED[name](X, few, **limit) == LABELLED[name](X, few)


def test_the_sample_of_silhouettes_is_planned_for(X):
    rows = da.from_array(np.zeros((200_000, 40)), chunks=(20_000, 40))
    labels, limit = np.arange(200_000) % 2, {"memory_limit": FIXED_BYTES + 200 * MIB}
    with pytest.raises(MemoryLimitError, match=r"the pass needs .* memory_limit is 480\.00 MiB"):
        metrics.silhouette_score(rows, labels, sample_size=10**9, **limit)
    assert metrics.silhouette_score(X, np.arange(N) % 2, sample_size=10**9, **limit).n_rows == N
    model = with_centers(2, 40, limit["memory_limit"])
    with pytest.raises(MemoryLimitError, match="the pass needs"):
        metrics.silhouette_score(rows, model, sample_size=10**9)


def test_pictures_of_many_features_are_planned_for():
    X = da.zeros((1000, 1024), chunks=(100, 1024))
    model = with_centers(2, 1024, FIXED_BYTES + 100 * MIB)
    with pytest.raises(MemoryLimitError, match=r"the pass needs .* memory_limit is 380\.00 MiB"):
        plot.projection(model, X)
