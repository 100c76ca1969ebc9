"""Run sections and put their tables into RESULTS.md: ``python -m benchmarks --help``."""

from __future__ import annotations

import argparse
import time
from importlib import import_module
from pathlib import Path

from benchmarks.report import Section, tell, write_section

SECTIONS = {  # name -> module with a function ``run(*, quick)``
    "kernels": "kernels",
    "pass": "passes",
    "passes-to-fixed-point": "fixed_point",
    "quality": "quality",
    "colors": "colors",
    "fit": "fit",
    "sweep": "sweep",
    "out-of-core": "out_of_core",
    "growth": "growth",
    "scaling": "scaling",
    "images": "images",
}
RESULTS = Path(__file__).with_name("RESULTS.md")


def main() -> None:
    """Parse the arguments, run, print and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="section", help=", ".join(SECTIONS))
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument(
        "--out", type=Path, help="Markdown file to write to (default: RESULTS.md; none if --quick)"
    )
    args = parser.parse_args()
    unknown = [name for name in args.sections if name not in SECTIONS]
    if unknown:
        parser.error(f"no section {unknown[0]!r}; choose from {', '.join(SECTIONS)}")
    out = args.out or (None if args.quick else RESULTS)
    for name in args.sections or SECTIONS:
        start = time.perf_counter()
        section: Section = import_module(f"benchmarks.{SECTIONS[name]}").run(quick=args.quick)
        tell(section.markdown())
        if out is not None:
            write_section(out, name, section)
            tell(f"wrote section {name} of {out}")
        tell(f"{name} took {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
