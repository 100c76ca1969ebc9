"""The colours that stand for the pixels of an image: two roads to them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import dask.array as da
import numpy as np
from dask.utils import format_bytes
from sklearn.utils import check_random_state

from dkmeans._typing import AnyArray, Floats, Ints
from dkmeans.data import blocks as _blocks
from dkmeans.data.image_source import Image
from dkmeans.data.source import kernel_view
from dkmeans.engine import color_spaces, exact
from dkmeans.engine.distinct import Counts, CountStep, Lookup, Total, unpack
from dkmeans.engine.memory import DASK_FACTOR, memory_limit
from dkmeans.engine.painting import ErrorStep, Labeller
from dkmeans.engine.passes import Passes, default_threads
from dkmeans.engine.predict import Model
from dkmeans.errors import DataError, MemoryLimitError
from dkmeans.kmeans import KMeans
from dkmeans.sweeping import sweep

_RESTARTS = 3, 10  # of distinct colours, at least and at most
_CHEAP = 2**25  # distances from distinct colours to centers, up to which there are more restarts
_COLOR_BYTES = 48  # of a distinct colour: code, count, weight, values, point, labels
_COUNT_BYTES = 24  # of a pixel while it is counted: code, where it is in order, count
_MAX_ITER = 1000  # of these, which go on until no center moves


@dataclass(frozen=True)
class Search:
    """What is asked of a search for colours; see :func:`dkmeans.image.quantize`."""

    space: str
    n_init: int | str
    random_state: Any
    memory_limit: int | str | None

    @cached_property
    def _seeds(self) -> list[int]:
        starts = _RESTARTS[1] if self.n_init == "auto" else int(self.n_init)
        random = check_random_state(self.random_state)
        return [int(seed) for seed in random.randint(np.iinfo(np.int32).max, size=starts)]

    def seeds(self, k: int, n_colors: int) -> list[int]:
        """A seed for each start of a search for ``k`` among distinct colours."""
        if self.n_init != "auto":
            return self._seeds
        return self._seeds[: max(_RESTARTS[0], _CHEAP // (k * n_colors))]


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
    space : of the search.
    """

    colors: AnyArray
    centers: Floats
    sizes: Ints
    inertia: float
    sq_error: float
    labeller: Labeller
    passes: int
    seconds: float
    space: str = "srgb"


def _threads(image: Image, limit: int, held: int = 0) -> int:
    """Blocks of the image that fit in memory at once beside what is held, as there are threads."""
    pixels = max(image.pixels.chunks[0]) * max(image.pixels.chunks[1])
    copies = DASK_FACTOR * image.pixels.shape[2] * image.dtype.itemsize
    block_bytes = pixels * (copies + _COUNT_BYTES)
    if held + block_bytes > limit:
        raise MemoryLimitError(
            f"a pass over {image.where} needs {format_bytes(held + block_bytes)} and memory_limit"
            f" is {format_bytes(limit)}: raise it, or store the image in smaller chunks"
        )
    return int(min(default_threads(), (limit - held) // block_bytes))


def count_colors(image: Image, limit: int) -> Counts:
    """The distinct colours of an image of bytes, and how many opaque pixels have each; one pass.

    Raises
    ------
    MemoryLimitError
        If the pass does not fit in ``limit`` bytes.
    """
    columns, total = image.colors, None
    dense = Total.pays(columns, image.n_pixels)
    threads = _threads(image, limit, Total.n_bytes(columns) if dense else 0)
    passes = Passes(threads, local=image.local)
    if dense and passes.cluster is None:
        total = Total(columns, image.n_pixels)
    blocks = _blocks.from_dask(image.rows(), None)
    counts = passes.run(blocks, CountStep(columns, image.alpha, total), "colors")
    if not len(counts.codes):
        raise DataError(f"every pixel of {image.where} is transparent: there is no colour to find")
    return counts


def distinct_palettes(image: Image, numbers: Sequence[int], search: Search) -> list[Palette]:
    """For each number of colours the best palette, from one pass that counts distinct colours."""
    limit = memory_limit(search.memory_limit, local=True)
    counts = count_colors(image, limit)
    values = unpack(counts.codes, image.colors)
    points = color_spaces.from_srgb(values, search.space)
    search = replace(search, memory_limit=max(1, limit - _COLOR_BYTES * len(values)))
    try:
        return [_palette_of(counts, values, points, k, search) for k in numbers]
    except MemoryLimitError as error:
        raise MemoryLimitError(
            f"{len(values):,} distinct colours take {format_bytes(_COLOR_BYTES * len(values))} of"
            f" memory_limit {format_bytes(limit)}, and with what is left {error}"
        ) from error


def _palette_of(
    counts: Counts, values: AnyArray, points: AnyArray, k: int, search: Search
) -> Palette:
    """The best ``k`` colours for distinct ones: their ``values``, as ``points`` of the space."""
    from dkmeans.engine import sum_kernels

    began = time.perf_counter()
    weights = counts.counts.astype(np.float64)
    if k < len(values):
        model = _fit(points, weights, k, search)
        centers, labels, inertia = model.cluster_centers_, model.labels_, model.inertia_
    else:
        centers, labels, inertia = points.astype(np.float64), np.arange(len(values)), 0.0
    sizes = np.zeros(len(centers), np.int64)
    np.add.at(sizes, labels, counts.counts)
    order = _largest_first(sizes)
    rank = np.empty(len(centers), np.int32)
    rank[order] = np.arange(len(order))
    labels = rank[labels]
    colors = rounded(color_spaces.to_srgb(centers[order], search.space), values.dtype)
    sq_error = exact.zeros()
    sum_kernels.cost(kernel_view(values), weights, colors.astype(np.float64), labels, sq_error)
    return Palette(
        colors,
        centers[order],
        sizes[order],
        inertia,
        exact.to_float(sq_error),
        Lookup(counts.codes, labels, values.shape[1]),
        passes=1,
        seconds=time.perf_counter() - began,
        space=search.space,
    )


def _largest_first(sizes: Ints) -> Ints:
    """Labels in the order of their sizes, without those that no pixel has."""
    return np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes)]


def _fit(points: AnyArray, weights: Floats, k: int, search: Search) -> KMeans:
    """The best of several starts, one after the other: there can be as many colours as memory."""
    best: KMeans | None = None
    for seed in search.seeds(k, len(points)):
        model = KMeans(
            k, max_iter=_MAX_ITER, tol=0, random_state=seed, memory_limit=search.memory_limit
        ).fit(points, sample_weight=weights)
        if best is None or model.inertia_ < best.inertia_:
            best = model
    assert best is not None
    return best


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
    limit = memory_limit(search.memory_limit, local=image.local)
    passes = Passes(_threads(image, limit), local=image.local)
    errors = passes.run(blocks, ErrorStep(tuple(labellers), tuple(colors)), "errors")
    found = []
    for at, model in enumerate(models):
        sizes = errors.sizes[at]
        order = _largest_first(sizes)
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
