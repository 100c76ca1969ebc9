"""Storage that errs: what may pass is tried again and counted, what does not is named."""

import asyncio
import errno

import aiohttp
import botocore.exceptions
import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from click.testing import CliRunner
from storage import Flaky
from zarr.codecs import Crc32cCodec

from dkmeans import History, Iteration, KMeans, SourceError, write_labels
from dkmeans.cli import cli
from dkmeans.data import retries
from dkmeans.data.retries import counting, may_pass, patiently, patiently_async
from dkmeans.data.sources import open_source
from tests.faults import TABLE

OPTIONS = {
    "n_clusters": 5,
    "random_state": 0,
    "init": "k-means||",
    "algorithm": "lloyd",
    "max_iter": 4,
}
X = np.random.default_rng(0).normal(size=(2000, 3)).astype(np.float32)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Waits of milliseconds, and storage that errs as ``flaky://``."""
    monkeypatch.setattr(retries, "FIRST_WAIT", 1e-4)
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    Flaky.arm(0)
    yield
    Flaky.arm(0)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    zarr.create_array(folder / "x.zarr", data=X, chunks=(50, 3))
    zarr.create_array(folder / "sharded.zarr", data=X, chunks=(10, 3), shards=(50, 3))
    checked = [Crc32cCodec()]
    zarr.create_array(folder / "checked.zarr", data=X, chunks=(50, 3), compressors=checked)
    table = pa.Table.from_pandas(pd.DataFrame(X, columns=list("abc")), preserve_index=False)
    options = {"compression": "none", "use_dictionary": False, "write_page_checksum": True}
    pq.write_table(table, folder / "x.parquet", row_group_size=50, **options)
    return folder


def bits(model):
    return model.cluster_centers_.tobytes(), model.inertia_, model.n_iter_, model.stop_reason_


@pytest.fixture(scope="module")
def expected():
    return bits(KMeans(**OPTIONS).fit(X))


@pytest.mark.faults
@pytest.mark.parametrize("name", ["x.zarr", "sharded.zarr", "x.parquet"])
@pytest.mark.parametrize("residency", ["memory", "stream"])
def test_a_store_that_errs_on_one_read_in_twenty(stores, expected, name, residency):
    """The same bits as without; each error is a retry in the history."""
    for seed in range(2):
        Flaky.arm(0.05, seed)
        source = open_source(f"flaky://{stores}/{name}")
        opened = Flaky.errors
        model = KMeans(**OPTIONS, residency=residency).fit(source)
        errors = Flaky.errors - opened
        outcome = "identical" if bits(model) == expected else "lost or damaged"
        TABLE.add("store errs on 5 % of reads", outcome, errors)
        assert outcome == "identical"
        assert model.history_.retries == errors
        assert errors > 0 or residency == "memory"


@pytest.mark.faults
def test_retries_on_a_cluster_are_counted(stores, expected, client):
    """Each worker has a store of its own that fails every so often."""
    client.run(_arm)
    for residency in ("memory", "stream"):
        model = KMeans(**OPTIONS, residency=residency).fit(f"flaky://{stores}/x.zarr")
        assert bits(model) == expected
        errors = sum(client.run(_errors).values())
        assert model.history_.retries == errors > 0
        TABLE.add("store errs on 10 % of reads of a cluster", "identical", errors)


def _arm():
    import sys

    from dkmeans.data import retries

    sys.path.insert(0, "tests")
    retries.FIRST_WAIT = 1e-4
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    Flaky.arm(0.1, 1)


def _errors():
    """Errors since they were asked for the last time."""
    found, Flaky.errors = Flaky.errors, 0
    return found


@pytest.mark.faults
@pytest.mark.parametrize("residency", ["memory", "stream"])
@pytest.mark.parametrize(
    ("name", "broken", "says"),
    [
        ("x.zarr", "c/7/0$", r"x\.zarr: chunk c/7/0: OSError, 6 times: .*Input/output error"),
        ("sharded.zarr", "c/3/0$", r"sharded\.zarr: chunk c/3/0: OSError, 6 times"),
        ("x.parquet", "x.parquet$", r"x\.parquet: row group \d+: OSError, 6 times"),
    ],
)
def test_what_stays_unreadable_is_named(stores, name, broken, says, residency):
    source = open_source(f"flaky://{stores}/{name}")
    Flaky.arm(0, broken=broken)
    with pytest.raises(SourceError, match=rf"cannot read rows \d+ to \d+ of .*{says}"):
        KMeans(**OPTIONS, residency=residency).fit(source)
    TABLE.add("chunk that stays unreadable", "clear error")


def test_the_command_line_says_so_in_one_line(stores, tmp_path):
    Flaky.arm(0, broken="c/7/0$")
    command = ["fit", f"flaky://{stores}/x.zarr", "-k", "3", "--model", str(tmp_path / "m.npz")]
    result = CliRunner().invoke(cli, command)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "x.zarr: chunk c/7/0: OSError" in result.stderr
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_counts_retries(stores, tmp_path):
    Flaky.arm(0.05, 3)
    history = tmp_path / "h.jsonl"
    command = ["fit", f"flaky://{stores}/x.zarr", "-k", "3", "--seed", "0"]
    command += ["--residency", "stream", "--history", str(history)]
    result = CliRunner().invoke(cli, command)
    retried = History.from_jsonl(history).retries
    assert retried > 0
    assert f"MB read with {retried} retries" in result.stdout


@pytest.mark.parametrize(
    ("name", "file", "says"),
    [
        (
            "checked.zarr",
            "checked.zarr/c/7/0",
            r"checked\.zarr: chunk c/7/0: .*hecksum",
        ),
        ("sharded.zarr", "sharded.zarr/c/7/0", r"sharded\.zarr: chunk c/7/0: "),
        ("x.parquet", "x.parquet", r"x\.parquet: row group \d+: OSError: .*CRC checksum"),
    ],
)
@pytest.mark.faults
def test_a_flipped_bit_is_found_and_named(stores, tmp_path, name, file, says):
    """By the checksum that the store has; nothing is tried again."""
    from shutil import copy, copytree

    (copytree if (stores / name).is_dir() else copy)(stores / name, tmp_path / name)
    path = tmp_path / file
    data = bytearray(path.read_bytes())
    offset = 7 * len(data) // 40 + 60 if name == "x.parquet" else -3
    data[offset] ^= 4
    path.write_bytes(data)
    with pytest.raises(SourceError, match=rf"cannot read rows \d+ to \d+ of .*{says}"):
        KMeans(**OPTIONS, residency="stream").fit(tmp_path / name)
    TABLE.add("flipped bit under a checksum", "clear error")


def test_labels_are_written_though_storage_errs(tmp_path, monkeypatch):
    """A chunk that could not be written is written again."""
    failed = []

    def fail_once(array, region, rows):
        if region not in failed:
            failed.append(region)
            raise TimeoutError
        array._write(region, rows)

    monkeypatch.setattr(zarr.Array, "_write", zarr.Array.__setitem__, raising=False)
    monkeypatch.setattr(zarr.Array, "__setitem__", fail_once)
    write_labels(np.arange(5, dtype=np.int32), tmp_path / "l.zarr")
    assert len(failed) == 1
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "l.zarr")[:], np.arange(5))


def client_error(status):
    response = {"ResponseMetadata": {"HTTPStatusCode": status}, "Error": {}}
    return botocore.exceptions.ClientError(response, "GetObject")


def web_error(status):
    return aiohttp.ClientResponseError(None, (), status=status)


def caused(error, cause):
    error.__cause__ = cause
    return error


PASSING = [
    ConnectionResetError(),
    TimeoutError(),
    TimeoutError(),
    OSError(errno.EIO, "Input/output error"),
    OSError(errno.EBUSY, "Please reduce your request rate"),
    botocore.exceptions.EndpointConnectionError(endpoint_url="http://x"),
    botocore.exceptions.ReadTimeoutError(endpoint_url="http://x"),
    botocore.exceptions.ConnectionClosedError(endpoint_url="http://x"),
    aiohttp.ServerDisconnectedError(),
    aiohttp.ClientPayloadError(),
    *(client_error(status) for status in (429, 500, 503)),
    *(web_error(status) for status in (408, 429, 502)),
    caused(RuntimeError("a library's own"), ConnectionResetError()),
]
LASTING = [
    FileNotFoundError(errno.ENOENT, "no such key"),
    PermissionError(errno.EACCES, "denied"),
    IsADirectoryError(errno.EISDIR, "a folder"),
    OSError("Corrupt snappy compressed data"),
    OSError(errno.ENOSPC, "disk full"),
    ValueError("checksum"),
    MemoryError(),
    KeyError("c/0/0"),
    botocore.exceptions.NoCredentialsError(),
    *(client_error(status) for status in (400, 403, 404)),
    *(web_error(status) for status in (401, 403, 404)),
    caused(PermissionError(errno.EACCES, "denied"), client_error(503)),
]


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_what_may_pass_is_tried_again(error):
    assert may_pass(error)
    answers = [error, error, 7]

    def read():
        answer = answers.pop(0)
        if answer is error:
            raise answer
        return answer

    async def read_later():
        return read()

    with counting() as count:
        assert patiently(read) == 7
        answers[:] = [error, 8]
        assert asyncio.run(patiently_async(read_later)) == 8
    assert count.total == 3


@pytest.mark.parametrize("error", LASTING, ids=repr)
def test_what_does_not_pass_is_raised_at_once(error):
    assert not may_pass(error)
    calls = []

    def read():
        calls.append(1)
        raise error

    with counting() as count, pytest.raises(type(error)):
        patiently(read)
    assert (len(calls), count.total) == (1, 0)


def test_waits_grow_up_to_a_limit_and_end(monkeypatch):
    waits = []
    monkeypatch.setattr(retries, "FIRST_WAIT", 1.0)
    monkeypatch.setattr(retries._random, "uniform", lambda low, high: high)
    monkeypatch.setattr(retries.time, "sleep", waits.append)

    def read():
        raise TimeoutError

    with pytest.raises(TimeoutError):
        patiently(read)
    assert waits == [2.0, 4.0, 8.0, 10.0, 10.0]


def test_counts_are_those_of_their_context():
    with counting() as outer:
        with counting() as inner:
            pass
        answers = [TimeoutError(), 1]

        def read():
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer

        patiently(read)
    assert (outer.total, inner.total) == (1, 0)


def test_the_history_shows_retries_where_there_are_any():
    steps = [Iteration("survey", retries=2), Iteration("lloyd", step=1)]
    history = History(steps)
    assert history.retries == 2
    assert [line.split()[-1] for line in str(history).splitlines()] == ["retries", "2", "0"]
    assert "retries" not in str(History(steps[1:]))
    assert History.parse(history.dump(), "here") == history


def test_a_report_says_so(tmp_path):
    model = KMeans(2, random_state=0).fit(X[:50])
    model.report(tmp_path / "quiet.html")
    model.history_.append(Iteration("final", retries=4321))
    model.report(tmp_path / "loud.html")
    quiet, loud = ((tmp_path / name).read_text() for name in ("quiet.html", "loud.html"))
    assert "reads tried again" not in quiet
    assert "reads tried again" in loud
    assert "4,321" in loud
