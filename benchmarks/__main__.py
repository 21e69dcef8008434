"""Measure, print tables, and write them to benchmarks/RESULTS.md, a section for each group.

make bench
python -m benchmarks step remap    # only these; the other sections stay
"""

import argparse
import importlib
import re
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.table import HEADER, machine_facts
from roadseg.provenance.source_code import ROOT

GROUPS = (
    *("remap", "step", "epoch", "processes", "predict", "stages", "memory", "growth", "repro"),
)
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
_INTRODUCTION = """# How fast

Written by `make bench`; README.md beside it says what is measured. Each row is a ratio of two sides
that were timed in turn in one run, of medians of at least five; nothing else ran on the machine. A
bar that was missed says no. Figures of a GPU are not in it: `python -m benchmarks.gpu` measures
them where there is one.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}")
    groups = parser.parse_args().groups or GROUPS
    if unknown := set(groups) - set(GROUPS):
        sys.exit(f"error: {', '.join(unknown)}: no such group; use {', '.join(GROUPS)}")
    commit = ["git", "rev-parse", "--short", "HEAD"]
    code = subprocess.run(commit, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    facts = [*machine_facts("cpu"), f"{time.strftime('%Y-%m-%d')}, code of {code}"]
    print("\n".join(facts), flush=True)
    for group in groups:
        print(f"\n{HEADER}", flush=True)
        rows = []
        for row in importlib.import_module(f"benchmarks.{group}").rows():
            rows.append(str(row))
            print(row, flush=True)
        write_section(RESULTS, group, facts, rows)


def write_section(path: Path, group: str, facts: list[str], rows: list[str]) -> None:
    """Put the section of `group` into the file at `path`; the others stay."""
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", old, re.MULTILINE | re.DOTALL))
    listed = "\n".join(f"- {fact}" for fact in facts)
    sections[group] = "\n".join(["", HEADER, *rows, "", listed, "", ""])
    parts = [f"## {name}\n{sections[name]}" for name in GROUPS if name in sections]
    path.write_text(f"{_INTRODUCTION}\n{''.join(parts).rstrip()}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
