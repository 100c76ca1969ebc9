"""The examples run as they stand, at small size."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr

import dkmeans
from dkmeans.data.synthetic import Blobs, write_blobs

ROOT = Path(__file__).parents[1]


def run_example(folder: Path, name: str, *args: str) -> str:
    """What the example printed when run in this folder."""
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / f"{name}.py", *args],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_all_are_tested() -> None:
    names = {path.stem for path in (ROOT / "examples").glob("*.py")}
    here = Path(__file__)
    texts = [path.read_text(encoding="utf-8") for path in (here, here.with_name("test_remote.py"))]
    text = "".join(texts).replace('.py"', '"')
    assert {name for name in names if f'"{name}"' not in text} == set()


def test_photo_colors(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    printed = run_example(tmp_path, "photo_colors", "--colors", "5", "--every", "4")
    target = tmp_path / "photo-colors" / "photo-5-colors.png"
    assert f"wrote {target.relative_to(tmp_path)}" in printed
    assert printed.count("  #") == 5
    with image.open(target) as painted, image.open(target.with_name("photo.png")) as photo:
        assert painted.size == photo.size == (160, 107)
        colors = np.asarray(painted.convert("RGB")).reshape(-1, 3)
        error = np.mean((colors - np.asarray(photo, dtype=float).reshape(-1, 3)) ** 2)
    assert len(np.unique(colors, axis=0)) == 5
    assert f"mean squared error {error:.2f}" in printed
    for name in ("side-by-side.png", "cloud.png", "report.html"):
        assert f"{target.parent.name}/{name}" in printed
        assert target.with_name(name).stat().st_size > 10_000


def check_pictures(folder: Path, printed: str, names: set[str]) -> None:
    """The example names its pictures, and they are those that it wrote."""
    image = pytest.importorskip("PIL.Image")
    written = {path.name for path in folder.iterdir() if path.suffix in (".png", ".gif")}
    assert written == names
    for name in names:
        assert f"wrote {folder.name}/{name}" in printed.replace(os.sep, "/")
        with image.open(folder / name) as picture:
            assert min(picture.size) >= 300
            shades = np.asarray(picture.convert("L"), dtype=float)
            assert shades.std() > 5  # of something that is drawn


def test_lloyd_by_eye(tmp_path: Path) -> None:
    """A1, A2 and A4."""
    printed = run_example(tmp_path, "01_lloyd_by_eye")
    assert "of the best of ten starts 212.391" in printed
    centers = [line.split()[1:] for line in printed.splitlines() if line.startswith("center")]
    assert centers == [["-1.3027", "-0.6570"], ["0.6226", "1.3173"], ["0.6955", "-0.6444"]]
    elbow = [float(line.split()[-1]) for line in printed.splitlines() if line.startswith("k = ")]
    assert elbow[:3] == [1500.0, 688.538, 212.391]
    assert (len(elbow), "the knee is at k = 3" in printed) == (9, True)
    check_pictures(
        tmp_path / "lloyd-by-eye", printed, {"clusters.png", "iterations.png", "elbow.png"}
    )


def test_every_iteration(tmp_path: Path) -> None:
    """B2, B3, B4, B6 and B7."""
    printed = run_example(tmp_path, "02_every_iteration")
    assert "inertia 18.0270, adjusted Rand index 0.8857" in printed
    assert "ratio 1" in printed
    assert "rows that agree  100.0000% of 150" in printed
    starts = {line.split()[0]: line.split() for line in printed.splitlines() if "  " in line}
    assert float(starts["k-means++"][3]) == pytest.approx(18.0270, abs=6e-5)
    check_pictures(
        tmp_path / "every-iteration", printed, {"iterations.png", "iris.gif", "starts.png"}
    )


def test_production_pipeline(tmp_path: Path) -> None:
    """C6."""
    printed = run_example(tmp_path, "03_production_pipeline")
    assert "inertia 18.842568" in printed
    assert "silhouette 0.820179" in printed
    assert "adjusted Rand index 1.0000" in printed
    out = tmp_path / "production"
    check_pictures(out, printed, {"projection.png", "elbow.png", "profiles.png"})
    assert dkmeans.KMeans.load(out / "model.npz").n_clusters == 4
    assert (out / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_failure_modes(tmp_path: Path) -> None:
    """C7."""
    printed = run_example(tmp_path, "04_failure_modes")
    lines = dict(line.rsplit(" ", 1) for line in printed.splitlines() if "Rand" in line)
    scores = {name.split(":")[0]: float(score) for name, score in lines.items()}
    assert scores.pop("moons") == 0.4790
    assert set(scores) == {"unequal sizes", "unequal densities", "irrelevant feature"}
    assert max(scores.values()) < 0.8
    assert "Features are on very different scales" in printed
    check_pictures(tmp_path / "failure-modes", printed, {"failure-modes.png"})


@pytest.mark.slow
def test_failure_modes_of_many_rows(tmp_path: Path) -> None:
    printed = run_example(tmp_path, "04_failure_modes", "--times", "1000")
    assert printed.count("adjusted Rand index") == 4
    check_pictures(tmp_path / "failure-modes", printed, {"failure-modes.png"})


def test_choose_k(tmp_path: Path) -> None:
    """B5."""
    printed = run_example(tmp_path, "05_choose_k")
    assert "362.79" in printed
    assert "3 by silhouette" in printed
    check_pictures(
        tmp_path / "choose-k",
        printed,
        {"elbow.png", "silhouettes.png", "silhouette.png", "starts.png"},
    )


def test_customer_segments(tmp_path: Path) -> None:
    """C10."""
    printed = run_example(tmp_path, "06_customer_segments", "--rows", "4000")
    assert "4 segments" in printed
    assert float(printed.split("adjusted Rand index ")[1].split()[0]) > 0.95
    assert "recency_days" in printed
    out = tmp_path / "segments"
    check_pictures(out, printed, {"projection.png", "silhouette.png", "profiles.png"})
    labels = pq.read_table(out / "segments.parquet")
    assert labels.num_rows == 4000
    shares = np.bincount(labels.column("label").to_numpy()) / 4000
    np.testing.assert_allclose(np.sort(shares), [0.1, 0.2, 0.35, 0.35], atol=0.03)


@pytest.mark.slow
def test_customer_segments_larger_than_the_memory_limit(tmp_path: Path) -> None:
    limit = "340MiB"
    options = ["--memory-limit", limit, "--times", "1.1", "--most", "4"]
    printed = run_example(tmp_path, "06_customer_segments", *options)
    assert "4 segments" in printed


def test_animated_voronoi(tmp_path: Path) -> None:
    """D1, D2 and D3."""
    printed = run_example(tmp_path, "07_animated_voronoi")
    for seed in (4, 0, 42):
        assert f"seed {seed}: inertia 37.0507, silhouette 0.4451" in printed
    phases = [line.split()[0] for line in printed.splitlines() if line.startswith("   ")]
    assert phases[:3] == ["init", "assign", "update"]
    assert "converged  Converged after 9 iterations" in printed
    check_pictures(tmp_path / "animated-voronoi", printed, {"voronoi.gif"})
    page = (tmp_path / "animated-voronoi" / "voronoi.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64") == 20


def test_zarr_larger_than_memory(tmp_path: Path) -> None:
    printed = run_example(tmp_path, "zarr_larger_than_memory", "--times", "1.1")
    out = tmp_path / "larger-than-memory"
    X = zarr.open_array(out / "X.zarr", mode="r")
    labels = zarr.open_array(out / "labels.zarr", mode="r")
    model = dkmeans.KMeans.load(out / "model.npz")
    assert "residency  stream" in printed
    assert "kept rows" in printed
    assert f"in {model.history_.passes} passes over the data" in printed
    assert f"wrote {Path('larger-than-memory', 'labels.zarr')}" in printed
    assert X.nbytes > 1.09 * 384 * 2**20
    assert all(step.bytes_read == X.nbytes * step.passes for step in model.history_)
    assert model.history_.passes < len(model.history_)
    np.testing.assert_array_equal(labels[:1000], model.predict(np.asarray(X[:1000])))
    assert labels.shape == X.shape[:1]


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("01_lloyd_by_eye", (), "the knee is at k = 3"),
        ("03_production_pipeline", ("--clusters", "3"), "best n_clusters: 3 by silhouette"),
        ("05_choose_k", ("--most", "5", "--n-init", "2"), "best n_clusters: 3 by silhouette"),
        ("07_animated_voronoi", ("--seeds", "1"), "seed 1: inertia"),
    ],
    ids=["01", "03", "05", "07"],
)
def test_data_of_any_size(name: str, options: tuple[str, ...], says: str, tmp_path: Path) -> None:
    """The examples that take a store take one, and have no truth to compare with."""
    store = tmp_path / "points.zarr"
    write_blobs(Blobs(3000, 2, 3, seed=1, spread=0.7), str(store), chunk_rows=700)
    printed = run_example(tmp_path, name, "--data", str(store), *options)
    assert says in printed
    assert "adjusted Rand index" not in printed
