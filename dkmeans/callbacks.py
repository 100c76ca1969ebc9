"""Who is told of a fit while it runs: functions of ``Iteration``, and scikit-learn's callbacks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from sklearn.utils._param_validation import InvalidParameterError

from dkmeans.fitting import n_runs
from dkmeans.record.history import Iteration

__all__ = ["CallbackSupportMixin", "Listener", "as_task", "listeners", "tell_resumed"]

if TYPE_CHECKING:
    from dkmeans.kmeans import KMeans

try:
    from sklearn.callback import CallbackSupportMixin
except ImportError:  # before scikit-learn 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands for the class that gives estimators ``set_callbacks``."""


Listener = Callable[[Iteration], Any]


def listeners(model: KMeans) -> list[Listener]:
    """The functions in ``callbacks``, and what calls those of ``set_callbacks``, in this order.

    Raises
    ------
    ValueError
        If ``callbacks`` has something that cannot be called.
    """
    given = model.callbacks
    functions = list(given) if isinstance(given, list) else [given] if given is not None else []
    for function in functions:
        if not callable(function):
            raise InvalidParameterError(
                "The 'callbacks' parameter of KMeans must be a function of an Iteration or a list"
                f" of such. Got {function!r} instead."
            )
    context = getattr(model, "_callback_fit_ctx", None)
    if context is not None:
        functions.append(lambda iteration: _tell(model, context, iteration))
    return functions


@contextlib.contextmanager
def as_task(model: KMeans, X: Any, sample_weight: Any) -> Iterator[None]:
    """The fit in the body as a task of scikit-learn's callbacks, where the model has any."""
    if not getattr(model, "_skl_callbacks", None):
        yield
        return
    from sklearn.callback._callback_support import callback_management_context

    model._validate_params()
    values = {"estimator": model, "X": X, "metadata": {"sample_weight": sample_weight}}
    with callback_management_context(model):
        most = model.max_iter * n_runs(model) + (model.checkpoint is not None)
        context = model._init_callback_context(max_subtasks=most)
        context.call_on_fit_task_begin(**values)
        yield
        context.call_on_fit_task_end(**values, reconstruction_attributes={})  # it is fitted


def tell_resumed(model: KMeans, how: str) -> None:
    """Tell scikit-learn's callbacks that the fit was resumed, as a task of that name."""
    context = getattr(model, "_callback_fit_ctx", None)
    if context is not None:
        task = context.subcontext(task_name=f"resumed {how}", max_subtasks=1)  # so that it is shown
        task.call_on_fit_task_begin(estimator=model).call_on_fit_task_end(estimator=model)


def _tell(model: KMeans, context: Any, iteration: Iteration) -> None:
    """An iteration as a task below the fit; the model of it is that of the centers assigned to."""
    if iteration.phase != "lloyd":
        return
    fitted = {
        "cluster_centers_": iteration.centers,
        "inertia_": iteration.inertia,
        "n_iter_": iteration.step,
        "n_features_in_": model.n_features_in_,
    }
    task = context.subcontext(task_name="iteration").call_on_fit_task_begin(estimator=model)
    task.call_on_fit_task_end(estimator=model, reconstruction_attributes=fitted)
