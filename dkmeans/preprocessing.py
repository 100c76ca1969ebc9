"""Standardizing features of data of any size before they are clustered."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar, Self

import dask.array as da
import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_array, check_is_fitted

from dkmeans._typing import Floats
from dkmeans.data.source import Source
from dkmeans.data.sources import is_in_memory, open_source
from dkmeans.data.sparse_source import is_sparse
from dkmeans.engine.feature_sums import FEATURE_BYTES, FeatureSums, FeatureSumsStep
from dkmeans.engine.memory import Work
from dkmeans.engine.passes import Passes
from dkmeans.engine.scaling import Scaling
from dkmeans.errors import DataError
from dkmeans.fitting import plan_of
from dkmeans.inputs import check_input

_ROUNDING = 10 * float(np.finfo(np.float64).eps)


class StandardScaler(
    OneToOneFeatureMixin,  # type: ignore[misc]
    TransformerMixin,  # type: ignore[misc]
    BaseEstimator,  # type: ignore[misc]
):
    """Give each feature the mean 0 and the variance 1, for data of any size.

    :meth:`fit` takes one pass. :meth:`transform` of data that are not in memory is lazy and takes
    none: rows are scaled where they are read, in the passes that whatever comes next takes over
    them. Mean and variance are the correctly rounded ones, so they do not depend on the blocks,
    the threads or how many calls of :meth:`partial_fit` brought the rows.

    Parameters
    ----------
    with_mean : bool, default=True
        Subtract the mean of each feature.
    with_std : bool, default=True
        Divide each feature by its standard deviation.
    memory_limit : int or str, optional
        Bytes that a pass may use above what the process has, such as "1 GiB"; as in
        :class:`~dkmeans.KMeans`.

    Attributes
    ----------
    mean_ : ndarray (n_features,) float64, or None
        Mean of each feature; None where neither mean nor deviation is asked for.
    var_ : ndarray (n_features,) float64, or None
        Variance of each feature, in its units squared; None unless ``with_std``.
    scale_ : ndarray (n_features,) float64, or None
        What each feature is divided by: ``sqrt(var_)``, or 1 for a constant one. A feature whose
        deviation is within the rounding of its mean counts as constant.
    n_samples_seen_ : int, float or ndarray (n_features,)
        Rows, or their weight where they have any; of each feature where NaN makes them differ.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray (n_features,) of str
        Names of the columns, where X has any.

    Notes
    -----
    NaN is left out of mean and variance and stays NaN, as in scikit-learn; infinity is refused by
    ``fit``. float32 stays float32, all else becomes float64. Each value is computed in float64 and
    rounded once. SciPy's sparse matrices, which would be dense once they are centered, are refused.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.pipeline import make_pipeline
    >>> from dkmeans import KMeans
    >>> from dkmeans.preprocessing import StandardScaler
    >>> X = np.array([[1.0, 0.0], [2.0, 0.0], [3.0, 900.0], [4.0, 900.0]])
    >>> StandardScaler().fit(X).mean_
    array([  2.5, 450. ])
    >>> make_pipeline(StandardScaler(), KMeans(2, random_state=0)).fit_predict(X)
    array([1, 1, 0, 0], dtype=int32)
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "with_mean": ["boolean"],
        "with_std": ["boolean"],
        "memory_limit": [Interval(Real, 0, None, closed="neither"), str, None],
    }

    n_features_in_: int
    mean_: Floats | Any
    var_: Floats | Any
    scale_: Floats | Any
    _sums: FeatureSums

    def __init__(
        self,
        *,
        with_mean: bool = True,
        with_std: bool = True,
        memory_limit: int | str | None = None,
    ) -> None:
        self.with_mean = with_mean
        self.with_std = with_std
        self.memory_limit = memory_limit

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Find mean and variance of each feature, in one pass.

        Parameters
        ----------
        X : array-like, DataFrame, dask array or DataFrame, zarr.Array, path or URI, or Source
            Rows (n_samples, n_features), as :meth:`dkmeans.KMeans.fit` takes them.
        y : ignored
        sample_weight : array-like or dask array (n_samples,), optional

        Raises
        ------
        DataError
            Infinity, named by row and column; no rows; not a table of numbers.
        MemoryLimitError
            If the pass does not fit, before any work.
        """
        if hasattr(self, "_sums"):
            del self._sums
        return self.partial_fit(X, sample_weight=sample_weight)

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> Self:
        """Take more rows into account; parameters and errors are those of :meth:`fit`."""
        self._validate_params()
        _refuse_sparse(X)
        first = not hasattr(self, "_sums")
        given = check_input(self, X, sample_weight, reset=first)
        d = given.shape.n_features
        work = Work(
            0, d, 0, seeding_passes=0, max_passes=1, part_bytes=FEATURE_BYTES * d, what="the scaler"
        )
        plan = plan_of(given, work, "stream", self.memory_limit)
        passes = Passes(plan.threads, local=given.local)
        found = passes.run(given.blocks(plan.block_rows), FeatureSumsStep(), "scale")
        sums = found if first else FeatureSums.combine([self._sums, found])
        _check(sums, getattr(self, "feature_names_in_", None))
        self._sums = sums
        self._set()
        return self

    def transform(self, X: Any) -> Any:
        """Scale each feature.

        Parameters
        ----------
        X : what :meth:`fit` takes
            Its names are checked against those that were fitted.

        Returns
        -------
        ndarray, DataFrame, dask array or DataFrame, or Source
            Of the kind of X: an array for an array, a lazy one for a lazy one, and names where X
            has names. A path, a URI or a Zarr array becomes a Source, which
            :class:`~dkmeans.KMeans` takes as X, and which is scaled a block at a time.
        """
        check_is_fitted(self)
        _refuse_sparse(X)
        checked = check_input(self, X, reset=False).X
        return self._scaled(X, checked, inverse=False)

    def inverse_transform(self, X: Any) -> Any:
        """Undo :meth:`transform`; X is taken and returned as there, without a check of names."""
        check_is_fitted(self)
        _refuse_sparse(X)
        if is_in_memory(X):
            checked = check_array(
                X, dtype=[np.float64, np.float32], ensure_all_finite=False, input_name="X"
            )
        else:
            checked = open_source(X)
        n = checked.n_features if isinstance(checked, Source) else checked.shape[1]
        if n != self.n_features_in_:
            raise DataError(
                f"X has {n} features, but StandardScaler is expecting {self.n_features_in_}"
                " features as input."
            )
        return self._scaled(X, checked, inverse=True)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _set(self) -> None:
        """Set the attributes from the sums."""
        sums = self._sums
        seen = sums.weight() if sums.weighted else sums.weight().astype(np.int64)
        self.n_samples_seen_ = seen[0] if np.ptp(seen) == 0 else seen
        mean = sums.mean()
        self.mean_ = mean if self.with_mean or self.with_std else None
        self.var_ = self.scale_ = None
        if self.with_std:
            self.var_ = sums.variance()
            deviation = np.sqrt(self.var_)
            self.scale_ = np.where(deviation <= _ROUNDING * np.abs(mean), 1.0, deviation)

    def _scaled(self, X: Any, checked: Any, *, inverse: bool) -> Any:
        """X, which is also given as checked, of its own kind but scaled."""
        d = self.n_features_in_
        scaling = Scaling(
            self.mean_ if self.with_mean else np.zeros(d),
            self.scale_ if self.with_std else np.ones(d),
            inverse,
        )
        if isinstance(X, pd.DataFrame):
            return pd.DataFrame(scaling.rows(checked), index=X.index, columns=X.columns)
        if not isinstance(checked, Source):
            return scaling.rows(checked)
        if hasattr(X, "to_dask_array"):
            return X.map_partitions(_scale_frame, scaling, checked.dtype)
        source = scaling.source(checked)
        return source.rows if isinstance(X, da.Array) else source


def _scale_frame(frame: pd.DataFrame, scaling: Scaling, dtype: Any) -> pd.DataFrame:
    """A partition of a dask DataFrame, scaled."""
    rows = scaling.rows(frame.to_numpy(dtype))
    return pd.DataFrame(rows, index=frame.index, columns=frame.columns)


def _refuse_sparse(X: Any) -> None:
    if is_in_memory(X) and is_sparse(X):
        raise DataError(
            "a sparse X would be dense once it is centered; pass X.toarray(), or a dask array of"
            " sparse blocks, which are made dense one at a time"
        )


def _check(found: FeatureSums, names: Any) -> None:
    """Raise a DataError if these are not sums of a table of numbers."""
    if found.bad is not None:
        what = "infinity" if np.isinf(found.bad.value) else "a value too large to be squared"
        column = found.bad.column if names is None else repr(names[found.bad.column])
        raise DataError(
            f"Input X contains {what}: {found.bad.value} at row {found.bad.row}, column {column};"
            " clean the data, or make it NaN to have it left out"
        )
    if found.n_rows == 0:
        raise DataError(
            f"Found array with 0 sample(s) (shape=(0, {len(found.sums)})) while a minimum of 1 is"
            " required."
        )
    if found.weighted and not found.sums[:, 0].any():
        raise DataError("sample_weight is zero for every row; at least one must be positive")
