"""What a watcher is told of a fit."""

import dask.array as da
import numpy as np
import pytest

from dkmeans import KMeans
from dkmeans.engine.progress import watched, watching


class Watcher:
    def __init__(self):
        self.passes, self.rows, self.iterations = [], 0, []

    def pass_started(self, name, blocks):
        self.passes.append(name)

    def block_done(self, rows, read_bytes):
        self.rows += rows

    def iteration_done(self, iteration):
        self.iterations.append(iteration)


ROUNDS = [*(f"init {r}" for r in range(1, 6)), "init weights"]


def watched_fit(X, chunk, **options):
    watcher = Watcher()
    model = KMeans(4, random_state=0, tol=0.0, **options)
    with watching(watcher):
        model.fit(da.from_array(X, chunks=(chunk, 2)))
    assert not watched()
    assert watcher.rows == len(X) * len(watcher.passes)
    assert watcher.iterations == list(model.history_)
    read = watcher.passes[:1] == ["read"]
    assert read == (options["residency"] == "memory")
    return model, watcher.passes[read:]


@pytest.mark.parametrize("residency", ["memory", "stream"])
@pytest.mark.parametrize(("init", "seeding"), [("k-means||", ROUNDS), ("random", [])])
def test_a_watcher_is_told_of_each_pass_over_the_data_and_of_no_other(residency, init, seeding):
    X = np.random.default_rng(0).normal(size=(500, 2))
    options = {"init": init, "n_init": 1, "algorithm": "lloyd", "residency": residency}
    model, passes = watched_fit(X, 100, **options)
    assert passes == ["survey", *seeding, *["lloyd"] * model.n_iter_]


@pytest.mark.parametrize("residency", ["memory", "stream"])
def test_a_watcher_is_told_of_passes_that_several_iterations_share(residency):
    X = np.random.default_rng(0).normal(size=(40_000, 2))
    model, passes = watched_fit(X, 8_000, residency=residency)
    assert passes[:2] == ["survey", "init verify"]
    assert set(passes[2:]) <= {"init verify", "lloyd"}
    assert len(passes) == model.history_.passes < model.n_iter_
