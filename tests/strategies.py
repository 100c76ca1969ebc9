"""Data, weights, chunkings and centers for Hypothesis, the awkward ones among them.

The last few functions turn them into what the engine takes.
"""

import functools
from dataclasses import dataclass
from itertools import pairwise

import dask
import dask.array as da
import numpy as np
from hypothesis import strategies as st
from numba import njit

from dkmeans.data.blocks import Blocks
from dkmeans.engine.journal import Journal
from dkmeans.engine.lloyd import Fit, LloydStep, Room, Run, lloyd
from dkmeans.engine.passes import Passes
from dkmeans.engine.programs import run_together
from dkmeans.engine.settle import Stop
from dkmeans.engine.survey import SurveyStep, survey_streams

KINDS = ("normal", "lattice", "duplicates", "constant column", "far offset", "tiny", "large")
FLOATS = ("float32", "float64")
INTEGERS = ("uint8", "int16", "int64")


@functools.cache
def called(function):
    """A compiled function that has no wrapper of its own, callable from Python."""

    @njit
    def run(*args):
        return function(*args)

    return run


@st.composite
def tables(draw, min_rows=1, max_rows=80, features=(1, 2, 3, 5), dtypes=FLOATS + INTEGERS):
    """A table of numbers (rows, features)."""
    n = draw(st.integers(min_rows, max_rows))
    d = draw(st.sampled_from(features))
    kind = draw(st.sampled_from(KINDS))
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    X = random.normal(size=(n, d))
    if kind == "lattice":  # many ties
        X = random.integers(-2, 3, size=(n, d)).astype(np.float64)
    elif kind == "duplicates":
        X = X[random.integers(0, max(1, n // 4), size=n)]
    elif kind == "constant column":
        X[:, random.integers(d)] = 1e6 / 3
    if dtype.kind in "iu":
        return np.clip(np.round(X * 20 + 100), 0, 250).astype(dtype)
    if kind == "far offset":
        X += 1e6
    elif kind == "tiny":
        X *= 1e-30 if dtype == np.float64 else 1e-12
    elif kind == "large":
        X *= 1e12
    return X.astype(dtype)


@st.composite
def weights_for(draw, n):
    """None, or one weight a row, some of them 0 but not all."""
    kind = draw(st.sampled_from(["none", "whole", "real", "zeros"]))
    if kind == "none":
        return None
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    weights = random.uniform(0.1, 3.0, size=n)
    if kind != "real":
        weights = np.ceil(weights)
    if kind == "zeros":
        weights[random.uniform(size=n) < 0.4] = 0.0
        weights[random.integers(n)] = 1.0
    return weights


@st.composite
def chunkings(draw, n, most=8):
    """Sizes of consecutive chunks that hold n rows in all; some may hold none."""
    cuts = sorted(draw(st.lists(st.integers(0, n), max_size=most - 1)))
    return tuple(b - a for a, b in pairwise([0, *cuts, n]))


@st.composite
def centers_for(draw, X, most=9):
    """Initial centers: rows of X, repeated at will, so that clusters are empty; or points near."""
    k = draw(st.integers(1, most))
    rows = draw(st.lists(st.integers(0, len(X) - 1), min_size=k, max_size=k))
    centers = X[rows].astype(np.float64)
    if draw(st.booleans()):
        random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        centers += random.normal(size=centers.shape) * (np.abs(centers) * 1e-3)
    return centers


@dataclass
class Case:
    X: np.ndarray
    weights: np.ndarray | None
    chunks: tuple
    centers: np.ndarray

    @property
    def unit_weights(self):
        return np.ones(len(self.X)) if self.weights is None else self.weights


@st.composite
def cases(draw, **options):
    """Data with weights, a chunking and initial centers."""
    X = draw(tables(**options))
    n = len(X)
    return Case(X, draw(weights_for(n)), draw(chunkings(n)), draw(centers_for(X)))


@st.composite
def clumps(draw, max_rows=150):
    """Groups of rows, close together or far apart; some rows may hold NaN."""
    n, d = draw(st.integers(12, max_rows)), draw(st.sampled_from([1, 2, 5]))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    apart = 10.0 ** draw(st.floats(0, 7))
    groups = random.normal(size=(draw(st.integers(1, 6)), d)) * apart
    X = groups[random.integers(len(groups), size=n)] + random.normal(size=(n, d))
    X = X[np.argsort(X[:, 0])] if draw(st.booleans()) else X
    return X.astype(draw(st.sampled_from(FLOATS)))


@st.composite
def journeys(draw):
    """Cases with a long way to go: many centers in one place, and rows that are left out."""
    X = draw(clumps() | tables(min_rows=8, max_rows=120, dtypes=(*FLOATS, "uint8")))
    n = len(X)
    centers = draw(centers_for(X))
    if draw(st.booleans()):
        k = min(n, draw(st.integers(2, 12)))
        centers = X[:k].astype(np.float64)
    weights = draw(weights_for(n))
    if X.dtype.kind == "f" and draw(st.booleans()):
        X = X.copy()
        X[draw(st.integers(0, n - 1)) :: 7, 0] = np.nan
    return Case(X, weights, draw(chunkings(n)), centers)


def in_memory(X, weights, sizes):
    """Blocks in memory of just these sizes."""
    at = np.cumsum([0, *sizes])
    spans = list(pairwise(at))
    return Blocks(
        tuple(X[a:b] for a, b in spans),
        None if weights is None else tuple(weights[a:b] for a, b in spans),
        tuple(int(s) for s in sizes),
        X.shape[1],
        X.dtype,
    )


def lazy(X, sizes, unknown=False):
    """X as a dask array of just these row chunks."""
    at = np.cumsum([0, *sizes])
    if not unknown:
        return da.from_array(X, chunks=(tuple(sizes), X.shape[1]))
    parts = [dask.delayed(X[a:b].copy()) for a, b in pairwise(at)]
    pieces = [da.from_delayed(p, (np.nan, X.shape[1]), X.dtype) for p in parts]
    return da.concatenate(pieces, axis=0, allow_unknown_chunksizes=True)


def surveyed(blocks, seed=0, most=1, threads=1):
    """Passes and the survey of some blocks, with the rows that it draws for a seed."""
    passes = Passes(threads)
    return passes, passes.run(blocks, SurveyStep(survey_streams([seed]), most), "survey")


def assigned(blocks, centers, want_labels=False):
    """What one pass of Lloyd's adds up, and the grid of its sums."""
    passes, survey = surveyed(blocks)
    step = LloydStep(centers, survey.grid, want_labels)
    return passes.run(blocks, step, "lloyd"), survey.grid


TO_THE_END = Stop(300, 0.0)


class Streamed(Blocks):
    """Blocks in memory that a run takes for blocks that are read anew in every pass."""

    in_memory = False


@dataclass
class Ran:
    """How a run went: its end, the numbers of each iteration, and passes after the survey."""

    fit: Fit
    numbers: list
    passes: int


def ran(case, room, *, streamed=True, stop=TO_THE_END, threads=1):
    """A run of Lloyd's with room for so many rows between passes."""
    blocks = in_memory(case.X, case.weights, case.chunks)
    passes, survey = surveyed(blocks, threads=threads)
    passes.lap()
    before, entries = passes.total.passes, []
    seen = Streamed(**vars(blocks)) if streamed else blocks
    journal = Journal(passes, entries.append)
    run = Run(seen, survey, stop, journal, 0, not streamed, Room(room))
    (fit,) = run_together(passes, blocks, [lloyd(run, case.centers)])
    numbers = [(e.phase, e.step, e.centers.tobytes(), e.inertia, e.shift, e.sizes) for e in entries]
    return Ran(fit, numbers, passes.total.passes - before)
