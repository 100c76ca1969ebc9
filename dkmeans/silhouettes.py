"""Silhouettes of rows: of all where they are few, else of a sample, with its error."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from sklearn.metrics import pairwise_distances_chunked
from sklearn.utils import check_random_state

from dkmeans._typing import Floats, Ints
from dkmeans.applying import Needs, apply_labels, check_count
from dkmeans.engine.label_sample import LabelSample, LabelSampleStep, label_sample_spec
from dkmeans.errors import DataError

SAMPLE_SIZE = 10_000  # rows; their distances take a second or two
_CHUNK_MIB = 4  # of distances at once
_COPIES = 4  # of the sample, and of distances, while silhouettes are computed


class SampledScore(float):
    """A score, with what is known of its error.

    Attributes
    ----------
    standard_error : 0 where all rows took part.
    n_rows : rows that took part.
    """

    standard_error: float
    n_rows: int

    def __new__(cls, score: float, standard_error: float, n_rows: int) -> SampledScore:
        """A float with two attributes."""
        self = super().__new__(cls, score)
        self.standard_error, self.n_rows = standard_error, n_rows
        return self

    def __getnewargs__(self) -> tuple[float, float, int]:  # type: ignore[override]
        return float(self), self.standard_error, self.n_rows

    def __str__(self) -> str:
        return f"{float(self):.4f} ± {self.standard_error:.4f} ({self.n_rows:,} rows)"


def silhouette_score(
    X: Any,
    labels: Any,
    *,
    sample_size: int = SAMPLE_SIZE,
    random_state: Any = None,
    memory_limit: int | str | None = None,
) -> SampledScore:
    """Mean silhouette of all rows, or of a sample where there are more; one pass.

    The silhouette of a row is ``(b - a) / max(a, b)``, with a its mean distance to the other rows
    of its cluster and b that to the rows of the nearest other cluster. On all rows the value is
    that of ``sklearn.metrics.silhouette_score``. On a sample all distances are within it, and the
    standard error allows for what each row does to the silhouettes of the others (the
    infinitesimal jackknife), and for the share of the rows that was drawn. Clusters of which the
    sample has no row do not take part.

    Parameters
    ----------
    X : rows (n_samples, n_features), as :meth:`KMeans.fit <dkmeans.KMeans.fit>` takes them.
    labels : integers or strings (n_samples,), the path of integers, or a fitted model.
    sample_size : rows to draw, if there are more; the time grows with its square.
    random_state : determines the draw, which depends on it and on global row numbers alone.
    memory_limit : as that of :class:`~dkmeans.KMeans`, and by default that of the model, if any.

    Returns
    -------
    SampledScore
        A float with the attributes ``standard_error`` and ``n_rows``.

    Raises
    ------
    DataError
        If there are fewer than 2 labels or as many as rows; NaN or infinity in a row of the sample.
    MemoryLimitError
        If the sample and the distances within it would not fit.

    References
    ----------
    Rousseeuw 1987, "Silhouettes: a graphical aid to the interpretation and validation of cluster
    analysis". Efron 1982, "The jackknife, the bootstrap and other resampling plans", chapter 6.
    """
    most = check_count(sample_size, "sample_size", 3)
    needs = Needs(own=lambda n, d: silhouette_bytes(most if n is None else min(n, most), d))
    applied = apply_labels(labels, X, needs, memory_limit=memory_limit)
    seed = int(check_random_state(random_state).randint(np.iinfo(np.int32).max))
    spec = label_sample_spec(seed, most, applied.blocks.n_rows)
    drawn: LabelSample = applied.run(LabelSampleStep(applied.labelling, spec), "silhouettes")
    rows = drawn.sample.rows(spec)
    labels = rows.weights.astype(np.int64)
    return silhouette_of_sample(rows.values.astype(np.float64), labels, drawn.n_rows)


def silhouette_bytes(n_rows: int, n_features: int) -> int:
    """Bytes that it takes to draw so many rows and to find their silhouettes."""
    distances = min(_CHUNK_MIB * 2**20, 8 * n_rows**2)
    return _COPIES * (8 * n_rows * (n_features + 1) + distances)


def silhouette_of_sample(rows: Floats, labels: Ints, n_rows: int) -> SampledScore:
    """Mean silhouette of rows (m, d) in memory with labels (m,), drawn from ``n_rows``."""
    found = Silhouettes.of(rows, labels)
    m = len(rows)
    error = 0.0 if m == n_rows else found.standard_error() * math.sqrt(1 - m / n_rows)
    return SampledScore(float(found.values.mean()), error, m)


def check_number(labels: int, n_rows: int | None = None) -> None:
    """Raise a DataError, in scikit-learn's words, unless there are 2 to n_rows - 1 labels."""
    if labels < 2 or (n_rows is not None and labels >= n_rows):
        raise DataError(
            f"Number of labels is {labels}. Valid values are 2 to n_samples - 1 (inclusive)"
        )


@dataclass(frozen=True)
class Silhouettes:
    """The silhouettes of rows in memory, and how these lie among their clusters.

    Parameters
    ----------
    X : (m, d) float64, about their mean.
    own, other : (m,) cluster of each row, and the nearest other one.
    counts : (k,) rows of each cluster.
    a, b : (m,) mean distance to the rows of either.
    """

    X: Floats
    own: Ints
    other: Ints
    counts: Ints
    a: Floats
    b: Floats

    @classmethod
    def of(cls, X: Floats, labels: Ints) -> Silhouettes:
        """Those of rows (m, d) with labels (m,); a DataError unless there are 2 to m - 1 labels."""
        values, own, counts = np.unique(labels, return_inverse=True, return_counts=True)
        check_number(len(values), len(X))
        members = csr_array((np.ones(len(X)), (np.arange(len(X)), own)))

        def measure(distances: Floats, start: int) -> tuple[Floats, Floats, Ints]:
            sums, at = distances @ members, np.arange(len(distances))
            mine = own[start : start + len(at)]
            a = sums[at, mine] / np.maximum(counts[mine] - 1, 1)
            sums /= counts
            sums[at, mine] = np.inf
            other = sums.argmin(axis=1)
            return a, sums[at, other], other

        X = X - X.mean(axis=0)  # scikit-learn's distances lose digits far from the origin
        chunks = pairwise_distances_chunked(X, reduce_func=measure, working_memory=_CHUNK_MIB)
        a, b, other = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
        return cls(X, own, other, counts, a, b)

    @property
    def _alone(self) -> Any:
        """Which rows are alone in their clusters, or of no size: their silhouette is 0."""
        return (self.counts[self.own] == 1) | (np.maximum(self.a, self.b) == 0)

    @property
    def values(self) -> Floats:
        """Of each row, (m,)."""
        size = np.where(self._alone, 1.0, np.maximum(self.a, self.b))
        return np.where(self._alone, 0.0, (self.b - self.a) / size)

    def _slopes(self) -> tuple[Floats, Floats]:
        """By how much a silhouette grows with a and with b."""
        size = np.where(self._alone, 1.0, np.maximum(self.a, self.b))
        of_a, of_b = -np.minimum(size, self.b) / size**2, np.minimum(size, self.a) / size**2
        return np.where(self._alone, 0.0, of_a), np.where(self._alone, 0.0, of_b)

    def standard_error(self) -> float:
        """Of the mean silhouette, from what a little more weight of each row would do to it.

        Weight of row j enters its own silhouette, the a of the rows i of its cluster, at the rate
        ``(d_ij - a_i) / (n - 1)``, and the b of those whose nearest other cluster is that of j, at
        ``(d_ij - b_i) / n``.
        """
        m, at = len(self.X), np.arange(len(self.X))
        of_a, of_b = self._slopes()
        of_a /= np.maximum(self.counts[self.own] - 1, 1)
        of_b /= self.counts[self.other]
        shape, columns = (m, len(self.counts)), np.concatenate([self.own, self.other])
        rates = csr_array((np.concatenate([of_a, of_b]), (np.tile(at, 2), columns)), shape)
        level = np.bincount(self.own, of_a * self.a, len(self.counts))
        level += np.bincount(self.other, of_b * self.b, len(self.counts))

        def gather(distances: Floats, start: int) -> Floats:
            mine = self.own[start : start + len(distances)]
            return np.asarray((distances @ rates)[np.arange(len(mine)), mine])

        chunks = pairwise_distances_chunked(self.X, reduce_func=gather, working_memory=_CHUNK_MIB)
        on_others = np.concatenate(list(chunks)) - level[self.own] + of_a * self.a
        influence = self.values - self.values.mean() + on_others
        return math.sqrt(float(np.square(influence).sum()) / (m * (m - 1)))
