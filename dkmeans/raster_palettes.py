"""Colours of images whose distinct ones are not counted: floats, 16 bits, many bands."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import dask.array as da
import numpy as np
from sklearn.exceptions import ConvergenceWarning

from dkmeans.data import blocks as _blocks
from dkmeans.data.image_source import Image
from dkmeans.data.nodata import blanked, taking_part
from dkmeans.data.source import center_dtype
from dkmeans.engine import exact
from dkmeans.engine.machine import memory_limit
from dkmeans.engine.painting import ErrorStep
from dkmeans.engine.passes import Passes
from dkmeans.engine.predict import Model
from dkmeans.palettes import (
    Palette,
    Search,
    largest_first,
    nothing_takes_part,
    rounded,
    threads_for,
)
from dkmeans.preprocessing import StandardScaler
from dkmeans.sweeping import Sweep, sweep


def few_pass_palettes(image: Image, numbers: Sequence[int], search: Search) -> list[Palette]:
    """For each number of colours the palette that :class:`~dkmeans.KMeans` finds, on shared passes.

    Of floats, pixels that take no part are made NaN, and bands that are standardized are floats.
    Integers have no NaN: there such pixels have the weight 0.
    """
    as_floats = image.dtype.kind == "f" or search.standardize
    rows, weights = _blanked_rows(image) if as_floats else _rows_and_weights(image)
    X = rows.compute(scheduler="threads") if image.local else rows
    if search.standardize:
        search, X = _standardized(image, X, search)
    policy = "omit" if as_floats else "raise"
    fits, most = _swept(image, X, weights, numbers, search)
    models = [fits.models[min(k, most)] for k in numbers]
    fitted = [Model(m.cluster_centers_.astype(np.float64), policy, None) for m in models]
    centers = [search.in_units(model.centers) for model in fitted]
    colors = [rounded(each, image.dtype) for each in centers]
    limit = memory_limit(search.memory_limit, local=image.local)
    passes = Passes(threads_for(image, limit), local=image.local)
    step = ErrorStep(tuple(search.labeller(model) for model in fitted), tuple(colors))
    errors = passes.run(_blocks.from_dask(rows, weights), step, "errors")
    found = []
    for at, model in enumerate(models):
        sizes = errors.sizes[at]
        order = largest_first(sizes)
        found.append(
            Palette(
                colors[at][order],
                centers[at][order],
                sizes[order],
                model.inertia_,
                exact.to_float(errors.totals[at]),
                search.labeller(replace(fitted[at], centers=fitted[at].centers[order])),
                fits.passes + 1 + search.standardize,
                model.history_.seconds,
            )
        )
    return found


def _swept(
    image: Image, X: Any, weights: Any, numbers: Sequence[int], search: Search
) -> tuple[Sweep, int]:
    """Fits to at most as many colours as pixels take part, and how many these can be."""
    most = image.n_pixels
    options = {
        "sample_weight": weights,
        "metrics": (),
        "n_init": search.n_init,
        "random_state": search.random_state,
        "memory_limit": search.memory_limit,
        "nan_policy": "raise" if X.dtype.kind in "iu" else "omit",
    }
    with warnings.catch_warnings():  # of fewer clusters, where quantize tells of fewer colours
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            return sweep(X, sorted({min(k, most) for k in numbers}), **options), most
        except ValueError:
            most = _n_taking_part(image)
            if most == 0:
                raise nothing_takes_part(image) from None
            if most >= min(max(numbers), image.n_pixels):
                raise
        return sweep(X, sorted({min(k, most) for k in numbers}), **options), most


def _n_taking_part(image: Image) -> int:
    """Pixels that take part, which takes a pass; it is only of use where they are too few."""
    rows, weights = _rows_and_weights(image)
    keep = da.isfinite(rows).all(axis=1)
    keep = keep if weights is None else keep & (weights > 0)
    return int(keep.sum().compute(**({"scheduler": "threads"} if image.local else {})))


def _standardized(image: Image, X: Any, search: Search) -> tuple[Search, Any]:
    """The search with its scaler, which takes a pass to fit, and rows that are scaled as read."""
    scaler = StandardScaler(memory_limit=search.memory_limit).fit(X)
    if np.isnan(scaler.mean_).any():
        raise nothing_takes_part(image)
    return replace(search, scaler=scaler), scaler.transform(X)


def _blanked_rows(image: Image) -> tuple[da.Array, None]:
    """Pixels as rows of their colours in floats, NaN where they take no part."""
    rows = image.rows()
    if image.dtype.kind == "f" and not image.alpha and image.nodata is None:
        return rows, None
    dtype = center_dtype(image.dtype)
    kept = rows.map_blocks(
        blanked,
        image.colors,
        image.alpha,
        image.nodata,
        chunks=(rows.chunks[0], (image.colors,)),
        dtype=dtype,
        meta=np.empty((0, 0), dtype),
    )
    return kept, None


def _rows_and_weights(image: Image) -> tuple[da.Array, da.Array | None]:
    """Pixels as rows of their colours, weighted with 0 where they take no part."""
    rows = image.rows()
    if not image.alpha and image.nodata is None:
        return rows, None
    weights = rows.map_blocks(
        taking_part,
        image.colors,
        image.alpha,
        image.nodata,
        drop_axis=1,
        dtype=bool,
        meta=np.empty(0, bool),
    )
    return rows[:, : image.colors], weights.astype(np.float64)
