"""The examples run as they stand, at small size."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

import dkmeans

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
    text = Path(__file__).read_text(encoding="utf-8")
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


def test_iris_against_sklearn(tmp_path: Path) -> None:
    printed = run_example(tmp_path, "iris_against_sklearn")
    values = {line.split("  ")[0]: line.split()[-2:] for line in printed.splitlines()[1:3]}
    assert values == {"inertia": ["18.0270"] * 2, "ARI (species)": ["0.8857"] * 2}
    assert "labels that agree: 150 of 150" in printed


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


def test_parquet_named_columns(tmp_path: Path) -> None:
    printed = run_example(tmp_path, "parquet_named_columns", "--rows", "2000", "--files", "2")
    assert len(list((tmp_path / "customers").glob("*.parquet"))) == 2
    assert "columns: visits, basket" in printed
    rows = [line.split() for line in printed.splitlines() if line.strip()[:1].isdigit()]
    assert sum(int(row[1]) for row in rows) == 2000
    centers = sorted((round(float(row[2])), round(float(row[3]), -1)) for row in rows)
    assert centers == [(4, 20), (4, 60), (16, 20), (16, 60)]
    assert "expected ['visits', 'basket'], got ['visits', 'age']" in printed
