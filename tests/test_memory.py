"""Memory before work: the plan, the refusal, and the measured peak."""

import os
import subprocess
import sys
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import zarr
from dask.utils import format_bytes

from dkmeans import KMeans, MemoryLimitError
from dkmeans.engine import memory
from dkmeans.engine.memory import Shape, make_plan

MIB = 2**20


def plan_of(n_rows, unit_rows, row_bytes=64, *, k=8, limit=1024 * MIB, threads=2, **options):
    blocks = 0 if n_rows is None else -(-n_rows // max(1, unit_rows))
    shape = Shape(n_rows, unit_rows, blocks, row_bytes, 16, options.pop("resident", False))
    residency = options.pop("residency", "auto")
    return make_plan(shape, k, residency, limit, 100, 7, 308, threads)


def test_data_that_fit_are_kept():
    plan = plan_of(10**6, 10**5)
    assert (plan.residency, plan.pass_bytes) == ("memory", 64 * 10**6)
    assert 64 * 10**6 < plan.projected_bytes <= plan.limit_bytes


def test_data_that_do_not_fit_are_streamed():
    plan = plan_of(10**9, 10**5)
    assert plan.residency == "stream"
    assert plan.projected_bytes <= plan.limit_bytes < plan.pass_bytes


@pytest.mark.parametrize("unit", [1, 1000, 10**5, 10**6])
@pytest.mark.parametrize("limit", [150 * MIB, 500 * MIB, 4096 * MIB])
@pytest.mark.parametrize("threads", [1, 2, 16])
def test_whatever_is_planned_is_within_the_limit(unit, limit, threads):
    try:
        plan = plan_of(10**8, unit, limit=limit, threads=threads)
    except MemoryLimitError:
        assert memory.projected(1, unit * 64, 8, 16, 100) > limit
        return
    assert plan.projected_bytes <= limit
    assert plan.block_rows % unit == 0
    assert plan.block_rows * 64 <= max(unit * 64, memory.BLOCK_BYTES)
    assert 1 <= plan.threads <= threads
    assert plan.n_blocks == -(-(10**8) // plan.block_rows)


def test_small_chunks_are_joined_into_few_tasks():
    plan = plan_of(10**8, 100, limit=4096 * MIB, residency="stream")
    assert plan.block_rows * 64 > memory.BLOCK_BYTES / 2
    assert plan.n_blocks < 200


def test_fewer_threads_are_used_where_blocks_are_large():
    plan = plan_of(10**8, 10**6, limit=400 * MIB, threads=8)
    assert 1 <= plan.threads < 8


def test_more_of_anything_needs_more():
    least = memory.projected(2, MIB, 8, 4, 100)
    for more in [(3, MIB, 8, 4, 100), (2, 2 * MIB, 8, 4, 100), (2, MIB, 9, 4, 100)]:
        assert memory.projected(*more) > least
    assert memory.projected(2, MIB, 8, 5, 100) > least
    assert memory.projected(2, MIB, 8, 4, 101) > least


def test_a_chunk_too_large_is_refused_with_both_numbers_and_the_cure():
    with pytest.raises(MemoryLimitError) as caught:
        plan_of(10**8, 10**7, limit=200 * MIB)
    text = str(caught.value)
    assert "memory_limit is 200.00 MiB" in text
    assert f"the fit needs {format_bytes(memory.projected(1, 640 * 10**6, 8, 16, 100))}" in text
    assert "raise memory_limit, or store X in chunks of at most" in text


@pytest.mark.parametrize("unit", [10**6, 10**7])
def test_the_cure_works(unit):
    """Chunks of just the size that the refusal names are accepted."""
    limit = 150 * MIB
    with pytest.raises(MemoryLimitError, match="at most") as caught:
        plan_of(10**8, unit, limit=limit)
    rows = int(str(caught.value).split("at most ")[1].split(" rows")[0].replace(",", ""))
    assert plan_of(10**8, rows, limit=limit).threads == 1


def test_data_that_must_be_kept_but_do_not_fit_are_refused():
    with pytest.raises(MemoryLimitError, match="residency='stream' reads from storage"):
        plan_of(10**8, 10**4, limit=200 * MIB, residency="memory")


def test_too_many_clusters_are_refused():
    with pytest.raises(MemoryLimitError, match="fewer clusters"):
        plan_of(10**6, 10, k=10**6, limit=200 * MIB)


def test_rows_in_memory_cost_only_what_the_work_needs():
    plan = plan_of(10**9, 1, resident=True, limit=500 * MIB)
    assert plan.residency == "memory"
    assert plan.projected_bytes < 500 * MIB


def test_unknown_sizes_are_streamed():
    shape = Shape(None, None, 12, 64, 16)
    plan = make_plan(shape, 8, "auto", 500 * MIB, 100, 7, 308, 2)
    assert (plan.residency, plan.n_rows, plan.pass_bytes) == ("stream", None, None)
    assert "known after the first pass" in str(plan)


def test_a_plan_of_an_estimator_reads_nothing_and_prints(computes):
    X = da.zeros((10**7, 16), chunks=(10**5, 16), dtype=np.float32)
    plan = KMeans(8, memory_limit="200 MiB").plan(X)
    assert computes.computes == 0
    assert plan.pass_bytes == 640 * 10**6
    text = str(plan)
    for words in (
        "10,000,000",
        "610.35 MiB",
        "streamed",
        "200.00 MiB",
        "7 to seed, 1 an iteration",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("init", "passes"), [("k-means||", 7), ("k-means++", 9), ("random", 1), ("array", 1)]
)
def test_the_plan_tells_the_passes_of_seeding(init, passes):
    X = np.random.default_rng(0).normal(size=(200, 16))
    model = KMeans(8, init=X[:8] if init == "array" else init, n_init=1, random_state=0, max_iter=2)
    plan = model.plan(X)
    history = model.fit(X).history_
    assert plan.seeding_passes == passes
    assert sum(i.passes for i in history if i.phase in ("survey", "init")) == passes
    assert history.passes <= plan.max_passes


@pytest.mark.parametrize(
    ("value", "limit"), [(10**9, 10**9), ("1 GiB", 2**30), ("1.5 MB", 1_500_000), (2e6, 2 * 10**6)]
)
def test_limits_are_bytes_or_text(value, limit):
    assert memory.memory_limit(value) == limit


def test_the_default_limit_is_less_than_the_machine_has():
    import psutil

    assert 0 < memory.memory_limit(None) < psutil.virtual_memory().total


def test_the_default_limit_of_a_cluster_is_what_its_workers_have(client):
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    total = sum(w["memory_limit"] for w in workers)
    assert memory.memory_limit(None) == int(memory.MARGIN * total)
    assert memory.total_threads() == 2


CHILD = """
import resource, sys
import dask.array, distributed, llvmlite, numba, pandas, psutil, sklearn.base, zarr
import dkmeans.engine.kernels, dkmeans.engine.seeding_kernels
from dkmeans import KMeans

def peak():
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

before = peak()
model = KMeans(4, init=sys.argv[3], n_init=1, memory_limit=int(sys.argv[2]), random_state=0,
               max_iter=int(sys.argv[4])).fit(sys.argv[1])
print(model.history_.bytes_read, model.history_.passes, peak() - before)
"""


def store_of(path, total_bytes, chunk_rows=16384, d=16):
    """A float32 Zarr array of this size decoded; its chunks on disk are links to a few files."""
    n_chunks = total_bytes // (chunk_rows * d * 4)
    distinct = 4
    random = np.random.default_rng(0)
    array = zarr.create_array(
        path, shape=(n_chunks * chunk_rows, d), chunks=(chunk_rows, d), dtype="float32"
    )
    values = np.round(random.normal(size=(distinct * chunk_rows, d)) * 4)
    array[: distinct * chunk_rows] = values.astype(np.float32)
    for i in range(distinct, n_chunks):
        folder = Path(path) / "c" / str(i)
        folder.mkdir()
        os.link(Path(path) / "c" / str(i % distinct) / "0", folder / "0")
    return n_chunks * chunk_rows * d * 4


def measured(path, limit, init, max_iter):
    """Bytes read, passes, and peak bytes above the imports, of a fit in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(path), str(limit), init, str(max_iter)],
        capture_output=True,
        text=True,
        check=False,
        timeout=550,
    )
    assert done.returncode == 0, done.stderr
    return [int(word) for word in done.stdout.split()[-3:]]


def test_the_measured_peak_is_below_the_limit_on_data_eight_times_larger(tmp_path):
    limit = 128 * MIB
    total = store_of(tmp_path / "x.zarr", 8 * limit)
    assert total >= 8 * limit
    read, passes, peak = measured(tmp_path / "x.zarr", limit, "random", 1)
    assert read == passes * total
    assert peak < limit


@pytest.mark.slow
@pytest.mark.parametrize("times", [8, 16])
def test_so_it_is_with_seeding_and_many_iterations(tmp_path, times):
    limit = 160 * MIB
    total = store_of(tmp_path / "x.zarr", times * limit)
    read, passes, peak = measured(tmp_path / "x.zarr", limit, "k-means||", 5)
    assert read == passes * total
    assert peak < limit
