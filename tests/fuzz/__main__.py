"""Feed the stages hostile input: python -m tests.fuzz --count 10000 --seconds 1800 --seed 0

Every case is named by its kind and seed, and `--kind 'archive cut' --seed 7 --count 1` runs just
that one. A fault is anything but a right result or one clear line of error; see case.py.
"""

import argparse
import os
import re
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # networks here are tiny

from tqdm import tqdm

from tests.fuzz.case import Verdict, judged
from tests.fuzz.registry import KINDS


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    kinds = [name for name in KINDS if name.startswith(args.kind)]
    if not kinds:
        print(f"error: no kind {args.kind!r}; use one of {', '.join(KINDS)}", file=sys.stderr)
        return 2
    verdicts: dict[str, list[Verdict]] = defaultdict(list)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="fuzz") as folder:
        for number in tqdm(range(args.count), "fuzz", unit="case", disable=None):
            if time.monotonic() - started > args.seconds:
                break
            kind, seed = kinds[number % len(kinds)], args.seed + number // len(kinds)
            verdict = judged(kind, seed, KINDS[kind], Path(folder))
            verdicts[kind].append(verdict)
            if verdict.is_fault:
                tqdm.write(f"fault: --kind {kind!r} --seed {seed}: {verdict.message[:2000]}")
            elif args.verbose:
                tqdm.write(f"{kind} {seed}: {verdict.message or 'accepted'}")
    print(table(verdicts))
    number, took = sum(map(len, verdicts.values())), time.monotonic() - started
    print(f"{number} cases in {took:.0f} s, {number / took:.0f} a second")
    return int(any(verdict.is_fault for found in verdicts.values() for verdict in found))


def table(verdicts: dict[str, list[Verdict]]) -> str:
    """A row a kind, and their sums."""
    header = ("cases", "accepted", "refused", "messages", "faults")
    lines = [f"{'kind':<22}{''.join(f'{name:>10}' for name in header)}"]
    rows = {kind: counts(found) for kind, found in verdicts.items()}
    rows["all"] = counts([verdict for found in verdicts.values() for verdict in found])
    for kind, row in rows.items():
        lines.append(f"{kind:<22}{''.join(f'{number:>10}' for number in row)}")
    return "\n".join(lines)


def counts(found: list[Verdict]) -> tuple[int, int, int, int, int]:
    """Cases, accepted, refused, distinct messages of refusals, faults."""
    refused = [verdict for verdict in found if not (verdict.accepted or verdict.is_fault)]
    accepted = sum(verdict.accepted for verdict in found)
    messages = {re.sub(r"'.*?'|\S*[0-9/]\S*", "_", verdict.message) for verdict in refused}
    faults = sum(verdict.is_fault for verdict in found)
    return len(found), accepted, len(refused), len(messages), faults


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="cases at most (%(default)s)")
    parser.add_argument("--seconds", type=float, default=1800, help="at most (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of each kind's first case")
    parser.add_argument("--kind", default="", help="only kinds whose names begin so")
    parser.add_argument("--verbose", action="store_true", help="say what came of each case")
    return parser


if __name__ == "__main__":
    sys.exit(main())
