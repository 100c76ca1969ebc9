"""A whole fit: the survey, then seeding and Lloyd for each restart, the best one kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dkmeans._typing import Floats
from dkmeans.data.blocks import Blocks
from dkmeans.engine.lloyd import Fit, Stop, lloyd
from dkmeans.engine.passes import Passes
from dkmeans.engine.seeding import Seeding, seed_centers, survey_streams
from dkmeans.engine.survey import Survey, SurveyStep, check_survey
from dkmeans.errors import DataError
from dkmeans.record.history import Iteration


@dataclass(frozen=True)
class Settings:
    """What an estimator's parameters ask of a fit.

    Parameters
    ----------
    given : initial centers (k, d) for a seed, in place of seeding; None to seed.
    seeds : one for each restart.
    names : of the features, for messages.
    """

    seeding: Seeding
    stop: Stop
    given: Callable[[int], Any] | None
    seeds: tuple[int, ...]
    nan_policy: str
    names: Sequence[str] | None
    want_labels: bool


def best_of(
    passes: Passes, blocks: Blocks, settings: Settings, record: Callable[[Iteration], None]
) -> tuple[Fit, int, Blocks]:
    """The best restart, its number, and the blocks with their sizes, which the survey tells."""
    k = settings.seeding.n_clusters
    survey = passes.run(blocks, SurveyStep(survey_streams(settings.seeds), k), "survey")
    check_survey(survey, k, settings.nan_policy, settings.names)
    spent = passes.lap()
    record(
        Iteration("survey", seconds=spent.seconds, passes=spent.passes, bytes_read=spent.bytes_read)
    )
    blocks = blocks.with_sizes([size for _, size in sorted(survey.sizes.items())])
    best: tuple[Fit, int] | None = None
    for run, seed in enumerate(settings.seeds):
        start = _start(passes, blocks, survey, settings, seed, run, record)
        want_labels = settings.want_labels
        fit = lloyd(
            passes, blocks, survey, start, settings.stop, record, run=run, want_labels=want_labels
        )
        if best is None or fit.inertia < best[0].inertia:
            best = fit, run
    assert best is not None
    return *best, blocks


def _start(
    passes: Passes,
    blocks: Blocks,
    survey: Survey,
    settings: Settings,
    seed: int,
    run: int,
    record: Callable[[Iteration], None],
) -> Floats:
    """Centers from which a restart sets out, (k, d) float64."""
    if settings.given is None:
        return seed_centers(passes, blocks, survey, settings.seeding, seed, run, record)
    centers = np.array(settings.given(seed), dtype=np.float64, ndmin=2)
    k = settings.seeding.n_clusters
    shape = f"The shape of the initial centers {centers.shape} does not match the number of"
    if centers.shape[0] != k:
        raise DataError(f"{shape} clusters {k}.")
    if centers.shape[1] != blocks.n_features:
        raise DataError(f"{shape} features of the data {blocks.n_features}.")
    if not np.isfinite(centers).all():
        raise DataError("the initial centers contain NaN or infinity")
    if np.abs(centers).max() > 1e150:
        raise DataError("the initial centers are so far away that squared distances overflow")
    return centers
