"""Mean and variance of each feature, in one pass.

Chan, Golub and LeVeque (1983) keep the mean and the sum of squared deviations of each block and
combine these, which loses few digits where ``sum(x^2) - n mean^2`` loses all. Here that textbook
formula loses none, for its sums are exact (see ``exact.py``) and their difference is taken of whole
numbers. Mean and variance are then the correctly rounded ones, whatever the blocks and their order.
Squares below ``2**-1074``, of values below 1e-161, count as 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dkmeans._typing import AnyArray, Floats, Ints
from dkmeans.engine import exact
from dkmeans.engine.partial import BadValue, first_bad
from dkmeans.engine.survey import check_weights

FEATURE_BYTES = 3 * 8 * exact.LIMBS  # of the sums of one feature


@dataclass(frozen=True)
class FeatureSums:
    """Sums over some rows, of the values that are not NaN.

    Parameters
    ----------
    sums : (d, 3, LIMBS), exact sums of the weight, of weight * x and of weight * x^2.
    n_rows : rows in all.
    weighted : whether rows have weights at all.
    bad : the first value that is infinite or too large to be squared.
    """

    sums: Ints
    n_rows: int
    weighted: bool
    bad: BadValue | None

    @staticmethod
    def combine(parts: Sequence[FeatureSums]) -> FeatureSums:
        """Add up."""
        return FeatureSums(
            exact.combine([p.sums for p in parts]),
            sum(p.n_rows for p in parts),
            any(p.weighted for p in parts),
            first_bad([p.bad for p in parts]),
        )

    def weight(self) -> Floats:
        """Weight of the values of each feature, (d,)."""
        return np.array([exact.to_float(feature[0]) for feature in self.sums])

    def mean(self) -> Floats:
        """Mean of each feature, (d,), NaN where nothing has weight."""
        return np.array([_divide(total, w) for w, total, _ in self._whole()])

    def variance(self) -> Floats:
        """Mean squared deviation from the mean, (d,)."""
        return np.array(
            [_divide(max(0, square * w - total**2), w**2) for w, total, square in self._whole()]
        )

    def _whole(self) -> list[list[int]]:
        """The three sums of each feature, as whole numbers."""
        return [[exact.to_int(limbs) for limbs in feature] for feature in self.sums]


def _divide(a: int, b: int) -> float:
    """The float64 nearest to the quotient."""
    return a / b if b else math.nan


@dataclass(frozen=True)
class FeatureSumsStep:
    """The sums of a block."""

    def __call__(self, X: AnyArray, weights: Floats, offset: int, block: int) -> FeatureSums:
        from dkmeans.engine import feature_kernels

        check_weights(weights, offset)
        sums = exact.zeros(X.shape[1], 3)
        row, column = feature_kernels.add_sums(X, weights, sums)
        bad = None if row < 0 else BadValue(row + offset, column, float(X[row, column]))
        return FeatureSums(exact.carry(sums), len(X), len(weights) > 0, bad)
