"""The parts of `make gpu`, and their options. This module does not import torch."""

import argparse
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from roadseg.provenance.source_code import ROOT

PARTS = {
    "facts": 3,
    "tests": 9,
    "identical": 14,
    "operators": 7,
    "agreement": 5,
    "step": 12,
    "alternatives": 12,
    "profile": 5,
    "camvid": 40,
}
"""Share of the remaining time, by name, in order of importance; unused time goes to later parts."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of all parts, as given on the command line."""

    device: str
    small: bool
    out: str
    camvid: str | None = None
    prepared: str | None = None
    split: str | None = None
    batch_size: int | None = None
    seconds: float = 600.0
    """Time limit of the part."""

    def to_json(self) -> str:
        """Return the options as one argument of a command."""
        return json.dumps(asdict(self))


Part = Callable[[Options], Iterator[str]]
"""A part yields the lines of its section, each as soon as it is known."""


def parse_arguments(argv: list[str] | None) -> tuple[list[str], float, Options]:
    """Return the names of the parts, the total minutes, and the options.

    Raises:
        SystemExit: the arguments are wrong.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(PARTS)}")
    parser.add_argument("--minutes", type=float, default=10, help="total time (%(default)s)")
    parser.add_argument("--out", help="Markdown file (default: benchmarks/GPU.md, for a GPU only)")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu for a rehearsal")
    parser.add_argument("--small", action="store_true", help="tiny sizes, for a rehearsal")
    parser.add_argument("--camvid", metavar="ZIP", help="CamVid: train/, trainannot/, val/, ...")
    parser.add_argument("--prepared", metavar="DIR", help="or: a data set that remap has prepared")
    parser.add_argument("--split", metavar="JSON", help="the split of --prepared")
    parser.add_argument(
        "--batch-size", type=int, help="batch size of the part camvid (default: that of the recipe)"
    )
    given = parser.parse_args(argv)
    if unknown := set(given.parts) - PARTS.keys():
        parser.error(f"{', '.join(sorted(unknown))}: no such part; use {', '.join(PARTS)}")
    if given.out is None and given.device == "cpu":
        parser.error("--device cpu: give --out, because benchmarks/GPU.md is for GPUs only")
    if (given.prepared is None) != (given.split is None):
        parser.error("--prepared and --split must be given together")
    for path in filter(None, (given.camvid, given.prepared, given.split)):
        if not Path(path).exists():
            parser.error(f"{path}: no such file or directory")
    options = Options(
        device=given.device,
        small=given.small,
        out=os.path.abspath(given.out or ROOT / "benchmarks" / "GPU.md"),
        camvid=given.camvid and os.path.abspath(given.camvid),
        prepared=given.prepared and os.path.abspath(given.prepared),
        split=given.split and os.path.abspath(given.split),
        batch_size=given.batch_size,
    )
    names = [name for name in PARTS if name in given.parts] or list(PARTS)
    return names, given.minutes, options
