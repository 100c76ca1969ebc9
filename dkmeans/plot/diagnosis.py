"""What may be wrong with a clustering, in sentences for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from dkmeans.plot.scene import feature_names

if TYPE_CHECKING:
    from dkmeans.kmeans import KMeans

_SCALES = 10  # standard deviations of features that differ so many times are worth a word
_FEW = 0.05  # of an even share of the rows makes a cluster nearly empty
_CLOSE = 0.1  # of the typical distance of a row to its center makes two centers one
_NAMED = 5  # clusters that a sentence names at most


def diagnose(model: KMeans) -> tuple[str, ...]:
    """Sentences on a fitted model that deserves a second look; none if all is well.

    They are on features of very different scales (by the sample of rows that the history keeps),
    clusters that are nearly empty, centers that are nearly the same, and a fit that ended before
    it converged. No data are read.
    """
    return (*_scales(model), *_few_rows(model), *_duplicates(model), *_unfinished(model))


def isolated(name: str) -> str:
    """A name within marks that keep its direction of writing from the text around it."""
    return f"\u2068{name}\u2069"


def _scales(model: KMeans) -> Iterator[str]:
    sample = model.history_.sample
    if sample is None or len(sample) < 2:
        return
    spread = np.std(sample.rows, axis=0, dtype=np.float64)
    names, varied = list(map(isolated, feature_names(model))), np.flatnonzero(spread)
    if len(varied) == 0:
        return
    wide, narrow = varied[spread[varied].argmax()], varied[spread[varied].argmin()]
    if spread[wide] < _SCALES * spread[narrow]:
        return
    few = int((spread[varied] * _SCALES <= spread[wide]).sum())
    others = "" if few == 1 else f" and {few - 1} more"
    yield (
        f"Features are on very different scales: {names[wide]} has a standard deviation of"
        f" {spread[wide]:.3g}, {names[narrow]} one of {spread[narrow]:.3g}. Distances hardly"
        f" depend on {names[narrow]}{others}; unless that is meant, scale the features first."
    )


def _few_rows(model: KMeans) -> Iterator[str]:
    sizes = np.array(model.history_.sizes or ())
    if len(sizes) < 2:
        return
    even = sizes.sum() / len(sizes)
    few = np.flatnonzero(sizes < _FEW * even)
    if len(few):
        counted = [f"{i} ({sizes[i]:,})" for i in few]
        yield (
            f"Nearly empty: {_listed(counted)}, by cluster and rows, where an even share would be"
            f" {even:,.0f} rows. Fewer clusters, or a look at these rows, may be in order."
        )


def _duplicates(model: KMeans) -> Iterator[str]:
    from sklearn.neighbors import NearestNeighbors

    centers = np.asarray(model.cluster_centers_, np.float64)
    if len(centers) < 2:
        return
    around = centers - centers.mean(axis=0)  # scikit-learn's distances lose digits far from 0
    search = NearestNeighbors(n_neighbors=1).fit(around)
    nearest = search.kneighbors(return_distance=False)[:, 0]
    distances = np.linalg.norm(around - around[nearest], axis=1)
    close = np.flatnonzero(distances <= _CLOSE * _typical_distance(model))
    pairs = sorted({(min(i, j), max(i, j)) for i, j in zip(close, nearest[close], strict=True)})
    if pairs:
        named = [f"{i} and {j}" for i, j in pairs]
        yield (
            f"Nearly the same centers: {_listed(named)}. They share what is one cluster; fewer"
            " clusters may do."
        )


def _typical_distance(model: KMeans) -> float:
    """Root mean square distance of rows to their centers; of a sample, where there is one."""
    sample = model.history_.sample
    if sample is not None and len(sample):
        centers = np.asarray(model.cluster_centers_, np.float64)
        away = sample.rows - centers[sample.labels(centers)]
        return float(np.sqrt(np.mean(np.einsum("ij,ij->i", away, away))))
    rows = sum(model.history_.sizes or ())
    return float(np.sqrt(model.inertia_ / rows)) if rows else 0.0


def _unfinished(model: KMeans) -> Iterator[str]:
    if model.stop_reason_ == "max_iter":
        yield (
            f"Not converged: the fit ended after the {model.n_iter_} iterations that max_iter"
            " allows, while centers still moved. A higher max_iter lets it finish."
        )


def _listed(items: Sequence[str]) -> str:
    more = len(items) - _NAMED
    return ", ".join(items[:_NAMED]) + (f" and {more} more" if more > 0 else "")
