"""One Lloyd iteration of rows in memory, by each library's own compiled loop."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from benchmarks import kernel_peers as peers
from benchmarks.kernel_peers import Case, Step, make_case
from benchmarks.peers import have, missing
from benchmarks.report import Section, Table, by_turns, mark, share, spread, tell
from dkmeans.data.blocks import from_array
from dkmeans.data.source import center_dtype, kernel_view
from dkmeans.engine.lloyd import LloydStep
from dkmeans.engine.passes import Passes
from dkmeans.engine.update import update

FEATURES, CLUSTERS = (2, 3, 8, 16, 64, 128, 784), (8, 64, 256, 1024)
GRID = tuple((d, k) for d in FEATURES for k in CLUSTERS)
QUICK_GRID = ((2, 8), (16, 64), (784, 256))
OF_TYPES = (16, 64)
OF_THREADS = ((3, 16), (16, 64), (64, 256), (784, 64))
REPEATS = 5
WORK = 600_000_000  # features x clusters x rows of a step, within the bounds on rows
QUICK_WORK = 20_000_000
ROWS = (20_000, 1_000_000)
QUICK_ROWS = (2_048, 20_000)
BLOCKS, STREAMED = 16, 2**28  # of a stream in memory: blocks, and bytes of float32

Times = Mapping[str, Sequence[float]]


def run(*, quick: bool = False) -> Section:
    """Time every cell."""
    repeats = 3 if quick else REPEATS
    cells = []
    for d, k in QUICK_GRID if quick else GRID:
        case = make_case(d, k, _rows(d, k, quick))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # of one iteration
            times = _measure(case, repeats)
        cells.append((case, times))
        tell(" ".join(_row(case, times)))
    others = [_typed(quick, repeats), _threaded(quick, repeats)]
    settings = (
        "A whole Lloyd iteration of float32 rows in memory, from centers to new centers;"
        f" {repeats} repeats by turns, ms are medians with half the distance of the quartiles."
        " Clusters overlap. Each ratio is the time of the library divided by that of dkmeans:"
        " above 1, dkmeans is faster; **bold** where it is slower. dkmeans:"
        " `LloydStep(measure=False)` and `update`, whose sums are exact. scikit-learn:"
        " `lloyd_iter_chunked_dense`, which also writes labels. scikit-learn-intelex: a fit with"
        " `max_iter=1` from the same centers, and so with its checks of X, its copies and its last"
        " labels; *added* is (fit of 3 iterations - fit of 1) / 2, an iteration without any of"
        " these. FAISS: `Kmeans.train` with `niter=1` from the same centers, its check for NaN"
        f" included. GFLOP/s of dkmeans count 2 x rows x features x clusters; sgemm is a product"
        f" of {peers.SGEMM} x {peers.SGEMM} by NumPy's BLAS in the same turns."
    )
    header = (
        "features, clusters", "rows", "dkmeans ms", "scikit-learn ms", "ratio", "intelex ms",
        "ratio", "added ms", "ratio", "FAISS ms", "ratio", "GFLOP/s", "of sgemm",
    )  # fmt: skip
    rows = [_row(case, times) for case, times in cells]
    more = [_assigned(cells), *others]
    packages = ("numpy", "numba", "scikit-learn", "scikit-learn-intelex", "faiss-cpu")
    notes = [*_summary(cells), *missing(["scikit-learn-intelex", "faiss-cpu"])]
    return Section("Kernels", settings, packages, 1, header, rows, notes, more)


def _rows(d: int, k: int, quick: bool) -> int:
    work, bounds = (QUICK_WORK, QUICK_ROWS) if quick else (WORK, ROWS)
    return int(np.clip(work // (d * k), *bounds))


def _contenders(case: Case) -> tuple[dict[str, Step], dict[str, Step]]:
    """What finds new centers, and what finds labels."""
    iterations = {"dkmeans": peers.ours(case), "scikit-learn": peers.sklearn(case)}
    labels = {"dkmeans, labels": peers.ours_assign(case)}
    if have("scikit-learn-intelex"):
        iterations["intelex"] = peers.intelex(case)
    if have("faiss-cpu"):
        iterations["FAISS"] = peers.faiss_iteration(case)
        labels["FAISS, labels"] = peers.faiss_assign(case)
    return iterations, labels


def _measure(case: Case, repeats: int) -> Times:
    """Seconds of each contender, which first must all find the same."""
    iterations, labels = _contenders(case)
    runs = {**iterations, **labels, "sgemm": peers.sgemm()}
    if have("scikit-learn-intelex"):
        runs["intelex, 3"] = peers.intelex(case, 3)
    with threadpool_limits(1):
        expected = iterations["dkmeans"]()
        for step in iterations.values():
            np.testing.assert_allclose(step(), expected, rtol=2e-3, atol=2e-3)
        given = labels["dkmeans, labels"]()
        for step in labels.values():
            assert np.mean(step() != given) < 1e-3  # ties in float32
        return dict(zip(runs, by_turns(list(runs.values()), repeats), strict=True))


def _median(times: Times, name: str) -> float:
    if name == "added":
        return (_median(times, "intelex, 3") - _median(times, "intelex")) / 2
    return statistics.median(times[name])


def _ms(times: Times, name: str) -> str:
    return f"{1e3 * _median(times, name):.1f} {spread(times[name])}"


def _against(times: Times, name: str) -> tuple[str, str]:
    """Time and ratio of a library, or dashes where it is missing."""
    if name == "added" and "intelex, 3" in times:
        added = _median(times, name)
        return f"{1e3 * added:.1f}", mark(added / _median(times, "dkmeans"))
    if name not in times:
        return "-", "-"
    return _ms(times, name), mark(_median(times, name) / _median(times, "dkmeans"))


def _row(case: Case, times: Times) -> tuple[str, ...]:
    speed = 1e-9 * case.flops / _median(times, "dkmeans")
    best = 2e-9 * peers.SGEMM**3 / _median(times, "sgemm")
    return (
        case.name, f"{len(case.X):,}", _ms(times, "dkmeans"), *_against(times, "scikit-learn"),
        *_against(times, "intelex"), *_against(times, "added"), *_against(times, "FAISS"),
        f"{speed:.1f}", share(speed / best),
    )  # fmt: skip


def _summary(cells: Sequence[tuple[Case, Times]]) -> list[str]:
    """Geometric mean and worst cell against each library."""
    lines = []
    pairs = [
        ("scikit-learn", "scikit-learn", "dkmeans"),
        ("intelex", "scikit-learn-intelex, a fit of one iteration", "dkmeans"),
        ("added", "scikit-learn-intelex, an added iteration", "dkmeans"),
        ("FAISS", "FAISS", "dkmeans"),
        ("FAISS, labels", "FAISS, labels alone", "dkmeans, labels"),
    ]
    for name, title, mine in pairs:
        if ("intelex, 3" if name == "added" else name) in cells[0][1]:
            ratios = {c.name: _median(t, name) / _median(t, mine) for c, t in cells}
            worst = min(ratios, key=lambda cell: ratios[cell])
            mean = float(np.exp(np.mean(np.log(np.maximum(list(ratios.values()), 1e-3)))))
            lines.append(
                f"Against {title}: geometric mean {mean:.2f}, worst {ratios[worst]:.2f} ({worst}),"
                f" best {max(ratios.values()):.2f}, slower in"
                f" {sum(r < 1 for r in ratios.values())} of {len(ratios)} cells."
            )
    return lines


def _assigned(cells: Sequence[tuple[Case, Times]]) -> Table:
    settings = (
        "Assignment alone, labels of the same rows: `kernels.assign`, whose labels are those of"
        " the direct formula in float64, and FAISS's `IndexFlatL2.search` of one neighbour, whose"
        " distances are float32. The centers are prepared, or added to the index, each time."
    )
    rows = []
    for case, times in cells:
        cell = (case.name, f"{len(case.X):,}", _ms(times, "dkmeans, labels"))
        if "FAISS, labels" in times:
            ratio = _median(times, "FAISS, labels") / _median(times, "dkmeans, labels")
            rows.append((*cell, _ms(times, "FAISS, labels"), mark(ratio)))
        else:
            rows.append((*cell, "-", "-"))
    return Table(settings, ("features, clusters", "rows", "dkmeans ms", "FAISS ms", "ratio"), rows)


def _typed(quick: bool, repeats: int) -> Table:
    """Rows of other types."""
    rows = []
    for dtype in (np.float64, np.uint8):
        case = make_case(*OF_TYPES, _rows(*OF_TYPES, quick), dtype)
        pair = [peers.ours(case), peers.sklearn(case)]
        with threadpool_limits(1):
            np.testing.assert_allclose(pair[0](), pair[1](), rtol=2e-3, atol=2e-3)
            times = dict(zip(("dkmeans", "scikit-learn"), by_turns(pair, repeats), strict=True))
        name = f"{np.dtype(dtype)}, {case.name}"
        cells = _ms(times, "dkmeans"), *_against(times, "scikit-learn")
        rows.append((name, f"{len(case.X):,}", *cells))
    settings = (
        "The same iteration of rows of other types. scikit-learn has a float64 copy of uint8,"
        " whose making is not timed."
    )
    header = ("type, features, clusters", "rows", "dkmeans ms", "scikit-learn ms", "ratio")
    return Table(settings, header, rows)


def _stream(case: Case, threads: int) -> Step:
    """A pass over blocks in memory."""
    exact, grid = case.centers.astype(np.float64), peers.grid_of(case)
    blocks = from_array(kernel_view(case.X), None, -(-len(case.X) // BLOCKS))
    passes, dtype = Passes(threads), center_dtype(case.X.dtype)

    def step() -> peers.Array:
        partial = passes.run(blocks, LloydStep(exact, grid, measure=False), "lloyd")
        return update(partial, grid, exact, dtype, False).centers.astype(dtype)

    return step


def _threaded(quick: bool, repeats: int) -> Table:
    """One thread and two."""
    rows = []
    for d, k in OF_THREADS[:2] if quick else OF_THREADS:
        case = make_case(d, k, _rows(d, k, quick) if quick else STREAMED // (4 * d))
        runs = [_stream(case, 1), _stream(case, 2), peers.sklearn(case, 1), peers.sklearn(case, 2)]
        with threadpool_limits(1):
            for step in runs[1:]:
                np.testing.assert_allclose(step(), runs[0](), rtol=2e-3, atol=2e-3)
            times = dict(zip(("1", "2", "s1", "s2"), by_turns(runs, repeats), strict=True))
        one, two, s1, s2 = (_median(times, name) for name in times)
        rows.append(
            (case.name, f"{len(case.X):,}", *(_ms(times, name) for name in ("1", "2")),
             f"{one / two:.2f}", *(_ms(times, name) for name in ("s1", "s2")), f"{s1 / s2:.2f}",
             mark(s2 / two))
        )  # fmt: skip
        tell(" ".join(rows[-1]))
    settings = (
        f"One thread and two: a pass of dkmeans over {BLOCKS} blocks in memory, and scikit-learn's"
        " iteration with as many threads. The ratio is that of two threads each."
    )
    header = (
        "features, clusters", "rows", "dkmeans ms, 1", "2", "speed-up", "scikit-learn ms, 1", "2",
        "speed-up", "ratio",
    )  # fmt: skip
    return Table(settings, header, rows)
