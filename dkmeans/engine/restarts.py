"""Whole fits: the survey, then the restarts of each, all sharing their passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from dkmeans._typing import Floats
from dkmeans.data.blocks import Blocks
from dkmeans.engine import progress
from dkmeans.engine.auto import auto
from dkmeans.engine.dedupe import DistinctStep
from dkmeans.engine.jobs import Step
from dkmeans.engine.journal import Journal
from dkmeans.engine.lloyd import Fit, Room, Run, lloyd
from dkmeans.engine.passes import Passes
from dkmeans.engine.programs import Log, Memo, Program, ask_together, run_together
from dkmeans.engine.seeding import Seeding, in_memory_rows, seed_centers
from dkmeans.engine.settle import Stop
from dkmeans.engine.survey import (
    Survey,
    SurveyStep,
    check_survey,
    history_spec,
    joint_spec,
    sample_rows,
    sample_spec,
    survey_streams,
)
from dkmeans.errors import DataError
from dkmeans.record.history import Iteration
from dkmeans.record.sample import RowSample


@dataclass(frozen=True)
class Settings:
    """What an estimator's parameters ask of a fit.

    Parameters
    ----------
    given : initial centers (k, d) for a seed, in place of seeding; None to seed.
    seeds : one for each restart.
    names : of the features, for messages.
    record : receives the steps.
    history_rows : rows of the sample that goes with the history, at most; the same in all fits.
    """

    seeding: Seeding
    stop: Stop
    given: Callable[[int], Any] | None
    seeds: tuple[int, ...]
    nan_policy: str
    names: Sequence[str] | None
    want_labels: bool
    record: Callable[[Iteration], None]
    history_rows: int = 0


@dataclass(frozen=True)
class Together:
    """What fits that shared their passes found.

    Parameters
    ----------
    best : for each fit its best restart and the number of that.
    blocks : with their sizes.
    n_positive : rows that are finite and have a positive weight.
    sample : rows for the histories, where they were asked for.
    """

    best: tuple[tuple[Fit, int], ...]
    blocks: Blocks
    n_positive: int
    sample: RowSample | None


def fit_together(
    passes: Passes,
    blocks: Blocks,
    fits: Sequence[Settings],
    room: Room,
    *,
    distinct_rows: int = 0,
    log: Log | None = None,
) -> Together:
    """The best restart of each fit.

    All restarts of all fits advance on the same passes, and share the ``room`` for rows kept
    between passes; without any, each iteration is a pass. Where there are no more than
    ``distinct_rows`` distinct ones, all that follows the survey is done on these. What ``log``
    remembers of an earlier run takes no pass.
    """
    most = max(s.seeding.n_clusters for s in fits)
    first = _survey(passes, blocks, fits, most, distinct_rows)
    ((survey, distinct),) = run_together(passes, blocks, [first], log)
    if survey.searched is not None:
        survey = replace(survey, searched=survey.searched.joined())
    for settings in fits:
        check_survey(survey, settings.seeding.n_clusters, settings.nan_policy, settings.names)
    sample = _sample_of(survey, fits[0], blocks.n_features)
    n_positive = survey.n_positive
    progress.tell("sample_drawn", sample, n_positive)
    Journal(passes, fits[0].record).note("survey")
    blocks = blocks.with_sizes([size for _, size in sorted(survey.sizes.items())])
    work = blocks
    if distinct is not None:
        work = distinct
        again = _survey(passes, work, [replace(s, history_rows=0) for s in fits], most, 0)
        ((counted, _),) = run_together(passes, work, [again], log)
        survey = replace(counted, sample=survey.sample)  # so means are rounded alike
        fits = [replace(settings, want_labels=False) for settings in fits]
        room = replace(room, rows=min(room.rows, 1) * survey.n_rows)  # all in place, or none
    room = replace(room, runs=sum(len(settings.seeds) for settings in fits))
    programs = [
        _restart(passes, work, survey, settings, number, room)
        for settings in fits
        for number in range(len(settings.seeds))
    ]
    results = iter(run_together(passes, work, programs, log))
    best = []
    for settings in fits:
        found = [next(results) for _ in settings.seeds]
        number = int(np.argmin([fit.inertia for fit in found]))
        best.append((found[number], number))
    return Together(tuple(best), blocks, n_positive, sample)


def _survey(
    passes: Passes, blocks: Blocks, fits: Sequence[Settings], most: int, distinct_rows: int
) -> Program[tuple[Survey, Blocks | None]]:
    """What the first pass learns, and the distinct rows where there are no more than so many."""
    seeds = tuple(dict.fromkeys(seed for settings in fits for seed in settings.seeds))
    n_rows, d, seed = blocks.n_rows, blocks.n_features, seeds[0]
    wanted = []
    if fits[0].history_rows:
        wanted.append(history_spec(seed, fits[0].history_rows, n_rows, d))
    if any(s.seeding.init == "auto" for s in fits):
        wanted.append(sample_spec(seed, sample_rows(n_rows, d, most), n_rows))
    step = SurveyStep(survey_streams(seeds), most, joint_spec(wanted))
    steps: list[Step[Any]] = [step]
    if distinct_rows:
        steps.append(DistinctStep(distinct_rows, blocks.row_bytes))
    survey, *counted = yield from ask_together("survey", steps)
    if not counted or counted[0].codes is None:
        return survey, None
    rows = in_memory_rows(len(counted[0].codes), d, passes.threads)
    return survey, counted[0].blocks(d, blocks.dtype, rows)


def _sample_of(survey: Survey, settings: Settings, n_features: int) -> RowSample | None:
    """The rows with the smallest keys of those that the survey drew."""
    if survey.searched is None or not settings.history_rows:
        return None
    seed, wanted = settings.seeds[0], settings.history_rows
    rows = survey.searched.rows(history_spec(seed, wanted, survey.n_rows, n_features))
    return RowSample(rows.values, rows.index, rows.weights)


def _restart(
    passes: Passes, blocks: Blocks, survey: Survey, settings: Settings, number: int, room: Room
) -> Program[Fit]:
    """One restart, from its seed to its end, when it leaves its room to the others."""
    k, seed = settings.seeding.n_clusters, settings.seeds[number]
    run = Run(
        blocks,
        survey,
        settings.stop,
        Journal(passes, settings.record),
        number,
        settings.want_labels,
        room,
    )
    if settings.given is not None:
        first = partial(_checked, settings.given, seed, k, blocks.n_features)
        fit = yield from lloyd(run, (yield Memo("init centers", Floats, k, first)))
    elif settings.seeding.init == "auto":
        most = sample_rows(survey.n_rows, blocks.n_features, k)
        spec = sample_spec(settings.seeds[0], most, survey.n_rows)
        fit = yield from auto(run, spec, k, seed)
    else:
        start = yield from seed_centers(run, settings.seeding, seed)
        fit = yield from lloyd(run, start)
    room.runs -= 1
    return fit


def _checked(given: Callable[[int], Any], seed: int, k: int, n_features: int) -> Floats:
    """Initial centers (k, d) float64, as they are given for a seed."""
    centers = np.array(given(seed), dtype=np.float64, ndmin=2)
    shape = f"The shape of the initial centers {centers.shape} does not match the number of"
    if centers.shape[0] != k:
        raise DataError(f"{shape} clusters {k}.")
    if centers.shape[1] != n_features:
        raise DataError(f"{shape} features of the data {n_features}.")
    if not np.isfinite(centers).all():
        raise DataError("the initial centers contain NaN or infinity")
    if np.abs(centers).max() > 1e150:
        raise DataError("the initial centers are so far away that squared distances overflow")
    return centers
