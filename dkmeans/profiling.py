"""What the clusters of a model are like, in the units of the data."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import issparse
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from dkmeans._typing import AnyArray, Floats, Ints
from dkmeans.applying import (
    Needs,
    apply_model,
    as_kmeans,
    check_count,
    column_names,
    writing_labels,
)
from dkmeans.data.source import kernel_view
from dkmeans.engine import exact
from dkmeans.engine.profile_step import Profiled, ProfileStep

if TYPE_CHECKING:
    import pandas as pd

    from dkmeans.kmeans import KMeans


@dataclass(frozen=True, eq=False)
class Profile:
    """What clusters are like. k is their number, d that of the features of X.

    Parameters
    ----------
    feature_names : of X; "feature 0", "feature 1" ... where it has none.
    sizes : (k,) rows.
    means, stds : (k, d) mean and standard deviation (divided by the number of rows) of each feature
        in the units of X; NaN for a cluster without rows.
    distances : (k,) mean distance of the rows to their center, in the units in which the model
        clusters: behind a scaler, those of the scaled data.
    nearest_rows : (k, nearest) global numbers of the rows nearest to each center, the nearest
        first; -1 where a cluster has fewer rows.
    nearest_values : (k, nearest, d) these rows, in the units of X; NaN where there are fewer.
    """

    feature_names: tuple[str, ...]
    sizes: Ints
    means: Floats
    stds: Floats
    distances: Floats
    nearest_rows: Ints
    nearest_values: Floats

    @property
    def shares(self) -> Floats:
        """Share of the rows in each cluster, (k,)."""
        shares: Floats = self.sizes / self.sizes.sum()
        return shares

    @property
    def table(self) -> pd.DataFrame:
        """A line a cluster: size, share, mean distance, then mean and std of each feature."""
        import pandas as pd

        columns: dict[tuple[str, str], Any] = {
            ("rows", "size"): self.sizes,
            ("rows", "share"): self.shares,
            ("rows", "distance"): self.distances,
        }
        for f, name in enumerate(self.feature_names):
            columns[name, "mean"] = self.means[:, f]
            columns[name, "std"] = self.stds[:, f]
        return pd.DataFrame(columns, index=pd.RangeIndex(len(self.sizes), name="cluster"))

    @property
    def nearest(self) -> pd.DataFrame:
        """A line for each of the rows nearest to the centers, with its global number and values."""
        import pandas as pd

        cluster, place = np.nonzero(self.nearest_rows >= 0)
        keys = [cluster, self.nearest_rows[cluster, place]]
        index = pd.MultiIndex.from_arrays(keys, names=["cluster", "row"])
        values = self.nearest_values[cluster, place]
        return pd.DataFrame(values, index=index, columns=list(self.feature_names))

    def __str__(self) -> str:
        return self.table.to_string(float_format="{:.6g}".format)


def profile(
    model: Any,
    X: Any,
    *,
    nearest: int = 5,
    labels_path: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    storage_options: dict[str, Any] | None = None,
) -> Profile:
    """Size, mean, spread and typical rows of each cluster, and labels if asked for; one pass.

    Sums are kept in twice the precision of float64, so that data far from the origin lose nothing.

    Parameters
    ----------
    model : fitted KMeans of any library, centers (n_clusters, n_features), or a fitted scikit-learn
        Pipeline that ends in one. Its transformers are then applied block by block, and are to
        treat each row for itself, as scalers do.
    X : rows (n_samples, n_features), as :meth:`KMeans.fit <dkmeans.KMeans.fit>` takes them; what
        goes into the pipeline, where the model is one.
    nearest : rows to show of each cluster, those nearest to its center.
    labels_path : where to write the labels as :func:`~dkmeans.write_labels` does, whole or not at
        all; until then they take four bytes a row beside it.
    overwrite : whether to replace what is there.
    storage_options : of the storage behind a URI as ``labels_path``.

    Raises
    ------
    OutputError
        If the labels cannot be written there; nothing is read then.
    DataError
        NaN or infinity, named by row and column; other features than those of the model.
    MemoryLimitError
        If what is kept of the clusters does not fit in the ``memory_limit`` of the model.

    Examples
    --------
    >>> from dkmeans import profile
    >>> found = profile([[1.0], [11.0]], [[0.0], [2.0], [10.0], [12.0]], nearest=1)
    >>> found.sizes.tolist(), found.means.tolist(), found.nearest_rows.tolist()
    ([2, 2], [[1.0], [11.0]], [[0], [2]])
    """
    most = check_count(nearest, "nearest", 0)
    like, last, transform = None, model, None
    if isinstance(model, Pipeline):
        check_is_fitted(model)
        like, last = model, model[-1]
        transform = _Transform(model[:-1]) if len(model) > 1 else None
    made = 0 if transform is None else transform.row_bytes(last)
    needs = Needs(lambda k, d: Profiled.part_bytes(k, d, most), made=made)
    applied = apply_model(as_kmeans(last), X, needs, like=like)
    assert applied.model is not None
    with writing_labels(labels_path, overwrite, storage_options) as file:
        step = ProfileStep(applied.model, transform, most, file)
        found: Profiled = applied.run(step, "profile")
    return _profile(found, _feature_names(model, X, applied.blocks.n_features))


def sample_profile(model: KMeans, nearest: int) -> Profile | None:
    """The profile of the rows that the history keeps, from memory; None where it keeps none."""
    sample = model.history_.sample
    if sample is None or not len(sample):
        return None
    step = ProfileStep(model._model(), None, nearest)
    found = _profile(
        step(kernel_view(sample.rows), np.empty(0), 0, 0),
        _feature_names(model, sample.rows, sample.rows.shape[1]),
    )
    at = found.nearest_rows
    return replace(found, nearest_rows=np.where(at < 0, -1, sample.index[at]))


def _profile(found: Profiled, feature_names: tuple[str, ...]) -> Profile:
    counts = found.moments.counts
    sums = np.array([exact.to_float(one) for one in found.spread.distances])
    return Profile(
        feature_names,
        counts,
        found.moments.means,
        found.moments.stds,
        sums / np.where(counts, counts, np.nan),
        found.nearest.index,
        found.nearest.values,
    )


@dataclass(frozen=True)
class _Transform:
    """The transformers of a fitted pipeline, applied to a block."""

    pipeline: Pipeline

    def row_bytes(self, last: Any) -> int:
        """Bytes of a row between two steps, ``last`` the one that follows: in and out, in float64.

        Widths are those that the steps tell.
        """
        steps = [*(step for _, step in self.pipeline.steps), last]
        return 2 * 8 * max(getattr(step, "n_features_in_", 0) for step in steps)

    def __call__(self, X: AnyArray) -> AnyArray:
        import pandas as pd

        names = getattr(self.pipeline, "feature_names_in_", None)
        found = self.pipeline.transform(X if names is None else pd.DataFrame(X, columns=names))
        return found.toarray() if issparse(found) else np.asarray(found)


def unnamed(n_features: int) -> tuple[str, ...]:
    """What features without names are called."""
    return tuple(f"feature {f}" for f in range(n_features))


def _feature_names(model: Any, X: Any, n_features: int) -> tuple[str, ...]:
    """Those that the model knows, else those of X, else numbers."""
    if hasattr(model, "feature_names_in_"):
        return tuple(model.feature_names_in_)
    return column_names(X) or unnamed(n_features)
