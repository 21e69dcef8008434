"""Run benchmarks, print their tables, and write them to benchmarks/RESULTS.md.

`make bench` runs all groups; `python -m benchmarks step remap` runs only these two and keeps the
other sections of the file.
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
    "audit",
)
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
_INTRODUCTION = """# Benchmark results

Written by `make bench`; [README.md](README.md) explains the benchmarks. Each row compares two
programs that were timed alternately in one run, with nothing else running; times are medians of at
least five runs. The last column says whether a target was met. GPU results are not included;
`python -m benchmarks.gpu` measures them.
"""


def main() -> None:
    """Run the groups given on the command line, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"any of {', '.join(GROUPS)}")
    groups = parser.parse_args().groups or GROUPS
    if unknown := set(groups) - set(GROUPS):
        sys.exit(f"error: {', '.join(unknown)}: no such group; use {', '.join(GROUPS)}")
    commit = ["git", "rev-parse", "--short", "HEAD"]
    code = subprocess.run(commit, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    facts = [*machine_facts("cpu"), f"{time.strftime('%Y-%m-%d')}, commit {code}"]
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
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", old, re.MULTILINE | re.DOTALL))
    listed = "\n".join(f"- {fact}" for fact in facts)
    sections[group] = "\n".join(["", HEADER, *rows, "", listed, "", ""])
    parts = [f"## {name}\n{sections[name]}" for name in GROUPS if name in sections]
    path.write_text(f"{_INTRODUCTION}\n{''.join(parts).rstrip()}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
