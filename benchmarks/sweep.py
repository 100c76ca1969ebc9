"""A sweep over k against separate fits: bytes read, passes and time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dask
import zarr

import dkmeans
from benchmarks.data import Made
from benchmarks.report import Section, mark, spread, tell
from benchmarks.stores import Stored, make_store, scratch
from dkmeans.scoring import METRICS

KS, THREADS = range(2, 13), 2
N_INITS = (1, 3)
ROWS, CHUNKS, SEEDS = 500_000, 20, (0,)
QUICK_ROWS, QUICK_CHUNKS, QUICK_SEEDS = 4_000, 2, (0,)
DATA = (Made("6 clusters apart", 8, 6, gap=10), Made("overlapping", 8, 12, reach=1.5))


@dataclass(frozen=True)
class Cost:
    """What one way to all k cost; bytes are those read from files."""

    seconds: float
    passes: float
    read_bytes: int
    longest: int  # bytes of the one fit that read most
    inertia: dict[int, float]


def swept(stored: Stored, seed: int, n_init: int, metrics: Sequence[str]) -> Cost:
    """All k at once."""
    X, read = stored.open_plain()
    before, start = read(), time.perf_counter()
    options = {"n_init": n_init, "random_state": seed, "residency": "stream"}
    found = dkmeans.sweep(X, k=KS, metrics=metrics, **options)
    seconds = time.perf_counter() - start
    inertia = {k: model.inertia_ for k, model in found.models.items()}
    read_bytes = read() - before
    return Cost(seconds, read_bytes / stored.stored_bytes, read_bytes, read_bytes, inertia)


def separate(stored: Stored, seed: int, n_init: int) -> Cost:
    """A fit for each k, one after the other."""
    seconds, reads, inertia = 0.0, [], {}
    for k in KS:
        X, read = stored.open_plain()
        before, start = read(), time.perf_counter()
        model = dkmeans.KMeans(k, n_init=n_init, random_state=seed, residency="stream").fit(X)
        seconds += time.perf_counter() - start
        reads.append(read() - before)
        inertia[k] = model.inertia_
    passes = sum(reads) / stored.stored_bytes
    return Cost(seconds, passes, sum(reads), max(reads), inertia)


def run(*, quick: bool = False) -> Section:
    """Sweep and fit by turns."""
    rows, chunks = (QUICK_ROWS, QUICK_CHUNKS) if quick else (ROWS, CHUNKS)
    seeds = QUICK_SEEDS if quick else SEEDS
    table: list[Sequence[str]] = []
    with (
        scratch(4 * rows * 8) as (folder, where),
        dask.config.set(scheduler="threads", num_workers=THREADS),
        zarr.config.set({"async.concurrency": THREADS}),
    ):
        warm = make_store(folder / "warm", DATA[0], 4_000, 2_000)
        swept(warm, 0, 1, METRICS)
        separate(warm, 0, 1)
        for made in DATA[:1] if quick else DATA:
            stored = make_store(folder / made.name, made, rows, -(-rows // chunks))
            for n_init in N_INITS[:1] if quick else N_INITS:
                rounds = []
                for seed in seeds:
                    ways = [swept(stored, seed, n_init, metrics) for metrics in ((), METRICS)]
                    rounds.append((*ways, separate(stored, seed, n_init)))
                    tell(f"{made.name}: " + ", ".join(f"{way.seconds:.1f} s" for way in rounds[-1]))
                for at, name in enumerate(("fits alone", "with metrics")):
                    pairs = [(costs[at], costs[-1]) for costs in rounds]
                    table.append(_row(f"{made.name}, {n_init}, {name}", pairs))
    settings = (
        f"`dkmeans.sweep` over k = {KS.start} to {KS.stop - 1} of {rows:,} rows x 8 float32"
        f" features in a Zarr store of {chunks} chunks {where}, against {len(KS)} fits one after"
        " the other with the same parameters, both streamed and by turns; medians of"
        f" {len(seeds)} seeds. Beside the sweep of the *fits alone* is one *with metrics*, of which"
        " the separate fits have none. MB are the bytes that the process read from files, passes"
        " the same divided by the bytes of the store. *Of the longest* is the bytes that the sweep"
        " read divided by those of the one fit that read most; the ratios of time and bytes are of"
        " all fits to the sweep, **bold** where the sweep costs more. Inertia is the sweep's"
        " divided by the fit's, the worst of all k and seeds."
    )
    header = (
        "data, n_init, sweep", "sweep s", "fits s", "ratio", "sweep passes", "fits passes",
        "sweep MB", "fits MB", "ratio", "of the longest", "worst inertia",
    )  # fmt: skip
    packages = ("dask", "zarr", "numpy", "numba")
    return Section("Sweep", settings, packages, THREADS, header, table)


def _row(name: str, pairs: Sequence[tuple[Cost, Cost]]) -> Sequence[str]:
    def middle(which: int, what: str) -> Any:
        return statistics.median(getattr(pair[which], what) for pair in pairs)

    longest = middle(0, "read_bytes") / middle(1, "longest")
    worst = max(one.inertia[k] / other.inertia[k] for one, other in pairs for k in KS)
    return (
        name,
        *(f"{middle(i, 'seconds'):.2f} {spread([p[i].seconds for p in pairs])}" for i in (0, 1)),
        mark(middle(1, "seconds") / middle(0, "seconds")),
        *(f"{middle(i, 'passes'):.1f}" for i in (0, 1)),
        *(f"{middle(i, 'read_bytes') / 1e6:.0f}" for i in (0, 1)),
        mark(middle(1, "read_bytes") / middle(0, "read_bytes")),
        f"{longest:.2f}", f"{worst:.4f}",
    )  # fmt: skip
