"""Labels, distances and costs of rows under fixed centers, block by block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dkmeans._typing import AnyArray, Floats, Ints
from dkmeans.data.source import center_dtype, kernel_view
from dkmeans.engine import exact
from dkmeans.engine.partial import bad_value
from dkmeans.engine.survey import check_weights, describe_bad
from dkmeans.errors import DataError


@dataclass(frozen=True)
class Model:
    """What it takes to assign rows.

    Parameters
    ----------
    centers : (k, d) float64.
    nan_policy : "raise", or "omit" for the label -1.
    names : columns, for messages.
    """

    centers: Floats
    nan_policy: str
    names: tuple[str, ...] | None

    def labels(self, X: AnyArray, offset: int | None = 0) -> Ints:
        """Index of the nearest center of each row, (rows,) int32."""
        from dkmeans.engine import kernels

        labels = np.empty(len(X), np.int32)
        X = kernel_view(X)
        kernels.assign(X, kernels.prepare(self.centers), labels)
        if self.nan_policy == "raise" and len(labels) and labels.min() < 0:
            bad = bad_value(X, offset or 0, int(np.argmin(labels)))
            where = " of its block (X has blocks of unknown size)" if offset is None else ""
            raise DataError(describe_bad(bad, self.names, where))
        return labels

    def distances(self, X: AnyArray, offset: int | None = 0) -> Floats:
        """Distance of each row to each center, (rows, k); NaN for rows that are left out."""
        from dkmeans.engine import kernels

        labels = self.labels(X, offset)
        X = kernel_view(X)
        out = np.empty((len(X), len(self.centers)), center_dtype(X.dtype))
        kernels.distances(X, self.centers, out)
        out[labels < 0] = np.nan
        return out


@dataclass(frozen=True)
class Cost:
    """Exact sum of weight * squared distance."""

    total: Ints

    @staticmethod
    def combine(parts: Sequence[Cost]) -> Cost:
        """Add up."""
        return Cost(exact.combine([p.total for p in parts]))


@dataclass(frozen=True)
class CostStep:
    """Sum of weight * squared distance of a block."""

    model: Model

    def __call__(self, X: AnyArray, weights: Floats, offset: int, block: int) -> Cost:
        from dkmeans.engine import sum_kernels

        check_weights(weights, offset)
        labels = self.model.labels(X, offset)
        total = exact.zeros()
        sum_kernels.cost(X, weights, self.model.centers, labels, total)
        return Cost(total)


@dataclass(frozen=True)
class Done:
    """A part that says no more than that the block is done."""

    @staticmethod
    def combine(parts: Sequence[Done]) -> Done:
        """Nothing to combine."""
        return parts[0]


@dataclass(frozen=True)
class FillStep:
    """Write the labels or the distances of a block in memory to its rows of ``out``."""

    model: Model
    what: str
    out: Any

    def __call__(self, X: AnyArray, weights: Floats, offset: int, block: int) -> Done:
        self.out[offset : offset + len(X)] = getattr(self.model, self.what)(X, offset)
        return Done()
