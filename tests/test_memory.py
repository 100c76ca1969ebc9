"""Memory before work: the plan, the refusal, and the measured peak."""

import os
import subprocess
import sys
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import zarr
from dask.utils import format_bytes

from benchmarks.photos import make_tiff
from dkmeans import KMeans, MemoryLimitError
from dkmeans.engine import machine, memory
from dkmeans.engine.memory import Shape, Work, make_plan

MIB = 2**20


FIXED = machine.FIXED_BYTES


def work_of(k=8, candidates=100):
    return Work(k, 16, candidates, 7, 308)


def shape_of(n_rows, unit_rows, row_bytes=64, **options):
    return Shape(n_rows, unit_rows, 0, row_bytes, 16, **options)


def plan_of(n_rows, unit_rows, *, k=8, extra=1024 * MIB, threads=2, residency="auto", **options):
    """The plan of a fit with so many bytes to spare above the fixed ones."""
    with dask.config.set(num_workers=threads):
        shape = shape_of(n_rows, unit_rows, **options)
        return make_plan(shape, work_of(k), residency, FIXED + extra)


def test_data_that_fit_are_kept():
    plan = plan_of(10**6, 10**5)
    assert (plan.residency, plan.pass_bytes) == ("memory", 64 * 10**6)
    assert 64 * 10**6 < plan.projected_bytes <= plan.limit_bytes


def test_data_that_do_not_fit_are_streamed():
    plan = plan_of(10**9, 10**5)
    assert plan.residency == "stream"
    assert plan.projected_bytes <= plan.limit_bytes < plan.pass_bytes


@pytest.mark.parametrize("unit", [1, 1000, 10**5, 10**6])
@pytest.mark.parametrize("extra", [60 * MIB, 400 * MIB, 4096 * MIB])
@pytest.mark.parametrize("threads", [1, 2, 16])
@pytest.mark.parametrize("buffered", [False, True])
def test_whatever_is_planned_is_within_the_limit(unit, extra, threads, buffered):
    least = memory.projected(
        work_of(), 1, 1, shape_of(10**8, unit, buffered=buffered).reading_bytes(unit * 64)
    )
    if least > FIXED + extra:
        with pytest.raises(MemoryLimitError):
            plan_of(10**8, unit, extra=extra, threads=threads, buffered=buffered)
        return
    plan = plan_of(10**8, unit, extra=extra, threads=threads, buffered=buffered)
    assert plan.projected_bytes <= plan.limit_bytes == FIXED + extra
    assert not buffered or plan.block_rows % unit == 0  # chunks of dask can be split
    assert plan.block_rows * 64 <= max(unit * 64, memory.BLOCK_BYTES)
    assert 1 <= plan.threads <= threads
    assert plan.n_blocks == -(-(10**8) // plan.block_rows)


def test_small_chunks_are_joined_into_few_tasks():
    plan = plan_of(10**8, 100, residency="stream", buffered=True)
    assert plan.block_rows * 64 > memory.BLOCK_BYTES / 2
    assert plan.n_blocks < 200


def test_fewer_threads_are_used_where_blocks_are_large():
    assert 1 <= plan_of(10**8, 10**6, extra=400 * MIB, threads=8).threads < 8


def test_more_of_anything_needs_more():
    least = memory.projected(work_of(), 2, 1, MIB)
    assert memory.projected(work_of(), 3, 1, MIB) > least
    assert memory.projected(work_of(), 2, 2, MIB) > least
    assert memory.projected(work_of(), 2, 1, 2 * MIB) > least
    assert memory.projected(work_of(k=9), 2, 1, MIB) > least
    assert memory.projected(work_of(candidates=101), 2, 1, MIB) > least


@pytest.mark.parametrize("unit", [10**6, 10**7])
@pytest.mark.parametrize("buffered", [False, True])
def test_a_chunk_too_large_is_refused_with_both_numbers_and_a_cure_that_works(unit, buffered):
    options = {"extra": 50 * MIB, "threads": 1, "buffered": buffered}
    with pytest.raises(MemoryLimitError) as caught:
        plan_of(10**8, unit, **options)
    text = str(caught.value)
    reading = shape_of(10**8, unit, buffered=buffered).reading_bytes(unit * 64)
    need, limit = memory.projected(work_of(), 1, 1, reading), FIXED + options["extra"]
    assert f"the fit needs {format_bytes(need)}" in text
    assert f"memory_limit is {format_bytes(limit)}: raise memory_limit" in text
    if "at most" in text:
        rows = int(text.split("at most ")[1].split(" rows", maxsplit=1)[0].replace(",", ""))
        assert plan_of(10**8, rows, **options).threads == 1


def test_data_that_must_be_kept_but_do_not_fit_are_refused():
    with pytest.raises(MemoryLimitError, match="residency='stream' reads from storage"):
        plan_of(10**8, 10**4, extra=200 * MIB, residency="memory")


def test_too_many_clusters_are_refused():
    with pytest.raises(MemoryLimitError, match="raise memory_limit"):
        plan_of(10**6, 10, k=10**6, extra=200 * MIB)


def test_rows_in_memory_cost_only_what_the_work_needs():
    plan = plan_of(10**9, 1, resident=True, extra=100 * MIB)
    assert plan.residency == "memory"
    assert plan.projected_bytes < FIXED + 100 * MIB


def test_unknown_sizes_are_streamed():
    plan = make_plan(Shape(None, None, 12, 64, 16), work_of(), "auto", FIXED + 400 * MIB)
    assert (plan.residency, plan.n_rows, plan.pass_bytes) == ("stream", None, None)
    assert "known after the first pass" in str(plan)


def test_a_plan_of_an_estimator_reads_nothing_and_prints(computes):
    X = da.zeros((10**7, 16), chunks=(10**5, 16), dtype=np.float32)
    plan = KMeans(8, memory_limit="512 MiB").plan(X)
    assert computes.computes == 0
    assert plan.pass_bytes == 640 * 10**6
    text = str(plan)
    for words in ("10,000,000", "610.35 MiB", "every pass", "512.00 MiB", "1 to seed, then"):
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
    assert machine.memory_limit(value) == limit


def test_the_default_limit_is_less_than_the_machine_has():
    import psutil

    assert 0 < machine.memory_limit(None) < psutil.virtual_memory().total


def test_the_default_limit_of_a_cluster_is_what_its_workers_have(client):
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    total = sum(w["memory_limit"] for w in workers)
    assert machine.memory_limit(None) == int(machine.MARGIN * total)


def keeping(extra, *, n_rows=10**8, runs=1, residency="stream", keeps=True):
    """The plan of a fit that keeps rows between passes."""
    work = Work(8, 16, 100, 2, 308, runs=runs, keeps=keeps)
    shape = shape_of(n_rows, 10**4, buffered=True)
    with dask.config.set(num_workers=2):
        return make_plan(shape, work, residency, FIXED + extra)


def test_fewer_rows_are_kept_where_there_is_less_memory():
    plans = [keeping(extra * MIB) for extra in (40, 80, 160, 640, 2560, 10_240)]
    kept = [plan.kept_rows for plan in plans]
    assert kept == sorted(kept)
    assert kept[0] < kept[-1] / 20
    for plan in plans:
        held = plan.kept_rows * memory.KEPT_COPIES * (64 + memory.KEPT_BYTES)
        assert held < plan.projected_bytes <= plan.limit_bytes
    assert keeping(10**12).kept_rows == 10**8 * memory.KEPT_SHARE
    assert keeping(10**12, runs=2).kept_rows == 2 * 10**8 * memory.KEPT_SHARE


def test_plain_lloyd_keeps_no_rows():
    assert keeping(10**10, keeps=False).kept_rows == 0
    assert keeping(10**12, residency="memory").kept_rows == 10**8
    X = da.zeros((10**6, 4), chunks=(10**5, 4))
    assert KMeans(2, algorithm="lloyd", residency="stream").plan(X).kept_rows == 0
    assert KMeans(2, residency="stream").plan(X).kept_rows > 0


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

KEEPING = """
import resource, sys
import dask.array, distributed, llvmlite, numba, pandas, psutil, sklearn.base, zarr
import numpy as np
import dkmeans.engine.kernels, dkmeans.engine.seeding_kernels
from dkmeans import KMeans
from dkmeans.engine.kept import Kept

most, plain = [0], Kept.gathered

def gathered(self):
    most[0] = max(most[0], self.n_rows if self.choice.most is not None else 0)
    return plain(self)

Kept.gathered = gathered
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
model = KMeans(8, n_init=3, init=sys.argv[3], memory_limit=int(sys.argv[2]), random_state=0,
               max_iter=int(sys.argv[4]), tol=0.0).fit(sys.argv[1])
print(model.history_.passes, most[0], peak() - before)
"""


def store_of(path, total_bytes, chunk_rows=65536, d=16, apart=0):
    """A float32 Zarr array of this size decoded; its chunks on disk are links to a few files."""
    n_chunks = -(-total_bytes // (chunk_rows * d * 4))
    distinct = 4
    random = np.random.default_rng(0)
    array = zarr.create_array(
        path, shape=(n_chunks * chunk_rows, d), chunks=(chunk_rows, d), dtype="float32"
    )
    values = np.round(random.normal(size=(distinct * chunk_rows, d)) * 4)
    values += apart * random.integers(-2, 3, size=(8, d))[np.arange(len(values)) % 8]
    array[: distinct * chunk_rows] = values.astype(np.float32)
    for i in range(distinct, n_chunks):
        folder = Path(path) / "c" / str(i)
        folder.mkdir()
        os.link(Path(path) / "c" / str(i % distinct) / "0", folder / "0")
    return n_chunks * chunk_rows * d * 4


def measured(path, limit, init, max_iter, script=CHILD):
    """Bytes read, passes, and peak bytes above the imports, of a fit in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", script, str(path), str(limit), init, str(max_iter)],
        capture_output=True,
        text=True,
        check=False,
        timeout=550,
    )
    assert done.returncode == 0, done.stderr
    return [int(word) for word in done.stdout.split()[-3:]]


def test_the_measured_peak_is_below_the_limit_on_data_eight_times_larger(tmp_path):
    limit = FIXED + 32 * MIB
    total = store_of(tmp_path / "x.zarr", 8 * limit)
    assert total >= 8 * limit
    read, passes, peak = measured(tmp_path / "x.zarr", limit, "random", 1)
    assert read == passes * total
    assert peak < limit


@pytest.mark.slow
def test_so_it_is_with_seeding_and_more_iterations(tmp_path):
    limit = FIXED + 64 * MIB
    total = store_of(tmp_path / "x.zarr", 8 * limit)
    read, passes, peak = measured(tmp_path / "x.zarr", limit, "k-means||", 3)
    assert read == passes * total
    assert peak < limit


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "darwin", reason="counts the peak in other units")
def test_so_it_is_with_rows_kept_by_three_runs(tmp_path):
    limit = FIXED + 64 * MIB
    store_of(tmp_path / "x.zarr", limit, apart=6)
    _, kept, peak = measured(tmp_path / "x.zarr", limit, "random", 30, KEEPING)
    assert kept > 20_000
    assert peak < limit


QUANTIZING = """
import json, resource, sys
from dkmeans.image import quantize
from dkmeans.data.tiff_source import TiffPixels

peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
reads, plain = [], TiffPixels._segment_of

def segment_of(self, page, index):
    reads.append(index)
    return plain(self, page, index)

small, large, folder, limit = sys.argv[1:]
quantize(small, 4, random_state=0).write(labels=folder + "/warm.zarr")
TiffPixels._segment_of, before = segment_of, peak()
found = quantize(large, 16, random_state=0, memory_limit=limit)
once = sorted(reads)
found.write(labels=folder + "/labels.zarr")
print(once == list(range(len(once))), sorted(reads) == sorted(2 * once), len(once), peak() - before)
"""


def quantized(folder, side, limit):
    """Whether each tile is read once by each pass, tiles, and peak bytes above a warm process."""
    small, large = (make_tiff(folder / f"{s}.tif", s) for s in (100, side))
    done = subprocess.run(
        [sys.executable, "-c", QUANTIZING, str(small), str(large), str(folder), limit],
        capture_output=True,
        text=True,
        check=False,
        timeout=550,
    )
    assert done.returncode == 0, done.stderr
    once, twice, tiles, peak = done.stdout.split()
    return once == twice == "True", int(tiles), int(peak)


def test_an_image_is_read_once_to_search_and_once_to_write_within_the_limit(tmp_path):
    reads_once, tiles, peak = quantized(tmp_path, 1800, "200 MB")
    assert reads_once
    assert tiles == 64
    assert peak < 200e6


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "darwin", reason="counts the peak in other units")
def test_so_it_is_with_300_million_bytes_of_pixels(tmp_path):
    reads_once, tiles, peak = quantized(tmp_path, 10_000, "256 MB")
    assert reads_once
    assert tiles == 1600
    assert peak < 256e6


def test_predict_keeps_no_rows_whatever_the_residency_of_the_fit():
    limit = machine.FIXED_BYTES + 120 * MIB
    model = KMeans(2, residency="memory", memory_limit=limit, random_state=0)
    model.fit(np.random.default_rng(0).normal(size=(50, 2)))
    X = da.zeros((10**8, 2), chunks=(10**6, 2))
    with pytest.raises(MemoryLimitError):
        model.plan(X)
    assert model.plan(X, predict=True).max_passes == 1
    assert model.predict(X).shape == (10**8,)


def test_weights_are_part_of_the_plan():
    X = da.zeros((10**6, 1), chunks=(10**5, 1), dtype="float32")
    weights = da.ones(10**6, chunks=10**5)
    plain, weighted = KMeans(2).plan(X), KMeans(2).plan(X, sample_weight=weights)
    assert weighted.pass_bytes == plain.pass_bytes + 8 * 10**6
