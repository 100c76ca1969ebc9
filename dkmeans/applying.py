"""Passes of a fitted model, or of labels that are given, over X of any kind."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import dask.array as da
import numpy as np
from sklearn.utils.validation import check_array, check_is_fitted

from dkmeans.data.blocks import Blocks
from dkmeans.data.label_file import LabelFile, LabelObjects, labels_beside, open_labels
from dkmeans.data.sinks import check_rows_output, write_labels
from dkmeans.data.source import Source
from dkmeans.data.sources import is_in_memory, open_source
from dkmeans.engine.cluster_stats import Labelling
from dkmeans.engine.memory import LabelRoom, Plan
from dkmeans.engine.passes import Passes
from dkmeans.engine.predict import Model
from dkmeans.errors import DataError
from dkmeans.inputs import Input, check_input
from dkmeans.kmeans import KMeans


def is_model(given: Any) -> bool:
    """Whether this is an estimator rather than labels or centers."""
    return hasattr(given, "get_params")


def as_kmeans(given: Any) -> KMeans:
    """A fitted model of any library with centers, or an array of centers, as our estimator.

    Raises
    ------
    DataError
        If it has no centers.
    NotFittedError
        If it is not fitted.
    """
    if is_model(given):
        check_is_fitted(given)
        if isinstance(given, KMeans):
            return given
        if not hasattr(given, "cluster_centers_"):
            raise DataError(
                "expected a fitted KMeans or an array of centers (n_clusters, n_features), got"
                f" {type(given).__name__}, which has no cluster_centers_"
            )
    centers = getattr(given, "cluster_centers_", given)
    centers = check_array(centers, dtype=[np.float64, np.float32], input_name="centers")
    model = KMeans(len(centers))
    model.cluster_centers_, model.n_features_in_ = centers, centers.shape[1]
    if hasattr(given, "feature_names_in_"):
        model.feature_names_in_ = given.feature_names_in_
    return model


def check_count(value: Any, name: str, least: int) -> int:
    """An integer parameter, or a ValueError."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
    return int(value)


def column_names(X: Any) -> tuple[str, ...] | None:
    """Names of the columns of X, where it has any that are all strings."""
    if not is_in_memory(X):
        return open_source(X).names
    names = tuple(getattr(X, "columns", ()))
    return names if names and all(isinstance(name, str) for name in names) else None


@contextlib.contextmanager
def writing_labels(
    path: str | os.PathLike[str] | None, overwrite: bool, storage_options: dict[str, Any] | None
) -> Iterator[LabelFile | LabelObjects | None]:
    """A place for the labels of a pass, which become the output at ``path`` when the body ends.

    Raises
    ------
    OutputError
        If the labels cannot be written there; the body does not begin then.
    """
    if path is None:
        yield None
        return
    target = check_rows_output(path, overwrite, storage_options=storage_options)
    with labels_beside(target, storage_options) as file:
        yield file
        write_labels(file.array(), target, overwrite=overwrite, storage_options=storage_options)


@dataclass(frozen=True)
class Applied:
    """X cut into blocks, with labels beside it or a model that gives them.

    Parameters
    ----------
    model : what assigns the rows; None where labels are given.
    room : for labels that are given.
    """

    passes: Passes
    blocks: Blocks
    model: Model | None
    room: LabelRoom | None = None

    @property
    def labelling(self) -> Labelling:
        """Where the labels of rows come from."""
        return Labelling(self.model, self.room)

    def run(self, step: Any, name: str) -> Any:
        """Take a pass."""
        return self.passes.run(self.blocks, step, name)


def _none(*sizes: int | None) -> int:
    return 0


@dataclass(frozen=True)
class Needs:
    """Bytes that passes need beside the rows.

    Parameters
    ----------
    part : of what a pass learns of a block, a function of n_clusters and n_features; in proportion
        to the clusters, where labels are given.
    own : of what this process computes of what passes found, a function of n_samples (None where
        only a read can tell) and n_features.
    made : of what a pass makes of a row of a block at work.
    """

    part: Callable[[int, int], int] = _none
    own: Callable[[int | None, int], int] = _none
    made: int = 0


NOTHING = Needs()


def apply_model(model: KMeans, X: Any, needs: Needs = NOTHING, *, like: Any = None) -> Applied:
    """X as rows for a model.

    Parameters
    ----------
    needs : for which memory is planned.
    like : what X must look like, where it is not the model.

    Raises
    ------
    MemoryLimitError
        If the passes would not fit in the ``memory_limit`` of the model.
    """
    given = check_input(model if like is None else like, X, reset=False)
    given = replace(given, made_bytes=needs.made)
    k, d = len(model.cluster_centers_), given.shape.n_features
    plan = model._plan_once(given, needs.part(k, d), needs.own(given.shape.n_rows, d))
    return Applied(_passes(plan, given), given.blocks(plan.block_rows), model._model())


def apply_labels(
    labels: Any,
    X: Any,
    needs: Needs = NOTHING,
    *,
    name: str = "labels",
    memory_limit: int | str | None = None,
) -> Applied:
    """X with labels beside it; a model's are found in each pass.

    How many different ones there are shows only as they are read, unless they are a model's. They
    are then counted against what the plan leaves.

    Parameters
    ----------
    memory_limit : as that of :class:`~dkmeans.KMeans`; a model has its own, where this is None.
    """
    if is_model(labels):
        model = as_kmeans(labels)
        if memory_limit is not None:
            model = copy(model).set_params(memory_limit=memory_limit)
        return apply_model(model, X, needs)
    reader = KMeans(memory_limit=memory_limit)
    if hasattr(X, "to_dask_array") and hasattr(labels, "to_dask_array"):
        open_labels(labels, name)
        given = check_input(reader, X, labels, reset=True)
    else:
        given, labels = check_input(reader, X, reset=True), open_labels(labels, name)
        _check_rows(labels, given, name)
        if not isinstance(given.X, Source):
            labels = np.asarray(labels, dtype=np.float64)
        given = replace(given, weights=labels)
    d = given.shape.n_features
    plan = reader._plan_once(given, own_bytes=needs.own(given.shape.n_rows, d))
    room = LabelRoom.of(plan, needs.part(1, d))
    return Applied(_passes(plan, given), given.blocks(plan.block_rows), None, room)


def _passes(plan: Plan, given: Input) -> Passes:
    return Passes(plan.threads, local=given.local)


def _check_rows(labels: Any, given: Input, name: str) -> None:
    """Raise a DataError unless there is a label for each row, as far as can be known."""
    n_rows, n_labels = given.shape.n_rows, labels.shape[0]
    if n_rows is None:
        if isinstance(labels, da.Array) and labels.numblocks[0] == given.shape.n_blocks:
            return
        raise DataError(
            f"the rows of X are not known before it is read: pass {name} as a dask array of as many"
            " blocks, or call X.compute_chunk_sizes() first"
        )
    if np.isnan(n_labels):
        raise DataError(
            f"{name} has blocks of unknown size; call {name}.compute_chunk_sizes() first"
        )
    if n_labels != n_rows:
        raise DataError(f"{name} has {n_labels} rows, X has {n_rows}")


def apply_pairs(
    ours: Any, theirs: Any, needs: Needs = NOTHING, *, memory_limit: int | str | None = None
) -> Applied:
    """Two labellings side by side: the one as a column of rows, the other beside it.

    One that is lazy becomes the column, so that neither is gathered.
    """
    sides = [(open_labels(ours, "labels_true"), "labels_true")]
    sides.append((open_labels(theirs, "labels_pred"), "labels_pred"))
    sides.sort(key=lambda side: not isinstance(side[0], da.Array))
    (column, _), (beside, name) = sides
    return apply_labels(beside, column[:, None], needs, name=name, memory_limit=memory_limit)
