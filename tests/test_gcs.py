"""Data and outputs at ``gs://``: a server on loopback that speaks Google Cloud Storage."""

import sys

import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import pytest
import zarr
from click.testing import CliRunner
from storage import GCS

from dkmeans import Checkpoint, KMeans, OutputError, open_source, profile, write_labels
from dkmeans.cli import cli

pytest.importorskip("gcp_storage_emulator")
OPTIONS = {"n_clusters": 3, "random_state": 0, "max_iter": 5}
ANONYMOUS = {"token": "anon"}
X = np.random.default_rng(0).normal(size=(1000, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The file system of a server, with data in its bucket."""
    with pytest.MonkeyPatch.context() as patch:
        # read as gcsfs is imported: buckets of another kind, which are asked for by gRPC and TLS
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        assert "gcsfs" not in sys.modules
        gcsfs = pytest.importorskip("gcsfs")
        server = GCS(tmp_path_factory.mktemp("gcs"))
        patch.setenv("STORAGE_EMULATOR_HOST", server.url)
        try:
            server.wait()
            yield filled(gcsfs.GCSFileSystem(**ANONYMOUS))
        finally:
            server.stop()
            gcsfs.GCSFileSystem.clear_instance_cache()


def filled(system):
    """The storage with the rows in several forms."""
    for name, layout in {
        "x": {"chunks": (100, 3)},
        "s": {"chunks": (20, 3), "shards": (100, 3)},
    }.items():
        zarr.create_array(f"gs://bucket/{name}.zarr", data=X, storage_options=ANONYMOUS, **layout)
    with system.open("bucket/x.parquet", "wb") as file:
        pd.DataFrame(X, columns=["a", "b", "c"]).to_parquet(file, row_group_size=150)
    return system


@pytest.fixture(scope="module")
def expected():
    return KMeans(**OPTIONS).fit(X)


def opened(name):
    return open_source(f"gs://bucket/{name}", storage_options=ANONYMOUS)


def same_bits(model, expected):
    np.testing.assert_array_equal(model.cluster_centers_, expected.cluster_centers_)
    assert (model.inertia_, model.n_iter_) == (expected.inertia_, expected.n_iter_)


def labels_at(files, path):
    files.invalidate_cache()
    if path.endswith(".zarr"):
        return zarr.open_array(f"gs://{path}", mode="r", storage_options=ANONYMOUS)[:]
    return ds.dataset(path, filesystem=files).to_table()["label"].to_numpy()


@pytest.mark.parametrize("name", ["x.zarr", "s.zarr", "x.parquet"])
@pytest.mark.parametrize("residency", ["memory", "stream"])
def test_a_fit_reads_google_storage(files, expected, name, residency):
    same_bits(KMeans(**OPTIONS, residency=residency).fit(opened(name)), expected)


@pytest.mark.parametrize("kind", ["zarr", "parquet"])
def test_labels_appear_whole_on_google_storage(files, expected, kind):
    path = f"bucket/out/labels.{kind}"
    for call in (
        lambda **how: write_labels(expected.labels_, f"gs://{path}", **how),
        lambda **how: profile(expected, opened("x.parquet"), labels_path=f"gs://{path}", **how),
    ):
        call(storage_options=ANONYMOUS, overwrite=True)
        np.testing.assert_array_equal(labels_at(files, path), expected.labels_)
        with pytest.raises(OutputError, match=r"gs://bucket/out/labels.* exists already"):
            call(storage_options=ANONYMOUS)
    files.invalidate_cache()
    assert [name for name in files.find("bucket/out") if "/." in name] == []


def test_models_and_checkpoints_on_google_storage(files, expected):
    expected.save("gs://bucket/m.npz", ANONYMOUS)
    same_bits(KMeans.load("gs://bucket/m.npz", ANONYMOUS), expected)
    checkpoint = Checkpoint("gs://bucket/run.ckpt", storage_options=ANONYMOUS)
    kept = KMeans(**OPTIONS, checkpoint=checkpoint, residency="stream")
    same_bits(kept.fit(opened("x.zarr")), expected)
    files.invalidate_cache()
    names = files.ls("bucket/run.ckpt", detail=False)
    assert {name.rpartition("/")[2] for name in names} >= {
        "000000.entry",
        "000002.entry",
        "end.entry",
    }
    for name in sorted(names)[2:]:
        files.rm(name)
    same_bits(kept.fit(opened("x.zarr")), expected)
    assert kept.history_.facts.resumed == "from gs://bucket/run.ckpt at pass 2"


def test_the_command_line_on_google_storage(files, expected):
    outputs = ["--labels", "gs://bucket/cli/l.zarr", "--report", "gs://bucket/cli/r.html"]
    command = ["fit", "gs://bucket/x.parquet", "-k", "3", "--seed", "0", *outputs]
    done = CliRunner().invoke(cli, [*command, "--storage-option", "token=anon"])
    assert (done.exit_code, done.stderr) == (0, "")
    np.testing.assert_array_equal(labels_at(files, "bucket/cli/l.zarr"), expected.labels_)
    assert files.cat_file("bucket/cli/r.html").startswith(b"<!doctype html>")
    missing = ["fit", "gs://bucket/none.zarr", "-k", "3", "--storage-option", "token=anon"]
    refused = CliRunner().invoke(cli, missing)
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert "gs://bucket/none.zarr" in refused.stderr
