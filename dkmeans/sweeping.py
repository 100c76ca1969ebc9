"""Many numbers of clusters from the same passes, and which of them to choose."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils import check_random_state

from dkmeans.fitting import fit_models
from dkmeans.kmeans import KMeans
from dkmeans.scoring import METRICS, Scores, score_models, what_follows

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_KNEE = "knee"
_LOW_IS_GOOD = "davies_bouldin"


@dataclass(frozen=True)
class Sweep:
    """Models of several numbers of clusters, and how good they are.

    Parameters
    ----------
    models : the fitted :class:`~dkmeans.KMeans` of each number of clusters, in ascending order.
    scores : the metrics of these models.
    """

    models: dict[int, KMeans]
    scores: Scores = field(default_factory=Scores)

    @property
    def passes(self) -> int:
        """Passes over the data in all, those for the metrics included."""
        return self.scores.passes + sum(model.history_.passes for model in self.models.values())

    @property
    def bytes_read(self) -> int:
        """Bytes read from the source in all."""
        fits = sum(model.history_.bytes_read for model in self.models.values())
        return self.scores.bytes_read + fits

    @property
    def table(self) -> pd.DataFrame:
        """A line for each number of clusters.

        The columns are ``inertia``, ``n_iter``, ``stop_reason`` and the metrics; beside
        ``silhouette`` is ``silhouette_error``, its standard error, which is 0 where the mean is
        over all rows that have a positive weight. A metric is NaN where it is not defined, as with
        one cluster.
        """
        import pandas as pd

        lines = [(m.inertia_, m.n_iter_, m.stop_reason_) for m in self.models.values()]
        index = pd.Index(list(self.models), name="n_clusters")
        fits = pd.DataFrame(lines, index=index, columns=["inertia", "n_iter", "stop_reason"])
        return fits.assign(**self.scores.columns)

    @property
    def criteria(self) -> tuple[str, ...]:
        """What :meth:`best_by` takes."""
        return *(name for name in METRICS if name in self.scores.columns), _KNEE

    @property
    def best_k(self) -> int | None:
        """The number of clusters with the highest silhouette; None where there is none.

        Raises
        ------
        ValueError
            If the silhouette was not asked for.
        """
        return self.best_by("silhouette")

    def best_by(self, criterion: str) -> int | None:
        """The number of clusters that a criterion chooses; None where it chooses none.

        Parameters
        ----------
        criterion : "silhouette" and "calinski_harabasz" (the highest), "davies_bouldin" (the
            lowest; of equals, the fewest clusters), or "knee" (of the inertia, by :func:`knee`).

        Raises
        ------
        ValueError
            If it is not one of :attr:`criteria`.
        """
        if criterion not in self.criteria:
            known, others = ", ".join(self.criteria), ", ".join(METRICS)
            raise ValueError(
                f"the criterion must be one of {known}, got {criterion!r}; any of {others} can be"
                " asked for by metrics= of the sweep"
            )
        numbers = list(self.models)
        if criterion == _KNEE:
            return knee(numbers, [model.inertia_ for model in self.models.values()])
        values = np.array(self.scores.columns[criterion])
        if np.isnan(values).all():
            return None
        at = np.nanargmin(values) if criterion == _LOW_IS_GOOD else np.nanargmax(values)
        return numbers[int(at)]

    @property
    def chosen(self) -> set[tuple[str, int | None]]:
        """What each criterion chooses, by the column of :attr:`table` that shows it."""
        return {("inertia" if c == _KNEE else c, self.best_by(c)) for c in self.criteria}

    def plot(self, *, theme: str = "light", ax: Axes | None = None) -> Axes:
        """Draw the inertia over the number of clusters, as :func:`dkmeans.plot.elbow` does."""
        from dkmeans.plot import elbow

        return elbow(self, theme=theme, ax=ax)

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write one HTML page on the sweep and the model that it chooses.

        Parameters
        ----------
        path : of the file, as .html, which is complete in itself, and replaces one that is there.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        from dkmeans.plot.report import sweep_report

        sweep_report(self, path)

    def __str__(self) -> str:
        chosen = {name: self.best_by(name) for name in self.criteria}
        best = ", ".join(f"{k or 'none'} by {name}" for name, k in chosen.items())
        return f"{self.table.to_string()}\nbest n_clusters: {best}"


def knee(n_clusters: Sequence[int], inertia: Sequence[float]) -> int | None:
    """Where a falling curve stops falling fast; None where it does so nowhere.

    Parameters
    ----------
    n_clusters : ascending.
    inertia : for each of them.

    References
    ----------
    Satopaa, Albrecht, Irwin, Raghavan 2011, "Finding a 'Kneedle' in a Haystack", section III: the
    steps 2 to 5, for a decreasing convex curve, with the sensitivity 1 and no smoothing. The first
    knee is returned.
    """
    x, y = np.asarray(n_clusters, np.float64), np.asarray(inertia, np.float64)
    if len(x) < 3 or y.min() == y.max():
        return None
    x = (x - x[0]) / (x[-1] - x[0])
    above = (y.max() - y) / (y.max() - y.min()) - x  # the curve upside down, over the diagonal
    least = np.diff(x).mean()  # by how much the curve must come down again to have had a knee
    peaks = [i for i in range(1, len(x) - 1) if above[i - 1] < above[i] >= above[i + 1]]
    for peak, following in pairwise([*peaks, len(x)]):
        if (above[peak + 1 : following] < above[peak] - least).any():
            return int(n_clusters[peak])
    return None


def sweep(
    X: Any,
    k: Iterable[int],
    *,
    sample_weight: Any = None,
    metrics: Iterable[str] = METRICS,
    **options: Any,
) -> Sweep:
    """Fit :class:`~dkmeans.KMeans` for several numbers of clusters, all on the same passes.

    Each model is the one that a fit of its own would give. A pass is read once for all of them, and
    counted in the history of the first that was still at work. The metrics of all models come from
    one more pass, which they share too, and with ``sample_weight`` from two; where what these find
    for all models does not fit in the memory limit, as many models share them as it does fit for.

    Parameters
    ----------
    X : as in :meth:`KMeans.fit <dkmeans.KMeans.fit>`.
    k : numbers of clusters, such as ``range(2, 13)``.
    sample_weight : array-like or dask array (n_samples,), optional
    metrics : some of "silhouette", "calinski_harabasz" and "davies_bouldin", as functions of
        :mod:`dkmeans.metrics` compute them; empty for none. The silhouette is exact for up to
        10,000 rows, and else that of the sample in the history. Metrics count each row once,
        whatever its weight; but no row of weight 0 takes part in the silhouette.
    **options : parameters of :class:`~dkmeans.KMeans`, ``n_init`` and ``random_state`` among them.

    Raises
    ------
    ValueError
        If ``k`` is empty or holds something other than positive integers, a metric is unknown, or
        there is a ``checkpoint`` without an integer as ``random_state``.
    DataError, MemoryLimitError
        As a fit does; a silhouette of many rows without ``history_rows``, before any fit.

    Examples
    --------
    >>> import numpy as np
    >>> from dkmeans import sweep
    >>> X = np.array([[1.0], [2.0], [9.0], [10.0], [25.0], [26.0]])
    >>> found = sweep(X, range(1, 5), random_state=0)
    >>> [round(model.inertia_, 1) for model in found.models.values()]
    [598.8, 65.5, 1.5, 1.0]
    >>> found.best_k, found.best_by("knee")
    (3, 2)
    """
    numbers: list[Any] = list(k) if np.iterable(k) else [k]
    wrong = [n for n in numbers if isinstance(n, bool) or not isinstance(n, Integral) or n < 1]
    if wrong or not numbers:
        got = repr(wrong[0]) if wrong else "none"
        raise ValueError(f"k must be positive integers, such as range(2, 13); got {got}")
    wanted = _check_metrics(metrics)
    seed = options.pop("random_state", None)
    if not isinstance(seed, Integral):  # which would give each model other numbers
        if options.get("checkpoint") is not None:
            raise ValueError(
                f"a sweep with a checkpoint needs random_state= (--seed), a number; got {seed!r}"
            )
        seed = check_random_state(seed).randint(np.iinfo(np.int32).max)
    options["random_state"] = int(seed)
    models = {int(n): KMeans(int(n), **options) for n in sorted(set(numbers))}
    fits = list(models.values())
    ran = fit_models(fits, X, sample_weight, follow=partial(what_follows, fits, wanted))
    return Sweep(models, score_models(fits, ran, wanted))


def _check_metrics(metrics: Iterable[str]) -> tuple[str, ...]:
    """The metrics that are asked for, in the order of the table."""
    given = [metrics] if isinstance(metrics, str) else list(metrics)
    wrong = [name for name in given if name not in METRICS]
    if wrong:
        raise ValueError(f"metrics must be among {', '.join(METRICS)}; got {wrong[0]!r}")
    return tuple(name for name in METRICS if name in given)
