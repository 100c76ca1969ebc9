"""Mean, covariance and a few rows of any data in one pass: what a picture of them needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dkmeans._typing import AnyArray, Floats
from dkmeans.engine.partial import SampleSpec, bad_value
from dkmeans.engine.survey import Sample, describe_bad, history_rows, sampled
from dkmeans.errors import DataError

MAX_COVARIANCE = 1024  # features: the matrix of more is not worth its memory
_COPIES = 4  # of the sample and of the matrix, while a picture is made
_SLICE = 2**18  # values turned into float64 at once


@dataclass(frozen=True)
class Scatter:
    """Mean and sums of products of some rows.

    Parameters
    ----------
    mean : (d,) float64.
    products : (d, d) float64, sum over the rows of the outer products of their deviations from the
        mean.
    """

    count: int
    mean: Floats
    products: Floats

    @staticmethod
    def part_bytes(d: int) -> int:
        """Bytes of that of a block."""
        return 8 * d * (d + 1)

    @staticmethod
    def of(rows: AnyArray) -> Scatter:
        """Those of rows (m, d) in memory, a slice at a time."""
        d = rows.shape[1]
        step = max(1, _SLICE // d)
        total = Scatter(0, np.zeros(d), np.zeros((d, d)))
        for start in range(0, len(rows), step):
            values = rows[start : start + step].astype(np.float64)
            mean = values.mean(axis=0)
            values -= mean
            total = Scatter.combine([total, Scatter(len(values), mean, values.T @ values)])
        return total

    @staticmethod
    def combine(parts: Sequence[Scatter]) -> Scatter:
        """Those of all rows, as Chan, Golub and LeVeque 1983 combine variances."""
        count = sum(p.count for p in parts)
        mean = sum((p.count / max(1, count) * p.mean for p in parts), np.zeros_like(parts[0].mean))
        products = np.zeros_like(parts[0].products)
        for part in parts:
            away = part.mean - mean
            products += part.products + part.count * np.outer(away, away)
        return Scatter(count, mean, products)


@dataclass(frozen=True)
class Glance:
    """A sample of the rows, and the scatter of all of them where they were asked for."""

    sample: Sample
    scatter: Scatter | None

    @staticmethod
    def own_bytes(rows: int, d: int, *, with_scatter: bool) -> int:
        """Bytes of so many rows and of their copies, and of finding principal components."""
        sampled = 8 * history_rows(rows, None, d) * (d + 2)
        return _COPIES * (sampled + (Scatter.part_bytes(d) if with_scatter else 0))

    @staticmethod
    def combine(parts: Sequence[Glance]) -> Glance:
        """Put the parts together."""
        scatter = [p.scatter for p in parts if p.scatter is not None]
        return Glance(
            Sample.combine([p.sample for p in parts]),
            Scatter.combine(scatter) if scatter else None,
        )


@dataclass(frozen=True)
class GlanceStep:
    """Look at a block.

    Parameters
    ----------
    spec : the sample to draw.
    with_scatter : whether to compute scatter too.
    nan_policy : "raise", or "omit" to leave out rows that are not finite.
    names : columns, for messages.
    """

    spec: SampleSpec
    with_scatter: bool
    nan_policy: str
    names: tuple[str, ...] | None

    def __call__(self, X: AnyArray, weights: Floats, offset: int, block: int) -> Glance:
        good = np.isfinite(X).all(axis=1)
        if self.nan_policy == "raise" and not good.all():
            bad = bad_value(X, offset, int(np.argmin(good)))
            raise DataError(describe_bad(bad, self.names))
        rows = X if good.all() else X[good]
        scatter = Scatter.of(rows) if self.with_scatter else None
        return Glance(sampled(X, weights, offset, self.spec), scatter)
