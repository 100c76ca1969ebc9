"""The benchmarks run, at small size, and write their tables; nothing is timed here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import growth, peers, worker
from benchmarks.__main__ import SECTIONS
from benchmarks.colors import Colors
from benchmarks.contenders import Job
from benchmarks.data import Made
from benchmarks.report import Section, Table, mark, write_section
from benchmarks.spark import _reads
from benchmarks.stores import Stored, cost, make_store

ROOT = Path(__file__).parents[1]
EXPECTED = {  # the first cell of a row that each section must have
    "kernels": "784, 256 ",
    "pass": "zstd (Zarr's default), ",
    "passes-to-fixed-point": "separated, 16-D, 10, dkmeans, lloyd, streamed ",
    "quality": "iris, 150 x 4, 3, dkmeans ",
    "fit": "dkmeans, stream ",
    "sweep": "6 clusters apart, 1, fits alone ",
    "out-of-core": "20 apart, 20, scikit-learn MiniBatchKMeans ",
    "growth": "rows, 10,000 ",
    "scaling": "1, 60,000 rows ",
    "images": "Pillow fastoctree ",
    "colors": "china.jpg, 8 ",
}


def run_quick(name: str, out: Path) -> str:
    command = [sys.executable, "-m", "benchmarks", name, "--quick", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return out.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SECTIONS)
def test_a_quick_run_writes_the_section(name: str, tmp_path: Path) -> None:
    text = run_quick(name, tmp_path / "RESULTS.md")
    assert text.count("\n## ") == 1
    assert f"\n| {EXPECTED[name]}" in text
    for peer in ("dask-ml", "pyspark", "faiss-cpu", "scikit-learn-intelex", "libimagequant"):
        if f"{peer} not installed" in text:
            assert f"- {peer} is missing: " in text
    if name == "growth":
        assert "(growth.png)" in text
        assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


def test_an_unknown_section_is_refused() -> None:
    command = [sys.executable, "-m", "benchmarks", "speed"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no section 'speed'; choose from kernels, pass, " in done.stderr


def test_a_section_is_replaced_and_others_stay(tmp_path: Path) -> None:
    out = tmp_path / "RESULTS.md"
    for name, value in [("a", "1"), ("b", "2"), ("a", "3")]:
        write_section(out, name, Section(name, "s", (), 1, ("x", "y"), [("row", value)]))
    text = out.read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if line.startswith("| row")] == [
        "| row | 3 |",
        "| row | 2 |",
    ]


def test_a_document_quotes_a_section(tmp_path: Path) -> None:
    quoted = Section("Numbers", "s", (), 1, ("x", "y"), [("row", "1")])
    section = Section("a", "s", (), 1, ("x", "y"), [("row", "1")], quoted={"docs/a.md": quoted})
    (tmp_path / "out").mkdir()
    write_section(tmp_path / "out" / "RESULTS.md", "a", section)
    assert not (tmp_path / "docs").exists()
    (tmp_path / "docs").mkdir()
    document = tmp_path / "docs" / "a.md"
    document.write_text("before\n<!-- a -->\nold\n<!-- end of a -->\nafter\n")
    write_section(tmp_path / "out" / "RESULTS.md", "a", section)
    text = document.read_text()
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.rstrip().endswith("after")
    assert "| row | 1 |" in text


def test_further_tables_and_pictures_are_written(tmp_path: Path) -> None:
    more = [Table("of others", ("x", "y"), [("other", "2")])]
    section = Section("a", "s", (), 1, ("x", "y"), [("row", "1")], ["n"], more, {"p.png": b"png"})
    write_section(tmp_path / "RESULTS.md", "a", section)
    text = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    parts = ["| row | 1 |", "of others", "| other | 2 |", "![a](p.png)", "- n"]
    assert [text.index(part) for part in parts] == sorted(text.index(part) for part in parts)
    assert (tmp_path / "p.png").read_bytes() == b"png"


def test_a_loss_is_bold() -> None:
    assert [mark(0.5), mark(1.0), mark(2.0)] == ["**0.50**", "1.00", "2.00"]


def test_a_peer_that_cannot_run_is_named_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise OSError("no such library")

    monkeypatch.setitem(peers._PROBES, "broken", broken)
    assert not peers.have("broken")
    assert peers.missing(["broken"]) == ["broken is missing: OSError: no such library"]


def test_spark_without_java_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspark", pytest)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match="no Java runtime"):
        peers._spark()


def test_made_data_are_the_same_however_they_are_read_and_their_clusters_apart() -> None:
    made = Made("apart", 3, 5, gap=9, uneven=4)
    assert np.array_equal(made.rows(100), made.rows(100))
    assert sum(len(block) for block in made.blocks(100, 30)) == 100
    gaps = np.linalg.norm(made.middles[:, None] - made.middles, axis=2)[~np.eye(5, dtype=bool)]
    assert gaps.min() >= 9
    shuffled = made.middles[::-1] + 0.1
    assert made.found_all(shuffled)
    shuffled[0] = shuffled[1] + 0.2
    assert not made.found_all(shuffled)


def test_a_store_counts_its_reads_and_knows_its_variance(tmp_path: Path) -> None:
    made = Made("overlapping", 3, 4)
    stored = make_store(tmp_path / "s", made, 100, 30, parquet=True)
    assert stored == Stored.load(tmp_path / "s")
    X, read = stored.open()
    rows = X[:]
    assert (stored.chunks, read()) == (4, stored.stored_bytes)
    X, read = stored.open_plain()
    before = read()
    assert np.array_equal(X[:], rows)
    assert read() - before >= stored.stored_bytes
    assert np.isclose(stored.mean_variance, rows.var(axis=0).mean(), rtol=1e-5)
    import pyarrow.parquet as pq

    assert np.array_equal(pq.read_table(tmp_path / "s" / "X.parquet").to_pandas(), rows)
    exact = np.square(rows.astype(np.float64)[:, None] - made.middles).sum(axis=2)
    assert np.isclose(cost(X, made.middles, 30), exact.min(axis=1).sum())


def test_a_worker_fits_and_measures_its_memory(tmp_path: Path) -> None:
    stored = make_store(tmp_path / "s", Made("apart", 2, 3, gap=20), 300, 100)
    jobs = [Job("scikit-learn", stored.folder, 3, seed, counted=True) for seed in (0, 1)]
    runs = list(worker.run(jobs, jobs[0]))
    assert [run.fitted.passes for run in runs] == [1.0, 1.0]
    assert all(Made("apart", 2, 3, gap=20).found_all(run.fitted.centers) for run in runs)
    assert all(run.peak > 10_000_000 for run in runs)


def test_a_worker_that_fails_says_why(tmp_path: Path) -> None:
    stored = make_store(tmp_path / "s", Made("apart", 2, 3, gap=20), 300, 100)
    with pytest.raises(RuntimeError, match="no such peer"):
        list(worker.run([Job("no such peer", stored.folder, 3, 0)]))


def test_sparks_passes_are_its_stages_that_read_all_rows(tmp_path: Path) -> None:
    def stage(number: int, name: str) -> dict[str, object]:
        info = {"Stage ID": number, "Stage Name": name}
        return {"Event": "SparkListenerStageSubmitted", "Stage Info": info}

    def task(number: int, records: int) -> dict[str, object]:
        metrics = {"Input Metrics": {"Records Read": records, "Bytes Read": 8 * records}}
        return {"Event": "SparkListenerTaskEnd", "Stage ID": number, "Task Metrics": metrics}

    events = [
        stage(0, "count"), task(0, 10),
        stage(1, "sum at KMeans.scala:423"), task(1, 6), task(1, 4),
        stage(2, "collectAsMap at KMeans.scala:333"), task(2, 0),
        {"Event": "SparkListenerTaskEnd", "Stage ID": 2, "Task Metrics": None},
    ]  # fmt: skip
    (tmp_path / "log").write_text("\n".join(map(json.dumps, events)), encoding="utf-8")
    assert _reads(tmp_path, 10) == (1, 80)


def test_the_slope_of_linear_growth_is_one() -> None:
    points = [(n, [2e-6 * n], [1e-9 * n * n]) for n in (10, 100, 1000, 10_000)]
    assert growth._slopes("rows", points) == "In rows: slope 1.00, scikit-learn 2.00."


def test_colours_are_scored_as_they_are_and_in_bytes() -> None:
    pixels = np.array([[0, 0, 0], [3, 0, 0], [200, 0, 0]], np.uint8)
    found = Colors.of(pixels, np.array([[1.5, 0, 0], [200.25, 0, 0]]))
    assert found.inertia == pytest.approx(2 * 1.5**2 + 0.25**2)
    assert found.mse == pytest.approx((2**2 + 1) / 9)
