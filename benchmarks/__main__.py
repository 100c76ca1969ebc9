"""Run sections and put their tables into RESULTS.md: ``python -m benchmarks --help``."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import fit, kernels, passes
from benchmarks.report import Section, write_section

SECTIONS = {"kernels": kernels.run, "fit": fit.run, "pass": passes.run}
RESULTS = Path(__file__).with_name("RESULTS.md")


def main() -> None:
    """Parse the arguments, run, print and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="section", help=" or ".join(SECTIONS))
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
        section: Section = SECTIONS[name](quick=args.quick)
        print(section.markdown(), flush=True)
        if out is not None:
            write_section(out, name, section)
            print(f"wrote section {name} of {out}", flush=True)


if __name__ == "__main__":
    main()
