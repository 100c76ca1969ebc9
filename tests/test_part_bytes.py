"""What passes that measure learn of a block is planned for as it is, before they read."""

from dataclasses import fields, is_dataclass

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from test_passes import Reads, zarr_input

from dkmeans import KMeans, MemoryLimitError, compare, metrics, profile, sweep
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
from dkmeans.engine.memory import FIXED_BYTES
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
    X = np.random.default_rng(0).normal(size=(300, 1))
    limit = {"memory_limit": FIXED_BYTES + 48 * MIB, "max_iter": 1, "random_state": 0}
    ks = range(2, 100)

    def listen(iteration):
        pytest.fail("a fit began")

    with pytest.raises(MemoryLimitError, match="raise memory_limit"):
        sweep(X, ks, callbacks=listen, **limit)
    scored = sweep(X, (2, 5), **limit)
    assert "davies_bouldin" in scored.table
