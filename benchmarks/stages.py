"""Starting a stage, and `dvc repro` with nothing to do."""

import subprocess
import sys
from collections.abc import Callable, Iterator

from benchmarks.table import Row, in_turn
from roadseg.provenance.source_code import ROOT

STAGES = ("check", "fetch", "remap", "split", "train", "evaluate", "render", "card")


def command(*arguments: str) -> Callable[[], None]:
    return lambda: _run(arguments)


def _run(arguments: tuple[str, ...]) -> None:
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True)


def rows() -> Iterator[Row]:
    helps = [command("-m", f"stages.{name}", "--help") for name in STAGES]
    nothing, *starts = in_turn(command("-c", "pass"), *helps)
    for name, seconds in zip(STAGES, starts, strict=True):
        yield Row(
            name=f"python -m stages.{name} --help",
            sides="the stage / the interpreter alone",
            seconds=(seconds, nothing),
            ratio=seconds / nothing,
        )
    split = starts[STAGES.index("split")]
    yield Row(
        name="start of the split stage beyond the interpreter's, a share of 0.3 s",
        sides="beyond / 0.3 s",
        seconds=(split - nothing, 0.3),
        ratio=(split - nothing) / 0.3,
        at_most=1,
    )
