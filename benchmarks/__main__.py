"""Run benchmarks, print their tables, and write them to benchmarks/RESULTS.md.

`make bench` runs all groups; `python -m benchmarks step remap` runs only these two and keeps the
other sections of the file.
"""

import argparse
import importlib
import sys
import time
from pathlib import Path

from benchmarks.sections import current_commit, replace_section
from benchmarks.table import HEADER, machine_facts
from roadseg.provenance.source_code import ROOT

GROUPS = (
    *("remap", "step", "epoch", "processes", "predict", "stages", "memory", "growth", "repro"),
    "audit",
)
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
_INTRODUCTION = """# Benchmark results

Written by `make bench`; [README.md](README.md) explains the benchmarks. Each row compares two
programs that were timed alternately in one run, with nothing else running; times are medians of at
least five runs. The last column says whether a target was met. `make gpu` measures a GPU, for
[GPU.md](GPU.md).
"""


def main() -> None:
    """Run the groups given on the command line, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"any of {', '.join(GROUPS)}")
    groups = parser.parse_args().groups or GROUPS
    if unknown := set(groups) - set(GROUPS):
        sys.exit(f"error: {', '.join(unknown)}: no such group; use {', '.join(GROUPS)}")
    facts = [*machine_facts(), f"{time.strftime('%Y-%m-%d')}, commit {current_commit()}"]
    print("\n".join(facts), flush=True)
    for group in groups:
        print(f"\n{HEADER}", flush=True)
        rows = []
        for row in importlib.import_module(f"benchmarks.{group}").rows():
            rows.append(str(row))
            print(row, flush=True)
        write_section(RESULTS, group, facts, rows)


def write_section(path: Path, group: str, facts: list[str], rows: list[str]) -> None:
    """Replace the section of `group` in the file at `path`; the other sections stay."""
    listed = "\n".join(f"- {fact}" for fact in facts)
    body = "\n".join([HEADER, *rows, "", listed])
    replace_section(path, _INTRODUCTION, GROUPS, group, body)


if __name__ == "__main__":
    main()
