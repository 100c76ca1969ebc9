"""Data and outputs on storage that is reached by URI: a real S3 server, a real web server."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dask.array as da
import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import pytest
import zarr
from click.testing import CliRunner
from distributed import Client
from obstore.store import LocalStore, S3Store
from storage import S3, web_server
from zarr.storage import ObjectStore

from dkmeans import KMeans, MissingExtraError, OutputError, SourceError, profile, write_labels
from dkmeans.cli import cli
from dkmeans.data import retries, sinks, zarr_source
from dkmeans.data.label_file import LabelObjects
from dkmeans.data.sources import open_source
from dkmeans.engine.memory import Shape
from dkmeans.metrics import cluster_scores

s3fs = pytest.importorskip("s3fs")
pytest.importorskip("moto")
ROOT = Path(__file__).parents[1]
OPTIONS = {"n_clusters": 3, "random_state": 0, "max_iter": 5}
X = np.random.default_rng(0).normal(size=(1000, 3)).astype(np.float32)
FRAME = pd.DataFrame(X, columns=["a", "b", "c"]).assign(year=np.repeat([2023, 2024], 500))


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    server = S3(tmp_path_factory.mktemp("s3"))
    try:
        server.wait()
        system = s3fs.S3FileSystem(**server.options, skip_instance_cache=True)
        system.mkdir("bucket")
        system.mkdir("full")
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def files(s3):
    """The file system of the server."""
    system = s3fs.S3FileSystem(**s3.options, skip_instance_cache=True)
    yield system
    system.invalidate_cache()


@pytest.fixture(scope="module")
def expected():
    return KMeans(**OPTIONS).fit(X)


LAYOUTS = {
    "format 3": {"chunks": (100, 3)},
    "format 2": {"chunks": (100, 3), "zarr_format": 2},
    "shards": {"chunks": (20, 3), "shards": (100, 3)},
    "split columns": {"chunks": (100, 2)},
}


@pytest.fixture(scope="module")
def stored(s3, files):
    """Names of the same rows in many forms in the bucket."""
    for name, layout in LAYOUTS.items():
        path = f"s3://bucket/in/{name.replace(' ', '-')}.zarr"
        zarr.create_array(path, data=X, storage_options=s3.options, **layout)
    with files.open("bucket/in/one.parquet", "wb") as file:
        FRAME[["a", "b", "c"]].to_parquet(file, row_group_size=150)
    for year, part in FRAME.groupby("year"):
        with files.open(f"bucket/in/parts/year={year}/p.parquet", "wb") as file:
            part[["a", "b", "c"]].to_parquet(file, row_group_size=150)
    names = [f"{name.replace(' ', '-')}.zarr" for name in LAYOUTS]
    return [*names, "one.parquet", "parts"]


def same_bits(model, expected):
    np.testing.assert_array_equal(model.cluster_centers_, expected.cluster_centers_)
    assert (model.inertia_, model.n_iter_) == (expected.inertia_, expected.n_iter_)


@pytest.mark.parametrize("residency", ["memory", "stream"])
def test_a_fit_reads_all_forms_from_s3(s3, stored, expected, residency):
    for name in stored:
        source = open_source(f"s3://bucket/in/{name}", storage_options=s3.options)
        model = KMeans(**OPTIONS, residency=residency).fit(source)
        same_bits(model, expected)
        assert model.history_.bytes_read % X.nbytes == 0


def test_several_pieces_of_remote_stores_are_asked_for_at_once(s3, stored, monkeypatch):
    source = open_source("s3://bucket/in/format-3.zarr", storage_options=s3.options)
    reader = source.rows
    assert (reader.ahead, reader.step) == (4, 2**22 // (12 * 100) * 100)
    reader.step = 100
    np.testing.assert_array_equal(reader[0:1000, :], X)
    np.testing.assert_array_equal(reader[130:777, :], X[130:777])
    near = Shape(10**6, 100, 0, 12, 3, buffered=True)
    far = Shape(10**6, 100, 0, 12, 3, buffered=True, read_bytes=reader.read_bytes)
    assert far.reading_bytes(10**6) - near.reading_bytes(10**6) == 2 * 12 * 2**20


def test_a_cluster_reads_and_writes_s3(s3, stored, files, expected, client, monkeypatch):
    source = open_source("s3://bucket/in/parts", storage_options=s3.options)
    for residency in ("memory", "stream"):
        model = KMeans(**OPTIONS, residency=residency).fit(source)
        same_bits(model, expected)
    write_labels(model.labels_, "s3://bucket/cluster.zarr", storage_options=s3.options)
    read = zarr.open_array("s3://bucket/cluster.zarr", mode="r", storage_options=s3.options)
    np.testing.assert_array_equal(read[:], expected.labels_)


def test_zarr_arrays_of_obstore(s3, stored, tmp_path, expected, cluster):
    keys = {"access_key_id": s3.options["key"], "secret_access_key": s3.options["secret"]}
    where = {"endpoint": s3.url, "region": "us-east-1", "client_options": {"allow_http": True}}
    local = ObjectStore(LocalStore(tmp_path))
    arrays = [zarr.create_array(local, name="x", data=X, chunks=(100, 3))]
    remote = ObjectStore(S3Store("bucket", prefix="in", **where, **keys), read_only=True)
    for name in LAYOUTS:
        arrays.append(zarr.open_array(remote, path=f"{name.replace(' ', '-')}.zarr", mode="r"))
    given = [x for array in arrays for x in (array, da.from_zarr(array))]
    for x in given:
        same_bits(KMeans(**OPTIONS, residency="stream").fit(x), expected)
    with Client(cluster):
        for x in given:
            same_bits(KMeans(**OPTIONS, residency="stream").fit(x), expected)


def labels_at(files, path):
    if path.endswith(".zarr"):
        options = {n: v for n, v in files.storage_options.items() if n != "skip_instance_cache"}
        return zarr.open_array(f"s3://{path}", mode="r", storage_options=options)[:]
    files.invalidate_cache()
    return ds.dataset(path, filesystem=files).to_table()["label"].to_numpy()


@pytest.mark.parametrize("kind", ["zarr", "parquet"])
def test_labels_on_s3_appear_whole_or_not_at_all(s3, files, expected, kind, monkeypatch):
    monkeypatch.setattr(sinks, "LABEL_ROWS", 300)
    uri, path = f"s3://bucket/out/labels.{kind}", f"bucket/out/labels.{kind}"
    write_labels(expected.labels_, uri, storage_options=s3.options)
    np.testing.assert_array_equal(labels_at(files, path), expected.labels_)
    with pytest.raises(OutputError, match=r"s3://bucket/out/labels.* exists already; overwrite"):
        write_labels(expected.labels_[:7], uri, storage_options=s3.options)

    def fail(block, block_id=None):
        if block_id == (2,):
            raise KeyboardInterrupt
        return block

    lazy = da.from_array(expected.labels_, chunks=300)
    broken = lazy.map_blocks(fail, dtype=np.int32, meta=expected.labels_[:0])
    with pytest.raises(KeyboardInterrupt):
        write_labels(broken, uri, overwrite=True, storage_options=s3.options, threads=2)
    np.testing.assert_array_equal(labels_at(files, path), expected.labels_)
    write_labels(expected.labels_[:7], uri, overwrite=True, storage_options=s3.options)
    np.testing.assert_array_equal(labels_at(files, path), expected.labels_[:7])
    files.invalidate_cache()
    assert [name for name in files.find("bucket/out") if "/." in name] == []
    mark = {"zarr": "zarr.json", "parquet": "_SUCCESS"}[kind]
    assert files.exists(f"{path}/{mark}")


def test_an_output_folder_on_s3_that_is_no_output_is_spared(s3, files):
    files.pipe_file("bucket/photos.zarr/cat.jpg", b"meow")
    with pytest.raises(OutputError, match=r"s3://bucket/photos\.zarr is a folder, and not one"):
        write_labels(
            np.zeros(3, np.int32),
            "s3://bucket/photos.zarr",
            overwrite=True,
            storage_options=s3.options,
        )
    assert files.cat_file("bucket/photos.zarr/cat.jpg") == b"meow"


def test_models_on_s3(s3, files, expected):
    expected.save("s3://bucket/m.npz", s3.options)
    same_bits(KMeans.load("s3://bucket/m.npz", s3.options), expected)
    with pytest.raises(SourceError, match=r"cannot open s3://bucket/none\.npz: it does not exist"):
        KMeans.load("s3://bucket/none.npz", s3.options)
    with pytest.raises(OutputError, match=r"cannot write s3://nowhere/m\.npz"):
        expected.save("s3://nowhere/m.npz", s3.options)


def run(*args, env=None):
    return CliRunner().invoke(cli, list(map(str, args)), prog_name="dkmeans", env=env)


def run_python(*args, cwd, env):
    """A process of its own, which reads its environment anew."""
    return subprocess.run(
        [sys.executable, *map(str, args)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )


def test_the_command_line_on_s3(s3, stored, files, expected):
    data, out = "s3://bucket/in/shards.zarr", "s3://bucket/cli"
    outputs = {"model": "m.npz", "history": "h.jsonl", "report": "r.html", "labels": "l.parquet"}
    options = [word for name, file in outputs.items() for word in (f"--{name}", f"{out}/{file}")]
    done = run("fit", data, "-k", 3, "--seed", 0, *options, *s3.arguments)
    assert (done.exit_code, done.stderr) == (0, "")
    assert f"{out}/l.parquet" in done.stdout
    np.testing.assert_array_equal(labels_at(files, "bucket/cli/l.parquet"), expected.labels_)
    assert files.cat_file("bucket/cli/r.html").startswith(b"<!doctype html>")
    assert len(files.cat_file("bucket/cli/h.jsonl").splitlines()) > 2
    predicted = ["--labels", f"{out}/p.zarr", "--model", f"{out}/m.npz"]
    done = run("predict", data, *predicted, env=s3.environment)  # as AWS's own tools are told
    assert (done.exit_code, done.stderr) == (0, "")
    np.testing.assert_array_equal(labels_at(files, "bucket/cli/p.zarr"), expected.labels_)
    again = run("predict", data, *predicted, *s3.arguments)
    assert again.exit_code == 2
    assert "exists already" in again.stderr
    assert again.stderr.count("\n") == 1


def test_outputs_on_s3_that_cannot_be_are_refused_before_the_fit(s3, stored):
    data = "s3://bucket/in/shards.zarr"
    for options, message in {
        ("--labels", "s3://nowhere/l.zarr"): "cannot write s3://nowhere/l.zarr",
        ("--labels", "https://localhost/l.zarr"): "https:// can only be read",
        ("--labels", f"{data}/l.zarr"): "overlap",
        ("--model", "s3://bucket/m.txt"): "must end in .npz",
    }.items():
        done = run("fit", data, "-k", 3, *options, *s3.arguments)
        assert (done.exit_code, done.stdout) == (2, "")
        assert message in done.stderr
        assert done.stderr.count("\n") == 1


def test_the_example(s3, files, tmp_path):
    example = ROOT / "examples" / "s3_store.py"
    done = run_python(example, "--bucket", "bucket/example", cwd=tmp_path, env=s3.environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "wrote s3://bucket/example/labels.parquet" in done.stdout
    labels = labels_at(files, "bucket/example/labels.parquet")
    again = KMeans.load("s3://bucket/example/model.npz", s3.options)
    assert labels.shape == (again.history_.facts.n_rows,)


def self_signed(folder):
    """A certificate for localhost, with its key, in one file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "localhost.pem"
    plain = serialization.NoEncryption()
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain
    )
    path.write_bytes(encoded + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with the rows as a web server has them."""
    folder = tmp_path_factory.mktemp("site")
    zarr.create_array(folder / "x.zarr", data=X, chunks=(100, 3))
    zarr.create_array(folder / "shards.zarr", data=X, chunks=(20, 3), shards=(100, 3))
    FRAME[["a", "b", "c"]].to_parquet(folder / "x.parquet", row_group_size=150)
    return folder


@pytest.mark.parametrize("name", ["x.zarr", "shards.zarr", "x.parquet"])
def test_a_fit_reads_http(site, expected, name):
    with web_server(site) as url:
        same_bits(KMeans(**OPTIONS).fit(f"{url}/{name}"), expected)


def test_a_fit_reads_https(site, tmp_path, expected):
    certificate = self_signed(tmp_path)
    labels = tmp_path / "labels.zarr"
    with web_server(site, certificate=certificate) as url:
        options = ("-k", 3, "--seed", 0, "--labels", labels)
        trusting = {"SSL_CERT_FILE": str(certificate)}  # which is read once a process
        for name in ("x.parquet", "x.zarr", "shards.zarr"):
            command = ("-m", "dkmeans", "fit", f"{url}/{name}", *options, "--overwrite")
            done = run_python(*command, cwd=tmp_path, env=trusting)
            assert (done.returncode, done.stderr) == (0, "")
            read = zarr.open_array(labels, mode="r")[:]
            np.testing.assert_array_equal(read, expected.labels_)
        doubtful = run("fit", f"{url}/x.zarr", *options, "--overwrite")
    assert doubtful.exit_code == 2
    assert "certificate verify failed" in doubtful.stderr
    assert doubtful.stderr.count("\n") == 1
    np.testing.assert_array_equal(zarr.open_array(labels, mode="r")[:], expected.labels_)


def test_what_the_web_does_not_have(site):
    with web_server(site) as url, pytest.raises(SourceError, match=r"none\.zarr is not a Zarr"):
        KMeans(3).fit(f"{url}/none.zarr")


def test_a_chunk_that_a_server_never_gives_is_named(site, monkeypatch):
    monkeypatch.setattr(retries, "FIRST_WAIT", 0.001)
    with web_server(site, failing=r"x\.zarr/c/3/0") as url:
        message = rf"cannot read rows .* of {url}/x\.zarr: chunk c/3/0: .*, 6 times: 503"
        with pytest.raises(SourceError, match=message):
            KMeans(3, residency="stream").fit(f"{url}/x.zarr")


def test_google_storage_needs_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    for name in ("gs", "gcs"):  # should something have used it already
        monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, name, raising=False)
    with pytest.raises(MissingExtraError, match=r'reading gs://b/x\.zarr .*"dkmeans\[gcs\]"'):
        KMeans(3).fit("gs://b/x.zarr")
    with pytest.raises(MissingExtraError, match=r'writing gs://b/l\.zarr .*"dkmeans\[gcs\]"'):
        write_labels(np.zeros(3, np.int32), "gs://b/l.zarr")


def test_storage_that_nobody_knows():
    with pytest.raises(SourceError, match=r"cannot open nfs4://b/x\.zarr: .*nfs4"):
        KMeans(3).fit("nfs4://b/x.zarr")
    with pytest.raises(OutputError, match=r"cannot write nfs4://b/l\.zarr: .*nfs4"):
        write_labels(np.zeros(3, np.int32), "nfs4://b/l.zarr")


@pytest.mark.parametrize("kind", ["zarr", "parquet"])
def test_profiles_and_scores_write_labels_to_s3(s3, stored, files, expected, kind):
    """In their own pass, from blocks that are no chunks of the labels."""
    source = open_source("s3://bucket/in/parts", storage_options=s3.options)
    for call, name in [(profile, "profiled"), (cluster_scores, "scored")]:
        where = f"bucket/{name}.{kind}"
        given = (expected, source) if call is profile else (source, expected)
        how = {"labels_path": f"s3://{where}", "storage_options": s3.options}
        found = call(*given, **how)
        assert found.sizes.sum() == len(X)
        np.testing.assert_array_equal(labels_at(files, where), expected.labels_)
        with pytest.raises(OutputError, match=r"exists already; overwrite"):
            call(*given, **how)
        call(*given, **how, overwrite=True)
        np.testing.assert_array_equal(labels_at(files, where), expected.labels_)
    files.invalidate_cache()
    assert [name for name in files.find("bucket") if ".scratch" in name or ".partial" in name] == []


def test_a_cluster_writes_labels_of_a_profile_to_s3(s3, stored, files, expected, client):
    source = open_source("s3://bucket/in/shards.zarr", storage_options=s3.options)
    profile(expected, source, labels_path="s3://bucket/c.parquet", storage_options=s3.options)
    np.testing.assert_array_equal(labels_at(files, "bucket/c.parquet"), expected.labels_)


def test_labels_of_a_profile_that_fails_are_not_there(s3, stored, files, expected, monkeypatch):
    source = open_source("s3://bucket/in/shards.zarr", storage_options=s3.options)
    how = {"labels_path": "s3://bucket/half.zarr", "storage_options": s3.options}
    with pytest.raises(OutputError, match=r"cannot write s3://nowhere/l\.zarr"):
        profile(expected, source, **how | {"labels_path": "s3://nowhere/l.zarr"})
    written = LabelObjects.write

    def fail(self, offset, labels):
        written(self, offset, labels)
        raise KeyboardInterrupt

    monkeypatch.setattr(LabelObjects, "write", fail)
    with pytest.raises(KeyboardInterrupt):
        profile(expected, source, **how)
    files.invalidate_cache()
    assert [name for name in files.find("bucket") if "half" in name] == []


def test_labels_with_a_report_cost_no_pass_more_on_s3(s3, stored, tmp_path, monkeypatch):
    reads = []
    read = zarr_source.ZarrRows.read

    def counted(self, start, stop, out):
        reads.append(stop - start)
        return read(self, start, stop, out)

    monkeypatch.setattr(zarr_source.ZarrRows, "read", counted)
    data = ("fit", "s3://bucket/in/shards.zarr", "-k", 3, "--seed", 0, *s3.arguments)
    taken = []
    for labels in (tmp_path / "l.zarr", "s3://bucket/few/l.zarr"):
        reads.clear()
        done = run(
            *data, "--residency", "stream", "--labels", labels, "--report", tmp_path / "r.html"
        )
        assert (done.exit_code, done.stderr) == (0, "")
        taken.append(sum(reads))
        (tmp_path / "r.html").unlink()
    assert taken[0] == taken[1]


def test_models_and_the_report_of_a_sweep_on_s3(s3, stored, files):
    data = ("sweep", "s3://bucket/in/shards.zarr", "-k", "2..3", "--seed", 0, *s3.arguments)
    outputs = ("--models", "s3://bucket/swept/", "--report", "s3://bucket/sweep.html")
    done = run(*data, *outputs)
    assert (done.exit_code, done.stderr) == (0, "")
    assert "s3://bucket/swept/k2.npz" in done.stdout
    for k in (2, 3):
        model = KMeans.load(f"s3://bucket/swept/k{k}.npz", s3.options)
        assert model.n_clusters == k
    files.invalidate_cache()
    assert files.cat_file("bucket/sweep.html").startswith(b"<!doctype html>")
    again = run(*data, *outputs[:2])
    assert (again.exit_code, again.stdout) == (2, "")
    assert "--models: s3://bucket/swept/k2.npz exists already" in again.stderr
    assert run(*data, *outputs, "--overwrite").exit_code == 0
    nowhere = run(*data, "--models", "s3://nowhere/swept")
    assert (nowhere.exit_code, nowhere.stderr.count("\n")) == (2, 1)
    assert "--models: cannot write s3://nowhere/swept/k2.npz" in nowhere.stderr
