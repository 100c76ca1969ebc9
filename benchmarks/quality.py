"""How good the clusters of one start are, over many seeds, next to scikit-learn's best of ten."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, load_iris, load_sample_image
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

import dkmeans
from benchmarks.data import Made
from benchmarks.report import Section, share, tell
from benchmarks.stores import cost

SEEDS, QUICK_SEEDS = 100, 3
PIXELS = 10_000

Array = np.ndarray[Any, Any]
Fit = Callable[[Array, int, int], Any]  # X, k, seed -> a fitted model


@dataclass(frozen=True)
class Set:
    """Data to cluster; ``made`` where the true clusters are known and apart."""

    name: str
    rows: Callable[[], Array]
    k: int
    made: Made | None = None


def _of(made: Made, rows: int, k: int = 0) -> Set:
    name = f"{made.name}, {rows:,} x {made.features}"
    return Set(name, partial(made.rows, rows), k or made.clusters, made if made.gap else None)


def pixels() -> Array:
    """Colours of some pixels of a photograph that scikit-learn has."""
    image = load_sample_image("china.jpg").reshape(-1, 3)
    chosen = np.random.default_rng(0).choice(len(image), size=PIXELS, replace=False)
    return image[np.sort(chosen)].astype(np.float64)


SETS = (
    Set("iris, 150 x 4", lambda: load_iris().data, 3),
    Set("digits, 1,797 x 64", lambda: load_digits().data, 10),
    _of(Made("S1-like, 15 apart", 2, 15, gap=7), 5_000),
    _of(Made("S4-like, 15 touching", 2, 15, reach=4), 5_000),
    _of(Made("unequal blobs, 1 : 50", 2, 12, gap=8, uneven=50), 5_000),
    _of(Made("100 apart", 2, 100, gap=7), 10_000),
    _of(Made("100 apart", 16, 100, gap=12), 10_000),
    _of(Made("overlapping, 20", 3, 20, reach=2), 10_000),
    _of(Made("overlapping, 50", 16, 50), 10_000),
    _of(Made("uniform", 2, 0), 10_000, 16),
    Set(f"pixels of a photograph, {PIXELS:,} x 3", pixels, 16),
    Set(f"pixels of a photograph, {PIXELS:,} x 3", pixels, 64),
)
QUICK_SETS = (SETS[0], SETS[2])


def _ours(X: Array, k: int, seed: int) -> Any:
    return dkmeans.KMeans(k, random_state=seed).fit(X)


def _sklearn(n_init: int, X: Array, k: int, seed: int) -> Any:
    with threadpool_limits(1):  # quicker on so few rows
        return KMeans(k, random_state=seed, n_init=n_init).fit(X)


FITS: dict[str, Fit] = {
    "dkmeans": _ours,
    "scikit-learn": partial(_sklearn, 1),
    "scikit-learn, best of 10": partial(_sklearn, 10),
}


def run(*, quick: bool = False) -> Section:
    """Fit every set with every seed."""
    seeds = QUICK_SEEDS if quick else SEEDS
    rows: list[Sequence[str]] = []
    notes = []
    pooled = {name: np.empty(0) for name in FITS}
    for data in QUICK_SETS if quick else SETS:
        try:
            X = data.rows()
        except ImportError as error:
            notes.append(f"{data.name}, k = {data.k} is missing: {error}")
            continue
        found, ratios = _measure(data, X, seeds)
        rows += found
        for name, values in ratios.items():
            pooled[name] = np.concatenate([pooled[name], values])
    rows += [_line(f"all sets together, {name}", values, "-") for name, values in pooled.items()]
    settings = (
        f"Default parameters, one start, {seeds} seeds, k = the number of true clusters where"
        " there are some. Inertia is of all rows under the final centers, by the same code for"
        " all, divided by that of scikit-learn's `n_init=10` with the same seed: 1 is as good as"
        " the best of ten starts. *All found* is the share of seeds with which each true center"
        " is nearest to a found center of its own, and the reverse, on sets whose clusters are"
        " apart; **bold** where it is below that of scikit-learn's best of ten, as are medians"
        " above 1 and 95th percentiles above 1.005."
    )
    header = ("data, k, fit", "median", "95th percentile", "worst", "all found")
    packages = ("scikit-learn", "numpy", "numba", "pillow")
    return Section("Quality", settings, packages, 2, header, rows, notes)


def _line(name: str, ratios: Array, found: str) -> Sequence[str]:
    """A row of the table."""
    middle, high = np.percentile(ratios, [50, 95])
    row = (
        name,
        f"**{middle:.4f}**" if middle > 1.00005 else f"{middle:.4f}",
        f"**{high:.4f}**" if high > 1.005 else f"{high:.4f}",
        f"{ratios.max():.4f}",
        found,
    )
    tell(" ".join(row))
    return row


def _measure(data: Set, X: Array, seeds: int) -> tuple[list[Sequence[str]], dict[str, Array]]:
    """The rows of one set, and the ratios of each way to fit it."""
    inertia: dict[str, list[float]] = {name: [] for name in FITS}
    found: dict[str, list[bool]] = {name: [] for name in FITS}
    for seed in range(seeds):
        for name, fit in FITS.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                centers = fit(X, data.k, seed).cluster_centers_
            inertia[name].append(cost(X, centers, 100_000))
            found[name].append(data.made is not None and data.made.found_all(centers))
    best = np.array(inertia["scikit-learn, best of 10"])
    ratios = {name: np.array(values) / best for name, values in inertia.items()}
    rows = []
    for name, values in ratios.items():
        got, aim = (float(np.mean(found[n])) for n in (name, "scikit-learn, best of 10"))
        known = f"**{share(got)}**" if got < aim else share(got)
        label = f"{data.name}, {data.k}, {name}"
        rows.append(_line(label, values, "-" if data.made is None else known))
    return rows, ratios
