"""Timing by turns, the machine's line, and Markdown tables."""

from __future__ import annotations

import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

import dkmeans

HEAD = """# Results

Written by `python -m benchmarks`, a section at a time. Each section is one run on the machine that
its first line names; ratios compare figures of that run only.
"""


@dataclass(frozen=True)
class Table:
    """One more table of a section, under what ``settings`` say of it."""

    settings: str
    header: tuple[str, ...]
    rows: Sequence[Sequence[str]]

    def lines(self) -> list[str]:
        """The table as Markdown."""
        return ["", self.settings, "", *table(self.header, self.rows)]


@dataclass(frozen=True)
class Section:
    """What one section found."""

    title: str
    settings: str  # sizes, data, and what is timed
    packages: tuple[str, ...]
    threads: int
    header: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()
    more: Sequence[Table] = ()
    pictures: Mapping[str, bytes] = field(default_factory=dict)  # file name -> its bytes
    quoted: Mapping[str, Section] = field(default_factory=dict)  # document -> what it says of this

    def markdown(self) -> str:
        """The section as Markdown."""
        plural = "" if self.threads == 1 else "s"
        lines = [
            f"## {self.title}",
            "",
            f"{machine_line()}; {self.threads} thread{plural}.",
            f"{versions(self.packages)}.",
            *Table(self.settings, self.header, self.rows).lines(),
        ]
        for other in self.more:
            lines += other.lines()
        for name in self.pictures:
            lines += ["", f"![{self.title}]({name})"]
        if self.notes:
            lines += ["", *(f"- {note}" for note in self.notes)]
        return "\n".join(lines) + "\n"


def machine_line() -> str:
    """Processor, cores and memory."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
        name = found[1] if found else name
    memory = psutil.virtual_memory().total / 2**30
    return f"{name}, {os.cpu_count()} cores, {memory:.0f} GiB of memory, {platform.system()}"


def versions(packages: Sequence[str]) -> str:
    """Python and the installed version of each package."""
    found = [f"Python {platform.python_version()}", f"dkmeans {dkmeans.__version__}"]
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} not installed")
    return ", ".join(found)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table: the first column to the left, the others to the right."""
    widths = [max(len(row[c]) for row in [header, *rows]) for c in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        first, *others = (cell.ljust(w) for cell, w in zip(cells, widths, strict=True))
        right = [cell.strip().rjust(w) for cell, w in zip(others, widths[1:], strict=True)]
        return "| " + " | ".join([first, *right]) + " |"

    rule = [":" + "-" * (widths[0] - 1), *("-" * (w - 1) + ":" for w in widths[1:])]
    return [line(header), "| " + " | ".join(rule) + " |", *(line(row) for row in rows)]


def by_turns(runs: Sequence[Callable[[], object]], repeats: int) -> list[list[float]]:
    """Seconds of each run, each called once a turn, so that all see the same noise."""
    seconds: list[list[float]] = [[] for _ in runs]
    for _ in range(repeats):
        for run, times in zip(runs, seconds, strict=True):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
    return seconds


def spread(times: Sequence[float]) -> str:
    """Quartiles as a share of the median, such as ``±4 %``."""
    if len(times) < 4:
        return "-"
    low, middle, high = statistics.quantiles(times, n=4)
    return f"±{50 * (high - low) / middle:.0f} %"


def mark(ratio: float) -> str:
    """A ratio of a peer's cost to that of dkmeans, **bold** where dkmeans loses."""
    return f"**{ratio:.2f}**" if ratio < 1 else f"{ratio:.2f}"


def share(value: float) -> str:
    """A share as a percentage."""
    return f"{100 * value:.0f} %"


def tell(line: str) -> None:
    """Print a line of progress at once."""
    print(line, flush=True)


def write_section(out: Path, name: str, section: Section) -> None:
    """Replace the section of this name in the file, or add it at the end."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    text = out.read_text(encoding="utf-8") if out.exists() else HEAD
    body = f"{begin}\n{section.markdown()}{end}"
    if begin in text:
        before, rest = text.split(begin, 1)
        text = before + body + rest.split(end, 1)[1]
    else:
        text = f"{text.rstrip()}\n\n{body}\n"
    out.write_text(text, encoding="utf-8")
    for picture, data in section.pictures.items():
        out.with_name(picture).write_bytes(data)
    for document, part in section.quoted.items():
        quoting = out.parents[1] / document
        if quoting.exists():  # results may be written elsewhere than into the repository
            write_section(quoting, name, part)
