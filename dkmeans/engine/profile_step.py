"""What one pass learns of the rows of each cluster, in the units of X and in those of the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dkmeans._typing import AnyArray, Floats, Ints
from dkmeans.data.label_file import LabelFile, LabelObjects
from dkmeans.data.source import kernel_view
from dkmeans.engine.cluster_stats import Moments, Spread, moments_of, spread_of
from dkmeans.engine.predict import Model


@dataclass(frozen=True)
class Nearest:
    """Rows nearest to each center, the nearest first.

    Parameters
    ----------
    sq : (k, most) squared distances; infinite where a cluster has fewer rows.
    index : (k, most) global row numbers; -1 where a cluster has fewer rows.
    values : (k, most, d) the rows; NaN where a cluster has fewer.
    """

    sq: Floats
    index: Ints
    values: Floats

    @staticmethod
    def part_bytes(k: int, d: int, most: int) -> int:
        """Bytes of those of a block."""
        return 8 * k * most * (2 + d)

    @staticmethod
    def combine(parts: Sequence[Nearest]) -> Nearest:
        """Keep as many of the nearest; of rows as near, the first."""
        most = parts[0].sq.shape[1]
        sq = np.concatenate([p.sq for p in parts], axis=1)
        index = np.concatenate([p.index for p in parts], axis=1)
        values = np.concatenate([p.values for p in parts], axis=1)
        order = np.lexsort((index, sq), axis=1)[:, :most]
        return Nearest(
            np.take_along_axis(sq, order, axis=1),
            np.take_along_axis(index, order, axis=1),
            np.take_along_axis(values, order[..., None], axis=1),
        )


@dataclass(frozen=True)
class Profiled:
    """Moments in the units of X; distances and nearest rows in those of the model."""

    moments: Moments
    spread: Spread
    nearest: Nearest

    @staticmethod
    def part_bytes(k: int, d: int, most: int) -> int:
        """Bytes of that of a block."""
        moments, spread = Moments.part_bytes(k, d, powers=2), Spread.part_bytes(k)
        return moments + spread + Nearest.part_bytes(k, d, most)

    @staticmethod
    def combine(parts: Sequence[Profiled]) -> Profiled:
        """Put each kind together."""
        return Profiled(
            Moments.combine([p.moments for p in parts]),
            Spread.combine([p.spread for p in parts]),
            Nearest.combine([p.nearest for p in parts]),
        )


@dataclass(frozen=True)
class ProfileStep:
    """Profile the clusters of a block.

    Parameters
    ----------
    transform : from rows of X to what the model assigns; None where that is the same.
    most : rows to keep of those nearest to each center.
    file : where to write the labels, if anywhere.
    """

    model: Model
    transform: Callable[[AnyArray], Any] | None
    most: int
    file: LabelFile | LabelObjects | None = None

    def __call__(self, X: AnyArray, weights: Floats, offset: int, block: int) -> Profiled:
        Z = X if self.transform is None or not len(X) else kernel_view(self.transform(X))
        centers = self.model.centers
        labels = self.model.labels(Z, offset) if len(X) else np.empty(0, np.int32)
        if self.file is not None:
            self.file.write(offset, labels)
        return Profiled(
            moments_of(X, np.arange(len(centers)), labels, powers=2),
            spread_of(Z, centers, labels),
            self._nearest(X, Z, labels, offset),
        )

    def _nearest(self, X: AnyArray, Z: AnyArray, labels: Ints, offset: int) -> Nearest:
        from dkmeans.engine import stats_kernels

        shape = len(self.model.centers), self.most
        sq, rows = np.full(shape, np.inf), np.full(shape, -1, np.int64)
        stats_kernels.nearest_rows(Z, self.model.centers, labels, sq, rows)
        held = rows >= 0
        values = np.full((*shape, X.shape[1]), np.nan)
        values[held] = X[rows[held]]
        return Nearest.combine([Nearest(sq, np.where(held, rows + offset, -1), values)])
