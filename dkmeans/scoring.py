"""Scores of several models from the same passes."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dkmeans.engine.cluster_stats import Labelling, MeansStep, Spread, SpreadStep
from dkmeans.engine.programs import Ask, Program, run_together
from dkmeans.errors import DataError
from dkmeans.metrics import about_bytes, calinski_harabasz_of, davies_bouldin_of
from dkmeans.record.sample import RowSample
from dkmeans.silhouettes import silhouette_of_sample

if TYPE_CHECKING:
    from dkmeans.fitting import Ran
    from dkmeans.kmeans import KMeans

METRICS = ("silhouette", "calinski_harabasz", "davies_bouldin")
ERROR = "silhouette_error"
TITLES = {  # of columns and criteria, for people
    "n_iter": "iterations",
    "stop_reason": "stop",
    ERROR: "\u00b1 error",
    "calinski_harabasz": "Calinski-Harabasz",
    "davies_bouldin": "Davies-Bouldin",
}
_NEITHER = math.nan, math.nan


@dataclass(frozen=True)
class Scores:
    """How good the clusters of several models are.

    Parameters
    ----------
    columns : for each metric by name a value for each model, NaN where it is not defined.
    passes, bytes_read, seconds : what they cost.
    """

    columns: dict[str, tuple[float, ...]] = field(default_factory=dict)
    passes: int = 0
    bytes_read: int = 0
    seconds: float = 0.0


def check_sampled(model: KMeans, metrics: Sequence[str]) -> None:
    """Raise a DataError if the silhouette is asked for and a fit would keep no sample of rows."""
    if "silhouette" in metrics and model.history_rows == 0:
        raise DataError(
            "the silhouette is that of a sample: fit with history_rows above 0, or ask for other"
            " metrics"
        )


def part_bytes(models: Sequence[KMeans], metrics: Sequence[str], d: int) -> int:
    """Bytes of what a pass of :func:`score_models` over d features learns of a block."""
    if not any(name in metrics for name in METRICS[1:]):
        return 0
    return sum(about_bytes(model.n_clusters, d) for model in models)


def score_models(models: Sequence[KMeans], ran: Ran, metrics: Sequence[str]) -> Scores:
    """The metrics of models that were fitted together, in two passes at most for all of them.

    Silhouettes are those of the sample of rows that the histories share, and take no pass.
    """
    passes, began, columns = ran.passes, time.perf_counter(), {}
    before = passes.total
    if "silhouette" in metrics:
        found = _silhouettes(models, ran.n_positive)
        columns = dict(zip(("silhouette", ERROR), zip(*found, strict=True), strict=True))
    names = METRICS[1:]
    if any(name in metrics for name in names):
        scores = run_together(passes, ran.blocks, [_dispersions(model) for model in models])
        both = dict(zip(names, zip(*scores, strict=True), strict=True))
        columns |= {name: both[name] for name in names if name in metrics}
    return Scores(
        columns,
        passes.total.passes - before.passes,
        passes.total.bytes_read - before.bytes_read,
        time.perf_counter() - began,
    )


def _dispersions(model: KMeans) -> Program[tuple[float, float]]:
    """Calinski-Harabasz and Davies-Bouldin: a pass for the means, and one about them."""
    if model.n_clusters < 2:
        return _NEITHER
    labelling = Labelling(model._model())
    moments = yield Ask("means", MeansStep(labelling))
    filled = moments.filled()
    if not 2 <= len(filled.values) < filled.counts.sum():
        return _NEITHER
    spread = yield Ask("spread", SpreadStep(labelling, moments.values, moments.means))
    some = moments.counts > 0
    about = Spread(spread.distances[some], spread.squares[some])
    return calinski_harabasz_of(filled, about), davies_bouldin_of(filled, about)


def _silhouettes(models: Sequence[KMeans], n_rows: int) -> list[tuple[float, float]]:
    """Mean silhouette of the sample, drawn from ``n_rows``, for each model; its standard error."""
    sample: RowSample | None = models[0].history_.sample
    assert sample is not None
    rows = sample.rows.astype(np.float64)
    found = []
    for model in models:
        labels = sample.labels(model.cluster_centers_)
        if 2 <= len(np.unique(labels)) < len(rows):
            score = silhouette_of_sample(rows, labels, n_rows)
            found.append((float(score), score.standard_error))
        else:
            found.append(_NEITHER)
    return found
