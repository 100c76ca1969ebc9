"""Two models side by side, and several ways to find the first centers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import fmean, pstdev
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from sklearn.utils import check_random_state

from dkmeans._typing import Floats, Ints
from dkmeans.applying import Needs, apply_model, as_kmeans, check_count
from dkmeans.engine import exact
from dkmeans.engine.cluster_stats import Pairs
from dkmeans.engine.parity_step import Parity, ParityStep
from dkmeans.errors import DataError
from dkmeans.kmeans import KMeans
from dkmeans.metrics import adjusted_rand

if TYPE_CHECKING:
    import pandas as pd

INITS = ("auto", "k-means||", "k-means++", "random")


@dataclass(frozen=True, eq=False)
class Comparison:
    """How far two models agree on some rows.

    Parameters
    ----------
    matches : (pairs, 2) clusters of the one and of the other that belong together, so that the
        distances between their centers add up to the least; as many as the smaller model has.
    distances : (pairs,) between the centers of a pair.
    counts : (k, m) rows of each pair of clusters, whether they belong together or not.
    inertias : of the one and of the other.
    adjusted_rand : 1 where the clusters are the same, 0 where chance could have made them.
    """

    matches: Ints
    distances: Floats
    counts: Ints
    inertias: tuple[float, float]
    adjusted_rand: float

    @property
    def inertia_ratio(self) -> float:
        """Inertia of the one over that of the other; 1 where both are 0."""
        ours, theirs = self.inertias
        if theirs == 0:
            return 1.0 if ours == 0 else float("inf")
        return ours / theirs

    @property
    def agreement(self) -> float:
        """Share of the rows that both models put in clusters that belong together."""
        return float(self.counts[tuple(self.matches.T)].sum() / self.counts.sum())

    @property
    def unmatched(self) -> tuple[list[int], list[int]]:
        """Clusters of the one and of the other that belong to none."""
        ours, theirs = (set(range(k)) for k in self.counts.shape)
        return sorted(ours - set(self.matches[:, 0])), sorted(theirs - set(self.matches[:, 1]))

    @property
    def table(self) -> pd.DataFrame:
        """A line for each pair: distance of the centers, rows of either and of both."""
        import pandas as pd

        ours, theirs = self.matches.T
        columns = {
            "other": theirs,
            "distance": self.distances,
            "rows": self.counts.sum(axis=1)[ours],
            "other_rows": self.counts.sum(axis=0)[theirs],
            "shared_rows": self.counts[ours, theirs],
        }
        return pd.DataFrame(columns, index=pd.Index(ours, name="cluster"))

    def __str__(self) -> str:
        lines = {
            "inertia": f"{self.inertias[0]:.10g} and {self.inertias[1]:.10g},"
            f" ratio {self.inertia_ratio:.10g}",
            "centers apart": f"{self.distances.max():.3g} at most",
            "rows that agree": f"{self.agreement:.4%} of {self.counts.sum():,}",
            "adjusted Rand index": f"{self.adjusted_rand:.6f}",
        }
        for name, left in zip(("unmatched", "unmatched, other"), self.unmatched, strict=True):
            if left:
                lines[name] = ", ".join(map(str, left))
        head = "\n".join(f"{name:>19}  {value}" for name, value in lines.items())
        return f"{head}\n\n{self.table.to_string(float_format='{:.4g}'.format)}"


def compare(model: Any, other: Any, X: Any) -> Comparison:
    """How far two models agree on X, whatever the order of their clusters; one pass.

    Parameters
    ----------
    model, other : fitted KMeans of any library, or centers (n_clusters, n_features). The numbers of
        clusters may differ. What becomes of NaN is the ``nan_policy`` of the first.
    X : rows (n_samples, n_features), as :meth:`KMeans.fit <dkmeans.KMeans.fit>` takes them.

    Raises
    ------
    DataError
        NaN or infinity, named by row and column; features that are not those of the models.
    MemoryLimitError
        If the counts of the pairs of clusters do not fit in the ``memory_limit`` of the first.

    Examples
    --------
    >>> from dkmeans import compare
    >>> found = compare([[1.0], [11.0]], [[11.5], [1.0]], [[0.0], [2.0], [10.0], [12.0]])
    >>> found.matches.tolist(), found.agreement, found.inertia_ratio
    ([[0, 1], [1, 0]], 1.0, 0.8888888888888888)

    References
    ----------
    Kuhn 1955, "The Hungarian method for the assignment problem", by which clusters are matched.
    """
    model, other = as_kmeans(model), as_kmeans(other)
    if other.n_features_in_ != model.n_features_in_:
        raise DataError(
            f"the models have {model.n_features_in_} and {other.n_features_in_} features; they must"
            " be of the same data"
        )
    names, others = (getattr(one, "feature_names_in_", None) for one in (model, other))
    if names is not None and others is not None and list(names) != list(others):
        raise DataError(
            f"the models were fitted to the features {list(names)} and {list(others)}; they must be"
            " the same in the same order"
        )
    m = len(other.cluster_centers_)
    applied = apply_model(model, X, Needs(lambda k, _: Parity.part_bytes(k, m)))
    ours, theirs = model._model(), other._model()
    theirs = replace(theirs, nan_policy=ours.nan_policy)
    found: Parity = applied.run(ParityStep(ours, theirs), "compare")
    if not found.counts.any():
        raise DataError("Found array with 0 sample(s) while a minimum of 1 is required.")
    apart = cdist(ours.centers, theirs.centers)
    matches = np.column_stack(linear_sum_assignment(apart))
    labels = np.argwhere(found.counts)
    return Comparison(
        matches,
        apart[tuple(matches.T)],
        found.counts,
        (exact.to_float(found.inertias[0]), exact.to_float(found.inertias[1])),
        adjusted_rand(Pairs(labels, found.counts[tuple(labels.T)])),
    )


@dataclass(frozen=True)
class InitComparison:
    """Many starts of each of several ways to find the first centers.

    Parameters
    ----------
    models : for each way, the :class:`~dkmeans.KMeans` of the best start; its ``history_`` has the
        steps of all of them.
    """

    models: dict[str, KMeans]

    @property
    def inertias(self) -> dict[str, list[float]]:
        """Inertia at the end of each start."""
        return {init: [run[-1] for run in runs] for init, runs in self.curves.items()}

    @property
    def curves(self) -> dict[str, list[list[float]]]:
        """Inertia at each iteration of each start."""
        return {init: _curves(model) for init, model in self.models.items()}

    @property
    def table(self) -> pd.DataFrame:
        """A line for each way.

        Mean, standard deviation (divided by the number of starts), best and worst of the inertia;
        mean iterations of a start; passes and seconds of all starts, which share their passes.
        """
        import pandas as pd

        lines = {init: _line(self.inertias[init], model) for init, model in self.models.items()}
        return pd.DataFrame.from_dict(lines, orient="index").rename_axis("init")

    def __str__(self) -> str:
        return self.table.to_string(float_format="{:.7g}".format)


def _line(inertias: list[float], model: KMeans) -> dict[str, float]:
    steps = sum(i.phase == "lloyd" for i in model.history_)
    return {
        "mean": fmean(inertias),
        "std": pstdev(inertias),
        "best": min(inertias),
        "worst": max(inertias),
        "n_iter": steps / len(inertias),
        "passes": model.history_.passes,
        "seconds": model.history_.seconds,
    }


def _curves(model: KMeans) -> list[list[float]]:
    """Inertia of each iteration, a list for each start."""
    history = model.history_
    runs = sorted({i.run for i in history if i.phase == "lloyd"})
    return [[inertia for _, inertia in history.curve(run)] for run in runs]


def compare_inits(
    X: Any,
    n_clusters: int,
    inits: Iterable[str] = INITS,
    *,
    n_runs: int = 20,
    random_state: Any = None,
    **options: Any,
) -> InitComparison:
    """Start many times from each of several inits, and see what becomes of it.

    All starts of an init share their passes. Each is a start of its own: the search on a sample of
    init="auto" is done anew for every one.

    Parameters
    ----------
    X : rows (n_samples, n_features), as :meth:`KMeans.fit <dkmeans.KMeans.fit>` takes them.
    inits : values of the parameter ``init`` of :class:`~dkmeans.KMeans`, in words.
    n_runs : starts of each.
    random_state : int, RandomState or None; determines the seeds, the same for each init.
    **options : further parameters of :class:`~dkmeans.KMeans`.

    Raises
    ------
    ValueError
        If an init is not a word that KMeans knows, or none is given.
    DataError, MemoryLimitError
        As a fit does.
    """
    names = [inits] if isinstance(inits, str) else list(inits)
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"inits must be words such as {', '.join(INITS)}; got {names!r}")
    wrong = [name for name in names if name not in INITS]
    if wrong:
        raise ValueError(f"inits must be among {', '.join(INITS)}; got {wrong[0]!r}")
    if "n_init" in options:
        raise TypeError("compare_inits has n_runs, the starts of each init, in place of n_init")
    n_runs = check_count(n_runs, "n_runs", 1)
    seed = int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
    options |= {"n_init": n_runs, "random_state": seed}
    models = {name: KMeans(n_clusters, init=name, **options) for name in dict.fromkeys(names)}
    return InitComparison({name: model.fit(X) for name, model in models.items()})
