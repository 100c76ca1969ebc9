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


@pytest.mark.parametrize("residency", ["memory", "stream"])
def test_a_watcher_is_told_of_each_pass_over_the_data_and_of_no_other(residency):
    X = np.random.default_rng(0).normal(size=(500, 2))
    watcher = Watcher()
    model = KMeans(4, random_state=0, tol=0.0, residency=residency)
    with watching(watcher):
        model.fit(da.from_array(X, chunks=(100, 2)))
    assert not watched()
    read = ["read"] if residency == "memory" else []
    seeding = ["survey", *(f"init {r}" for r in range(1, 6)), "init weights"]
    assert watcher.passes == [*read, *seeding, *["lloyd"] * model.n_iter_]
    assert watcher.rows == 500 * len(watcher.passes)
    assert watcher.iterations == list(model.history_)
