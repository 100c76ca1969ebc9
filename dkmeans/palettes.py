"""The colours that stand for the pixels of an image, found from its distinct ones."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from dask.utils import format_bytes
from sklearn.utils import check_random_state

from dkmeans._typing import AnyArray, Floats, Ints
from dkmeans.data.image_source import Image
from dkmeans.data.source import kernel_view
from dkmeans.engine import cells as _cells
from dkmeans.engine import color_spaces, exact, progress
from dkmeans.engine.cells import Cells
from dkmeans.engine.distinct import (
    Counts,
    CountStep,
    Lookup,
    Table,
    Total,
    cell_means,
    pack,
    unpack,
)
from dkmeans.engine.machine import FIXED_BYTES, code_bytes, give_back, memory_limit
from dkmeans.engine.memory import DASK_FACTOR
from dkmeans.engine.painting import Labeller, Scaled
from dkmeans.engine.passes import Passes, default_threads
from dkmeans.engine.predict import Model
from dkmeans.engine.scaling import Scaling
from dkmeans.errors import DataError, MemoryLimitError
from dkmeans.kmeans import KMeans
from dkmeans.preprocessing import StandardScaler

_RESTARTS = 3, 10  # of distinct colours, at least and at most
_CHEAP = 2**25  # distances from distinct colours to centers, up to which there are more restarts
_CHEAP_CELLS = 2**19  # likewise from cells of colours, of which one start is the least
_MANY = 2**18  # distinct colours from which on the starts are searched among cells of colours
_FEW_CELLS = 32  # cells for each center, below which there are too few
_CELL_LEVELS = 2, 3  # whose boxes are these cells, that of the wider ones if there are enough
_COLOR_BYTES = 16  # of a distinct colour: value, weight, label; its point comes to that
_COUNT_BYTES = 24  # of a pixel while it is counted: code, where it is in order, count
_PIECE = 2**18  # colours that are copied at once
_TOL = 1e-4  # of the iterations that follow on all, scikit-learn's: few are left to do there
_CELL_TOL = 5e-5  # share of the inertia that an iteration from cells takes off at least
_MAX_ITER = 1000  # of these, which go on until no center moves


@dataclass(frozen=True)
class Search:
    """What is asked of a search for colours; see :func:`dkmeans.image.quantize`.

    Parameters
    ----------
    scaler : that of the bands, once it is fitted, where they are to be standardized.
    """

    space: str
    n_init: int | str
    random_state: Any
    memory_limit: int | str | None
    standardize: bool = False
    scaler: StandardScaler | None = None

    def in_units(self, centers: Floats) -> Floats:
        """Centers in the units of the image, once the scaler is fitted that there may be."""
        return centers if self.scaler is None else self.scaler.inverse_transform(centers)

    def labeller(self, model: Model) -> Labeller:
        """The model as it is for pixels that are not scaled."""
        scaler = self.scaler
        return model if scaler is None else Scaled(model, Scaling(scaler.mean_, scaler.scale_))

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

    def cell_seeds(self, k: int, n_cells: int) -> list[int]:
        """Likewise among cells of colours, from which all colours are iterated on."""
        if self.n_init != "auto":
            return self._seeds
        return self._seeds[: max(1, _CHEAP_CELLS // (k * n_cells))]


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


def threads_for(image: Image, limit: int, held: int = 0, table_bytes: int | None = None) -> int:
    """Blocks of the image that fit in memory at once beside what is held, as there are threads.

    Beside each there is its table, if it has one, or what it takes to sort it.
    """
    pixels = max(image.pixels.chunks[0]) * max(image.pixels.chunks[1])
    copies = DASK_FACTOR * image.pixels.shape[2] * image.dtype.itemsize
    block_bytes = pixels * copies
    block_bytes += pixels * _COUNT_BYTES if table_bytes is None else table_bytes
    if held + block_bytes > limit:
        raise MemoryLimitError(
            f"a pass over {image.where} needs {format_bytes(held + block_bytes)} and memory_limit"
            f" is {format_bytes(limit)}: raise it, or store the image in smaller chunks"
        )
    return int(min(default_threads(), (limit - held) // block_bytes))


def count_colors(image: Image, limit: int) -> Counts | Table:
    """The distinct colours of an image of bytes, and how many opaque pixels have each; one pass.

    Raises
    ------
    MemoryLimitError
        If the pass does not fit in ``limit`` bytes.
    """
    columns, total, code = image.colors, None, code_bytes()
    passes = Passes(local=image.local)
    if Total.pays(columns, image.n_pixels) and passes.cluster is None:
        total = Total(columns, image.n_pixels)
        held = code + Total.n_bytes(columns)
        passes.threads = threads_for(image, limit, held, Total.block_bytes(columns))
    else:
        passes.threads = threads_for(image, limit, code)
    step = CountStep(columns, image.alpha, total, image.nodata)
    counts = passes.run(image.blocks(by_threads=passes.by_threads), step, "colors")
    if not len(counts):
        raise nothing_takes_part(image)
    return counts


def nothing_takes_part(image: Image) -> DataError:
    """The error for an image without a pixel that takes part."""
    nodata = "" if image.nodata is None else f" or {image.nodata}, its nodata"
    return DataError(
        f"every pixel of {image.where} is transparent, NaN{nodata}: there is no colour to find"
    )


@dataclass(frozen=True, eq=False)
class _Colors:
    """Distinct colours.

    Parameters
    ----------
    values : (n, bands) uint8.
    points : (n, bands) where they are in the space of the search.
    weights : (n,) pixels of each, whole numbers.
    """

    values: AnyArray
    points: AnyArray
    weights: Floats

    @staticmethod
    def of(counts: Counts, columns: int, space: str) -> _Colors:
        """Those that were counted."""
        values = kernel_view(unpack(counts.codes, columns))
        points = kernel_view(color_spaces.from_srgb(values, space))
        return _Colors(values, points, counts.counts.astype(np.float64))

    def __len__(self) -> int:
        return len(self.values)


def distinct_palettes(image: Image, numbers: Sequence[int], search: Search) -> list[Palette]:
    """For each number of colours the best palette, from one pass that counts distinct colours."""
    limit = memory_limit(search.memory_limit, local=True)
    counted, columns = count_colors(image, limit), image.colors
    what = f"{len(counted):,} distinct colours"
    found: dict[int, Palette] = {}
    if len(counted) >= _MANY and search.space == "srgb" and not search.standardize:
        cells = Cells.of(counted.table(columns))
        label_bytes = len(cells.dense) * np.min_scalar_type(max(numbers) - 1).itemsize
        held = cells.dense.nbytes + _cells.N_BYTES + len(numbers) * label_bytes
        with _within(limit, held, what, search) as within:
            found = {k: one for k in numbers if (one := _cell_palette(cells, k, within))}
        del cells
    rest = [k for k in numbers if k not in found]
    if rest:
        distinct, search = _scaled(_Colors.of(counted.listed(), columns, search.space), search)
        held = len(distinct) * (_COLOR_BYTES + distinct.points.itemsize * columns)
        del counted
        with _within(limit, held, what, search) as within:
            found |= {k: _palette_of(distinct, k, within) for k in rest}
        del distinct
        if search.memory_limit is not None:  # what follows has the same limit
            give_back()
    return [found[k] for k in numbers]


@contextmanager
def _within(limit: int, held: int, what: str, search: Search) -> Iterator[Search]:
    """A search within what so many bytes and compiled code leave of the limit."""
    held += code_bytes()
    said = f"{what} and compiled code take {format_bytes(held)}"
    if held >= limit:
        raise MemoryLimitError(f"{said} and memory_limit is {format_bytes(limit)}: raise it")
    try:
        # a plan reserves what compiled code and readers take, and code is all that is needed here
        yield replace(search, memory_limit=limit - held + FIXED_BYTES)
    except MemoryLimitError as error:
        raise MemoryLimitError(
            f"{said} of memory_limit {format_bytes(limit)}, and with what is left {error}"
        ) from error


def _scaled(distinct: _Colors, search: Search) -> tuple[_Colors, Search]:
    """Colours standardized, and the search with its scaler, where that is asked for."""
    if not search.standardize:
        return distinct, search
    scaler = StandardScaler(memory_limit=search.memory_limit)
    with progress.searching():
        scaler.fit(distinct.values, sample_weight=distinct.weights)
    points = kernel_view(scaler.transform(distinct.values))
    return replace(distinct, points=points), replace(search, scaler=scaler)


def _cell_palette(cells: Cells, k: int, search: Search) -> Palette | None:
    """The best ``k`` colours for all, from a start among the means of cells.

    None where there are too few cells, or a center is left without a colour.
    """
    began = time.perf_counter()
    levels = (cells.means(level) for level in _CELL_LEVELS)
    enough = next((level for level in levels if len(level[0]) >= _FEW_CELLS * k), None)
    if enough is None:
        return None
    means, masses = enough
    seeds = search.cell_seeds(k, len(means))
    best = _best_start(means, masses.astype(np.float64), k, search, seeds, _TOL)
    labels = np.zeros(len(cells.dense), np.min_scalar_type(k - 1))
    centers = cells.lloyd(best.cluster_centers_, _CELL_TOL, _MAX_ITER, default_threads())
    if centers is None:
        return None
    owned = cells.assign(centers, default_threads(), labels)
    order = largest_first(owned.masses)
    if len(order) < k:
        return None
    rank = np.empty(k, labels.dtype)
    rank[order] = np.arange(k)
    for piece in _pieces(len(labels)):
        labels[piece] = rank[labels[piece]]
    centers, owned = centers[order], owned.of(order)
    colors = rounded(centers, np.dtype(np.uint8))
    return Palette(
        colors,
        centers,
        owned.masses,
        owned.inertia(centers),
        owned.inertia(colors),
        Lookup(None, labels, centers.shape[1], k),
        passes=1,
        seconds=time.perf_counter() - began,
    )


def _palette_of(distinct: _Colors, k: int, search: Search) -> Palette:
    """The best ``k`` colours for distinct ones."""
    began = time.perf_counter()
    if k < len(distinct):
        model = _fit(distinct, k, search)
        centers, labels, inertia = model.cluster_centers_, model.labels_, model.inertia_
    else:
        centers, inertia = distinct.points.astype(np.float64), 0.0
        labels = np.arange(len(distinct), dtype=np.int32)
    sizes = np.zeros(len(centers), np.int64)
    for piece in _pieces(len(labels)):
        found = np.bincount(labels[piece], distinct.weights[piece], len(centers))
        sizes += found.astype(np.int64)
    order = largest_first(sizes)
    rank = np.empty(len(centers), np.min_scalar_type(len(centers)))
    rank[order] = np.arange(len(order))
    labels, centers = rank[labels], search.in_units(centers[order])
    colors = rounded(color_spaces.to_srgb(centers, search.space), distinct.values.dtype)
    return Palette(
        colors,
        centers,
        sizes[order],
        inertia,
        _sq_error(distinct, labels, colors),
        Lookup.of(pack(distinct.values), labels, distinct.values.shape[1], len(colors)),
        passes=1,
        seconds=time.perf_counter() - began,
        space=search.space,
    )


def _sq_error(distinct: _Colors, labels: Ints, colors: AnyArray) -> float:
    """Sum of squared differences between pixels and the colours of their labels."""
    from dkmeans.engine import sum_kernels

    total, targets = exact.zeros(), colors.astype(np.float64)
    for piece in _pieces(len(labels)):
        values, weights = distinct.values[piece], distinct.weights[piece]
        sum_kernels.cost(values, weights, targets, labels[piece].astype(np.int32), total)
    return exact.to_float(total)


def _pieces(n: int) -> list[slice]:
    """Slices of so many, so that copies of these are short."""
    return [slice(start, start + _PIECE) for start in range(0, n, _PIECE)]


def largest_first(sizes: Ints) -> Ints:
    """Labels in the order of their sizes, without those that no pixel has."""
    return np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes)]


def _fit(distinct: _Colors, k: int, search: Search) -> KMeans:
    """The best of several starts; of many colours it is found among cells, and goes on from there.

    One start follows the other, as there can be as many colours as memory.
    """
    points, weights = distinct.points, distinct.weights
    seeds = search.seeds(k, len(distinct))
    if len(distinct) >= _MANY:
        means, masses = cell_means(distinct.values, points, weights)
        if len(means) >= _FEW_CELLS * k:
            start = _best_start(rounded(means, points.dtype), masses, k, search, seeds)
            again = {"init": start.cluster_centers_, "tol": _TOL}
            return _strict(points, weights, k, search, **again)
    return _best_start(points, weights, k, search, seeds)


def _best_start(
    points: AnyArray, weights: Floats, k: int, search: Search, seeds: Sequence[int], tol: float = 0
) -> KMeans:
    models = (_strict(points, weights, k, search, random_state=seed, tol=tol) for seed in seeds)
    return min(models, key=lambda model: model.inertia_)


def _strict(points: AnyArray, weights: Floats, k: int, search: Search, **options: Any) -> KMeans:
    """An estimator that went on until no center moved."""
    given = {"max_iter": _MAX_ITER, "tol": 0, "memory_limit": search.memory_limit} | options
    with progress.searching():
        return KMeans(k, **given).fit(points, sample_weight=weights)


def rounded(colors: Floats, dtype: np.dtype[Any]) -> AnyArray:
    """Colours in the type of the image: integers are the nearest that it has."""
    if dtype.kind not in "iu":
        return colors.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(colors), limits.min, limits.max).astype(dtype)
