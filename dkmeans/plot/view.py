"""Where rows of any number of features are in a picture of two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from dkmeans._typing import AnyArray, Floats, Ints
from dkmeans.engine.scatter import Scatter
from dkmeans.record.sample import RowSample


@dataclass(frozen=True, eq=False)
class View:
    """A plane, or a line, in the space of the features, and rows seen at right angles to it.

    Parameters
    ----------
    origin : (d,) the point of the space that is at 0 in the picture.
    directions : (p, d) orthonormal, p = 1 or 2.
    labels : a name for each direction.
    """

    origin: Floats
    directions: Floats
    labels: tuple[str, ...]

    @property
    def is_line(self) -> bool:
        """Whether there is only one direction; the second coordinate is then 0."""
        return len(self.directions) == 1

    @property
    def is_whole(self) -> bool:
        """Whether nothing is lost, because the data have no further features."""
        return len(self.directions) == len(self.origin)

    def project(self, points: AnyArray) -> Floats:
        """Coordinates (m, 2) in the picture of points (m, d)."""
        flat = np.zeros((len(points), 2))
        flat[:, : len(self.directions)] = self._away(points) @ self.directions.T
        return flat

    def distance(self, points: AnyArray) -> Floats:
        """Distance of points (m, d) from the plane or line itself, (m,)."""
        away = self._away(points)
        away -= (away @ self.directions.T) @ self.directions
        distance: Floats = np.sqrt(np.einsum("ij,ij->i", away, away))
        return distance

    def nearest(self, flat: Floats, centers: AnyArray) -> Ints:
        """Index of the center nearest to places (n, 2) of the picture, taken back to the space.

        A place stands for the point of the plane that is shown there. Its squared distance to a
        center is that within the picture plus that of the center from the plane.
        """
        lifted = np.column_stack([self.project(centers), self.distance(centers)])
        found: Ints = cKDTree(lifted).query(np.column_stack([flat, np.zeros(len(flat))]))[1]
        return found

    def _away(self, points: AnyArray) -> Floats:
        away: Floats = np.asarray(points, np.float64) - self.origin
        return away


def of_features(chosen: Sequence[int], names: Sequence[str], mean: Floats) -> View:
    """The view of one or two features, at the mean of all others."""
    directions = np.zeros((len(chosen), len(mean)))
    directions[np.arange(len(chosen)), list(chosen)] = 1
    origin = mean.copy()
    origin[list(chosen)] = 0
    return View(origin, directions, tuple(names[i] for i in chosen))


def of_principal(mean: Floats, directions: Floats, shares: Floats) -> View:
    """The view of the first two principal components, each with the sign of its largest loading."""
    largest = np.abs(directions).argmax(axis=1)
    signs = np.sign(np.take_along_axis(directions, largest[:, None], axis=1))
    labels = tuple(
        f"principal component {i} ({share:.0%} of the variance)"
        for i, share in enumerate(shares, 1)
    )
    return View(mean, directions * np.where(signs == 0, 1, signs), labels)


def principal_of_scatter(scatter: Scatter) -> View:
    """Principal components of the rows of which the scatter is."""
    values, vectors = np.linalg.eigh(scatter.products)
    return of_principal(scatter.mean, vectors[:, :-3:-1].T, _shares(values[:-3:-1], values.sum()))


def principal_of_sample(sample: RowSample) -> View:
    """Principal components of a weighted sample of rows."""
    rows = sample.rows.astype(np.float64)
    mean = np.average(rows, axis=0, weights=sample.weights)
    rows = (rows - mean) * np.sqrt(sample.weights / sample.weights.mean())[:, None]
    if len(rows) < 2:  # too few for two directions
        rows = np.vstack([rows, np.zeros_like(rows)])
    _, lengths, directions = np.linalg.svd(rows, full_matrices=False)
    return of_principal(mean, directions[:2], _shares(lengths[:2] ** 2, (lengths**2).sum()))


def _shares(variances: Floats, total: float) -> Floats:
    """Parts of the whole variance, 0 where there is none."""
    return np.clip(variances, 0, None) / total if total > 0 else np.zeros(len(variances))
