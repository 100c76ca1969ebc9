"""Fitted models in other forms: files, scikit-learn's own estimator, HTML for notebooks."""

from __future__ import annotations

import os
from html import escape
from numbers import Integral
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from sklearn.utils.validation import check_is_fitted

from dkmeans.data.outputs import replacing
from dkmeans.data.sources import on_disk
from dkmeans.errors import FormatError
from dkmeans.fitting import saved_params
from dkmeans.record.frames import ENDS, ending
from dkmeans.record.model_file import SavedModel, read_model, write_model

if TYPE_CHECKING:
    from dkmeans.kmeans import KMeans

M = TypeVar("M", bound="KMeans")


def save(
    model: KMeans, path: str | os.PathLike[str], storage_options: dict[str, Any] | None = None
) -> None:
    """What :meth:`KMeans.save <dkmeans.KMeans.save>` does."""
    check_is_fitted(model)
    params = saved_params(model)
    arrays = {"cluster_centers": model.cluster_centers_}
    if not isinstance(model.init, str):
        if not callable(model.init):
            arrays["init"] = np.asarray(model.init)
        params["init"] = None
    if not isinstance(model.random_state, Integral | None):
        params["random_state"] = None
    values = {
        "params": {n: v.item() if isinstance(v, np.generic) else v for n, v in params.items()},
        "inertia": model.inertia_,
        "n_iter": model.n_iter_,
        "stop_reason": model.stop_reason_,
        "feature_names": list(getattr(model, "feature_names_in_", ())),
    }
    saved = SavedModel(values, arrays, model.history_)
    if "://" not in os.fspath(path):
        write_model(path, saved)
        return
    with replacing(path, overwrite=True, storage_options=storage_options) as partial:
        write_model(partial, saved)


def load(
    kind: type[M], path: str | os.PathLike[str], storage_options: dict[str, Any] | None = None
) -> M:
    """What :meth:`KMeans.load <dkmeans.KMeans.load>` does."""
    with on_disk(path, storage_options) as local:
        saved = read_model(local, os.fspath(path))
    try:
        params, centers = dict(saved.values["params"]), saved.arrays["cluster_centers"]
        if params["init"] is None:
            params["init"] = saved.arrays.get("init", "auto")
        if saved.values["stop_reason"] not in tuple(ENDS):  # whatever type it is of
            raise ValueError(f"stop_reason {saved.values['stop_reason']!r}")
        sample = saved.history.sample
        if sample is not None and sample.rows.shape[1] != centers.shape[1]:
            raise ValueError("the sample of rows has another number of features than the centers")
        model = kind(**params)
        model._set(
            centers,
            float(saved.values["inertia"]),
            int(saved.values["n_iter"]),
            saved.values["stop_reason"],
            saved.history,
        )
        model.n_features_in_ = centers.shape[1]
        if saved.values["feature_names"]:
            model.feature_names_in_ = np.array(saved.values["feature_names"], dtype=object)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise FormatError(f"{os.fspath(path)} is not a dkmeans model: {error!r}") from error
    return model


def to_html(model: KMeans) -> str:
    """The state of a model and the record of its fit, for notebooks."""
    if not hasattr(model, "history_"):
        return "<p>Not fitted yet.</p>"
    history = model.history_
    passes = f"{history.passes:,} pass{'' if history.passes == 1 else 'es'}"
    told = [ending(model.stop_reason_, model.n_iter_), f"inertia {model.inertia_:.7g}", passes]
    if history.bytes_read:
        told.append(f"{history.bytes_read / 1e6:,.1f} MB read")
    if history.facts is not None:
        told.append(f"{history.facts.n_rows:,} rows of {escape(history.facts.source)}")
    return f"<p>{'; '.join(told)}.</p>{history._repr_html_()}"


def to_sklearn(model: KMeans) -> Any:
    """What :meth:`KMeans.to_sklearn <dkmeans.KMeans.to_sklearn>` does."""
    from sklearn.cluster import KMeans as SklearnKMeans
    from sklearn.utils._openmp_helpers import _openmp_effective_n_threads

    check_is_fitted(model)
    other = SklearnKMeans(
        model.n_clusters,
        init=model.cluster_centers_,
        n_init=1,
        max_iter=model.max_iter,
        tol=model.tol,
    )
    other.cluster_centers_ = model.cluster_centers_.copy()
    other.inertia_, other.n_iter_ = model.inertia_, model.n_iter_
    other.n_features_in_ = model.n_features_in_
    other._n_features_out = model.n_clusters
    other._n_threads = _openmp_effective_n_threads()
    for name in ("feature_names_in_", "labels_"):
        if isinstance(getattr(model, name, None), np.ndarray):
            setattr(other, name, getattr(model, name))
    return other
