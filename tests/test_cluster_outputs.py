"""Labels written by a cluster that breaks: whole, or not there and nothing left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time

import dask
import numpy as np
import pyarrow.dataset as ds
import pytest
import zarr

from dkmeans import ClusterError, KMeans, OutputError, write_labels
from dkmeans.data import sinks
from tests.clusters import IMPATIENT, OPTIONS, D, DaskCluster, N, Rigged, made
from tests.faults import TABLE

pytestmark = pytest.mark.faults


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with dask.config.set(IMPATIENT), DaskCluster(tmp_path_factory.mktemp("cluster")) as own:
        own.start_worker()
        own.start_worker(nanny=True)
        yield own


@pytest.fixture(scope="module")
def model():
    return KMeans(6, **OPTIONS).fit(made(0, N))


@pytest.fixture(params=["zarr", "parquet"])
def name(request, monkeypatch):
    monkeypatch.setattr(sinks, "LABEL_ROWS", 4096)
    return f"labels.{request.param}"


def read(path):
    if str(path).endswith(".zarr"):
        return zarr.open_array(str(path), mode="r")[:]
    return ds.dataset(str(path)).to_table()["label"].to_numpy()


def test_a_worker_killed_while_labels_are_written(cluster, model, tmp_path, name):
    for unit in (4, 33):
        (tmp_path / f"kill-{unit}").touch()
    out = tmp_path / "out"
    out.mkdir()
    worker = cluster.start_worker()
    with cluster.client():
        write_labels(model.predict(Rigged(tmp_path).source), out / name)
    worker.kill()
    if len(list(tmp_path.glob("kill-*"))) == 2:
        raise AssertionError("no worker was killed")
    if not any(process.popen.poll() is None for process in cluster.processes[1:2]):
        cluster.start_worker()  # in place of the one without a nanny
    same = np.array_equal(read(out / name), model.labels_) and os.listdir(out) == [name]
    TABLE.add("worker killed while labels are written", "identical" if same else "lost or damaged")
    assert same
    assert list(out.rglob("*.partial")) == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="mounting a small disk needs root")
@pytest.mark.parametrize("before", [False, True], ids=["new", "replaced"])
def test_a_disk_that_is_full(cluster, model, tmp_path, name, before):
    """A disk of 48 KiB for labels of 40,000 rows; what was there before is there after."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48k", "tmpfs", disk], check=True)
    try:
        if before:
            write_labels(np.arange(9, dtype=np.int32), disk / name)
        noise = np.random.default_rng(0).integers(0, 2**31, N).astype(np.int32)
        labels = model.predict(Rigged(tmp_path).source)
        labels = labels.map_blocks(lambda block: noise[: len(block)], dtype=np.int32)
        with cluster.client(), pytest.raises(OutputError, match="No space left on device"):
            write_labels(labels, disk / name, overwrite=True)
        time.sleep(0.5)  # for a task that was still at work
        left = os.listdir(disk)
        kept = not before or read(disk / name).tolist() == list(range(9))
        fine = kept and left == ([name] if before else [])
        TABLE.add("disk full", "clear error" if fine else "lost or damaged")
        assert fine, left
    finally:
        busy = subprocess.run(["umount", disk], check=False).returncode
        if busy:  # a mount that stayed would be in the way of whoever removes the folder
            subprocess.run(["umount", "--lazy", disk], check=True)
    assert not busy, "something on the full disk is still open"


def test_a_worker_that_writes_when_the_output_was_given_up(tmp_path):
    """It removes the pieces of an output that it would bring back."""
    array = zarr.create_array(tmp_path / "gone.zarr", shape=(8,), chunks=(4,), dtype="i4")
    chunks = sinks._Chunks(array, str(tmp_path / "gone.zarr"), (0, 4))
    chunks.write(np.arange(4), 0)
    shutil.rmtree(tmp_path / "gone.zarr")
    with pytest.raises(OutputError, match="has been removed while it was written"):
        chunks.write(np.arange(4), 1)
    assert os.listdir(tmp_path) == []


def test_what_a_killed_worker_began_is_no_part_of_the_output(tmp_path, monkeypatch):
    plain = sinks._Chunks.write

    def littered(self, rows, block):
        plain(self, rows, block)
        (tmp_path / self.folder / "c" / "0.0123.partial").write_bytes(b"half a chunk")

    monkeypatch.setattr(sinks._Chunks, "write", littered)
    write_labels(np.arange(9, dtype=np.int32), tmp_path / "labels.zarr")
    assert read(tmp_path / "labels.zarr").tolist() == list(range(9))
    assert list(tmp_path.rglob("*.partial")) == []


def test_a_scheduler_lost_while_labels_are_written(model, tmp_path, name):
    out = tmp_path / "out"
    out.mkdir()
    write_labels(np.arange(9, dtype=np.int32), out / name)
    with dask.config.set(IMPATIENT), DaskCluster(tmp_path) as own:
        own.start_worker()

        pid = own.scheduler.popen.pid

        def kill(block, block_id=None):
            if block_id == (3,):
                os.kill(pid, signal.SIGKILL)
            return block

        labels = model.predict(Rigged(tmp_path).source).map_blocks(kill, dtype=np.int32)
        with own.client(), pytest.raises(ClusterError, match="has been lost"):
            write_labels(labels, out / name, overwrite=True)
    fine = os.listdir(out) == [name] and read(out / name).tolist() == list(range(9))
    TABLE.add(
        "scheduler lost while labels are written", "clear error" if fine else "lost or damaged"
    )
    assert fine


def test_an_interrupt_at_any_time(cluster, model, tmp_path, long):
    """Ctrl-C of the command line, on a cluster: all outputs as before, or all of them new."""
    zarr.create_array(tmp_path / "X.zarr", data=made(0, N), chunks=(1000, D))
    out = tmp_path / "out"
    out.mkdir()
    outputs = [f"--model={out}/model.npz", f"--labels={out}/labels.zarr", "--seed=0"]
    command = ["fit", tmp_path / "X.zarr", "-k6", *outputs, "--overwrite", "--quiet"]
    began = time.monotonic()
    assert cluster.dkmeans(*command).popen.wait(90) == 0
    whole = time.monotonic() - began
    expected = np.array(read(out / "labels.zarr")), KMeans.load(out / "model.npz").inertia_
    random = np.random.default_rng(0)
    for _ in range(30 if long else 3):
        client = cluster.dkmeans(*command)
        time.sleep(whole * random.uniform(0.3, 1.0))
        client.popen.send_signal(signal.SIGINT)
        status = client.popen.wait(60)
        text = client.text
        assert status in (0, 130), text
        assert "Traceback" not in text
        assert "Interrupted; no output is half-written" in text or status != 130
        same = np.array_equal(read(out / "labels.zarr"), expected[0])
        same &= KMeans.load(out / "model.npz").inertia_ == expected[1]
        same &= sorted(os.listdir(out)) == ["labels.zarr", "model.npz"]
        outcome = "identical" if status == 0 else "clear error"
        TABLE.add("Ctrl-C", outcome if same else "lost or damaged")
        assert same, os.listdir(out)
