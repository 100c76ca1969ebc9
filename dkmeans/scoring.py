"""Scores of several models from the same passes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dkmeans.engine.cluster_stats import Labelling, MeansStep, SpreadStep
from dkmeans.engine.lloyd import Fit
from dkmeans.engine.programs import Ask, Program, run_together
from dkmeans.engine.scatter import GlanceStep
from dkmeans.engine.survey import sample_spec
from dkmeans.errors import DataError
from dkmeans.fitting import Follow
from dkmeans.metrics import AboutMeans, about_bytes
from dkmeans.record.sample import RowSample
from dkmeans.silhouettes import SAMPLE_SIZE, silhouette_bytes, silhouette_of_sample

if TYPE_CHECKING:
    from dkmeans.data.blocks import Blocks
    from dkmeans.fitting import Ran
    from dkmeans.inputs import Input
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


def what_follows(models: Sequence[KMeans], metrics: Sequence[str], given: Input) -> Follow:
    """Memory for :func:`score_models`.

    Raises
    ------
    DataError
        If silhouettes are asked for, X may have too many rows for those of all, and the fits keep
        no sample.
    """
    d, own_bytes = given.shape.n_features, 0
    if "silhouette" in metrics:
        rows, kept = given.shape.n_rows, models[0].history_rows
        few = rows is not None and rows <= SAMPLE_SIZE
        if kept == 0 and not few:
            raise DataError(
                f"the silhouette of more than {SAMPLE_SIZE:,} rows is that of a sample: fit with"
                " history_rows above 0, or ask for other metrics"
            )
        most = min(kept, rows) if rows is not None and not few else rows or max(kept, SAMPLE_SIZE)
        own_bytes = silhouette_bytes(most, d)
    passes = any(name in metrics for name in METRICS[1:])
    parts = (about_bytes(model.n_clusters, d) if passes else 0 for model in models)
    return Follow(tuple(parts), own_bytes)


def score_models(models: Sequence[KMeans], ran: Ran, metrics: Sequence[str]) -> Scores:
    """The metrics of models that were fitted together, in one pass for all of them.

    It is two where rows have weights: the means of the fits are then not those of the rows. Where
    memory does not allow that, so many models share passes as it does allow. Silhouettes
    are those of all rows where these are few, which the first pass then gathers; else of the sample
    of rows that the histories share.
    """
    passes, began, columns = ran.passes, time.perf_counter(), {}
    before = passes.total
    names = [name for name in METRICS[1:] if name in metrics]
    gathers = "silhouette" in metrics and _may_be_gathered(models[0], ran)
    programs: list[Program[Any]] = [_gather(models[0], ran.blocks)] if gathers else []
    scores: list[Any] = []
    for group in _groups(models, ran) if names else [[]]:
        programs += [_dispersions(model, fit) for model, fit in group]
        scores += run_together(passes, ran.blocks, programs)
        programs = []
    sample = scores.pop(0) if gathers else models[0].history_.sample
    if "silhouette" in metrics:
        found = _silhouettes(models, sample, ran.n_positive)
        columns = dict(zip(("silhouette", ERROR), zip(*found, strict=True), strict=True))
    if names:
        both = dict(zip(METRICS[1:], zip(*scores, strict=True), strict=True))
        columns |= {name: both[name] for name in names}
    return Scores(
        columns,
        passes.total.passes - before.passes,
        passes.total.bytes_read - before.bytes_read,
        time.perf_counter() - began,
    )


def _dispersions(model: KMeans, fit: Fit) -> Program[tuple[float, float]]:
    """Calinski-Harabasz and Davies-Bouldin: a pass about the means, and one for unknown means."""
    if model.n_clusters < 2:
        return _NEITHER
    labelling, counts, means = Labelling(model._model()), fit.counts, fit.means
    if means is None:
        moments = yield Ask("means", MeansStep(labelling))
        counts, means = moments.counts, moments.means
    if not 2 <= np.count_nonzero(counts) < counts.sum():
        return _NEITHER
    spread = yield Ask("spread", SpreadStep(labelling, np.arange(len(counts)), means))
    about = AboutMeans.of(counts, means, spread)
    return about.calinski_harabasz, about.davies_bouldin


def _groups(models: Sequence[KMeans], ran: Ran) -> Iterator[Sequence[tuple[KMeans, Fit]]]:
    """Models that can share passes, in order, and where their fits ended."""
    group: list[tuple[KMeans, Fit]] = []
    held = 0
    for model, fit in zip(models, ran.fits, strict=True):
        part = about_bytes(model.n_clusters, ran.blocks.n_features)
        if group and held + part > ran.part_bytes:
            yield group
            group, held = [], 0
        group.append((model, fit))
        held += part
    yield group


def _may_be_gathered(model: KMeans, ran: Ran) -> bool:
    """Whether the rows are few, and the sample of the history is not yet all of them."""
    sample, n_rows = model.history_.sample, ran.blocks.n_rows
    kept = 0 if sample is None else len(sample)
    return n_rows is not None and kept < ran.n_positive <= n_rows <= SAMPLE_SIZE


def _gather(model: KMeans, blocks: Blocks) -> Program[RowSample]:
    """All rows that took part in the fit."""
    spec = sample_spec(0, SAMPLE_SIZE, None)
    names = model._model().names
    glance = yield Ask("rows", GlanceStep(spec, False, model.nan_policy, names))
    rows = glance.sample.rows(spec)
    return RowSample(rows.values, rows.index, rows.weights)


def _silhouettes(
    models: Sequence[KMeans], sample: RowSample | None, n_rows: int
) -> list[tuple[float, float]]:
    """Mean silhouette of the sample, drawn from ``n_rows``, for each model; its standard error."""
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
