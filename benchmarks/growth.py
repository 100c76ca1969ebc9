"""How time grows with rows, features and clusters, next to scikit-learn."""

from __future__ import annotations

import io
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

import dkmeans
from benchmarks.data import Made
from benchmarks.report import Section, by_turns, mark, spread, tell

BASE = {"rows": 100_000, "features": 16, "clusters": 16}
SIZES: Mapping[str, Sequence[int]] = {
    "rows": (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000),
    "features": (2, 4, 8, 16, 32, 64, 128, 256, 512),
    "clusters": (2, 4, 8, 16, 32, 64, 128, 256, 512),
}
QUICK_SIZES: Mapping[str, Sequence[int]] = {
    "rows": (1_000, 10_000),
    "features": (2, 16),
    "clusters": (2, 16),
}
QUICK_ROWS = 5_000
ITERATIONS, THREADS = 20, 2
REPEATS, QUICK_REPEATS = 5, 1
PICTURE = "growth.png"

Point = tuple[int, list[float], list[float]]  # size, seconds of dkmeans, of scikit-learn


def measure(n: int, d: int, k: int, repeats: int) -> tuple[list[float], list[float]]:
    """Seconds of fits by turns."""
    X = Made("overlapping", d, max(2, k)).rows(n)
    options: dict[str, Any] = {"random_state": 0, "max_iter": ITERATIONS, "tol": 0}
    models = [dkmeans.KMeans(k, **options), KMeans(k, **options)]
    runs: list[Callable[[], object]] = [lambda m=m: m.fit(X) for m in models]
    with threadpool_limits(THREADS):
        by_turns(runs, 1)  # warms up
        ours, theirs = by_turns(runs, repeats)
    return ours, theirs


def run(*, quick: bool = False) -> Section:
    """Time fits along each axis, the other two fixed."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    base = {**BASE, "rows": QUICK_ROWS} if quick else BASE
    found: dict[str, list[Point]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for axis, sizes in (QUICK_SIZES if quick else SIZES).items():
            found[axis] = []
            for size in sizes:
                n, d, k = {**base, axis: size}.values()
                times = measure(n, d, k, QUICK_REPEATS if quick else REPEATS)
                found[axis].append((size, *times))
                tell(" ".join(_row(axis, found[axis][-1])))
    fixed = ", ".join(f"{value:,} {name}" for name, value in base.items())
    settings = (
        "Fits of float32 NumPy arrays, Gaussian clusters that overlap, one of rows, features and"
        f" clusters at a time, the others as in {fixed}. Default parameters but {ITERATIONS}"
        " iterations at most and tol = 0, so that the numbers of iterations are alike; seeding is"
        f" included. Milliseconds are medians of {QUICK_REPEATS if quick else REPEATS} by turns;"
        " the ratio is scikit-learn's time divided by that of dkmeans. A slope is that of the line"
        " through the larger half of the sizes, both axes logarithmic: 1 is linear growth."
    )
    header = ("grows, size", "dkmeans ms", "scikit-learn ms", "ratio")
    rows = [_row(axis, point) for axis, points in found.items() for point in points]
    notes = [_slopes(axis, points) for axis, points in found.items()]
    packages = ("scikit-learn", "numpy", "numba", "matplotlib")
    picture = {PICTURE: _picture(found)}
    return Section("Growth", settings, packages, THREADS, header, rows, notes, (), picture)


def _row(axis: str, point: Point) -> tuple[str, ...]:
    size, ours, theirs = point
    a, b = statistics.median(ours), statistics.median(theirs)
    return (
        f"{axis}, {size:,}", f"{1e3 * a:.1f} {spread(ours)}", f"{1e3 * b:.1f} {spread(theirs)}",
        mark(b / a),
    )  # fmt: skip


def _medians(points: Sequence[Point]) -> tuple[list[int], list[float], list[float]]:
    sizes = [size for size, _, _ in points]
    ours = [statistics.median(times) for _, times, _ in points]
    return sizes, ours, [statistics.median(times) for _, _, times in points]


def _slopes(axis: str, points: Sequence[Point]) -> str:
    half = max(2, -(-len(points) // 2))
    sizes, ours, theirs = (np.log(values[-half:]) for values in _medians(points))
    slopes = [float(np.polyfit(sizes, seconds, 1)[0]) for seconds in (ours, theirs)]
    return f"In {axis}: slope {slopes[0]:.2f}, scikit-learn {slopes[1]:.2f}."


def _picture(found: Mapping[str, Sequence[Point]]) -> bytes:
    """The times on logarithmic axes, one panel for each axis, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    figure = Figure(figsize=(10, 3.4), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(found), sharey=True)
    for panel, (axis, points) in zip(panels, found.items(), strict=True):
        sizes, ours, theirs = _medians(points)
        panel.loglog(sizes, ours, "o-", label="dkmeans")
        panel.loglog(sizes, theirs, "s--", label="scikit-learn")
        line = ours[-1] * np.array(sizes) / sizes[-1]
        panel.loglog(sizes, line, ":", color="grey", linewidth=1, label="linear")
        panel.set_xlabel(axis)
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("seconds")
    panels[0].legend()
    out = io.BytesIO()
    canvas.print_figure(out, format="png", dpi=110, metadata={"Software": None})
    return out.getvalue()
