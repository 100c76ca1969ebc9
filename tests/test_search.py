"""The in-memory search: its cost is the naive one, and what it finds is good."""

import numpy as np
import pytest

from dkmeans.engine.search import search
from tests import naive

UNIT = np.empty(0)


def naive_cost(points, weights, centers):
    weights = weights if len(weights) else np.ones(len(points))
    return naive.inertia(points, weights, centers, naive.assign(points, centers))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
@pytest.mark.parametrize(("d", "k"), [(2, 1), (3, 8), (17, 40)])
def test_the_cost_is_that_of_the_centers(dtype, d, k):
    rng = np.random.default_rng(0)
    points = (rng.random((500, d)) * 100).astype(dtype)
    points.flags.writeable = False
    weights = rng.random(500)
    for given in (UNIT, weights):
        for found in search(points, given, k, 0):
            assert found.centers.shape == (k, d)
            assert found.centers.dtype == np.float64
            assert found.cost == pytest.approx(naive_cost(points, given, found.centers), rel=1e-5)
