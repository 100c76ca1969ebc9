"""The first fit ever compiles in two processes, and does without the second where there is none."""

import os
import subprocess
import sys
import time

import dask
import numpy as np
import pytest

from dkmeans import KMeans
from dkmeans.engine import ahead

X = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
FITTED = """
import numpy as np
from dkmeans import KMeans
from dkmeans.engine import doubled_kernels, margin_kernels, sum_kernels
X = np.random.default_rng(0).normal(size=(1000, 3)).astype(np.float32)
model = KMeans(5, init=X[:5]).fit(X)
assert model.n_iter_ > 2
called = [sum_kernels._lloyd, sum_kernels.move, doubled_kernels.add_own]
called += [margin_kernels.stale, margin_kernels.settle_rows]
for kernel in called:
    assert kernel.signatures, kernel
    assert not kernel.stats.cache_misses, (kernel, kernel.signatures)
"""


@pytest.fixture
def started(monkeypatch):
    """Processes that are started, where nothing is in Numba's cache."""
    found, Popen = [], subprocess.Popen

    def start(*args, **kwargs):
        found.append(Popen(*args, **kwargs))
        return found[-1]

    monkeypatch.setattr(ahead.subprocess, "Popen", start)
    monkeypatch.setattr(ahead, "in_cache", lambda: False)
    monkeypatch.setattr(ahead, "default_threads", lambda: 2)
    monkeypatch.setattr(ahead, "memory_limit", lambda value: ahead.ROOM_BYTES)
    monkeypatch.setattr(ahead, "_CODE", "import sys; assert sys.argv[1] == 'float32'")
    return found


def test_a_fit_starts_one_and_ends_with_it(started):
    with dask.config.set({"dkmeans.compile-ahead": False}):
        alone = KMeans(4, random_state=0).fit(X)
    assert started == []
    model = KMeans(4, random_state=0).fit(X)
    assert [process.returncode for process in started] == [0]
    assert model.cluster_centers_.tobytes() == alone.cluster_centers_.tobytes()


def test_a_fit_does_not_need_it(started, monkeypatch):
    monkeypatch.setattr(ahead, "_CODE", "import sys; sys.exit(3)")
    KMeans(4, random_state=0).fit(X)
    assert [process.returncode for process in started] == [3]


def test_none_is_started_by_a_fit_that_streams(started):
    KMeans(4, random_state=0, residency="stream").fit(dask.array.from_array(X, chunks=(100, 3)))
    assert started == []


@pytest.mark.parametrize(
    ("where", "name", "value"),
    [
        (ahead, "in_cache", lambda: True),
        (ahead, "default_threads", lambda: 1),
        (ahead, "memory_limit", lambda value: ahead.ROOM_BYTES - 1),
        (sys, "executable", ""),
        (sys, "executable", "/usr/bin/blender"),
        (sys, "executable", "/nowhere/python3"),
    ],
)
def test_none_is_started_where_it_does_not_pay(started, monkeypatch, where, name, value):
    monkeypatch.setattr(where, name, value)
    with ahead.compiling(X.dtype):
        pass
    assert started == []


def test_one_that_hangs_is_ended(started, monkeypatch):
    monkeypatch.setattr(ahead, "_CODE", "import time; time.sleep(600)")
    monkeypatch.setattr(ahead, "MOST_SECONDS", 0.1)
    start = time.monotonic()
    with ahead.compiling(X.dtype):
        pass
    assert started[0].returncode < 0
    assert time.monotonic() - start < 300


def test_an_interrupt_ends_it(started, monkeypatch):
    monkeypatch.setattr(ahead, "_CODE", "import time; time.sleep(600)")
    with pytest.raises(KeyboardInterrupt), ahead.compiling(X.dtype):
        raise KeyboardInterrupt
    assert started[0].returncode < 0


@pytest.mark.slow
def test_it_compiles_all_that_passes_call(tmp_path):
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    code = [sys.executable, "-c", ahead._CODE, "float32", *sys.path]
    done = subprocess.run(code, env=env, capture_output=True, check=True)
    assert done.stdout + done.stderr == b""
    subprocess.run([sys.executable, "-c", FITTED], env=env, check=True)
