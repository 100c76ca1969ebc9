"""Pixels in the colours that stand for them, and how far they are from these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from dkmeans._typing import AnyArray, Floats, Ints
from dkmeans.data.nodata import taking_part
from dkmeans.engine import exact
from dkmeans.engine.distinct import label_dtype
from dkmeans.engine.predict import Model
from dkmeans.engine.scaling import Scaling


class Labeller(Protocol):
    """Says which colour a pixel has."""

    def labels(self, X: AnyArray, offset: int | None = 0) -> Ints:
        """Labels (n,), integers, of pixels (n, bands); -1 for those with NaN."""


@dataclass(frozen=True)
class Scaled:
    """A model of standardized bands, for pixels as they are."""

    model: Model
    scaling: Scaling

    def labels(self, X: AnyArray, offset: int | None = 0) -> Ints:
        """As a Labeller has it."""
        return self.model.labels(self.scaling.rows(X), offset)


@dataclass(frozen=True)
class Painter:
    """Labels of the pixels of a block, and what the block looks like in their colours."""

    labeller: Labeller
    colors: AnyArray
    alpha: bool
    flat: bool
    nodata: Any = None

    @property
    def label_dtype(self) -> np.dtype[Any]:
        """Of labels: of the pixels of a large image, each byte counts."""
        return label_dtype(len(self.colors))

    def mark_dtype(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """A label, and how opaque the pixel is where that is told, which no label says."""
        label = self.label_dtype
        return np.dtype([("label", label), ("alpha", dtype)]) if self.alpha else label

    def labels(self, block: AnyArray) -> Ints:
        """(height, width) of a block (height, width, bands); -1 where a pixel takes no part."""
        bands = self.colors.shape[1]
        rows = np.ascontiguousarray(block[:, :, :bands]).reshape(-1, bands)
        labels = self.labeller.labels(rows).astype(self.label_dtype, copy=False)
        labels = labels.reshape(block.shape[:2])
        if self.alpha or self.nodata is not None:
            labels[~taking_part(block, bands, self.alpha, self.nodata)] = -1
        return labels

    def marks(self, block: AnyArray) -> AnyArray:
        """Labels, with alpha where there is any."""
        if not self.alpha:
            return self.labels(block)
        marks = np.empty(block.shape[:2], self.mark_dtype(block.dtype))
        marks["label"] = self.labels(block)
        marks["alpha"] = block[:, :, -1]
        return marks

    def labels_of(self, marks: AnyArray) -> Ints:
        """The labels among what :meth:`marks` says."""
        return marks["label"] if self.alpha else marks

    def painted(self, marks: AnyArray) -> AnyArray:
        """Pixels in the colours of their labels; nodata for no colour, else NaN or 0."""
        labels = self.labels_of(marks)
        pixels: AnyArray = self.colors[labels]
        nothing = np.nan if pixels.dtype.kind == "f" else 0
        pixels[labels < 0] = nothing if self.nodata is None else self.nodata
        if self.alpha:
            pixels = np.concatenate([pixels, marks["alpha"][:, :, None]], axis=2)
        return pixels[:, :, 0] if self.flat else pixels

    def image(self, block: AnyArray) -> AnyArray:
        """The block in these colours."""
        return self.painted(self.marks(block))

    def indices(self, marks: AnyArray) -> AnyArray:
        """Labels as bytes."""
        return self.labels_of(marks).astype(np.uint8)


@dataclass(frozen=True)
class Errors:
    """For each model the exact sum of squared errors, and the rows of each label.

    Parameters
    ----------
    totals : (models, LIMBS), for :func:`dkmeans.engine.exact.to_float`.
    sizes : (k,) for each model; rows of weight 0 are not counted.
    """

    totals: Ints
    sizes: tuple[Ints, ...]

    @staticmethod
    def combine(parts: Sequence[Errors]) -> Errors:
        """Add up."""
        sizes = zip(*(part.sizes for part in parts), strict=True)
        return Errors(
            exact.combine([part.totals for part in parts]),
            tuple(np.sum(each, axis=0) for each in sizes),
        )


@dataclass(frozen=True)
class ErrorStep:
    """Score a block under several models, each row against the colour of its label.

    Parameters
    ----------
    colors : (k, d) of each model, in place of its centers.
    """

    models: tuple[Labeller, ...]
    colors: tuple[AnyArray, ...]

    def __call__(self, X: AnyArray, weights: Floats, offset: int, block: int) -> Errors:
        from dkmeans.engine import sum_kernels

        totals, sizes = exact.zeros(len(self.models)), []
        for at, (model, colors) in enumerate(zip(self.models, self.colors, strict=True)):
            labels = model.labels(X, offset).astype(np.int32, copy=False)  # as compiled for all
            sum_kernels.cost(X, weights, colors.astype(np.float64), labels, totals[at])
            counted = labels >= 0
            if len(weights):
                counted &= weights > 0
            sizes.append(np.bincount(labels[counted], minlength=len(colors)))
        return Errors(totals, tuple(sizes))
