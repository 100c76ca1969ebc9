"""From the parameters of estimators to fits that share their passes."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from dkmeans.checkpointing import begin
from dkmeans.data.blocks import Blocks
from dkmeans.data.source import Source, center_dtype
from dkmeans.engine import progress
from dkmeans.engine.dedupe import budget, pair_bytes
from dkmeans.engine.lloyd import Fit, Room
from dkmeans.engine.machine import memory_limit
from dkmeans.engine.memory import Plan, Work, make_plan
from dkmeans.engine.passes import Passes
from dkmeans.engine.programs import Ending
from dkmeans.engine.restarts import Settings, fit_together
from dkmeans.engine.seeding import Seeding
from dkmeans.engine.settle import Stop
from dkmeans.engine.survey import history_rows, sample_rows
from dkmeans.errors import MemoryLimitError
from dkmeans.inputs import Input, check_input
from dkmeans.record.facts import Facts, peak_bytes, versions, without_secrets
from dkmeans.record.history import History, Iteration

if TYPE_CHECKING:
    from dkmeans.kmeans import KMeans

logger = logging.getLogger("dkmeans")

_RESTARTS = 10  # n_init="auto" where the initial centers are drawn blindly, as in scikit-learn


@dataclass(frozen=True)
class Ran:
    """What fits ran on: the blocks are in memory where their rows were kept there.

    Parameters
    ----------
    fits : of each model, where its best restart ended.
    n_positive : rows that are finite and have a positive weight.
    part_bytes : of what passes that follow may learn of a block.
    """

    passes: Passes
    blocks: Blocks
    fits: tuple[Fit, ...]
    n_positive: int
    part_bytes: int


@dataclass
class Resumption:
    """Says that fits go on from their checkpoint, to whoever is told of their steps.

    Attributes
    ----------
    how : what was said; None until then.
    """

    models: Sequence[KMeans]
    histories: Sequence[History]
    how: str | None = None

    def __call__(self, where: str, passes: int | None) -> None:
        """Say it: ``passes`` were taken before, and all there are if it is None."""
        from dkmeans.callbacks import tell_resumed

        self.how = f"from {where} {self._at(passes)}"
        logger.log(_level(self.models[0]), "resumed %s", self.how)
        progress.tell("resumed", self.how, passes)
        for model in self.models:
            tell_resumed(model, self.how)

    def _at(self, passes: int | None) -> str:
        if passes is None:
            return "at its end"
        last = [iteration for history in self.histories for iteration in history][-1:]
        alone = len(self.models) == 1 and n_runs(self.models[0]) == 1
        if not (alone and last and last[0].phase == "lloyd"):  # restarts do not go in step
            return f"at pass {passes + 1}"
        return f"at pass {passes + 1}, iteration {last[0].step + 1}"


@dataclass(frozen=True)
class Follow:
    """Memory that passes after a fit need on the same blocks.

    Parameters
    ----------
    parts : bytes of what they learn of a block for each model; models need not share passes.
    own_bytes : of what this process computes of what they found.
    """

    parts: tuple[int, ...]
    own_bytes: int


def fit_models(
    models: Sequence[KMeans],
    X: Any,
    sample_weight: Any,
    *,
    follow: Callable[[Input], Follow] | None = None,
) -> Ran:
    """Fit models that differ in ``n_clusters`` alone, on the same passes over X.

    Parameters
    ----------
    follow : what passes that follow on the same blocks need.
    """
    for model in models:
        model._validate_params()
        _warn_of_n_init(model)
        given = check_input(model, X, sample_weight, reset=True)
    first = models[0]
    work = Work.together([work_of(model, given) for model in models])
    if follow is None:
        plan, part_bytes = plan_of(given, work, first.residency, first.memory_limit), 0
    else:
        plan, part_bytes = _plan_with(first, given, work, follow(given))
    passes = Passes(plan.threads, local=given.local)
    source = given.blocks(plan.block_rows)
    histories = [History() for _ in models]
    resumed = Resumption(models, histories)
    log, seeds = begin(models, given, passes, [seeds_of(model) for model in models], resumed)
    needed = plan.residency == "memory" and not log.finished
    blocks = passes.load(source) if needed else source
    labelled = not isinstance(given.X, Source) and first.checkpoint is None
    settings = [
        _settings(model, X, history, own, want_labels=labelled)
        for model, history, own in zip(models, histories, seeds, strict=True)
    ]
    most = _distinct_rows(first, given)
    room = Room(plan.kept_rows, plan.kept_at_one)
    found = fit_together(passes, blocks, settings, room, distinct_rows=most, log=log)
    log.end([Ending(fit.inertia, fit.n_iter, fit.stop_reason) for fit, _ in found.best])
    source = source.with_sizes(found.blocks.sizes or ())
    for model, history, (fit, best_run) in zip(models, histories, found.best, strict=True):
        history.best_run, history.stop_reason = best_run, fit.stop_reason
        history.sample = found.sample
        facts = _facts(model, given, plan, found.blocks.n_rows or 0)
        peak = passes.total.peak_bytes or None
        history.facts = replace(facts, worker_peak_bytes=peak, resumed=resumed.how)
        centers = np.ascontiguousarray(fit.centers, dtype=center_dtype(source.dtype))
        model._set(centers, fit.inertia, fit.n_iter, fit.stop_reason, history)
        if fit.labels is not None:
            model.labels_ = fit.labels
        elif isinstance(given.X, Source):
            model.labels_ = model._map(source, "labels", np.int32, local=given.local)
        else:
            model.labels_ = model.predict(X)
        _warn_of_few_clusters(fit)
    fits = tuple(fit for fit, _ in found.best)
    return Ran(passes, found.blocks, fits, found.n_positive, part_bytes)


def _plan_with(model: KMeans, given: Input, work: Work, follow: Follow) -> tuple[Plan, int]:
    """The plan of fits and of what follows, and the bytes of parts for which it has room.

    Where those of all models do not fit, it has room for as many as do, halved until they fit.
    """
    work = replace(work, own_bytes=follow.own_bytes, what="the sweep")
    least, most = max(*follow.parts, work.fit_bytes), sum(follow.parts)
    while True:
        together = replace(work, part_bytes=max(work.part_bytes, most))
        try:
            return plan_of(given, together, model.residency, model.memory_limit), most
        except MemoryLimitError:
            if most <= least:
                raise
            most = max(most // 2, least)


def plan_of(given: Input, work: Work, residency: str, limit: Any) -> Plan:
    """How this work on this input runs."""
    plan = make_plan(given.shape, work, residency, memory_limit(limit, local=given.local))
    sizes = given.X.sizes(plan.block_rows) if isinstance(given.X, Source) else None
    return plan if sizes is None else replace(plan, n_blocks=len(sizes))


def _distinct_rows(model: KMeans, given: Input) -> int:
    """Distinct rows that are counted at most; 0 for none."""
    if model.dedupe == "never":
        return 0
    shape = given.shape
    weighted = given.weights is not None
    return budget(shape.n_rows, given.X.dtype, shape.n_features, weighted=weighted)


def work_of(model: KMeans, given: Input) -> Work:
    """Sizes of a fit."""
    seeding, shape, k = _seeding(model), given.shape, model.n_clusters
    searches = seeding.init == "auto"
    searched = sample_rows(shape.n_rows, shape.n_features, k) if searches else 0
    seeding_passes = 1 + seeding.passes
    return Work(
        k,
        shape.n_features,
        seeding.candidates,
        seeding_passes=seeding_passes,
        max_passes=seeding_passes + model.max_iter + 1 + searches,
        sample_rows=max(searched, history_rows(model.history_rows, shape.n_rows, shape.n_features)),
        runs=n_runs(model),
        keeps=model.algorithm != "lloyd",
        part_bytes=pair_bytes(shape.row_bytes) * _distinct_rows(model, given),
    )


def seeds_of(model: KMeans) -> tuple[int, ...]:
    """A seed for each restart."""
    random = check_random_state(model.random_state)
    return tuple(int(random.randint(np.iinfo(np.int32).max)) for _ in range(n_runs(model)))


def _settings(
    model: KMeans, X: Any, history: History, seeds: tuple[int, ...], *, want_labels: bool
) -> Settings:
    """What the parameters ask of a fit of X."""
    return Settings(
        _seeding(model),
        Stop(model.max_iter, model.tol),
        None if isinstance(model.init, str) else _given_centers(model, X),
        seeds,
        model.nan_policy,
        getattr(model, "feature_names_in_", None),
        want_labels,
        _recorder(model, history),
        model.history_rows,
    )


def _facts(model: KMeans, given: Input, plan: Plan, n_rows: int) -> Facts:
    """What is known of a fit once it has ended."""
    names = getattr(model, "feature_names_in_", None)
    return Facts(
        without_secrets(given.where),
        n_rows,
        plan.n_features,
        str(given.X.dtype),
        None if names is None else tuple(str(name) for name in names),
        given.weights is not None,
        {name: _plain(value) for name, value in saved_params(model).items()},
        tuple(plan.lines()),
        {name: _plain(value) for name, value in asdict(plan).items()},
        peak_bytes(),
        versions(),
    )


def saved_params(model: KMeans) -> dict[str, Any]:
    """The parameters that say what was fitted; who was told and where it was kept is no part."""
    params: dict[str, Any] = model.get_params(deep=False)
    del params["callbacks"], params["checkpoint"]
    return params


def _plain(value: Any) -> Any:
    """A parameter as JSON has it, or a few words."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if callable(value):
        return f"function {getattr(value, '__name__', type(value).__name__)}"
    if hasattr(value, "__array__") or isinstance(value, list | tuple):
        return f"array of shape {np.shape(value)}"
    return type(value).__name__


def _seeding(model: KMeans) -> Seeding:
    init = model.init if isinstance(model.init, str) else ""
    return Seeding(init, model.n_clusters, model.oversampling_factor, model.init_rounds)


def _given_centers(model: KMeans, X: Any) -> Callable[[int], Any]:
    """Initial centers for a seed: the array, or what the callable gives."""

    def given(seed: int) -> Any:
        if not callable(model.init):
            return model.init
        return model.init(X, model.n_clusters, random_state=np.random.RandomState(seed))

    return given


def n_runs(model: KMeans) -> int:
    """Restarts of a fit."""
    blind = callable(model.init) or (isinstance(model.init, str) and model.init == "random")
    if not isinstance(model.init, str) and not blind:
        return 1
    if model.n_init != "auto":
        return int(model.n_init)
    return _RESTARTS if blind else 1


def _recorder(model: KMeans, history: History) -> Callable[[Iteration], None]:
    level = _level(model)
    listeners = model._listeners()

    def record(iteration: Iteration) -> None:
        history.append(iteration)
        progress.tell("iteration_done", iteration)
        logger.log(
            level,
            "%s %d: inertia %.7g, shift %.3g, %.3f s",
            iteration.phase,
            iteration.step,
            iteration.inertia,
            iteration.shift,
            iteration.seconds,
        )
        for listener in listeners:
            listener(iteration)

    return record


def _level(model: KMeans) -> int:
    """At which level steps are logged."""
    return logging.INFO if model.verbose else logging.DEBUG


def _warn_of_n_init(model: KMeans) -> None:
    if model.n_init not in ("auto", n_runs(model)):
        warnings.warn(
            "Explicit initial center position passed: performing only one init in"
            f" {type(model).__name__} instead of n_init={model.n_init}.",
            RuntimeWarning,
            stacklevel=4,
        )


def _warn_of_few_clusters(fit: Fit) -> None:
    distinct = int((fit.counts > 0).sum())
    if distinct < len(fit.centers):
        warnings.warn(
            f"Number of distinct clusters ({distinct}) found smaller than n_clusters"
            f" ({len(fit.centers)}). Possibly due to duplicate points in X.",
            ConvergenceWarning,
            stacklevel=4,
        )
