"""Clusters of separate processes: what travels where, who is let in, and what the client holds."""

from __future__ import annotations

import datetime
import ipaddress
import os
import pickle
import resource
import threading

import dask.array as da
import numpy as np
import pytest
import zarr
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dkmeans import KMeans, write_labels
from dkmeans.cli import cli
from dkmeans.data.blocks import cut, from_dask, from_reader
from dkmeans.data.graphs import gathered
from dkmeans.engine import passes as passes_module
from dkmeans.engine.machine import Machine, memory_limit
from dkmeans.engine.passes import Passes
from tests.clusters import D, DaskCluster, N, Rigged, made

K = 6


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two workers, of unlike size."""
    with DaskCluster(tmp_path_factory.mktemp("cluster")) as own:
        own.start_worker(threads=1, memory="512MiB")
        own.start_worker(threads=3, memory="2GiB")
        yield own


@pytest.fixture
def client(cluster):
    with cluster.client() as own:
        yield own


def test_a_limit_that_the_smallest_share_of_uneven_workers_bears(client):
    """512 MiB for one thread is the least that any thread has; four have as much each."""
    assert memory_limit(None) == int(0.8 * 4 * 512 * 2**20)
    assert Machine.at_hand(local=False) == Machine(4, 2, True, 1)


def test_rows_kept_fit_in_the_smallest_worker(client, tmp_path):
    plan = KMeans(K, memory_limit="1.5GiB", residency="stream").plan(Rigged(tmp_path).source)
    alone = KMeans(K, memory_limit="1.5GiB", residency="stream")
    spare = plan.limit_bytes - (plan.projected_bytes - plan.kept_rows * 3 * (4 * D + 12))
    assert plan.kept_rows * 3 * (4 * D + 12) <= spare / 4
    assert alone.plan(made(0, N)).kept_rows > 0


class Weighed:
    """A step that knows the processes in which it arrives, by files in a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __setstate__(self, state):
        self.__dict__ = state
        with open(
            os.path.join(self.folder, f"{os.getpid()}-{threading.get_ident()}"), "ab"
        ) as file:
            file.write(b".")

    def __call__(self, X, weights, offset, block):
        return Whose((os.getpid(),), ())


class Whose:
    """Processes that made parts, and that combined them."""

    def __init__(self, made_by, combined_by):
        self.made_by, self.combined_by = made_by, combined_by

    @staticmethod
    def combine(parts):
        made_by = tuple(pid for part in parts for pid in part.made_by)
        combined_by = tuple(pid for part in parts for pid in part.combined_by)
        return Whose(made_by, (*combined_by, os.getpid()))


def test_centers_reach_each_worker_once_a_pass_and_parts_combine_there(client, tmp_path):
    """300 blocks: the step arrives once a worker, and once at the scheduler that sends it on."""
    blocks = from_reader(Rigged(tmp_path), cut(N, N // 300), None)
    Passes().run(blocks, Weighed(str(tmp_path)), "warm")
    for file in tmp_path.iterdir():
        file.unlink()
    found = Passes().run(blocks, Weighed(str(tmp_path)), "who")
    arrived = {}
    for file in tmp_path.iterdir():
        pid = int(file.name.split("-")[0])
        arrived[pid] = arrived.get(pid, 0) + file.stat().st_size
    assert len(found.made_by) == blocks.count
    assert set(arrived) >= set(found.made_by)
    assert all(arrived[pid] <= 2 for pid in found.made_by), arrived
    assert os.getpid() not in {*found.made_by, *found.combined_by}
    assert len(found.combined_by) > 10


def test_the_client_gets_no_rows_and_no_labels(client, tmp_path):
    """16 MB of rows and 2 MB of labels stay on the workers: the client gets far less."""
    X = da.map_blocks(
        lambda block_info=None: made(*block_info[None]["array-location"][0]),
        chunks=((25_000,) * 20, (D,)),
        dtype=np.float32,
        meta=np.empty((0, 0), np.float32),
    )
    got = []
    gather = client._gather

    async def counted(futures, **options):
        found = await gather(futures, **options)
        got.append(len(pickle.dumps(found)))
        return found

    client._gather = counted
    model = KMeans(K, init="k-means||", random_state=0, history_rows=100, residency="stream").fit(X)
    write_labels(model.labels_, tmp_path / "labels.zarr")
    assert len(got) == model.history_.passes + 1
    assert max(got) < 100_000
    assert sum(got) < 500_000
    labels = zarr.open_array(tmp_path / "labels.zarr")[:]
    np.testing.assert_array_equal(labels, model.predict(made(0, 500_000)))


@pytest.mark.parametrize("each", [1, 3, 50])
def test_chunks_gathered_in_one_task_are_the_same_chunks(each):
    """What several need is done once, what one needs in its own task; order is kept."""
    calls = []

    def source(block, block_id):
        calls.append(block_id)
        return block + block_id[0]

    X = da.map_blocks(source, da.zeros((40, 2), chunks=(2, 1)), dtype=float, meta=np.empty((0, 0)))
    X = X.rechunk((4, 2))
    boxes = X.map_blocks(lambda b: np.full((1, 1), b.sum()), chunks=((1,) * 10, (1,)), dtype=float)
    tasks = gathered(boxes, each, lambda found: np.concatenate(found).sum(keepdims=True))
    assert tasks.numblocks == (-(-10 // each), 1)
    assert len(dict(tasks.__dask_graph__())) <= tasks.numblocks[0] + 25
    found = tasks.compute(scheduler="sync", optimize_graph=False)
    sums = boxes.compute(scheduler="sync")[:, 0]
    calls_each = len(calls) / 40 / 2
    assert calls_each == 1
    np.testing.assert_array_equal(
        found[:, 0], [sums[i : i + each].sum() for i in range(0, 10, each)]
    )


def test_many_small_chunks_are_few_tasks(client, monkeypatch):
    """2,000 chunks of a dask array with weights: a few hundred tasks, the same sums."""
    sent = []
    persist = client.persist

    def counted(work, **options):
        sent.append(sum(len(dict(array.__dask_graph__())) for array in work))
        return persist(work, **options)

    monkeypatch.setattr(client, "persist", counted)
    X = da.from_array(made(0, 8000), chunks=(4, D))
    ones = da.ones(8000, chunks=4)

    def count(X, weights, offset, block):
        return Count(len(X), float(weights.sum()), offset == 4 * block)

    found = Passes().run(from_dask(X, ones), count, "count")
    assert (found.rows, found.weight, found.right) == (8000, 8000.0, True)
    assert sent[0] < 700


class Count:
    """How many rows there were, of which weight, and whether offsets were right."""

    def __init__(self, rows, weight, right):
        self.rows, self.weight, self.right = rows, weight, right

    @staticmethod
    def combine(parts):
        return Count(
            sum(p.rows for p in parts), sum(p.weight for p in parts), all(p.right for p in parts)
        )


def test_a_hundred_thousand_blocks_in_bounded_memory(client, tmp_path):
    """Blocks of a cheap source: a few tasks a thread, and little that the client holds."""
    blocks = from_reader(Rigged(tmp_path), (1,) * 40_000, None)
    wide = from_reader(Wide(), (40,) * 100_000, None)
    count = lambda X, weights, offset, block: Count(len(X), 0.0, offset == 40 * block)  # noqa: E731
    Passes().run(blocks, lambda X, w, o, b: Count(1, 0.0, True), "warm")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = Passes().run(wide, count, "count")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert (found.rows, found.right) == (4_000_000, True)
    assert grown < 64 * 1024
    assert 100_000 // passes_module.TASKS_PER_THREAD // 4 > 1


class Wide(Rigged):
    """Many blocks that cost nothing."""

    shape = (4_000_000, 1)

    def __init__(self):
        """No folder."""

    def read(self, start, stop, out):
        out[:] = 1


def certificate(folder, name, authority=None):
    """A key and a certificate as files, signed by an authority, or by itself where it is one."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    issuer, signer = (subject, key) if authority is None else authority
    now = datetime.datetime.now(datetime.UTC)
    made_ = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(authority is None, None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(signer, hashes.SHA256())
    )
    paths = folder / f"{name}.pem", folder / f"{name}.key"
    paths[0].write_bytes(made_.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return (subject, key), *map(str, paths)


def test_a_cluster_behind_certificates(tmp_path, monkeypatch):
    """A client of the same authority works on it; one of another, or without TLS, is refused."""
    monkeypatch.setattr("dkmeans.cli.options._CONNECT_TIMEOUT", "3s")
    authority, ca, _ = certificate(tmp_path, "authority")
    _, cert, key = certificate(tmp_path, "node", authority)
    stranger, other_ca, _ = certificate(tmp_path, "strangers")
    _, other_cert, other_key = certificate(tmp_path, "stranger", stranger)
    zarr.create_array(tmp_path / "X.zarr", data=made(0, 5000), chunks=(1000, D))

    def run(address, *tls):
        command = ["fit", str(tmp_path / "X.zarr"), "-k", "3", "--seed", "0", "--overwrite"]
        outputs = ["--labels", str(tmp_path / "labels.zarr"), "--model", str(tmp_path / "m.npz")]
        return CliRunner().invoke(cli, [*command, *outputs, "--scheduler", address, *tls])

    files = ("--tls-ca-file", ca, "--tls-cert", cert, "--tls-key", key)
    with DaskCluster(tmp_path, host="tls://127.0.0.1", tls=files) as own:
        own.start_worker()
        assert own.address.startswith("tls://")
        done = run(own.address, "--tls-ca", ca, "--tls-cert", cert, "--tls-key", key)
        assert done.exit_code == 0, done.stderr
        (tmp_path / "m.npz").unlink()
        ours, theirs = ["--tls-cert", cert, "--tls-key", key], [
            "--tls-cert", other_cert, "--tls-key", other_key,
        ]  # fmt: skip
        unencrypted = own.address.replace("tls", "tcp")
        for address, tls, message in [
            (own.address, ["--tls-ca", ca, *theirs], "cannot connect to the scheduler tls://"),
            (own.address, ["--tls-ca", other_ca, *ours], "cannot connect to the scheduler tls://"),
            (unencrypted, [], "cannot connect to the scheduler tcp://"),
            (own.address, [], "needs --tls-ca, --tls-cert and --tls-key"),
            (own.address, ["--tls-ca", ca], "needs --tls-ca, --tls-cert and --tls-key"),
            (own.address, ["--tls-ca", "no", *ours], "--tls-ca: no such file: no"),
            ("tcp://127.0.0.1:1", ["--tls-ca", ca], "go with --scheduler tls://"),
        ]:
            refused = run(address, *tls)
            assert refused.exit_code == 2
            assert message in refused.stderr
            assert refused.stderr.count("\n") == 1, refused.stderr
            assert not (tmp_path / "m.npz").exists()
    expected = KMeans(3, random_state=0).fit(made(0, 5000)).labels_
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "labels.zarr")[:], expected)
