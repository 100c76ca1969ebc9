"""Data that the sections make: mixtures of Gaussians and uniform rows, a block at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[Any]


@dataclass(frozen=True)
class Made:
    """A kind of data.

    Parameters
    ----------
    clusters : how many true clusters; 0 is uniform on the unit cube.
    gap : least distance of two true centers in standard deviations of a cluster; 0 draws the
        centers from a Gaussian of standard deviation ``reach`` instead, so that clusters overlap.
    uneven : size of the largest cluster relative to the smallest.
    """

    name: str
    features: int
    clusters: int
    gap: float = 0.0
    reach: float = 1.0
    uneven: float = 1.0

    @cached_property
    def middles(self) -> Floats:
        """True centers, (clusters, features)."""
        random = np.random.default_rng([self.features, self.clusters])
        if not self.gap:
            return self.reach * random.standard_normal((self.clusters, self.features))
        return _apart(random, self.clusters, self.features, self.gap)

    def blocks(self, rows: int, block_rows: int, seed: int = 0) -> Iterator[npt.NDArray[Any]]:
        """The rows, float32, the same for any process."""
        random = np.random.default_rng([seed, self.features, self.clusters])
        shares = np.geomspace(1, self.uneven, max(1, self.clusters))
        middles = self.middles.astype(np.float32)
        for start in range(0, rows, block_rows):
            shape = (min(block_rows, rows - start), self.features)
            if self.clusters == 0:
                yield random.random(shape, dtype=np.float32)
                continue
            block = middles[random.choice(self.clusters, size=shape[0], p=shares / shares.sum())]
            block += random.standard_normal(shape, dtype=np.float32)
            yield block

    def rows(self, rows: int, seed: int = 0) -> npt.NDArray[Any]:
        """All rows as one array."""
        return next(self.blocks(rows, rows, seed))

    def found_all(self, centers: Floats) -> bool:
        """Whether each true center is nearest to a found center of its own, and the reverse."""
        squares = np.square(self.middles[:, None, :] - np.asarray(centers)[None, :, :]).sum(axis=2)
        k = self.clusters
        return len(set(squares.argmin(axis=1))) == k and len(set(squares.argmin(axis=0))) == k


def _apart(random: np.random.Generator, k: int, d: int, gap: float) -> Floats:
    """Draw k points of a cube, no two of them nearer than ``gap``."""
    points: list[Floats] = []
    side = 1.5 * gap * k ** (1 / d)
    while len(points) < k:
        point = side * random.random(d)
        if all(np.square(point - other).sum() >= gap * gap for other in points):
            points.append(point)
    return np.array(points)
