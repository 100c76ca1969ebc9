"""Fits of NumPy arrays, each to its own convergence: scikit-learn against dkmeans."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

import dkmeans
from benchmarks.data import Made
from benchmarks.report import Table, by_turns, mark, spread, tell
from benchmarks.stores import cost

ROWS, FEATURES, CLUSTERS = (10_000, 100_000, 1_000_000), (2, 8, 32, 128), (8, 64, 256)
QUICK_ROWS, QUICK_FEATURES, QUICK_CLUSTERS = (2_000,), (2, 32), (8,)
MOST_WORK = 600_000_000  # rows x features x clusters
REPEATS, QUICK_REPEATS = 3, 2
TINY_ROWS, TINY_REPEATS = 1_000, 30
TINY = ((2, 3), (2, 8), (16, 8), (64, 32))
THREADS = 2

Array = np.ndarray[Any, Any]


@dataclass
class Cell:
    """One kind of data, with what the fits of it gave."""

    name: str
    X: Array
    k: int
    seconds: list[list[float]]  # of dkmeans, of scikit-learn
    inertia: list[list[float]]

    def row(self) -> tuple[str, ...]:
        """The cell for the table."""
        ours, theirs = (statistics.median(times) for times in self.seconds)
        quality = [statistics.median(found) for found in self.inertia]
        return (
            self.name, f"{1e3 * ours:.1f} {spread(self.seconds[0])}",
            f"{1e3 * theirs:.1f} {spread(self.seconds[1])}", mark(theirs / ours),
            f"{quality[0] / quality[1]:.4f}",
        )  # fmt: skip


def take(cell: Cell, repeats: int) -> Cell:
    """Fit by turns, a new seed each turn."""
    with threadpool_limits(THREADS):
        for seed in range(repeats):
            models: list[Any] = [
                dkmeans.KMeans(cell.k, random_state=seed),
                KMeans(cell.k, random_state=seed),
            ]
            runs: list[Callable[[], object]] = [lambda m=m: m.fit(cell.X) for m in models]
            for i, seconds in enumerate(by_turns(runs, 1)):
                cell.seconds[i] += seconds
                cell.inertia[i].append(cost(cell.X, models[i].cluster_centers_, 100_000))
    return cell


def tables(*, quick: bool = False) -> list[Table]:
    """Fits of many sizes, and tiny ones."""
    cells, skipped = [], []
    for n in QUICK_ROWS if quick else ROWS:
        for d in QUICK_FEATURES if quick else FEATURES:
            for k in QUICK_CLUSTERS if quick else CLUSTERS:
                name = f"{n:,}, {d}, {k}"
                if n * d * k > MOST_WORK:
                    skipped.append(f"({name})")
                    continue
                cell = Cell(name, Made("overlapping", d, k).rows(n), k, [[], []], [[], []])
                warm = Cell(name, cell.X[:1000], k, [[], []], [[], []])
                take(warm, 1)
                cells.append(take(cell, QUICK_REPEATS if quick else REPEATS))
                tell(" ".join(cells[-1].row()))
    left_out = f" Not run, as n x d x k is above {MOST_WORK:,}: {'; '.join(skipped)}."
    settings = (
        "Fits of float32 NumPy arrays, Gaussian clusters that overlap and as many as k, every"
        " parameter at its default, so each to its own convergence by the same rule"
        f" (tol = 1e-4, max_iter = 300), by turns, {THREADS} threads;"
        f" {QUICK_REPEATS if quick else REPEATS} seeds, medians. The ratio is scikit-learn's time"
        " divided by that of dkmeans. Inertia is the median of dkmeans divided by that of"
        f" scikit-learn, below 1 is better.{left_out if skipped else ''}"
    )
    header = ("rows, features, clusters", "dkmeans ms", "scikit-learn ms", "ratio", "inertia")
    return [
        Table(settings, header, _with_means(cells)),
        Table(
            f"Tiny fits, {TINY_ROWS:,} rows, likewise"
            f" ({QUICK_REPEATS if quick else TINY_REPEATS} seeds).",
            header,
            _tiny(QUICK_REPEATS if quick else TINY_REPEATS),
        ),
    ]


def _tiny(repeats: int) -> Sequence[Sequence[str]]:
    cells = []
    for d, k in TINY:
        X = Made("overlapping", d, k).rows(TINY_ROWS)
        take(Cell("warm", X, k, [[], []], [[], []]), 1)
        name = f"{TINY_ROWS:,}, {d}, {k}"
        cells.append(take(Cell(name, X, k, [[], []], [[], []]), repeats))
    return _with_means(cells)


def _with_means(cells: Sequence[Cell]) -> list[tuple[str, ...]]:
    """The rows of the cells, and one of geometric means."""
    rows = [cell.row() for cell in cells]
    ratio, inertia = (
        float(np.exp(np.mean([np.log(float(row[i].strip("*"))) for row in rows]))) for i in (3, 4)
    )
    return [*rows, ("geometric mean", "", "", mark(ratio), f"{inertia:.4f}")]
