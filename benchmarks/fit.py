"""Whole fits with default parameters: of a Zarr store, of NumPy arrays, and the very first one."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import first_fit, memory_fits
from benchmarks.contenders import Contender, Job, fit
from benchmarks.data import Made
from benchmarks.peers import have, missing
from benchmarks.report import Section, mark, spread, tell
from benchmarks.stores import Stored, cost, make_store, scratch


@dataclass(frozen=True)
class Size:
    """What is fitted, and how often."""

    rows: int
    features: int
    clusters: int
    chunk_rows: int
    repeats: int


FULL = Size(1_000_000, 16, 32, 50_000, 2)
QUICK = Size(20_000, 8, 8, 5_000, 2)


def _take(contender: Contender, stored: Stored, k: int, seed: int) -> None:
    """Fit once."""
    fitted = fit(Job(contender.peer, stored.folder, k, seed, options=contender.options))
    contender.runs.append(fitted)
    contender.inertia.append(cost(stored.open()[0], fitted.centers, stored.chunk_rows))


def contenders() -> list[Contender]:
    """All that can run here."""
    found = [
        Contender("dkmeans, stream", "dkmeans", {"residency": "stream"}),
        Contender("dkmeans, memory", "dkmeans", {"residency": "memory"}),
        Contender("scikit-learn KMeans on the loaded array", "scikit-learn", {}),
        Contender("scikit-learn MiniBatchKMeans, one epoch", "scikit-learn batches", {"epochs": 1}),
    ]
    if have("dask-ml"):
        found.insert(2, Contender("dask-ml KMeans", "dask-ml", {}))
    return found


def run(*, quick: bool = False) -> Section:
    """Fit with every contender by turns, a new seed each turn."""
    size = QUICK if quick else FULL
    made = Made("overlapping", size.features, 2 * size.clusters)
    with scratch(4 * size.rows * size.features) as (folder, where):
        warm = make_store(folder / "warm", made, 4_000, 2_000)
        for contender in contenders():
            _take(contender, warm, 4, 0)  # compiles and imports what each needs
        stored = make_store(folder / "store", made, size.rows, size.chunk_rows)
        found = contenders()
        for seed in range(size.repeats):
            for contender in found:
                _take(contender, stored, size.clusters, seed)
                tell(f"{contender.name}: {contender.runs[-1].seconds:.2f} s")
    best = min(min(c.inertia) for c in found)
    settings = (
        f"{size.rows:,} rows x {size.features} float32 features of {made.clusters} Gaussian"
        f" clusters that overlap, in a Zarr store of {stored.chunks} chunks {where}."
        f" k = {size.clusters}, tol = 1e-4 of the mean variance (converted for dask-ml, whose tol"
        " is absolute), max_iter = 300, each library's default initialisation, one start. Each fit"
        f" is from the store to the centers; {size.repeats} seeds by turns, medians. The ratio is"
        " of the time to that of dkmeans, stream. Inertia is of all rows under the final centers,"
        " by the same code for all, relative to the best fit of the run. MB are the bytes that"
        " the process read from files, passes the same divided by the bytes of the store."
    )
    header = (
        "fit", "seconds", "spread", "ratio", "iterations", "inertia", "worst inertia",
        "passes read", "MB read",
    )  # fmt: skip
    packages = ("dask-ml", "scikit-learn", "dask", "zarr", "numpy", "numba")
    notes = [
        "scikit-learn's KMeans needs the whole array in memory; the others do not.",
        "Iterations of MiniBatchKMeans are batches. Its one epoch does not go on to convergence.",
        *missing(["dask-ml"]),
    ]
    rows = [_row(c, found[0], best) for c in found]
    more = [*memory_fits.tables(quick=quick), first_fit.table(quick=quick)]
    return Section("Fit", settings, packages, 2, header, rows, notes, more)


def _row(c: Contender, reference: Contender, best: float) -> Sequence[str]:
    ratio = c.median("seconds") / reference.median("seconds")
    return (
        c.name, f"{c.median('seconds'):.2f}", spread([run.seconds for run in c.runs]),
        mark(ratio) if c.peer != "dkmeans" else f"{ratio:.2f}", f"{c.median('iterations'):g}",
        f"{statistics.median(c.inertia) / best:.4f}", f"{max(c.inertia) / best:.4f}",
        f"{c.median('passes'):.1f}", f"{c.median('read_bytes') / 1e6:.0f}",
    )  # fmt: skip
