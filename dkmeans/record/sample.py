"""A few rows of the data, kept for pictures, and which center each is nearest to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from dkmeans._typing import AnyArray, Floats, Ints

_TABLE = 2**22  # values of a table of rows by centers at once


@dataclass(frozen=True, eq=False)
class RowSample:
    """Rows drawn uniformly from those that took part in a fit.

    Parameters
    ----------
    rows : (m, d) in the type of the data.
    index : (m,) int64, global row numbers, ascending.
    weights : (m,) float64, their ``sample_weight``, or ones.
    """

    rows: AnyArray
    index: Ints
    weights: Floats

    def __len__(self) -> int:
        return len(self.rows)

    def labels(self, centers: Floats) -> Ints:
        """Index of the nearest of ``centers`` (k, d) for each row, (m,) int32; ties to the lowest.

        Distances are compared as the fit compares them: those that rounding could confuse are
        found by the direct formula in float64.
        """
        centers = np.asarray(centers, np.float64)
        labels = np.empty(len(self), np.int32)
        most = max(1, _TABLE // len(centers))
        for start in range(0, len(self), most):
            rows = self.rows[start : start + most].astype(np.float64)
            labels[start : start + most] = _nearest(rows, centers)
        return labels

    def thinned(self, most: int) -> RowSample:
        """Every so manieth row, so that there are at most ``most``, but one at least."""
        step = max(1, -(-len(self) // max(1, most)))
        return RowSample(self.rows[::step], self.index[::step], self.weights[::step])

    def arrays(self) -> dict[str, AnyArray]:
        """The arrays by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def parse(cls, arrays: Mapping[str, AnyArray]) -> RowSample:
        """The inverse of :meth:`arrays`.

        Raises
        ------
        ValueError
            If they are not those of a sample.
        """
        sample = cls(arrays["rows"], arrays["index"], arrays["weights"])
        one_each = sample.index.shape == sample.weights.shape == sample.rows.shape[:1]
        types = str(sample.index.dtype), str(sample.weights.dtype)
        typed = types == ("int64", "float64") and sample.rows.dtype.kind in "fiu"
        if sample.rows.ndim != 2 or not one_each or not typed:
            raise ValueError("the sample of rows has arrays of other shapes or types")
        ascending = (np.diff(sample.index, prepend=-1) > 0).all()
        positive = np.isfinite(sample.rows).all() and (sample.weights > 0).all()
        if not (ascending and positive and np.isfinite(sample.weights).all()):
            raise ValueError("the sample of rows has values that no fit writes")
        return sample


def _nearest(rows: Floats, centers: Floats) -> Ints:
    """Labels by the expanded formula, and by the direct one where its rounding could matter."""
    middle = centers.mean(axis=0)  # without which digits are lost far from the origin
    near, around = rows - middle, centers - middle
    sq_centers = np.einsum("ij,ij->i", around, around)
    scores = sq_centers - 2 * (near @ around.T)
    labels: Ints = scores.argmin(axis=1)
    reach = np.sqrt(np.einsum("ij,ij->i", near, near)) + np.sqrt(sq_centers.max())
    unsure = 4 * (rows.shape[1] + 8) * np.finfo(np.float64).eps * reach**2
    close = (scores <= (scores.min(axis=1) + unsure)[:, None]).sum(axis=1) > 1
    labels[close] = _direct(rows[close], centers).argmin(axis=1)
    return labels


def _direct(rows: Floats, centers: Floats) -> Floats:
    """Squared distances (m, k), the features added up in order."""
    total = np.zeros((len(rows), len(centers)))
    for feature in range(rows.shape[1]):
        total += (rows[:, feature, None] - centers[:, feature]) ** 2
    return total
