"""How good clusters are: scores of data of any size, from passes over blocks.

X is anything that ``KMeans.fit`` takes. Labels are an array of NumPy or dask, the path of labels
that were written, or a fitted model, whose labels are then found in the same passes. They may be
any integers; as in scikit-learn, -1 is a label like others. Only a row that is not finite and has
the label -1 is left out: so ``nan_policy="omit"`` labels it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from dask.utils import format_bytes
from scipy.spatial.distance import cdist

from dkmeans._typing import Floats, Ints
from dkmeans.applying import (
    Applied,
    Needs,
    apply_labels,
    apply_model,
    apply_pairs,
    as_kmeans,
    writing_labels,
)
from dkmeans.data.label_file import LabelFile, LabelObjects
from dkmeans.engine import exact
from dkmeans.engine.cluster_stats import (
    MeansStep,
    Moments,
    Pairs,
    PairStep,
    Scored,
    ScoreStep,
    Silhouettes,
    SilhouetteStep,
    Spread,
    SpreadStep,
)
from dkmeans.errors import DataError
from dkmeans.silhouettes import SampledScore, check_number, silhouette_score

if TYPE_CHECKING:
    from dkmeans.kmeans import KMeans

__all__ = [
    "ClusterScores",
    "SampledScore",
    "adjusted_rand_score",
    "calinski_harabasz_score",
    "cluster_scores",
    "davies_bouldin_score",
    "inertia",
    "silhouette_score",
    "simplified_silhouette_score",
]


def inertia(X: Any, model: Any, sample_weight: Any = None) -> float:
    """Sum of weight times squared distance of each row to the nearest center; one pass.

    Parameters
    ----------
    X : rows (n_samples, n_features), as :meth:`KMeans.fit <dkmeans.KMeans.fit>` takes them.
    model : fitted KMeans of any library, or centers (n_clusters, n_features).
    sample_weight : array-like or dask array (n_samples,), optional

    Raises
    ------
    DataError
        NaN or infinity, named by row and column; other features than those of the centers.
    """
    return -as_kmeans(model).score(X, sample_weight=sample_weight)


def davies_bouldin_score(X: Any, labels: Any, *, memory_limit: int | str | None = None) -> float:
    """How large clusters are beside the distances between them, lower being better; two passes.

    The first pass finds the means, the second the mean distance to them. The value is that of
    ``sklearn.metrics.davies_bouldin_score``.

    Parameters
    ----------
    X : rows (n_samples, n_features), as :meth:`KMeans.fit <dkmeans.KMeans.fit>` takes them.
    labels : integers or strings (n_samples,), the path of integers, or a fitted model.
    memory_limit : as that of :class:`~dkmeans.KMeans`, and by default that of the model, if any.

    Raises
    ------
    DataError
        If there are fewer than 2 labels or as many as rows; NaN or infinity.
    MemoryLimitError
        If the passes would not fit, or find more different labels than do.

    References
    ----------
    Davies and Bouldin 1979, "A Cluster Separation Measure".
    """
    applied = apply_labels(labels, X, Needs(about_bytes), memory_limit=memory_limit)
    return _about_means(applied).davies_bouldin


def calinski_harabasz_score(X: Any, labels: Any, *, memory_limit: int | str | None = None) -> float:
    """Variance between clusters over that within, higher being better; two passes.

    The value is that of ``sklearn.metrics.calinski_harabasz_score``; the parameters are those of
    :func:`davies_bouldin_score`.

    References
    ----------
    Calinski and Harabasz 1974, "A dendrite method for cluster analysis".
    """
    applied = apply_labels(labels, X, Needs(about_bytes), memory_limit=memory_limit)
    return _about_means(applied).calinski_harabasz


def simplified_silhouette_score(X: Any, model: Any) -> float:
    """Mean silhouette with distances to centers in place of those between rows; one pass.

    That of a row is ``(b - a) / max(a, b)``, with a the distance to the nearest center and b that
    to the second nearest; 0 for a row alone in its cluster. The sum is exact, so the blocks do not
    change a bit of it. It takes time in proportion to rows times clusters, where that of
    :func:`silhouette_score` grows with the square of the rows.

    Parameters
    ----------
    X : rows (n_samples, n_features), as :meth:`KMeans.fit <dkmeans.KMeans.fit>` takes them.
    model : fitted KMeans of any library, or centers (n_clusters, n_features), two at least.

    References
    ----------
    Hruschka, Campello, de Castro 2006, "Evolving clusters in gene-expression data", section 2.2.
    Vendramin, Campello, Hruschka 2010, "Relative clustering validity criteria", section 2.
    """
    model = as_kmeans(model)
    check_number(len(model.cluster_centers_))
    applied = apply_model(model, X, Needs(lambda k, _: Silhouettes.part_bytes(k)))
    found: Silhouettes = applied.run(SilhouetteStep(model._model()), "silhouettes")
    _check_rows(int(found.counts.sum()))
    return found.mean


@dataclass(frozen=True, eq=False)
class ClusterScores:
    """Scores of a model's clusters.

    Parameters
    ----------
    sizes : (n_clusters,) rows of each cluster.
    inertias : (n_clusters,) what each cluster adds to the inertia.
    simplified_silhouette, davies_bouldin, calinski_harabasz : as the functions of these names.
    passes, bytes_read : what they cost, the writing of labels included.
    """

    sizes: Ints
    inertias: Floats
    inertia: float
    simplified_silhouette: float
    davies_bouldin: float
    calinski_harabasz: float
    passes: int
    bytes_read: int

    def __str__(self) -> str:
        lines = {
            "rows": f"{self.sizes.sum():,} in {len(self.sizes)} clusters of"
            f" {self.sizes.min():,} to {self.sizes.max():,}",
            "inertia": f"{self.inertia:.7g}",
            "simplified silhouette": f"{self.simplified_silhouette:.4f} (-1 to 1, 1 is best)",
            "Davies-Bouldin": f"{self.davies_bouldin:.4f} (0 is best)",
            "Calinski-Harabasz": f"{self.calinski_harabasz:.7g} (higher is better)",
            "passes": f"{self.passes}, {format_bytes(self.bytes_read)} read",
        }
        return "\n".join(f"{name:>21}  {value}" for name, value in lines.items())


def cluster_scores(
    X: Any,
    model: Any,
    *,
    labels_path: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    storage_options: dict[str, Any] | None = None,
) -> ClusterScores:
    """All scores that passes over blocks can give, in two; labels are written in the second.

    The centers of a model need not be the means of their rows, to which Davies-Bouldin and
    Calinski-Harabasz refer, so the first pass finds these.

    Parameters
    ----------
    X : rows (n_samples, n_features), as :meth:`KMeans.fit <dkmeans.KMeans.fit>` takes them.
    model : fitted KMeans of any library, or centers (n_clusters, n_features), two at least.
    labels_path : where to write the labels as :func:`~dkmeans.write_labels` does, whole or not at
        all; until then they take four bytes a row beside it.
    overwrite : whether to replace what is there.
    storage_options : of the storage behind a URI as ``labels_path``.

    Raises
    ------
    OutputError
        If the labels cannot be written there; nothing is read then.
    DataError
        If fewer than 2 clusters have rows, or as many as there are rows; NaN or infinity.

    Examples
    --------
    >>> from dkmeans import metrics
    >>> X = [[0.0], [2.0], [10.0], [12.0]]
    >>> print(metrics.cluster_scores(X, [[1.0], [11.0]]))
                     rows  4 in 2 clusters of 2 to 2
                  inertia  4
    simplified silhouette  0.8990 (-1 to 1, 1 is best)
           Davies-Bouldin  0.2000 (0 is best)
        Calinski-Harabasz  50 (higher is better)
                   passes  2, 0 B read
    """
    model = as_kmeans(model)
    check_number(len(model.cluster_centers_))
    with writing_labels(labels_path, overwrite, storage_options) as file:
        return _score(model, X, file)


def _score(model: KMeans, X: Any, file: LabelFile | LabelObjects | None) -> ClusterScores:
    applied = apply_model(model, X, Needs(_score_bytes))
    moments = _moments(applied)
    scored: Scored = applied.run(ScoreStep(model._model(), moments.means, file), "scores")
    about = AboutMeans.of(moments.counts, moments.means, scored.about_means)
    return ClusterScores(
        moments.counts,
        _floats(scored.about_centers.squares),
        exact.to_float(exact.combine(list(scored.about_centers.squares))),
        scored.silhouettes.mean,
        about.davies_bouldin,
        about.calinski_harabasz,
        applied.passes.total.passes,
        applied.passes.total.bytes_read,
    )


def about_bytes(k: int, d: int) -> int:
    """Bytes of what a pass for the means, or one about them, learns of a block."""
    return max(Moments.part_bytes(k, d), Spread.part_bytes(k))


def _score_bytes(k: int, d: int) -> int:
    return max(Moments.part_bytes(k, d), Scored.part_bytes(k))


def _about_means(applied: Applied) -> AboutMeans:
    """Means of the labels that rows have, and how the rows lie about them."""
    moments = _moments(applied)
    step = SpreadStep(applied.labelling, moments.values, moments.means)
    return AboutMeans.of(moments.counts, moments.means, applied.run(step, "spread"))


def _moments(applied: Applied) -> Moments:
    """Counts and means of the labels, if their number allows scores."""
    moments: Moments = applied.run(MeansStep(applied.labelling), "means")
    n_rows = int(moments.counts.sum())
    _check_rows(n_rows)
    check_number(int((moments.counts > 0).sum()), n_rows)
    return moments


def _check_rows(n_rows: int) -> None:
    if n_rows == 0:
        raise DataError("Found array with 0 sample(s) while a minimum of 1 is required.")


def _floats(limbs: Ints) -> Floats:
    return np.array([exact.to_float(one) for one in limbs])


@dataclass(frozen=True)
class AboutMeans:
    """Clusters that all have rows: (k,) how many, (k, d) their means, how rows lie about these."""

    counts: Ints
    means: Floats
    spread: Spread

    @classmethod
    def of(cls, counts: Ints, means: Floats, spread: Spread) -> AboutMeans:
        """Those that have rows."""
        some = counts > 0
        return cls(counts[some], means[some], Spread(spread.distances[some], spread.squares[some]))

    @property
    def davies_bouldin(self) -> float:
        """As :func:`davies_bouldin_score` has it."""
        means, radii = self.means, _floats(self.spread.distances) / self.counts
        worst, apart = np.empty(len(means)), 0.0
        for j in range(len(means)):  # a line at a time: means may be many
            distances = cdist(means[j : j + 1], means)[0]
            apart = max(apart, float(distances.max()))
            ratios = np.zeros(len(means))
            np.divide(radii + radii[j], distances, out=ratios, where=distances > 0)
            worst[j] = ratios.max()
        if np.allclose(radii, 0) or np.isclose(apart, 0):  # as scikit-learn has it
            return 0.0
        return float(worst.mean())

    @property
    def calinski_harabasz(self) -> float:
        """As :func:`calinski_harabasz_score` has it."""
        counts, means = self.counts, self.means
        n, k = int(counts.sum()), len(counts)
        moved = means - means[0]  # so that data far from the origin keep their digits
        apart = np.square(moved - counts @ moved / n).sum(axis=1)
        between = float(counts @ apart)
        within = exact.to_float(exact.combine(list(self.spread.squares)))
        return 1.0 if within == 0 else between * (n - k) / (within * (k - 1))


def adjusted_rand_score(
    labels_true: Any, labels_pred: Any, *, memory_limit: int | str | None = None
) -> float:
    """How far two labellings agree, 1 being the same and 0 what chance would give; one pass.

    The pairs of labels are counted block by block, so neither labelling is ever gathered. The value
    is that of ``sklearn.metrics.adjusted_rand_score``.

    Parameters
    ----------
    labels_true, labels_pred : integers (n_samples,), or the paths of such; -1 is a label as any
        other. In memory they may be strings too.
    memory_limit : as that of :class:`~dkmeans.KMeans`.

    Raises
    ------
    DataError
        If they are not labels in one dimension, or differ in length.
    MemoryLimitError
        If the pass would not fit, or finds more different pairs than do.

    References
    ----------
    Hubert and Arabie 1985, "Comparing partitions".
    """
    needs = Needs(lambda pairs, _: Pairs.part_bytes(pairs))
    applied = apply_pairs(labels_true, labels_pred, needs, memory_limit=memory_limit)
    pairs: Pairs = applied.run(PairStep(applied.room), "contingency")
    return adjusted_rand(pairs)


def adjusted_rand(pairs: Pairs) -> float:
    """The adjusted Rand index from how many rows have each pair of labels."""
    together = _sum_of_squares(pairs.counts)
    ours, theirs = (_sum_of_squares(pairs.counts_of(side)) for side in (0, 1))
    n = int(pairs.counts.sum())
    both, first, second = together - n, ours - together, theirs - together
    neither = n * n - together - first - second
    if first == 0 and second == 0:
        return 1.0
    agreed = 2 * (both * neither - first * second)
    return agreed / ((both + first) * (first + neither) + (both + second) * (second + neither))


def _sum_of_squares(counts: Ints) -> int:
    """In whole numbers of any size."""
    return sum(int(count) ** 2 for count in counts)
