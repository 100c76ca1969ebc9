"""Fits of a store of over 1 GB in little memory, each in a process of its own."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks import spark, worker
from benchmarks.contenders import Contender, Job
from benchmarks.data import Made
from benchmarks.peers import have, missing
from benchmarks.report import Section, mark, spread, tell
from benchmarks.stores import Stored, cost, make_store, scratch

LIMIT = "512 MiB"
EPOCHS = 20  # at most, of MiniBatchKMeans


@dataclass(frozen=True)
class Size:
    """What is fitted, and how often."""

    made: Made
    k: int
    rows: int
    chunk_rows: int
    seeds: tuple[int, ...]


FULL = (Size(Made("20 apart", 16, 20, gap=12), 20, 16_000_000, 160_000, (0,)),)
QUICK = (Size(Made("20 apart", 16, 20, gap=12), 20, 40_000, 10_000, (0,)),)


@dataclass
class Watched(Contender):
    """One way to fit, with the memory that its runs took as well."""

    memory: list[worker.Run] = field(default_factory=list)


def contenders() -> list[Watched]:
    """All that can run here."""
    found = [
        Watched("dkmeans", "dkmeans", {"memory_limit": LIMIT}),
        Watched("dkmeans, lloyd", "dkmeans", {"memory_limit": LIMIT, "algorithm": "lloyd"}),
        Watched("scikit-learn MiniBatchKMeans", "scikit-learn batches", {"epochs": EPOCHS}),
    ]
    if have("dask-ml"):
        found.append(Watched("dask-ml", "dask-ml", {}))
    if have("pyspark"):
        found.append(Watched("Spark MLlib", "pyspark", {}))
    return found


def run(*, quick: bool = False) -> Section:
    """Fit every size with every contender by turns."""
    table: list[Sequence[str]] = []
    sizes = QUICK if quick else FULL
    for size in sizes:
        needed = (3 if have("pyspark") else 1) * 4 * size.rows * size.made.features
        with scratch(needed) as (folder, where):
            parquet = have("pyspark")
            warm = make_store(folder / "warm", size.made, 4_000, 2_000, parquet=parquet)
            tell(f"writing {size.made.name}")
            stored = make_store(
                folder / "store", size.made, size.rows, size.chunk_rows, parquet=parquet
            )
            table += _measure(size, warm, stored, where)
    settings = (
        "Whole fits of float32 rows in a Zarr store, the same k, stop rule (tol = 1e-4 of the mean"
        " variance, converted to each library's; max_iter = 300), threads and seeds, each"
        " library's default initialisation and one start, by turns. Each fit has a process of its"
        " own, which first fits 4,000 rows of another store, so that imports and compilation are"
        " not timed; nor are the start of Spark's session. Time is from the store to the centers;"
        " the ratio is of the time to that of dkmeans. MB are the bytes that the process read"
        " from files, passes the same divided by the bytes of the store. *Peak* is the most"
        " that the process and those below it had resident, *growth* the same above what it had"
        " before the fit: dkmeans has"
        f" memory_limit = {LIMIT!r}, Spark a heap of {spark.HEAP}; the others have no limit to"
        " set. Inertia is of all rows under the final centers, by the same code for all, relative"
        " to the best of the run. MiniBatchKMeans takes the chunks in order by `partial_fit`,"
        f" epoch after epoch (at most {EPOCHS}), until one moves the centers by no more than tol."
    )
    header = (
        "data, k, fit", "seconds", "ratio", "passes", "MB read", "iterations", "peak MB",
        "growth MB", "inertia", "worst inertia",
    )  # fmt: skip
    packages = ("dask-ml", "pyspark", "scikit-learn", "dask", "zarr", "numpy", "numba")
    notes = [*([spark.HOW] if have("pyspark") else []), *missing(["dask-ml", "pyspark"])]
    return Section("Out of core", settings, packages, 2, header, table, notes)


def _measure(size: Size, warm: Stored, stored: Stored, where: str) -> list[Sequence[str]]:
    found = contenders()
    X = stored.open()[0]
    for seed in size.seeds:
        for c in found:
            job = Job(c.peer, stored.folder, size.k, seed, options=c.options)
            first = Job(c.peer, warm.folder, 4, 0, options=c.options)
            for done in worker.run([job], first):
                c.runs.append(done.fitted)
                c.memory.append(done)
                c.inertia.append(cost(X, done.fitted.centers, stored.chunk_rows))
                line = f"{c.name}: {done.fitted.seconds:.1f} s, {done.fitted.passes:.1f} passes"
                tell(f"{size.made.name}: {line}, inertia {c.inertia[-1]:.6g}")
    best = min(min(c.inertia) for c in found)
    name = f"{size.made.name}, {size.k}"
    data = f"{size.rows:,} x {size.made.features}, {stored.data_bytes / 1e9:.2f} GB"
    title = f"**{name}** ({data}, {stored.chunks} chunks {where}, {len(size.seeds)} seeds)"
    rows = [_row(f"{name}, {c.name}", c, found[0], best) for c in found]
    return [(title, *[""] * (len(rows[0]) - 1)), *rows]


def _row(name: str, c: Watched, first: Watched, best: float) -> Sequence[str]:
    seconds = c.all("seconds")
    ratio = statistics.median(seconds) / first.median("seconds")
    return (
        name, f"{statistics.median(seconds):.2f} {spread(seconds)}",
        f"{ratio:.2f}" if c.peer == "dkmeans" else mark(ratio),
        f"{c.median('passes'):.1f}",
        f"{c.median('read_bytes') / 1e6:.0f}",
        f"{c.median('iterations'):g}",
        f"{max(run.peak for run in c.memory) / 1e6:.0f}",
        f"{max(run.growth for run in c.memory) / 1e6:.0f}",
        f"{statistics.median(c.inertia) / best:.4f}", f"{max(c.inertia) / best:.4f}",
    )  # fmt: skip
