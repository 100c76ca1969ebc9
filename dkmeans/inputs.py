"""Checking X as scikit-learn does, whatever kind of data it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils.validation import _check_sample_weight, validate_data

from dkmeans._typing import AnyArray
from dkmeans.data.blocks import READ_BYTES, Blocks, Reader, from_array
from dkmeans.data.source import Source, check_table, working_dtype
from dkmeans.data.sources import frame_with_weights, is_in_memory, open_source
from dkmeans.data.sparse_source import is_sparse, open_csr
from dkmeans.engine.memory import Shape
from dkmeans.engine.passes import default_threads
from dkmeans.engine.seeding import in_memory_rows
from dkmeans.errors import DataError


@dataclass(frozen=True)
class Input:
    """X and its weights, checked: an array in memory or a source that is not.

    ``made_bytes`` are those of what passes make of a row, beside its label and margin.
    """

    X: AnyArray | Source
    weights: Any = None
    made_bytes: int = 0

    @property
    def local(self) -> bool:
        """Whether X is in this process, so that results are to be arrays and not lazy."""
        return not isinstance(self.X, Source) or self.X.local

    @property
    def where(self) -> str:
        """Where the rows come from, for people."""
        return self.X.where if isinstance(self.X, Source) else "an array in memory"

    @property
    def shape(self) -> Shape:
        """What a plan needs to know."""
        X = self.X
        if isinstance(X, Source):
            reader = X.rows if isinstance(X.rows, Reader) else None
            blocks = 0 if isinstance(X.rows, Reader) else int(X.rows.numblocks[0])
            unit = None if X.units is None else max(X.units, default=0)
            if reader is not None:
                unit = max(unit or 0, reader.unit)  # a chunk may have more than the rows
            row_bytes = X.row_bytes + (0 if self.weights is None else 8)
            return Shape(
                X.n_rows,
                unit,
                blocks,
                row_bytes,
                X.n_features,
                local=self.local,
                buffered=reader is not None,
                made_bytes=self.made_bytes,
                read_bytes=READ_BYTES if reader is None else reader.read_bytes,
            )
        return Shape(
            len(X),
            1,
            1,
            X.itemsize * X.shape[1],
            X.shape[1],
            resident=True,
            local=True,
            made_bytes=self.made_bytes,
        )

    def blocks(self, target_rows: int | None) -> Blocks:
        """X as blocks; rows in memory are cut for the threads."""
        if isinstance(self.X, Source):
            return self.X.blocks(target_rows, self.weights)
        n_rows, n_features = self.X.shape
        rows = in_memory_rows(n_rows, n_features, default_threads())
        return from_array(self.X, self.weights, rows)


def check_input(estimator: Any, X: Any, sample_weight: Any = None, *, reset: bool) -> Input:
    """Check X against what the estimator was fitted to, or set its features from X (reset).

    Raises
    ------
    ValueError, TypeError
        As scikit-learn's ``validate_data`` for data in memory; for all others in its words.
    """
    if not is_in_memory(X):
        source = open_source(X)
        if hasattr(X, "to_dask_array") and hasattr(sample_weight, "to_dask_array"):
            source, sample_weight = frame_with_weights(X, sample_weight, source)
        if reset:
            _set_features(estimator, source)
        else:
            _check_features(estimator, source)
        return Input(source, sample_weight)
    X = validate_data(
        estimator, X, reset=reset, order="C", accept_sparse="csr", ensure_all_finite=False
    )
    if is_sparse(X):
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
        return Input(open_csr(X), sample_weight)
    check_table(X.shape, X.dtype, "X")
    X = np.ascontiguousarray(X, dtype=working_dtype(X.dtype))
    if sample_weight is not None:
        sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
    return Input(X, sample_weight)


def _set_features(estimator: Any, source: Source) -> None:
    estimator.n_features_in_ = source.n_features
    if source.names is not None:
        estimator.feature_names_in_ = np.array(source.names, dtype=object)
    elif hasattr(estimator, "feature_names_in_"):
        del estimator.feature_names_in_


def _check_features(estimator: Any, source: Source) -> None:
    if source.n_features != estimator.n_features_in_:
        raise DataError(
            f"X has {source.n_features} features, but {type(estimator).__name__} is expecting"
            f" {estimator.n_features_in_} features as input."
        )
    fitted: Any = getattr(estimator, "feature_names_in_", source.names)
    if source.names and list(source.names) != list(fitted):
        raise DataError(
            "The feature names should match those that were passed during fit: expected"
            f" {list(fitted)}, got {list(source.names)}"
        )
