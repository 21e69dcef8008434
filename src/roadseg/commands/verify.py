"""Rerun the committed pipeline in a clean copy, and compare each output with the committed one.

The workspace and DVC's cache are not changed. Bytes repeat on one machine; with another processor,
number of threads or version of a package, results agree up to rounding. The exit code is 0 if all
outputs are identical, otherwise 1.
"""

import argparse
from typing import TYPE_CHECKING

from roadseg.system.errors import InputError, escape_unprintable

if TYPE_CHECKING:
    from roadseg.experiments.verification import Row


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: the commit is HEAD, and the parameters are those of its params.yaml."""


def run(args: argparse.Namespace) -> None:
    """Print one line per output and metric, then the first stage that differs.

    Raises:
        InputError: an output differs or is missing, because its stage failed.
    """
    from roadseg.experiments.git import run_git
    from roadseg.experiments.verification import find_first_difference, verify

    commit = run_git("rev-parse", "--verify", "HEAD^{commit}")
    print(f"verify: rerunning commit {commit[:7]} in a temporary copy", flush=True)
    if run_git("status", "--porcelain", "--untracked-files=no"):
        print("verify: uncommitted changes are left out", flush=True)
    rows = verify(commit)
    print("\n" + "\n".join(format_rows(rows)))
    if problem := find_first_difference(rows):
        raise InputError(problem)
    print(f"verify: all {len(rows)} outputs are identical to those of commit {commit[:7]}")


def format_rows(rows: "list[Row]") -> list[str]:
    """Format one line per row, with aligned columns."""
    cells = [("stage", "output", "result")]
    cells += [(row.stage, row.name, str(row.difference or "identical")) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        escape_unprintable(f"{stage:<{widths[0]}}  {name:<{widths[1]}}  {result}")
        for stage, name, result in cells
    ]
