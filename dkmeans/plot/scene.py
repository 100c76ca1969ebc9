"""What a picture shows: a sample of rows, seen from somewhere, under a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from dkmeans._typing import AnyArray, Floats
from dkmeans.applying import Needs, apply_model
from dkmeans.engine.scatter import MAX_COVARIANCE, Glance, GlanceStep, Scatter
from dkmeans.engine.survey import history_spec
from dkmeans.errors import DataError
from dkmeans.kmeans import KMeans
from dkmeans.plot import view as views
from dkmeans.plot.theme import spread
from dkmeans.plot.view import View
from dkmeans.profiling import unnamed
from dkmeans.record.sample import RowSample

ROWS = 10_000  # of X that are drawn
_MARGIN = 0.06  # of the range of the data, at each side
_STRIP = 0.75  # of half the height of a strip, in which rows are spread

Features = Sequence[Any] | str | int | None
Box = tuple[float, float, float, float]  # left, right, bottom, top


@dataclass(frozen=True, eq=False)
class Scene:
    """Rows and the place from which they are seen.

    Parameters
    ----------
    sample : the rows.
    view : where they are in the picture.
    points : (m, 2) their places. In a strip, where there is one direction, the second is a spread
        that depends on the row's global number alone.
    """

    sample: RowSample
    view: View
    points: Floats

    def box(self, centers: Sequence[AnyArray]) -> Box:
        """Limits of a picture of the rows and of all these arrays of centers (k, d)."""
        places = np.concatenate([self.points, *(self.view.project(c) for c in centers)])
        low, high = places.min(axis=0), places.max(axis=0)
        if self.view.is_line:
            low[1], high[1] = -1, 1
        room = np.where(high > low, (high - low) * _MARGIN, np.maximum(1, np.abs(high)) * 0.5)
        if self.view.is_line:
            room[1] = 0
        left, bottom = low - room
        right, top = high + room
        return float(left), float(right), float(bottom), float(top)


def scene_of(
    model: KMeans, X: Any = None, features: Features = None, *, principal: bool = False
) -> Scene:
    """The sample of the history, or of X in one pass, from the view that the features ask for.

    Principal components are shown where there are more than two features, or if asked for.

    Raises
    ------
    DataError
        If there are no rows to draw, or X is not what the model was fitted to.
    ValueError
        If ``features`` are not one or two of those of the data.
    """
    check_model(model)
    names = feature_names(model)
    chosen = [] if principal else _chosen(features, names)
    moments = None
    if X is None:
        sample = sample_of(model)
    else:
        sample, moments = _look(model, X, with_moments=not chosen)
    if chosen:
        mean = np.average(sample.rows.astype(np.float64), axis=0, weights=sample.weights)
        view = views.of_features(chosen, names, mean)
    elif moments is not None:
        view = views.principal_of_scatter(moments)
    else:
        view = views.principal_of_sample(sample)
    points = view.project(sample.rows)
    if view.is_line:
        points[:, 1] = _STRIP * (2 * (spread(sample.index)) - 1)
    return Scene(sample, view, points)


def check_model(model: Any) -> None:
    """Raise an error unless this is a fitted model of ours.

    Raises
    ------
    DataError
        If it is anything else.
    NotFittedError
        If it is not fitted.
    """
    if not isinstance(model, KMeans):
        kind = type(model)
        name = f"{kind.__module__.partition('.')[0]}.{kind.__name__}"
        raise DataError(
            f"expected a fitted dkmeans.KMeans, got {name}: pictures are drawn from the history"
            " that fits of dkmeans keep; of a pipeline, pass the last step"
        )
    check_is_fitted(model)


def sample_of(model: KMeans) -> RowSample:
    """The rows that the history keeps, or a DataError that says what to do where it has none."""
    sample: RowSample | None = model.history_.sample
    if sample is None or not len(sample):
        raise DataError(
            "the model's history has no sample of rows to draw: pass the data as X=, or fit with"
            " history_rows above 0"
        )
    return sample


def rows_of(model: KMeans, X: Any = None) -> RowSample:
    """The sample of the history, or of X in one pass."""
    check_model(model)
    return sample_of(model) if X is None else _look(model, X, with_moments=False)[0]


def feature_names(model: KMeans) -> list[str]:
    """Names of the features, made up where the data have none."""
    known = getattr(model, "feature_names_in_", None)
    if known is None:
        return list(unnamed(model.n_features_in_))
    return [str(name) for name in known]


def _chosen(features: Features, names: Sequence[str]) -> list[int]:
    """Numbers of the features to show; none of them asks for principal components."""
    if features is None:
        return list(range(len(names))) if len(names) <= 2 else []
    wanted = [features] if isinstance(features, str | int | Integral) else list(features)
    numbers = [_number(feature, names) for feature in wanted]
    if not 1 <= len(set(numbers)) == len(numbers) <= 2:
        raise ValueError(f"features must be one or two different features, got {features!r}")
    return numbers


def _number(feature: Any, names: Sequence[str]) -> int:
    if feature in names:
        return list(names).index(feature)
    counts = not isinstance(feature, bool) and isinstance(feature, Integral)
    if counts and 0 <= int(feature) < len(names):
        return int(feature)
    have = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    raise ValueError(
        f"no feature {feature!r}: give names or numbers from 0 to {len(names) - 1}; names are"
        f" {have}"
    )


def _look(model: KMeans, X: Any, *, with_moments: bool) -> tuple[RowSample, Scatter | None]:
    """A sample of X and, where they are wanted and not too large, its moments; one pass."""
    wanted = with_moments and model.n_features_in_ <= MAX_COVARIANCE
    needs = Needs(
        lambda _, d: Scatter.part_bytes(d) if wanted else 0,
        lambda _, d: Glance.own_bytes(ROWS, d, with_scatter=wanted),
    )
    applied, parameters = apply_model(model, X, needs), model._model()
    n_rows, d = applied.blocks.n_rows, applied.blocks.n_features
    spec = history_spec(0, ROWS, n_rows, d)
    step = GlanceStep(spec, wanted, parameters.nan_policy, parameters.names)
    glance: Glance = applied.run(step, "glance")
    rows = glance.sample.rows(spec)
    if not len(rows):
        raise DataError("X has no rows to draw")
    return RowSample(rows.values, rows.index, rows.weights), glance.scatter
