"""The first pass: how many rows, their range, values that are not finite, and a draw of rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from dkmeans._typing import AnyArray, Floats, Ints
from dkmeans.engine.grid import MAX_BLOCK_ROWS, MAX_ROWS, Grid, grid_for
from dkmeans.engine.partial import (
    BadValue,
    Rows,
    SampleSpec,
    first_bad,
    join_rows,
    least_keys,
    merge_rows,
    rows_of,
)
from dkmeans.errors import DataError

SAMPLED = 64  # rows that tell where most of the data are
SAMPLE_VALUES = 2**21  # of the sample that is searched for centers, where k does not want more
_SPARE = 8  # times the rows of a history's sample are looked at, because some may take no part
_LOOK = 2**10  # rows, at least, that are looked at together
_FIRST, _SAMPLE = 1, 4  # streams of random numbers


def survey_streams(seeds: Sequence[int]) -> tuple[np.uint64, ...]:
    """Streams of the survey's draws, one for each seed."""
    from dkmeans.engine.sampling import stream_key

    return tuple(stream_key(seed, _FIRST) for seed in seeds)


def sample_rows(n_rows: int | None, n_features: int, n_clusters: int) -> int:
    """Rows of the sample in which init="auto" searches; of all there are if ``n_rows`` is None."""
    room = max(SAMPLE_VALUES // n_features, 16 * n_clusters)
    if n_rows is None:
        return room
    return min(n_rows, room, max(2**14 + 256 * n_clusters, n_rows // 8))


def sample_spec(seed: int, most: int, n_rows: int | None) -> SampleSpec:
    """The sample of ``most`` rows for a seed."""
    from dkmeans.engine.sampling import stream_key

    limit = 1.0
    if n_rows:
        limit = min(1.0, (most + 6 * math.sqrt(most) + 10) / n_rows)  # 6 sigma above
    return SampleSpec(stream_key(seed, _SAMPLE), most, limit)


def history_spec(seed: int, wanted: int, n_rows: int | None, n_features: int) -> SampleSpec:
    """The sample for a history of at most ``wanted`` rows, and of ``SAMPLE_VALUES`` values."""
    most = history_rows(wanted, n_rows, n_features)
    return replace(sample_spec(seed, _SPARE * most, n_rows), most=most)


def joint_spec(specs: Sequence[SampleSpec]) -> SampleSpec | None:
    """A sample that has those of all ``specs``, which are of one stream, in it; None of none."""
    if not specs:
        return None
    return replace(specs[0], most=max(s.most for s in specs), limit=max(s.limit for s in specs))


def history_rows(wanted: int, n_rows: int | None, n_features: int) -> int:
    """Rows of the sample of a history."""
    most = min(wanted, max(1, SAMPLE_VALUES // n_features))
    return most if n_rows is None else min(most, n_rows)


@dataclass(frozen=True)
class Sample:
    """Rows drawn uniformly, in the type of the data; in pieces, so that few are copied often."""

    pieces: tuple[Rows, ...]
    most: int

    @staticmethod
    def combine(parts: Sequence[Sample]) -> Sample:
        """All pieces, or the rows with the smallest keys where they hold far too many."""
        most, pieces = parts[0].most, tuple(piece for part in parts for piece in part.pieces)
        if sum(len(p) for p in pieces) > 2 * most:
            pieces = (merge_rows(pieces, most),)
        return Sample(pieces, most)

    def joined(self) -> Sample:
        """The same in one piece."""
        return Sample((join_rows(self.pieces),), self.most)

    def rows(self, spec: SampleSpec) -> Rows:
        """The rows of a sample that is part of this one, in the order of the data."""
        rows = join_rows(self.pieces)
        chosen = np.flatnonzero(rows.keys < spec.limit)
        if len(chosen) > spec.most:
            chosen = chosen[least_keys(rows.keys[chosen], rows.index[chosen], spec.most)]
        in_order = not (np.diff(rows.index) < 0).any()
        if len(chosen) < len(rows) or not in_order:
            rows = rows.take(chosen if in_order else chosen[np.argsort(rows.index[chosen])])
        return rows


@dataclass(frozen=True)
class Survey:
    """What the first pass learns.

    Parameters
    ----------
    sizes : rows of each block, by block; the number of rows is their sum.
    n_finite, n_positive : finite rows, and those of them with a positive weight.
    low, high : (d,) range of each feature over the rows that take part.
    heaviest, lightest : the largest and the smallest positive weight.
    weighted : whether rows have weights at all.
    bad : the first value that is not finite.
    sample : rows drawn at random, the same whatever the seed; they tell where most rows are.
    streams, draws : for each stream, ``most`` rows drawn at random in proportion to their weight.
    searched : the sample for init="auto" and for histories, where one was asked for.
    dtype : of the rows.
    """

    sizes: dict[int, int]
    n_finite: int
    n_positive: int
    low: Floats
    high: Floats
    heaviest: float
    lightest: float
    weighted: bool
    bad: BadValue | None
    sample: Rows
    streams: tuple[np.uint64, ...]
    draws: tuple[Rows, ...]
    most: int
    dtype: np.dtype[Any]
    searched: Sample | None = None

    def draw_for(self, seed: int) -> Rows:
        """The rows drawn for a seed."""
        return self.draws[self.streams.index(survey_streams([seed])[0])]

    @cached_property
    def grid(self) -> Grid:
        """Grids on which the sums of these rows are exact."""
        whole = not self.weighted and self.dtype.kind in "iu" and self.dtype.itemsize <= 2
        short = whole or self.dtype == np.float32
        weights = self.lightest, self.heaviest
        return grid_for(self.low, self.high, self.sample.values, weights, short=short)

    @property
    def span(self) -> float:
        """Length of the diagonal of the box that holds the rows; 1 if that is 0."""
        return float(np.linalg.norm(self.high - self.low)) or 1.0

    @property
    def n_rows(self) -> int:
        """Rows in all, those that are not finite included."""
        return sum(self.sizes.values())

    @staticmethod
    def combine(parts: Sequence[Survey]) -> Survey:
        """Put the parts together."""
        sizes: dict[int, int] = {}
        for part in parts:
            sizes.update(part.sizes)
        most = parts[0].most
        return Survey(
            sizes,
            sum(p.n_finite for p in parts),
            sum(p.n_positive for p in parts),
            np.min([p.low for p in parts], axis=0),
            np.max([p.high for p in parts], axis=0),
            max(p.heaviest for p in parts),
            min(p.lightest for p in parts),
            any(p.weighted for p in parts),
            first_bad([p.bad for p in parts]),
            merge_rows([p.sample for p in parts], SAMPLED),
            parts[0].streams,
            tuple(merge_rows(draws, most) for draws in zip(*(p.draws for p in parts), strict=True)),
            most,
            parts[0].dtype,
            None
            if parts[0].searched is None
            else Sample.combine([p.searched for p in parts if p.searched]),
        )


@dataclass(frozen=True)
class SurveyStep:
    """Survey a block, drawing ``most`` rows for each of ``streams``, and one sample of all rows."""

    streams: tuple[np.uint64, ...]
    most: int
    searched: SampleSpec | None = None

    def __call__(self, X: AnyArray, weights: Floats, offset: int, block: int) -> Survey:
        from dkmeans.engine import sampling, seeding_kernels

        n, d = X.shape
        streams = np.array([sampling.stream_key(0), *self.streams], np.uint64)
        shape = (len(streams), min(max(self.most, SAMPLED), n))
        keys, rows = np.empty(shape), np.empty(shape, np.int64)
        filled = np.zeros(shape[0], np.int64)
        low, high = np.full(d, np.inf), np.full(d, -np.inf)
        check_weights(weights, offset)
        row, column, finite, positive = seeding_kernels.survey(
            X, weights, offset, streams, keys, rows, filled, low, high
        )
        sample, *draws = (
            rows_of(X, weights, offset, keys[s, :m], rows[s, :m]) for s, m in enumerate(filled)
        )
        return Survey(
            {block: n},
            finite,
            positive,
            low,
            high,
            float(weights.max()) if len(weights) else float(n > 0),
            float(weights.min(initial=np.inf, where=weights > 0)) if len(weights) else 1.0,
            len(weights) > 0,
            None if row < 0 else BadValue(row + offset, column, float(X[row, column])),
            sample.take(slice(0, SAMPLED)),
            self.streams,
            tuple(draw.take(slice(0, self.most)) for draw in draws),
            self.most,
            X.dtype,
            None
            if self.searched is None
            else sampled(X, weights, offset, self.searched, all_good=positive == n),
        )


def sampled(
    X: AnyArray, weights: Floats, offset: int, spec: SampleSpec, *, all_good: bool = False
) -> Sample:
    """The rows of a block that take part and may be among those of the smallest keys.

    ``all_good`` says that all rows do.
    """
    from dkmeans.engine import seeding_kernels

    keys, rows = np.empty(len(X)), np.empty(len(X), np.int64)
    count = seeding_kernels.below(len(X), offset, spec.stream, spec.limit, keys, rows)
    keys, rows = keys[:count], rows[:count]
    if count <= spec.most:
        return Sample((_taking_part(X, weights, offset, keys, rows, all_good),), spec.most)
    order = np.argsort(keys)
    pieces, together = list[Rows](), max(spec.most, _LOOK)
    for start in range(0, count, together):
        at = order[start : start + together]
        pieces.append(_taking_part(X, weights, offset, keys[at], rows[at], all_good))
        if sum(len(piece) for piece in pieces) >= spec.most:
            break
    return Sample(tuple(pieces), spec.most)


def _taking_part(
    X: AnyArray, weights: Floats, offset: int, keys: Floats, rows: Ints, all_good: bool
) -> Rows:
    """Those of some rows of a block that are finite and have weight, as copies."""
    held = weights[rows] if len(weights) else np.ones(len(rows))
    whole = len(rows) == len(X) and (np.diff(rows) > 0).all()
    if all_good:
        return Rows(keys, rows + offset, X.copy() if whole else X[rows], held)
    values = X if whole else X[rows]
    good = np.flatnonzero(np.isfinite(values).all(axis=1) & (held > 0))
    return Rows(keys, rows + offset, values, held).take(good)


def check_weights(weights: Floats, offset: int) -> None:
    """Raise a DataError that names the first weight that is negative or not finite."""
    if len(weights):
        wrong = ~(np.isfinite(weights) & (weights >= 0))
        if wrong.any():
            at = int(np.argmax(wrong))
            raise DataError(
                "sample_weight must be finite and not negative, got"
                f" {weights[at]} at row {at + offset}"
            )


def check_survey(
    survey: Survey, n_clusters: int, nan_policy: str, names: Sequence[str] | None
) -> None:
    """Raise a DataError if the data cannot be clustered as asked."""
    if survey.bad is not None and nan_policy == "raise":
        raise DataError(describe_bad(survey.bad, names))
    if survey.n_rows == 0:
        raise DataError(
            f"Found array with 0 sample(s) (shape=(0, {len(survey.low)})) while a minimum of 1 is"
            " required."
        )
    taking_part = survey.n_rows if survey.bad is None else survey.n_finite
    if taking_part < n_clusters:
        left_out = "" if taking_part == survey.n_rows else ", rows with NaN or infinity left out"
        raise DataError(f"n_samples={taking_part} should be >= n_clusters={n_clusters}{left_out}.")
    if survey.n_positive == 0:
        raise DataError("sample_weight is zero for every row; at least one must be positive")
    if not (1e-150 < survey.heaviest < 1e150 and survey.heaviest < 1e30 * survey.lightest):
        raise DataError(
            f"sample_weight reaches from {survey.lightest:.3g} to {survey.heaviest:.3g}: sums would"
            " not fit in float64; scale the weights first"
        )
    if survey.n_rows > MAX_ROWS or max(survey.sizes.values()) > MAX_BLOCK_ROWS:
        raise DataError(
            f"{survey.n_rows} rows, {max(survey.sizes.values())} in one block: sums are exact up to"
            f" {MAX_ROWS} rows, {MAX_BLOCK_ROWS} in one block"
        )
    with np.errstate(over="ignore"):
        span = survey.high - survey.low
        sq_span = float(np.dot(span, span))
    if not sq_span * survey.heaviest * survey.n_rows < 1e300:
        raise DataError(
            f"values reach from {survey.low.min():.3g} to {survey.high.max():.3g}: squared"
            " distances would overflow float64; scale the data first"
        )


def describe_bad(bad: BadValue, names: Sequence[str] | None, where: str = "") -> str:
    """The message for a value that is not finite, in the words that scikit-learn uses."""
    what = "NaN" if np.isnan(bad.value) else "infinity"
    column = bad.column if names is None else repr(names[bad.column])
    return (
        f"Input X contains {what}: {bad.value} at row {bad.row}{where}, column {column}. Clean the"
        " data, or leave such rows out with nan_policy='omit'."
    )
