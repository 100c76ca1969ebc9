"""Many numbers of clusters from the same passes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import check_random_state

from dkmeans.fitting import fit_models
from dkmeans.kmeans import KMeans

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Sweep:
    """Models of several numbers of clusters.

    Parameters
    ----------
    models : the fitted :class:`~dkmeans.KMeans` of each number of clusters, in ascending order.
    """

    models: dict[int, KMeans]

    @property
    def passes(self) -> int:
        """Passes over the data in all."""
        return sum(model.history_.passes for model in self.models.values())

    @property
    def bytes_read(self) -> int:
        """Bytes read from the source in all."""
        return sum(model.history_.bytes_read for model in self.models.values())

    @property
    def table(self) -> pd.DataFrame:
        """A line for each number of clusters: inertia, iterations, and why they stopped."""
        import pandas as pd

        lines = [(m.inertia_, m.n_iter_, m.stop_reason_) for m in self.models.values()]
        index = pd.Index(list(self.models), name="n_clusters")
        return pd.DataFrame(lines, index=index, columns=["inertia", "n_iter", "stop_reason"])

    def __str__(self) -> str:
        return str(self.table)


def sweep(X: Any, k: Iterable[int], *, sample_weight: Any = None, **options: Any) -> Sweep:
    """Fit :class:`~dkmeans.KMeans` for several numbers of clusters, all on the same passes.

    Each model is the one that a fit of its own would give. A pass is read once for all of them, and
    counted in the history of the first that was still at work.

    Parameters
    ----------
    X : as in :meth:`KMeans.fit <dkmeans.KMeans.fit>`.
    k : numbers of clusters, such as ``range(2, 13)``.
    sample_weight : array-like or dask array (n_samples,), optional
    **options : parameters of :class:`~dkmeans.KMeans`, ``n_init`` and ``random_state`` among them.

    Raises
    ------
    ValueError
        If ``k`` is empty or holds something other than positive integers.
    DataError, MemoryLimitError
        As a fit does.

    Examples
    --------
    >>> import numpy as np
    >>> from dkmeans import sweep
    >>> X = np.array([[1.0], [2.0], [9.0], [10.0], [25.0], [26.0]])
    >>> [float(m.inertia_) for m in sweep(X, range(1, 4), random_state=0).models.values()]
    [514.8333333333334, 65.0, 1.5]
    """
    numbers: list[Any] = list(k) if np.iterable(k) else [k]
    wrong = [n for n in numbers if isinstance(n, bool) or not isinstance(n, Integral) or n < 1]
    if wrong or not numbers:
        got = repr(wrong[0]) if wrong else "none"
        raise ValueError(f"k must be positive integers, such as range(2, 13); got {got}")
    seed = options.pop("random_state", None)
    if not isinstance(seed, Integral):  # which would give each model other numbers
        seed = check_random_state(seed).randint(np.iinfo(np.int32).max)
    options["random_state"] = int(seed)
    models = {int(n): KMeans(int(n), **options) for n in sorted(set(numbers))}
    fit_models(list(models.values()), X, sample_weight)
    return Sweep(models)
