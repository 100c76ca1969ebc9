"""What one pass learns of how far two models agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dkmeans._typing import AnyArray, Floats, Ints
from dkmeans.engine import exact
from dkmeans.engine.predict import Model


@dataclass(frozen=True)
class Parity:
    """How two models label rows, and what either costs.

    Parameters
    ----------
    counts : (k, m) rows of each pair of clusters.
    inertias : (2, LIMBS) exact sums of squared distances.
    """

    counts: Ints
    inertias: Ints

    @staticmethod
    def part_bytes(k: int, m: int) -> int:
        """Bytes of that of a block."""
        return 8 * (k * m + 2 * exact.LIMBS)

    @staticmethod
    def combine(parts: Sequence[Parity]) -> Parity:
        """Add up."""
        counts: Ints = np.sum([p.counts for p in parts], axis=0)
        return Parity(counts, exact.combine([p.inertias for p in parts]))


@dataclass(frozen=True)
class ParityStep:
    """Label the rows of a block by both models."""

    ours: Model
    theirs: Model

    def __call__(self, X: AnyArray, weights: Floats, offset: int, block: int) -> Parity:
        from dkmeans.engine import stats_kernels, sum_kernels

        models = self.ours, self.theirs
        ours, theirs = (model.labels(X, offset) for model in models)
        inertias = exact.zeros(2)
        sum_kernels.cost(X, weights, self.ours.centers, ours, inertias[0])
        sum_kernels.cost(X, weights, self.theirs.centers, theirs, inertias[1])
        counts = np.zeros([len(model.centers) for model in models], np.int64)
        stats_kernels.count_pairs(ours, theirs, counts)
        return Parity(counts, inertias)
