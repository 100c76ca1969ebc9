"""The first fit of a process: the very first, which compiles, and that of a later process."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile

from benchmarks.report import Table
from benchmarks.worker import ROOT

REPEATS = 3
CODE = """
import sys, time
import numpy as np
X = np.random.default_rng(0).standard_normal((1000, 8))
start = time.perf_counter()
if sys.argv[1] == "dkmeans":
    from dkmeans import KMeans
else:
    from sklearn.cluster import KMeans
imported = time.perf_counter()
KMeans(8, random_state=0).fit(X)
print(imported - start, time.perf_counter() - imported)
"""


def table(*, quick: bool = False) -> Table:
    """Seconds of the import and of the first fit; ``quick`` leaves out the compilation."""
    rows = []
    later: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        cache = {} if quick else {"NUMBA_CACHE_DIR": folder}
        if not quick:
            rows.append(("dkmeans, the first ever", *_cells([_seconds("dkmeans", cache)])))
        for _ in range(1 if quick else REPEATS):
            later.append(_seconds("dkmeans", cache))
            theirs.append(_seconds("scikit-learn", cache))
    rows.append(("dkmeans, in a later process", *_cells(later)))
    rows.append(("scikit-learn", *_cells(theirs)))
    settings = (
        "The first fit of a process, 1,000 rows x 8 float64 features, k = 8, NumPy already"
        " imported. The first ever compiles what the fit uses and writes it to Numba's cache, here"
        f" an empty one; a later process reads it. Medians of {REPEATS}, the first ever of 1."
    )
    return Table(settings, ("fit", "import s", "fit s", "both s"), rows)


def _seconds(library: str, settings: dict[str, str]) -> tuple[float, float]:
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **settings}
    done = subprocess.run(
        [sys.executable, "-c", CODE, library], env=env, capture_output=True, text=True, check=True
    )
    imported, fitted = done.stdout.split()
    return float(imported), float(fitted)


def _cells(found: list[tuple[float, float]]) -> tuple[str, str, str]:
    imported = statistics.median(pair[0] for pair in found)
    fitted = statistics.median(pair[1] for pair in found)
    return f"{imported:.2f}", f"{fitted:.2f}", f"{imported + fitted:.2f}"
