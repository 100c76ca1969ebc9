"""The colours that stand for the pixels of an image: two roads to them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np

from dkmeans._typing import AnyArray, Floats, Ints
from dkmeans.data import blocks as _blocks
from dkmeans.data.image_source import Image
from dkmeans.engine import color_spaces, exact
from dkmeans.engine.distinct import Counts, CountStep, Lookup, Total, unpack
from dkmeans.engine.painting import ErrorStep, Labeller
from dkmeans.engine.passes import Passes
from dkmeans.engine.predict import Model
from dkmeans.errors import DataError
from dkmeans.kmeans import KMeans
from dkmeans.sweeping import sweep

_RESTARTS = 3  # of distinct colours: as good as scikit-learn's ten on the photographs of the tests
_MAX_ITER = 1000  # of these, which go on until no center moves


@dataclass(frozen=True)
class Search:
    """What is asked of a search for colours; see :func:`dkmeans.image.quantize`."""

    space: str
    n_init: int | str
    random_state: Any
    memory_limit: int | str | None


@dataclass(frozen=True, eq=False)
class Palette:
    """Colours that were found.

    Parameters
    ----------
    colors : (k, bands) in the type of the image, that of the most pixels first.
    centers : (k, bands) in the space of the search, which ``colors`` are rounded from.
    sizes : (k,) pixels of each colour, none of them 0.
    inertia : sum of squared distances of the pixels to their centers.
    sq_error : sum of squared differences of the pixels to their colours, exact.
    labeller : says which colour a pixel has.
    passes, seconds : what the search took; passes are those of all searches at once.
    """

    colors: AnyArray
    centers: Floats
    sizes: Ints
    inertia: float
    sq_error: float
    labeller: Labeller
    passes: int
    seconds: float


def count_colors(image: Image) -> Counts:
    """The distinct colours of an image of bytes, and how many opaque pixels have each; one pass."""
    columns, total = image.colors, None
    passes = Passes(local=image.local)
    if passes.client is None and Total.pays(columns, image.n_pixels):
        total = Total(columns, image.n_pixels)
    blocks = _blocks.from_dask(image.rows(), None)
    counts = passes.run(blocks, CountStep(columns, image.alpha, total), "colors")
    if not len(counts.codes):
        raise DataError(f"every pixel of {image.where} is transparent: there is no colour to find")
    return counts


def distinct_palettes(image: Image, numbers: Sequence[int], search: Search) -> list[Palette]:
    """For each number of colours the best palette, from one pass that counts distinct colours."""
    counts = count_colors(image)
    rgb = unpack(counts.codes, image.colors)
    points = color_spaces.from_srgb(rgb, search.space)
    found = []
    for k in numbers:
        began = time.perf_counter()
        if k < len(rgb):
            model = _fit(points, counts, k, search)
            centers, labels, inertia = model.cluster_centers_, model.labels_, model.inertia_
        else:
            centers, labels, inertia = points.astype(np.float64), np.arange(len(rgb)), 0.0
        sizes = _summed(labels, counts.counts, len(centers))
        order = np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes)]
        rank = np.empty(len(centers), np.int64)
        rank[order] = np.arange(len(order))
        labels = rank[labels]
        colors = rounded(color_spaces.to_srgb(centers[order], search.space), image.dtype)
        sq = np.square(rgb.astype(np.int64) - colors[labels]).sum(axis=1)
        found.append(
            Palette(
                colors,
                centers[order],
                sizes[order],
                inertia,
                float(np.dot(sq, counts.counts)),
                Lookup(counts.codes, labels, image.colors),
                1,
                time.perf_counter() - began,
            )
        )
    return found


def _fit(points: AnyArray, counts: Counts, k: int, search: Search) -> KMeans:
    model = KMeans(
        k,
        n_init=_RESTARTS if search.n_init == "auto" else search.n_init,
        max_iter=_MAX_ITER,
        tol=0,
        random_state=search.random_state,
        memory_limit=search.memory_limit,
    )
    return model.fit(points, sample_weight=counts.counts.astype(np.float64))


def _summed(labels: Ints, counts: Ints, k: int) -> Ints:
    """Pixels of each of ``k`` labels, exactly."""
    sizes = np.zeros(k, np.int64)
    np.add.at(sizes, labels, counts)
    return sizes


def rounded(colors: Floats, dtype: np.dtype[Any]) -> AnyArray:
    """Colours in the type of the image: integers are the nearest that it has."""
    if dtype.kind not in "iu":
        return colors.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(colors), limits.min, limits.max).astype(dtype)


def few_pass_palettes(image: Image, numbers: Sequence[int], search: Search) -> list[Palette]:
    """For each number of colours the palette that :class:`~dkmeans.KMeans` finds, on shared passes.

    Pixels with NaN take no part.
    """
    rows, weights = _rows_and_weights(image)
    blocks = _blocks.from_dask(rows, weights)
    policy = "omit" if image.dtype.kind == "f" else "raise"
    fits = sweep(
        rows.compute(scheduler="threads") if image.local else rows,
        sorted({min(k, image.n_pixels) for k in numbers}),
        sample_weight=weights,
        n_init=search.n_init,
        random_state=search.random_state,
        memory_limit=search.memory_limit,
        nan_policy=policy,
    )
    models = [fits.models[min(k, image.n_pixels)] for k in numbers]
    labellers = [Model(m.cluster_centers_.astype(np.float64), policy, None) for m in models]
    colors = [rounded(labeller.centers, image.dtype) for labeller in labellers]
    passes = Passes(local=image.local)
    errors = passes.run(blocks, ErrorStep(tuple(labellers), tuple(colors)), "errors")
    found = []
    for at, model in enumerate(models):
        sizes = errors.sizes[at]
        order = np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes)]
        centers = labellers[at].centers[order]
        found.append(
            Palette(
                colors[at][order],
                centers,
                sizes[order],
                model.inertia_,
                exact.to_float(errors.totals[at]),
                Model(centers, policy, None),
                fits.passes + 1,
                model.history_.seconds,
            )
        )
    return found


def _rows_and_weights(image: Image) -> tuple[da.Array, da.Array | None]:
    """Pixels as rows of their colours, weighted with 0 where they are transparent."""
    rows = image.rows()
    if not image.alpha:
        return rows, None
    return rows[:, : image.colors], (rows[:, image.colors] > 0).astype(np.float64)
