"""A draw of rows together with their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dkmeans._typing import AnyArray, Floats
from dkmeans.engine.cluster_stats import Labelling
from dkmeans.engine.partial import Rows, SampleSpec
from dkmeans.engine.survey import Sample, sample_spec

_DRAW = 6  # stream of random numbers; see also survey.py, seeding.py and auto.py


def label_sample_spec(seed: int, most: int, n_rows: int | None) -> SampleSpec:
    """The draw of ``most`` rows for a seed."""
    from dkmeans.engine.sampling import stream_key

    spec = sample_spec(seed, most, n_rows)
    return SampleSpec(stream_key(seed, _DRAW), most, spec.limit)


@dataclass(frozen=True)
class LabelSample:
    """Rows drawn uniformly, their labels in place of weights, and how many there are to draw from.

    Rows that are left out are counted off ``n_rows`` where they were looked at.
    """

    sample: Sample
    n_rows: int

    @staticmethod
    def combine(parts: Sequence[LabelSample]) -> LabelSample:
        """Put the draws together."""
        return LabelSample(Sample.combine([p.sample for p in parts]), sum(p.n_rows for p in parts))


@dataclass(frozen=True)
class LabelSampleStep:
    """Draw rows of a block, and label only those."""

    labelling: Labelling
    spec: SampleSpec

    def __call__(self, X: AnyArray, weights: Floats, offset: int, block: int) -> LabelSample:
        from dkmeans.engine import seeding_kernels

        keys, rows = np.empty(len(X)), np.empty(len(X), np.int64)
        count = seeding_kernels.below(len(X), offset, self.spec.stream, self.spec.limit, keys, rows)
        keys, rows = keys[:count], rows[:count]
        beside = weights[rows] if len(weights) else weights
        taken = self.labelling.taking_part(X[rows], beside, rows + offset)
        left_out = int((~taken).sum())
        keys, rows = keys[taken], rows[taken]
        if len(keys) > self.spec.most:
            best = np.argpartition(keys, self.spec.most - 1)[: self.spec.most]
            keys, rows = keys[best], rows[best]
        values, codes = self.labelling.coded(X[rows], weights[rows] if len(weights) else weights, 0)
        drawn = Rows(keys, rows + offset, X[rows], values[codes].astype(np.float64))
        return LabelSample(Sample((drawn,), self.spec.most), len(X) - left_out)
