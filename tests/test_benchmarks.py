"""The benchmarks run, at small size, and write their tables."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.report import Section, write_section

ROOT = Path(__file__).parents[1]


def test_quick_run_writes_all_sections(tmp_path: Path) -> None:
    out = tmp_path / "RESULTS.md"
    command = [sys.executable, "-m", "benchmarks", "--quick", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    text = out.read_text(encoding="utf-8")
    assert text.count("## ") == 3
    assert text.count(": a Lloyd pass ") == 2
    assert text.count("ms a block") == 2
    assert text.count("| 784, 256, ") == 2
    streamed = next(line for line in text.splitlines() if line.startswith("| dkmeans, stream"))
    kept = next(line for line in text.splitlines() if line.startswith("| dkmeans, memory"))
    passes = [float(line.split("|")[9]) for line in (streamed, kept)]
    assert passes[0] >= 9
    assert passes[1] == 1


def test_a_section_is_replaced_and_others_stay(tmp_path: Path) -> None:
    out = tmp_path / "RESULTS.md"
    for name, value in [("a", "1"), ("b", "2"), ("a", "3")]:
        write_section(out, name, Section(name, "s", (), 1, ("x", "y"), [("row", value)]))
    text = out.read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if line.startswith("| row")] == [
        "| row | 3 |",
        "| row | 2 |",
    ]
