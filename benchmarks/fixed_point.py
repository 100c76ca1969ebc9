"""Passes over a stored table until no label changes, and what they read."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import dkmeans
from benchmarks import spark, worker
from benchmarks.contenders import STRICT, Contender, Job, fit
from benchmarks.data import Made
from benchmarks.peers import have, missing
from benchmarks.report import Section, mark, tell
from benchmarks.stores import Stored, cost, make_store, scratch

DATA = (
    (Made("separated, 16-D", 16, 10, gap=12), 10),
    (Made("overlapping, 3-D", 3, 12, reach=1.5), 12),
    (Made("uniform, 2-D", 2, 0), 16),
    (Made("separated, 8-D", 8, 20, gap=12), 20),
    (Made("overlapping, 16-D", 16, 32), 16),
)
ROWS, CHUNKS, SEEDS = 200_000, 20, (0, 1, 2)
QUICK_ROWS, QUICK_CHUNKS, QUICK_SEEDS = 10_000, 5, (0,)
SHARES = (0.0, 0.1, 0.3, 0.6)  # of the data, that the memory limit leaves room for
MAX_ITER, QUICK_MAX_ITER = 1000, 30


def least_limit(stored: Stored, k: int) -> int:
    """Least memory limit, to 1 %, with which dkmeans streams the store; reads no rows."""
    low, high = 2**16, 2**36
    X = stored.open()[0]
    while high > 1.01 * low:
        middle = int((low * high) ** 0.5)
        try:
            dkmeans.KMeans(k, memory_limit=middle, residency="stream").plan(X)
            high = middle
        except dkmeans.MemoryLimitError:
            low = middle
    return high


def contenders(stored: Stored, k: int) -> list[Contender]:
    """All that can run here."""
    least = least_limit(stored, k)
    found = []
    for share in SHARES:
        limit = least + int(share * stored.data_bytes)
        name = f"dkmeans, auto, room for {100 * share:.0f} %"
        found.append(Contender(name, "dkmeans", {"memory_limit": limit}))
    found.append(
        Contender("dkmeans, lloyd, streamed", "dkmeans",
                  {"algorithm": "lloyd", "residency": "stream"})
    )  # fmt: skip
    if have("dask-ml"):
        found.append(Contender("dask-ml", "dask-ml", {}))
    if have("pyspark"):
        found.append(Contender("Spark MLlib", "pyspark", {}))
    return found


def run(*, quick: bool = False) -> Section:
    """Fit every kind of data with every contender."""
    rows, chunks = (QUICK_ROWS, QUICK_CHUNKS) if quick else (ROWS, CHUNKS)
    data = DATA[:1] if quick else DATA
    table: list[Sequence[str]] = []
    with scratch(2 * rows * 64) as (folder, where):
        for i, (made, k) in enumerate(data):
            chunk_rows = -(-rows // chunks)
            stored = make_store(folder / str(i), made, rows, chunk_rows, parquet=have("pyspark"))
            table += _measure(made, k, stored, quick)
    settings = (
        f"Passes over {rows:,} rows of float32 in one Zarr store of {chunks} chunks {where} until"
        f" no label changes (tol = 0, at most {QUICK_MAX_ITER if quick else MAX_ITER} iterations),"
        " seeding included, each library with its default initialisation and one start; medians"
        f" of {len(QUICK_SEEDS if quick else SEEDS)} seeds, the same for all. MB are"
        " the stored bytes of the chunks that left a store that counts them, passes the same"
        " divided by the bytes of all chunks."
        " *Room for p %* is a memory limit of the least with which dkmeans runs, plus p % of the"
        " rows' bytes. The ratio is of passes to those of dkmeans with the least room: above 1,"
        " dkmeans takes fewer. Inertia is by the same code for all, relative to the best fit of"
        " these data; *ended* counts the fits that stopped before the last iteration allowed."
        " dask-ml stops when the squared shift is below the least float, Spark when no center"
        " moves at all."
    )
    header = (
        "data, k, fit", "passes", "least", "most", "ratio", "MB read", "iterations", "inertia",
        "worst inertia", "ended",
    )  # fmt: skip
    packages = ("dask-ml", "pyspark", "dask", "zarr", "numpy", "numba")
    notes = [*([spark.HOW] if have("pyspark") else []), *missing(["dask-ml", "pyspark"])]
    return Section("Passes to the fixed point", settings, packages, 2, header, table, notes)


def _measure(made: Made, k: int, stored: Stored, quick: bool) -> list[Sequence[str]]:
    found = contenders(stored, k)
    max_iter = QUICK_MAX_ITER if quick else MAX_ITER
    seeds = QUICK_SEEDS if quick else SEEDS
    X = stored.open()[0]
    for contender in found:
        common = {"options": contender.options, "counted": True}
        jobs = [
            Job(contender.peer, stored.folder, k, seed, max_iter, STRICT, **common)
            for seed in seeds
        ]
        own_process = contender.peer == "pyspark"  # whose JVM is best gone afterwards
        runs = (r.fitted for r in worker.run(jobs)) if own_process else map(fit, jobs)
        for fitted in runs:
            contender.runs.append(fitted)
            contender.inertia.append(cost(X, fitted.centers, stored.chunk_rows))
            line = f"{made.name}: {contender.name}: {fitted.passes:.1f} passes"
            tell(f"{line}, {fitted.iterations} iterations, {fitted.seconds:.1f} s")
    best = min(min(c.inertia) for c in found)
    return [_row(f"{made.name}, {k}, {c.name}", c, found[0], best, max_iter) for c in found]


def _row(name: str, c: Contender, first: Contender, best: float, most: int) -> Sequence[str]:
    passes = [run.passes for run in c.runs]
    ratio = c.median("passes") / first.median("passes")
    ended = sum(run.iterations < most for run in c.runs)
    return (
        name, f"{c.median('passes'):.1f}", f"{min(passes):.1f}", f"{max(passes):.1f}",
        f"{ratio:.2f}" if c.peer == "dkmeans" else mark(ratio),
        f"{c.median('read_bytes') / 1e6:.0f}", f"{c.median('iterations'):g}",
        f"{statistics.median(c.inertia) / best:.4f}", f"{max(c.inertia) / best:.4f}",
        f"{ended}/{len(c.runs)}",
    )  # fmt: skip
