"""The commands: the same results as from Python, one line for a mistake, nothing half-written."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib.metadata import entry_points

import click
import dask
import distributed
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import zarr
from click.testing import CliRunner

from dkmeans import History, KMeans, __version__, sweep
from dkmeans.cli import cli
from dkmeans.cli.options import Numbers, _started, make_model, parameters
from dkmeans.data.synthetic import Blobs, write_blobs

COMMANDS = ["fit", "sweep", "predict", "plan", "info", "image", "make-data", "demo"]
SIZE = ["--rows", "5", "--features", "1", "--centers", "1"]
BLOBS = Blobs(3000, 4, 5, seed=3)
X = BLOBS.rows(0, 3000)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """The same rows as Zarr, as Parquet with a column of text, and a Zarr group of them."""
    folder = tmp_path_factory.mktemp("stores")
    write_blobs(BLOBS, folder / "X.zarr", chunk_rows=500)
    columns = {f"f{i}": column for i, column in enumerate(X.T)}
    table = pa.table({**columns, "name": ["row"] * 3000})
    pq.write_table(table, folder / "X.parquet", row_group_size=500)
    group = zarr.open_group(folder / "group.zarr", mode="w")
    group.create_array("rows", data=X, chunks=(500, 4))
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*args, status=0):
    """Run a command in this process."""
    result = CliRunner().invoke(cli, [str(a) for a in args], prog_name="dkmeans")
    assert result.exit_code == status, result.output
    return result


def refused(*args):
    """Run a command that is a mistake, and return the one line that it says."""
    result = run(*args, status=2)
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def python(*args, **options):
    """Run a command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "dkmeans", *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_fit_writes_what_the_estimator_finds(stores, here):
    result = run(
        *("fit", stores / "X.zarr", "-k", 5, "--seed", 0, "--memory-limit", "1GiB"),
        *("--labels", "labels.zarr", "--model", "m.npz", "--history", "h.jsonl"),
        *("--report", "r.html"),
    )
    expected = KMeans(5, random_state=0).fit(X)
    model = KMeans.load("m.npz")
    np.testing.assert_array_equal(model.cluster_centers_, expected.cluster_centers_)
    np.testing.assert_array_equal(zarr.open_array("labels.zarr")[:], expected.labels_)
    assert History.from_jsonl("h.jsonl") == model.history_
    assert list(model.feature_names_in_) == ["f0", "f1", "f2", "f3"]
    assert f"{expected.inertia_:.9g}" in result.stdout
    assert str(here / "labels.zarr") in result.stdout
    assert result.stderr == ""
    assert sorted(os.listdir(here)) == ["h.jsonl", "labels.zarr", "m.npz", "r.html"]
    page = (here / "r.html").read_text(encoding="utf-8")
    assert f"{expected.inertia_:.9g}" in page
    assert str(here / "m.npz") in page
    assert "over all 3,000 rows, from the pass that wrote the labels." in page


def test_a_report_without_labels_takes_one_pass_for_its_profile(stores, here, monkeypatch):
    import dkmeans.plot.report
    from dkmeans.engine.passes import Passes

    for kind in ("main", "cluster", "convergence"):
        monkeypatch.setattr(dkmeans.plot.report, f"_{kind}_pictures", lambda *args: ())
    names, taken = [], Passes.run
    monkeypatch.setattr(
        Passes, "run", lambda s, b, step, name: names.append(name) or taken(s, b, step, name)
    )
    run("fit", stores / "X.zarr", "-k", 5, "--seed", 0, "--report", "r.html")
    assert names.count("profile") == 1
    assert names[-1] == "profile"
    page = (here / "r.html").read_text(encoding="utf-8")
    assert "over all 3,000 rows, from one pass after the fit." in page


def test_fit_as_json(stores, here):
    found = json.loads(run("fit", stores / "X.zarr", "-k", 5, "--seed", 0, "--json").stdout)
    expected = KMeans(5, random_state=0).fit(X)
    assert found["inertia"] == expected.inertia_
    assert found["n_iter"] == expected.n_iter_
    assert sum(found["sizes"]) == 3000
    assert found["plan"]["n_rows"] == 3000
    assert found["outputs"] == {}


def test_columns_are_chosen_by_name_and_remembered(stores, here):
    source = stores / "X.parquet"
    run("fit", source, "-k", 3, "--columns", "f2,f0", "--seed", 0, "--model", "m.npz")
    expected = KMeans(3, random_state=0).fit(X[:, [2, 0]])
    np.testing.assert_array_equal(KMeans.load("m.npz").cluster_centers_, expected.cluster_centers_)
    result = run("predict", source, "--model", "m.npz", "--labels", "labels.parquet", "--json")
    labels = ds.dataset("labels.parquet").to_table()["label"].to_numpy()
    np.testing.assert_array_equal(labels, expected.labels_)
    assert json.loads(result.stdout)["n_rows"] == 3000


def test_an_array_in_a_group_is_named_by_its_component(stores, here):
    line = refused("fit", stores / "group.zarr", "-k", 2)
    assert "choose one of its arrays with component='rows'" in line
    run("fit", stores / "group.zarr", "--component", "rows", "-k", 2, "--model", "m.npz")
    assert KMeans.load("m.npz").n_features_in_ == 4


def test_worker_processes_find_the_same(stores, here):
    run(
        *("fit", stores / "X.zarr", "-k", 5, "--seed", 0, "--workers", 1),
        *("--labels", "labels.parquet", "--model", "m.npz"),
    )
    expected = KMeans(5, random_state=0).fit(X)
    np.testing.assert_array_equal(KMeans.load("m.npz").cluster_centers_, expected.cluster_centers_)
    labels = ds.dataset("labels.parquet").to_table()["label"].to_numpy()
    np.testing.assert_array_equal(labels, expected.labels_)


def test_worker_processes_use_memory_again(monkeypatch):
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)  # which a nanny leaves to others
    with _started(1):
        environments = distributed.get_client().run(lambda: dict(os.environ))
    assert ["MALLOC_TRIM_THRESHOLD_" in found for found in environments.values()] == [False]


def test_defaults_of_sweeps_are_those_of_the_estimator():
    found = cli.get_command(click.Context(cli), "sweep")
    given = found.make_context("sweep", ["X.zarr", "-k", "2..3"]).params
    assert KMeans(8, **parameters(given)).get_params() == KMeans(8).get_params()


@pytest.mark.parametrize("command", ["fit", "plan"])
def test_defaults_are_those_of_the_estimator(command):
    found = cli.get_command(click.Context(cli), command)
    given = found.make_context(command, ["X.zarr", "-k", "8"]).params
    assert make_model(given).get_params() == KMeans(8).get_params()


def test_init_and_algorithm_are_the_estimators(stores, here):
    found = []
    for algorithm in ("auto", "lloyd", "elkan"):
        args = ("--init", "random", "--n-init", 1, "--algorithm", algorithm, "--tol", 0)
        args += ("--residency", "stream", "--model", "m.npz", "--overwrite")
        run("fit", stores / "X.zarr", "-k", 5, "--seed", 0, *args)
        found.append(KMeans.load("m.npz"))
        assert json.loads(run("info", "m.npz", "--json").stdout)["algorithm"] == algorithm
        assert (found[-1].init, found[-1].algorithm) == ("random", algorithm)
    auto, lloyd, elkan = found
    np.testing.assert_array_equal(auto.cluster_centers_, lloyd.cluster_centers_)
    np.testing.assert_array_equal(auto.cluster_centers_, elkan.cluster_centers_)
    assert auto.n_iter_ == lloyd.n_iter_
    final = sum(step.phase == "final" for step in lloyd.history_)
    assert lloyd.history_.passes == 1 + lloyd.n_iter_ + final >= auto.history_.passes


def test_rows_that_repeat_are_counted_unless_told_otherwise(here):
    X = np.random.default_rng(0).integers(0, 20, (70_000, 1), dtype=np.uint8)
    zarr.save_array("few.zarr", X)
    args = ("few.zarr", "-k", 3, "--seed", 0, "--json")
    assert json.loads(run("fit", *args).stdout)["passes"] == 1
    assert json.loads(run("fit", *args, "--dedupe", "never").stdout)["passes"] > 1


def test_restarts_share_passes(stores, here):
    args = ("fit", stores / "X.zarr", "-k", 5, "--seed", 0, "--residency", "stream", "--json")
    one, four = (json.loads(run(*args, "--n-init", n).stdout) for n in (1, 4))
    assert four["passes"] <= one["passes"] + 2
    assert four["inertia"] <= one["inertia"]


def test_sweep_prints_the_table_and_writes_models_and_a_report(stores, here):
    args = ("sweep", stores / "X.zarr", "-k", "1..3,5", "--seed", 0, "--memory-limit", "1GiB")
    result = run(*args, "--report", "sweep.html", "--models", "models")
    expected = sweep(X, [1, 2, 3, 5], random_state=0, memory_limit="1GiB")
    head, *lines = [line.split() for line in result.stdout.splitlines()[:5]]
    assert head[:2] == ["k", "inertia"]
    assert [line[0] for line in lines] == ["1", "2", "3", "5"]
    assert [line[1] for line in lines] == [f"{v:.6g}" for v in expected.table["inertia"]]
    assert lines[0][-1] == "-"
    starred = result.stdout.splitlines()[1 + [1, 2, 3, 5].index(expected.best_k)]
    assert f"{expected.table['silhouette'].max():.6g} *" in starred
    stars = sum(line.count("*") for line in result.stdout.splitlines()[:5])
    assert stars == sum(expected.best_by(name) is not None for name in expected.criteria)
    assert f"{expected.best_k} by silhouette" in result.stdout
    assert sorted(os.listdir("models")) == ["k1.npz", "k2.npz", "k3.npz", "k5.npz"]
    for k, model in expected.models.items():
        found = KMeans.load(f"models/k{k}.npz")
        np.testing.assert_array_equal(found.cluster_centers_, model.cluster_centers_)
        assert str(here / "models" / f"k{k}.npz") in result.stdout
    assert str(here / "models") in (here / "sweep.html").read_text(encoding="utf-8")
    assert "exists already" in refused(*args, "--models", "models")
    run(*args, "--models", "models", "--overwrite")


def test_sweep_refuses_a_file_for_the_models(stores, here):
    (here / "models").write_text("a file")
    args = ("sweep", stores / "X.zarr", "-k", "2,3", "--models", "models", "--overwrite")
    assert "models is a file; name a folder" in refused(*args)


def test_sweep_refuses_one_path_for_report_and_models_before_any_work(stores, here, monkeypatch):
    monkeypatch.setattr("dkmeans.sweep", lambda *args, **options: pytest.fail("work began"))
    args = ("sweep", stores / "X.zarr", "-k", "2,3", "--report", "r.html")
    assert "the same path, --report and --models" in refused(*args, "--models", "r.html")
    (here / "folder").mkdir()
    (here / "also").symlink_to(here / "folder")
    args = (*args[:-1], "folder/r.html")
    assert "the same path, --report and --models" in refused(*args, "--models", "also/r.html")


def test_sweep_as_json(stores, here):
    found = json.loads(run("sweep", stores / "X.zarr", "-k", "1..4", "--seed", 0, "--json").stdout)
    expected = sweep(X, range(1, 5), random_state=0)
    assert found["table"]["n_clusters"] == [1, 2, 3, 4]
    assert found["table"]["inertia"] == expected.table["inertia"].tolist()
    assert found["table"]["silhouette"][0] is None
    assert found["best"] == {name: expected.best_by(name) for name in expected.criteria}
    assert found["plan"]["n_rows"] == 3000
    assert found["outputs"] == {}
    assert os.listdir(here) == []


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("2..5", [2, 3, 4, 5]),
        ("2..9:3", [2, 5, 8]),
        ("8, 2,4", [2, 4, 8]),
        ("7", [7]),
        ("4..5,1..3:2,5", [1, 3, 4, 5]),
        ("3..3", [3]),
    ],
)
def test_numbers_of_clusters_are_listed_or_given_as_ranges(text, numbers):
    assert Numbers().convert(text, None, None) == numbers


def test_sweep_streams_a_store_larger_than_its_limit(here):
    limit, copies = 400 * 2**20, 26
    rows = Blobs(2**14, 256, 3, seed=0).rows(0, 2**14)
    shape = copies * len(rows), 256
    store = zarr.create_array("X.zarr", shape=shape, chunks=rows.shape, dtype="f4")
    store[: len(rows)] = rows
    for i in range(1, copies):  # the same chunk again
        (here / "X.zarr" / "c" / str(i)).mkdir()
        os.link(here / "X.zarr" / "c" / "0" / "0", here / "X.zarr" / "c" / str(i) / "0")
    assert store.nbytes > limit
    code = """
import resource, sys
from dkmeans.cli import cli
import dkmeans.sweeping, dkmeans.plot.report, zarr, pandas, distributed
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
cli(sys.argv[1:], standalone_mode=False)
print(peak() - before)
"""
    args = ["sweep", "X.zarr", "-k", "2..3", "--memory-limit", str(limit), "--seed", "0", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", code, *args, "--report", "sweep.html"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed, peak = done.stdout.splitlines()
    found = json.loads(printed)
    assert found["plan"]["residency"] == "stream"
    assert found["bytes_read"] == found["passes"] * store.nbytes
    assert found["best"]["silhouette"] == 3
    assert int(peak) < limit
    assert (here / "sweep.html").exists()


def test_plan_without_rows_kept_has_no_line_for_them(stores):
    args = ("plan", stores / "X.zarr", "-k", 5, "--memory-limit", "1GiB")
    assert "kept rows  3,000" in run(*args).stdout
    assert "between" not in run(*args, "--algorithm", "lloyd").stdout


def test_plan_says_what_python_says(stores):
    plan = KMeans(5, memory_limit="1GiB").plan(str(stores / "X.zarr"))
    result = run("plan", stores / "X.zarr", "-k", 5, "--memory-limit", "1GiB")
    assert [tuple(line.strip().split("  ")) for line in result.stdout.splitlines()] == plan.lines()
    found = run("plan", stores / "X.zarr", "-k", 5, "--memory-limit", "1GiB", "--json")
    assert json.loads(found.stdout)["projected_bytes"] == plan.projected_bytes


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("X.zarr", {"kind": "zarr array", "shape": [3000, 4], "chunks": [500, 4]}),
        ("X.parquet", {"kind": "parquet", "shape": [3000, 5], "row_groups": 6}),
        ("group.zarr", {"kind": "zarr group", "arrays": {"rows": "(3000, 4) float32"}}),
    ],
)
def test_info_describes_stores(stores, name, expected):
    found = json.loads(run("info", stores / name, "--json").stdout)
    assert {key: found[key] for key in expected} == expected
    assert expected["kind"] in run("info", stores / name).stdout


def test_info_describes_models_and_labels(stores, here):
    run("fit", stores / "X.zarr", "-k", 5, "--model", "m.npz", "--labels", "labels.zarr")
    found = json.loads(run("info", "m.npz", "--json").stdout)
    assert (found["kind"], found["shape"]) == ("model", [5, 4])
    assert json.loads(run("info", "labels.zarr", "--json").stdout)["shape"] == [3000]


def test_make_data_writes_the_same_rows_whatever_the_chunks(here):
    args = ("--rows", 3000, "--features", 4, "--centers", 5, "--seed", 3)
    run("make-data", "a.zarr", *args, "--chunk-rows", 700)
    run("make-data", "b.zarr", *args, "--json")
    for name in ("a.zarr", "b.zarr"):
        np.testing.assert_array_equal(zarr.open_array(name)[:], X)


def test_demo_streams_and_can_be_run_again(here):
    for _ in range(2):
        result = run("demo", "--dir", "there", "--rows", 2000, "--json")
    found = json.loads(result.stdout)
    assert set(found["outputs"]) == {"model", "history", "labels"}
    printed = run("demo", "--dir", "there", "--rows", 2000).stdout
    assert "lloyd" in printed
    assert f"passes  {found['passes']}, " in printed
    files = sorted(name for name in os.listdir("there") if name[0] != ".")
    assert files == ["history.jsonl", "labels.zarr", "model.npz", "points.zarr"]


def test_demo_plans_to_stream_within_its_limit(here, monkeypatch):
    made, fit = [], KMeans.plan
    monkeypatch.setattr(KMeans, "plan", lambda *a, **k: made.append(fit(*a, **k)) or 1 / 0)
    run("demo", status=1)
    (plan,) = made
    assert plan.residency == "stream"
    assert plan.projected_bytes <= plan.limit_bytes < plan.pass_bytes
    assert plan.kept_rows > 0
    assert os.listdir(here) == []


def test_demo_refuses_before_it_makes_data(here):
    assert "memory_limit is 1.00 MiB" in refused("demo", "--memory-limit", "1MiB")
    assert os.listdir(here) == []


def test_demo_leaves_the_folders_of_others_alone(here):
    (here / "mine").mkdir()
    (here / "mine" / "points.zarr").write_text("mine")
    assert "was not made by a demo" in refused("demo", "--dir", "mine", "--rows", 100)
    assert (here / "mine" / "points.zarr").read_text() == "mine"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["fit", "nowhere.zarr", "-k", "2"], "no such file or folder: "),
        (["fit", "X.zarr"], "Missing option '-k'"),
        (["fit", "X.zarr", "-k", "0"], "0 is not in the range x>=1"),
        (["fit", "X.zarr", "-k", "2", "--colour", "red"], "No such option"),
        (["fit", "X.zarr", "-k", "2", "--algorithm", "full"], "is not one of 'auto', 'lloyd'"),
        (["plan", "X.zarr", "-k", "2", "--init", "best"], "is not one of 'auto', 'k-means||'"),
        (["fit", "X.zarr", "-k", "2", "--memory-limit", "lots"], "must be a number of bytes"),
        (["fit", "X.zarr", "-k", "2", "--memory-limit", "1MiB"], "memory_limit is 1.00 MiB"),
        (["fit", "X.zarr", "-k", "5000"], "n_samples=3000 should be >= n_clusters=5000"),
        (["fit", "X.zarr", "-k", "2", "--columns", "f9"], "no column 'f9'"),
        (["fit", "X.parquet", "-k", "2"], "column 'name' of"),
        (["fit", "X.zarr", "-k", "2", "--storage-option", "x"], "must be KEY=VALUE, got 'x'"),
        (["fit", "X.zarr", "-k", "2", "--labels", "l.csv"], "--labels: l.csv must end in .zarr"),
        (["fit", "X.zarr", "-k", "2", "--model", "no/m.npz"], "--model: no such folder"),
        (["fit", "X.zarr", "-k", "2", "--model", "m.pkl"], "m.pkl must end in .npz"),
        (["fit", "X.zarr", "-k", "2", "--model", "a.npz", "--history", "a.npz"], "the same path"),
        (["fit", "X.zarr", "-k", "2", "--overwrite", "--labels", "X.zarr"], "overlap"),
        (["fit", "X.zarr", "-k", "2", "--labels", "X.zarr/l.zarr"], "overlap"),
        (["fit", "X.zarr", "-k", "2", "--scheduler", "a", "--workers", "1"], "exclude each other"),
        (["fit", "X.zarr", "-k", "2", "--report", "r.pdf"], "--report: "),
        (["sweep", "X.zarr"], "Missing option '-k'"),
        (["sweep", "X.zarr", "-k", "2-12"], "'2-12' is neither a number nor a range such as 2..12"),
        (["sweep", "X.zarr", "-k", ""], "'' is neither a number nor a range"),
        (["sweep", "X.zarr", "-k", "2,,4"], "'' is neither a number nor a range"),
        (["sweep", "X.zarr", "-k", "0..4"], "'0..4' must rise from at least 1, by at least 1"),
        (["sweep", "X.zarr", "-k", "9..4"], "'9..4' must rise from at least 1"),
        (["sweep", "X.zarr", "-k", "2..9:0"], "'2..9:0' must rise from at least 1, by at least 1"),
        (["sweep", "X.zarr", "-k", "1..9999999999"], "has more than 1,000 numbers"),
        (["sweep", "X.zarr", "-k", "2..4", "--report", "no/r.html"], "--report: no such folder"),
        (["sweep", "X.zarr", "-k", "2..4", "--models", "text"], "--models: "),
        (["sweep", "X.zarr", "-k", "2..4", "--models", "X.zarr"], "overlap"),
        (["sweep", "X.zarr", "-k", "2..4", "--models", "no/m"], "--models: no such folder"),
        (["sweep", "X.zarr", "-k", "2,4000", "--models", "m"], "should be >= n_clusters=4000"),
        (["predict", "X.zarr", "--model", "no.npz", "--labels", "l.zarr"], "no such file: no.npz"),
        (["info", "nowhere"], "no such file or folder"),
        (["info", "text"], "is not a dkmeans model"),
        (["make-data", "o.zarr", *SIZE, "--dtype", "text"], "dtype must be float32"),
        (["make-data", "o.csv", *SIZE], "must end in .zarr or .parquet"),
        (["frobnicate"], "No such command 'frobnicate'"),
        (["--frobnicate"], "No such option"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(stores, monkeypatch, args, message):
    monkeypatch.chdir(stores)
    (stores / "text").write_text("not a store")
    before = sorted(os.listdir())
    assert message in refused(*args)
    assert sorted(os.listdir()) == before


def test_a_scheduler_that_is_not_there_is_one_line(stores, monkeypatch):
    monkeypatch.setattr("dkmeans.cli.options._CONNECT_TIMEOUT", "0.3s")
    line = refused("fit", stores / "X.zarr", "-k", 2, "--scheduler", "tcp://127.0.0.1:1")
    assert "cannot connect to the scheduler tcp://127.0.0.1:1" in line


def test_what_is_no_scheduler_is_left_at_once_and_dask_as_it_was(stores, here, monkeypatch):
    monkeypatch.setattr("dkmeans.cli.options._CONNECT_TIMEOUT", "1s")
    before = dask.config.get("scheduler", None)
    options = {"processes": False, "protocol": "tcp", "dashboard_address": "127.0.0.1:0"}
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, **options) as cluster:
        dashboard = cluster.scheduler.http_server.port
        for address, why in [
            (f"tcp://127.0.0.1:{dashboard}", r"no answer in 1s; .* its port, not the dashboard's"),
            (cluster.workers[0].address, "it is a Worker"),
            ("tcp://nobody", "missing port number"),
        ]:
            line = refused("fit", stores / "X.zarr", "-k", 2, "--scheduler", address)
            assert re.search(f"cannot connect to the scheduler {address}: {why}", line)
    assert dask.config.get("scheduler", None) == before
    run("fit", stores / "X.zarr", "-k", 2)


def test_existing_outputs_are_refused_before_the_fit(stores, here):
    (here / "m.npz").write_text("old")
    args = ("fit", stores / "X.zarr", "-k", 2, "--model", "m.npz", "--labels", "labels.zarr")
    assert "--model: " in refused(*args)
    assert os.listdir(here) == ["m.npz"]
    assert (here / "m.npz").read_text() == "old"
    run(*args, "--overwrite")
    assert KMeans.load("m.npz").n_clusters == 2


def test_a_corrupt_chunk_is_named_and_nothing_is_written(here):
    write_blobs(BLOBS, "X.zarr", chunk_rows=500)
    (here / "X.zarr" / "c" / "2" / "0").write_bytes(b"not a chunk")
    line = refused("fit", "X.zarr", "-k", 2, "--model", "m.npz", "--labels", "labels.zarr")
    assert "cannot read rows" in line
    assert os.listdir(here) == ["X.zarr"]


def test_labels_that_cannot_be_read_leave_no_output(here):
    write_blobs(BLOBS, "X.zarr", chunk_rows=500)
    run("fit", "X.zarr", "-k", 2, "--model", "m.npz")
    (here / "X.zarr" / "c" / "2" / "0").write_bytes(b"not a chunk")
    line = refused("predict", "X.zarr", "--model", "m.npz", "--labels", "labels.parquet")
    assert "cannot read rows" in line
    assert sorted(os.listdir(here)) == ["X.zarr", "m.npz"]


def test_warnings_are_one_line(here):
    zarr.save_array("X.zarr", np.ones((50, 2), np.float32))
    result = run("fit", "X.zarr", "-k", 3)
    assert "Warning: Number of distinct clusters (1) found smaller" in result.stderr
    assert result.stderr.count("\n") == 1


def test_nan_is_named_or_left_out(here):
    rows = X.copy()
    rows[7, 1] = np.nan
    zarr.save_array("X.zarr", rows)
    assert "row 7" in refused("fit", "X.zarr", "-k", 2)
    run("fit", "X.zarr", "-k", 2, "--nan-policy", "omit", "--labels", "labels.zarr")
    assert zarr.open_array("labels.zarr")[7] == -1


def test_faults_of_the_program_are_one_line_without_debugging(stores, monkeypatch):
    def broken(*args, **kwargs):
        raise KeyError("broken\nin two lines")

    monkeypatch.setattr(KMeans, "plan", broken)
    result = run("plan", stores / "X.zarr", "-k", 2, status=1)
    assert "Error: unexpected KeyError: " in result.stderr
    assert "DKMEANS_DEBUG=1" in result.stderr
    assert result.stderr.count("\n") == 1
    monkeypatch.setenv("DKMEANS_DEBUG", "1")
    assert isinstance(run("plan", stores / "X.zarr", "-k", 2, status=1).exception, KeyError)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_an_example(name):
    assert f"Example:\n    dkmeans {name} " in run(name, "--help").stdout


def test_help_lists_the_commands_in_their_order():
    found = run("--help").stdout
    assert [w for line in found.splitlines() for w in line.split()[:1] if w in COMMANDS] == COMMANDS
    assert run().stdout == found
    assert run("--version").stdout == f"dkmeans {__version__}\n"


def test_options_are_described():
    for name in COMMANDS:
        for option in cli.get_command(click.Context(cli), name).params:
            assert isinstance(option, click.Argument) or option.help, (name, option.name)


def test_dask_has_the_commands(stores):
    from dask.cli import cli as dask_cli

    for found in entry_points(group="dask_cli", name="kmeans"):
        assert found.load() is cli
    dask_cli.add_command(cli)
    result = CliRunner().invoke(dask_cli, ["kmeans", "--help"])
    assert "make-data" in result.stdout
    result = CliRunner().invoke(dask_cli, ["kmeans", "fit", "nowhere.zarr", "-k", "2"])
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: no such file or folder: ")


def test_help_loads_no_libraries():
    heavy = "dask", "sklearn", "numpy", "zarr", "rich", "numba"
    code = f"""
import sys
from dkmeans.cli import cli
cli(["--help"], standalone_mode=False)
assert not [m for m in {heavy!r} if m in sys.modules]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_process_prints_results_and_no_progress(stores, here):
    process = python("fit", stores / "X.zarr", "-k", 5, "--seed", 0, "--model", "m.npz")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    assert "\x1b" not in out
    assert f"{KMeans.load('m.npz').inertia_:.9g}" in out


@pytest.mark.skipif(os.name == "nt", reason="terminals of Unix")
def test_a_terminal_gets_progress_on_stderr(stores, here):
    master, slave = os.openpty()
    args = [sys.executable, "-m", "dkmeans", "fit", str(stores / "X.zarr"), "-k", "5"]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    process = subprocess.Popen(
        [*args, "--residency", "stream", "--labels", "labels.zarr"],
        stdout=subprocess.PIPE,
        stderr=slave,
        env=environment,
    )
    os.close(slave)
    drawn = b""
    with contextlib.suppress(OSError):  # the end of a terminal
        while piece := os.read(master, 4096):
            drawn += piece
    os.close(master)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"labels" in drawn
    assert b"inertia" in drawn
    assert b"\x1b" not in out


@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_process_leaves_nothing(here, number, status):
    size = ("--rows", 10**8, "--features", 32, "--centers", 4, "--chunk-rows", 4096)
    process = python("make-data", "X.zarr", *size)
    end = time.monotonic() + 60
    while not any(here.glob(".X.zarr.*.partial/c/*")) and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (status, "")
    assert err == "Interrupted; no output is half-written\n"
    assert os.listdir(here) == []
