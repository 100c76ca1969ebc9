"""Steps that measure clusters: their means, and how rows lie about means and centers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dkmeans._typing import AnyArray, Floats, Ints
from dkmeans.data.label_file import LabelFile, LabelObjects
from dkmeans.engine import exact
from dkmeans.engine.memory import LabelRoom
from dkmeans.engine.partial import bad_value
from dkmeans.engine.predict import Model
from dkmeans.engine.survey import describe_bad
from dkmeans.errors import DataError

TILE_DISTANCES = 2**15  # of rows to all centers, at once
MOST_LABEL = 2**53  # labels beside the rows travel as float64
_SLICE = 2**18  # labels that are sorted at once


def check_labels(beside: Floats) -> None:
    """Raise a DataError if a row has no label, or one that does not keep its digits in float64."""
    largest = max(float(beside.max(initial=0.0)), -float(beside.min(initial=0.0)))
    if np.isnan(largest):  # what dask gives rows that the labels beside them do not have
        raise DataError("labels must have the index of X: some rows have none")
    if largest >= MOST_LABEL:
        raise DataError(f"labels must be below {MOST_LABEL} in size, got one of {largest:.0f}")


@dataclass(frozen=True)
class Labelling:
    """How the rows of a block get their labels: from a model, or from the column beside them.

    Labels beside the rows may be any integers. A row that is not finite is left out if its label
    is -1, which is what ``nan_policy="omit"`` gives it, and an error otherwise. There may be as
    many different ones as there is ``room`` for.
    """

    model: Model | None = None
    room: LabelRoom | None = None

    def coded(self, X: AnyArray, beside: Floats, offset: int) -> tuple[Ints, Ints]:
        """Distinct labels, ascending, and for each row the index of its own, or -1 if left out."""
        if self.model is not None:
            return np.arange(len(self.model.centers)), self.model.labels(X, offset)
        check_labels(beside)
        taken = self.taking_part(X, beside, range(offset, offset + len(X)))
        values, codes = np.empty(0, np.int64), np.full(len(X), -1, np.int32)
        for part in _parts(len(X)):
            values = np.union1d(values, beside[part][taken[part]].astype(np.int64))
            if self.room is not None:
                self.room.check(len(values))
        for part in _parts(len(X)):
            own = beside[part][taken[part]].astype(np.int64)
            codes[part][taken[part]] = np.searchsorted(values, own)
        return values, codes

    def codes_in(self, known: Ints, X: AnyArray, beside: Floats, offset: int) -> Ints:
        """For each row the index of its label among the ``known`` ones, or -1 if left out."""
        values, codes = self.coded(X, beside, offset)
        if self.model is not None:
            return codes
        at = np.searchsorted(known, values)
        if not np.array_equal(known[np.minimum(at, len(known) - 1)], values):
            raise DataError("labels differ from one read to the next; store them first")
        return np.append(at, -1).astype(np.int32)[codes]

    def taking_part(self, X: AnyArray, beside: Floats, rows: range | Ints) -> AnyArray:
        """Which of some rows, with these global numbers, are finite; an error if others may not be.

        Raises
        ------
        DataError
            For the first row that is not finite and may not be left out.
        """
        if X.dtype.kind != "f":
            return np.ones(len(X), bool)
        finite: AnyArray = np.asarray(np.isfinite(X).all(axis=1))
        if self.model is None:
            wrong, names = ~finite & (beside != -1), None
        else:
            wrong, names = ~finite, self.model.names
        if wrong.any() and not (self.model and self.model.nan_policy == "omit"):
            at = int(np.argmax(wrong))
            raise DataError(describe_bad(replace(bad_value(X, 0, at), row=int(rows[at])), names))
        return finite


@dataclass(frozen=True)
class Moments:
    """Rows of each label, and the sums of their values and of the squares of these.

    Parameters
    ----------
    values : (k,) the labels, ascending.
    counts : (k,)
    totals : (powers, k, d, 2) sums in twice the precision of float64, of one power or two.
    room : for labels, where their number is not known before.
    """

    values: Ints
    counts: Ints
    totals: Floats
    room: LabelRoom | None = None

    @property
    def means(self) -> Floats:
        """Mean of each label, (k, d); NaN for one without rows."""
        means: Floats = self.totals[0, ..., 0] / np.where(self.counts, self.counts, np.nan)[:, None]
        return means

    @property
    def stds(self) -> Floats:
        """Standard deviation of each label, (k, d), divided by the number of rows."""
        from dkmeans.engine import doubled_kernels

        out = np.empty(self.totals.shape[1:3])
        doubled_kernels.variances(self.totals, self.counts, out)
        return np.sqrt(out)

    @staticmethod
    def part_bytes(k: int, d: int, powers: int = 1) -> int:
        """Bytes of those of a block."""
        return 8 * k * (2 + 2 * powers * d)

    @staticmethod
    def combine(parts: Sequence[Moments]) -> Moments:
        """Add up what belongs to the same label."""
        from dkmeans.engine import doubled_kernels

        values, room = np.unique(np.concatenate([p.values for p in parts])), parts[0].room
        if room is not None:
            room.check(len(values))
        powers, _, d, _ = parts[0].totals.shape
        counts, totals = np.zeros(len(values), np.int64), np.zeros((powers, len(values), d, 2))
        for part in parts:
            at = np.searchsorted(values, part.values)
            counts[at] += part.counts
            doubled_kernels.add_totals(totals, at, part.totals)
        return Moments(values, counts, totals, room)


def moments_of(
    X: AnyArray, values: Ints, codes: Ints, powers: int, room: LabelRoom | None = None
) -> Moments:
    """Those of one block."""
    from dkmeans.engine import doubled_kernels

    totals, counts = np.zeros((powers, len(values), X.shape[1], 2)), np.zeros(len(values), np.int64)
    doubled_kernels.add_moments(X, codes, totals)
    for part in _parts(len(X)):
        counts += np.bincount(codes[part] + 1, minlength=len(values) + 1)[1:]
    return Moments(values, counts, totals, room)


@dataclass(frozen=True)
class MeansStep:
    """Count the rows of each label, and add them up."""

    labelling: Labelling

    def __call__(self, X: AnyArray, weights: Floats, offset: int, block: int) -> Moments:
        values, codes = self.labelling.coded(X, weights, offset)
        return moments_of(X, values, codes, powers=1, room=self.labelling.room)


@dataclass(frozen=True)
class Spread:
    """Exact sums over the rows of each label, (k, LIMBS): distances to its point, and squares."""

    distances: Ints
    squares: Ints

    @staticmethod
    def part_bytes(k: int) -> int:
        """Bytes of that of a block."""
        return 2 * 8 * exact.LIMBS * k

    @staticmethod
    def combine(parts: Sequence[Spread]) -> Spread:
        """Add up."""
        return Spread(
            exact.combine([p.distances for p in parts]), exact.combine([p.squares for p in parts])
        )


def spread_of(X: AnyArray, points: Floats, codes: Ints) -> Spread:
    """That of one block about ``points`` (k, d)."""
    from dkmeans.engine import stats_kernels

    distances, squares = exact.zeros(len(points)), exact.zeros(len(points))
    stats_kernels.add_distances(X, points, codes, distances, squares)
    return Spread(distances, squares)


@dataclass(frozen=True)
class SpreadStep:
    """How the rows of each of the labels ``values`` lie about its mean."""

    labelling: Labelling
    values: Ints
    means: Floats

    def __call__(self, X: AnyArray, weights: Floats, offset: int, block: int) -> Spread:
        codes = self.labelling.codes_in(self.values, X, weights, offset)
        return spread_of(X, self.means, codes)


@dataclass(frozen=True)
class Silhouettes:
    """Rows of each cluster (k,), and the exact sum (k, LIMBS) of their simplified silhouettes."""

    counts: Ints
    sums: Ints

    @staticmethod
    def part_bytes(k: int) -> int:
        """Bytes of those of a block."""
        return 8 * k * (1 + exact.LIMBS)

    @staticmethod
    def combine(parts: Sequence[Silhouettes]) -> Silhouettes:
        """Add up."""
        counts: Ints = np.sum([p.counts for p in parts], axis=0)
        return Silhouettes(counts, exact.combine([p.sums for p in parts]))

    @property
    def mean(self) -> float:
        """Mean over all rows, in which a row alone in its cluster counts as 0."""
        several = [*self.sums[self.counts > 1], exact.zeros()]
        return exact.to_float(exact.combine(several)) / int(self.counts.sum())


def silhouettes_of(X: AnyArray, centers: Floats, labels: Ints) -> Silhouettes:
    """Those of one block."""
    from dkmeans.engine import kernels, stats_kernels

    k = len(centers)
    sums, tile = exact.zeros(k), np.empty((max(1, TILE_DISTANCES // k), k))
    for start in range(0, len(X), len(tile)):
        rows = X[start : start + len(tile)]
        kernels.distances(rows, centers, tile[: len(rows)])
        found = labels[start : start + len(tile)]
        stats_kernels.add_silhouettes(tile[: len(rows)], found, sums)
    return Silhouettes(np.bincount(labels[labels >= 0], minlength=k), sums)


@dataclass(frozen=True)
class SilhouetteStep:
    """Simplified silhouettes of the rows of a block."""

    model: Model

    def __call__(self, X: AnyArray, weights: Floats, offset: int, block: int) -> Silhouettes:
        return silhouettes_of(X, self.model.centers, self.model.labels(X, offset))


@dataclass(frozen=True)
class Scored:
    """What the second pass of all scores measures.

    Parameters
    ----------
    about_means, about_centers : how rows lie about the means and the centers of their clusters.
    """

    about_means: Spread
    about_centers: Spread
    silhouettes: Silhouettes

    @staticmethod
    def part_bytes(k: int) -> int:
        """Bytes of that of a block."""
        return 2 * Spread.part_bytes(k) + Silhouettes.part_bytes(k)

    @staticmethod
    def combine(parts: Sequence[Scored]) -> Scored:
        """Put each kind together."""
        return Scored(
            Spread.combine([p.about_means for p in parts]),
            Spread.combine([p.about_centers for p in parts]),
            Silhouettes.combine([p.silhouettes for p in parts]),
        )


@dataclass(frozen=True)
class ScoreStep:
    """Measure the rows of a block about ``means`` (k, d) and centers, and write their labels."""

    model: Model
    means: Floats
    file: LabelFile | LabelObjects | None

    def __call__(self, X: AnyArray, weights: Floats, offset: int, block: int) -> Scored:
        centers, labels = self.model.centers, self.model.labels(X, offset)
        if self.file is not None:
            self.file.write(offset, labels)
        return Scored(
            spread_of(X, self.means, labels),
            spread_of(X, centers, labels),
            silhouettes_of(X, centers, labels),
        )


@dataclass(frozen=True)
class Pairs:
    """How many rows have each pair of labels that occurs.

    Parameters
    ----------
    labels : (m, 2) the pairs, sorted.
    counts : (m,) rows of each.
    room : for pairs, where their number is not known before.
    """

    labels: Ints
    counts: Ints
    room: LabelRoom | None = None

    @staticmethod
    def part_bytes(pairs: int) -> int:
        """Bytes of those of a block, and of what sorting them takes."""
        return 8 * pairs * (3 + 3)

    def counts_of(self, side: int) -> Ints:
        """Rows of each label of one side."""
        _, codes = np.unique(self.labels[:, side], return_inverse=True)
        counts = np.zeros(len(self.labels), np.int64)
        np.add.at(counts, codes, self.counts)
        return counts

    @staticmethod
    def combine(parts: Sequence[Pairs]) -> Pairs:
        """Add up the counts of the same pair."""
        labels, codes = np.unique(
            np.concatenate([p.labels for p in parts]), axis=0, return_inverse=True
        )
        room = parts[0].room
        if room is not None:
            room.check(len(labels))
        counts = np.zeros(len(labels), np.int64)
        np.add.at(counts, codes.reshape(-1), np.concatenate([p.counts for p in parts]))
        return Pairs(labels, counts, room)


@dataclass(frozen=True)
class PairStep:
    """Count the pairs of labels of a block: those in its one column and those beside it."""

    room: LabelRoom | None = None

    def __call__(self, X: AnyArray, weights: Floats, offset: int, block: int) -> Pairs:
        check_labels(weights)
        found = self._of(X[:0], weights[:0])
        for part in _parts(len(X)):
            found = Pairs.combine([found, self._of(X[part], weights[part])])
        return found

    def _of(self, X: AnyArray, beside: Floats) -> Pairs:
        ours, our_codes = np.unique(X[:, 0].astype(np.int64), return_inverse=True)
        theirs, their_codes = np.unique(beside.astype(np.int64), return_inverse=True)
        codes, counts = np.unique(our_codes * len(theirs) + their_codes, return_counts=True)
        at, place = np.divmod(codes, max(1, len(theirs)))
        return Pairs(np.column_stack([ours[at], theirs[place]]), counts, self.room)


def _parts(n_rows: int) -> Iterator[slice]:
    """Slices of a block, whose labels are sorted one after another."""
    return (slice(start, start + _SLICE) for start in range(0, n_rows, _SLICE))
