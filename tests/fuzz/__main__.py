"""Run the stages on hostile input, and report every fault.

A case is identified by its kind and seed: `--kind 'archive cut' --seed 7 --count 1` runs a single
one. A fault is any outcome other than a correct result or one clear line of error; see case.py.
"""

import argparse
import os
import re
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the networks are tiny

from tqdm import tqdm

from tests.fuzz.case import Outcome, run_case
from tests.fuzz.registry import KINDS


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    kinds = [name for name in KINDS if name.startswith(args.kind)]
    if not kinds:
        print(f"error: {args.kind!r}: no such kind; use {', '.join(KINDS)}", file=sys.stderr)
        return 2
    outcomes: dict[str, list[Outcome]] = defaultdict(list)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz") as folder:
        for number in tqdm(range(args.count), "fuzz", unit="case", disable=None):
            if time.monotonic() - started > args.seconds:
                break
            kind, seed = kinds[number % len(kinds)], args.seed + number // len(kinds)
            outcome = run_case(kind, seed, KINDS[kind], Path(folder))
            outcomes[kind].append(outcome)
            if outcome.is_fault:
                tqdm.write(f"fault: --kind {kind!r} --seed {seed}: {outcome.message[:2000]}")
            elif args.verbose:
                tqdm.write(f"{kind} {seed}: {outcome.message or 'accepted'}")
    print(format_table(outcomes))
    number, seconds = sum(map(len, outcomes.values())), time.monotonic() - started
    print(f"{number} cases in {seconds:.0f} s, {number / seconds:.0f} per second")
    return int(any(outcome.is_fault for group in outcomes.values() for outcome in group))


def format_table(outcomes: dict[str, list[Outcome]]) -> str:
    """Format one row per kind, and their sums."""
    header = ("cases", "accepted", "refused", "messages", "faults")
    lines = [f"{'kind':<22}{''.join(f'{name:>10}' for name in header)}"]
    rows = {kind: counts(group) for kind, group in outcomes.items()}
    rows["all"] = counts([outcome for group in outcomes.values() for outcome in group])
    for kind, row in rows.items():
        lines.append(f"{kind:<22}{''.join(f'{number:>10}' for number in row)}")
    return "\n".join(lines)


def counts(outcomes: list[Outcome]) -> tuple[int, int, int, int, int]:
    """Count cases, accepted inputs, refused inputs, distinct error messages, and faults."""
    refused = [outcome for outcome in outcomes if not (outcome.accepted or outcome.is_fault)]
    accepted = sum(outcome.accepted for outcome in outcomes)
    messages = {re.sub(r"'.*?'|\S*[0-9/]\S*", "_", outcome.message) for outcome in refused}
    faults = sum(outcome.is_fault for outcome in outcomes)
    return len(outcomes), accepted, len(refused), len(messages), faults


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument(
        "--count", type=int, default=10_000, help="maximum number of cases (%(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=1800, help="time limit (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of each kind's first case")
    parser.add_argument("--kind", default="", help="run only kinds that begin with this")
    parser.add_argument("--verbose", action="store_true", help="print the outcome of each case")
    return parser


if __name__ == "__main__":
    sys.exit(main())
