"""Checkpoints from the command line."""

import json
import os
import re

import numpy as np
import pytest
from test_cli import BLOBS, refused, run

from dkmeans import KMeans
from dkmeans.data.synthetic import write_blobs

FIT = ("fit", "X.zarr", "-k", 5, "--seed", 0, "--memory-limit", "1GiB", "--json")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_blobs(BLOBS, tmp_path / "X.zarr", chunk_rows=500)
    return tmp_path


def test_a_fit_goes_on_and_starts_over(here):
    plain = json.loads(run(*FIT, "--model", "plain.npz").stdout)
    for options in ((), (), ("--fresh",), ("--workers", 1)):
        outputs = ("--model", "kept.npz", "--overwrite", "--checkpoint", "run.ckpt")
        found = json.loads(run(*FIT, *outputs, *options).stdout)
        for name in ("inertia", "n_iter", "stop_reason", "sizes", "passes"):
            assert found[name] == plain[name], name
        one, other = KMeans.load("plain.npz"), KMeans.load("kept.npz")
        np.testing.assert_array_equal(one.cluster_centers_, other.cluster_centers_)
        os.remove("run.ckpt/end.entry")
    sweep = ("sweep", "X.zarr", "-k", "2..3", "--checkpoint", "sweep.ckpt")
    first, again = (run(*sweep, "--seed", 0).stdout.splitlines()[:4] for _ in range(2))
    assert first == again
    assert "a sweep with a checkpoint needs random_state= (--seed)" in refused(*sweep)


def cut_short(folder, kept):
    """Leave a finished checkpoint as it was after so many entries."""
    for name in sorted(os.listdir(folder))[kept:]:
        os.remove(f"{folder}/{name}")


def test_a_fit_says_where_it_was_resumed(here):
    fit = ("fit", "X.zarr", "-k", 5, "--seed", 0, "--init", "random", "--n-init", 1, "--tol", 0)
    fit = (*fit, "--algorithm", "lloyd", "--residency", "stream", "--checkpoint", "run.ckpt")
    assert "resumed" not in run(*fit).stdout
    where = os.path.abspath("run.ckpt")
    assert f"resumed  from {where} at its end\n" in run(*fit).stdout
    for kept, at in {
        1: None,
        2: "pass 2",
        3: "pass 3, iteration 2",
        5: "pass 5, iteration 4",
    }.items():
        cut_short("run.ckpt", kept)
        told = json.loads(run(*fit, "--json", "--model", "m.npz", "--overwrite").stdout)["resumed"]
        assert told == (at and f"from {where} at {at}")
        assert KMeans.load("m.npz").history_.facts.resumed == told
    cut_short("run.ckpt", 4)
    assert "resumed" not in run(*fit, "--fresh").stdout
    sweep = ("sweep", "X.zarr", "-k", "2..3", "--seed", 0, "--checkpoint", "sweep.ckpt")
    assert "resumed" not in run(*sweep).stdout
    cut_short("sweep.ckpt", 3)
    assert re.search(r"\n *resumed  from .*sweep\.ckpt at pass \d+\n", run(*sweep).stdout)


@pytest.mark.skipif(os.name == "nt", reason="terminals of Unix")
@pytest.mark.parametrize("fresh", [False, True])
def test_a_terminal_shows_where_a_fit_was_resumed(here, fresh):
    fit = ["fit", "X.zarr", "-k", "5", "--seed", "0", "--checkpoint", "run.ckpt"]
    run(*fit)
    cut_short("run.ckpt", 2)
    from terminals import shown

    drawn = shown(*fit, *["--fresh"] * fresh, columns=200)
    told = f"resumed from {os.path.abspath('run.ckpt')} at pass 2"
    assert (told in drawn) != fresh
    assert ("resumed" in drawn) != fresh


def test_info_says_what_a_checkpoint_is_of(here):
    run(*FIT, "--checkpoint", "run.ckpt")
    found = json.loads(run("info", "run.ckpt", "--json").stdout)
    assert found["kind"] == "checkpoint"
    assert found["source"].endswith("X.zarr")
    assert found["parameters"][0]["n_clusters"] == "5"
    assert found["data"]["n_samples"] == "3000"
    assert (found["finished"], len(found["found"])) == (True, 1)
    assert found["answers"] == len(os.listdir("run.ckpt")) - 2
    os.remove("run.ckpt/end.entry")
    lines = run("info", "run.ckpt").stdout
    assert "finished" in lines
    assert "last answer" in lines
    with open("run.ckpt/000001.entry", "ab") as file:
        file.write(b"x")
    assert "000001.entry is torn" in refused("info", "run.ckpt")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--fresh",), "--fresh starts over what --checkpoint names"),
        (("--checkpoint", "X.zarr"), "overlap"),
        (("--checkpoint", "run.ckpt", "--model", "run.ckpt/m.npz"), "no such folder"),
        (("--checkpoint", "no/run.ckpt"), "run.ckpt: no such folder: "),
        (("--checkpoint", ""), "the path of a checkpoint is empty; name a folder, or a URI"),
        (("--checkpoint", "file"), "file is a file, and a checkpoint is a folder: give"),
        (("--checkpoint", "file", "--fresh"), "file is a file, and a checkpoint is a folder"),
        (("--checkpoint", "mine"), "mine is not a checkpoint: it holds 'notes'"),
        (("--checkpoint", "mine", "--fresh"), "mine is not a checkpoint: it holds 'notes'"),
        (("--checkpoint", "of-another"), "of another fit: n_clusters: 4 there, 5 here"),
    ],
)
def test_mistakes_are_one_line(options, message, here):
    (here / "mine").mkdir()
    (here / "mine" / "notes").touch()
    (here / "file").touch()
    KMeans(4, random_state=0, memory_limit="1GiB", checkpoint="of-another").fit("X.zarr")
    assert message in refused(*FIT, *options)
