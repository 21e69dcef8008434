"""Start-up time of each stage and of each subcommand of `roadseg`, measured with `--help`."""

import subprocess
import sys
from collections.abc import Callable, Iterator

from benchmarks.table import Row, time_alternately
from roadseg.commands.main import SUBCOMMANDS
from roadseg.provenance.source_code import ROOT

STAGES = ("check", "fetch", "remap", "split", "plan", "train", "evaluate", "render", "card")


def command(*arguments: str) -> Callable[[], None]:
    """Return a function that runs `python` with these arguments."""
    return lambda: _run(arguments)


def _run(arguments: tuple[str, ...]) -> None:
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True)


def rows() -> Iterator[Row]:
    """Measure all rows of this group."""
    stages = [(f"stages.{name}",) for name in STAGES]
    commands = [("roadseg",), *(("roadseg", name) for name in SUBCOMMANDS)]
    programs = [*stages, *commands]
    helps = [command("-m", *program, "--help") for program in programs]
    nothing, *starts = time_alternately(command("-c", "pass"), *helps)
    for program, seconds in zip(programs, starts, strict=True):
        yield Row(
            name=f"python -m {' '.join(program)} --help",
            sides="the program / the interpreter alone",
            seconds=(seconds, nothing),
            ratio=seconds / nothing,
        )
    beyond = dict(zip(programs, (seconds - nothing for seconds in starts), strict=True))
    slowest = max(commands, key=beyond.get)
    for program in (("stages.split",), slowest):
        yield Row(
            name=f"{' '.join(program)} --help, without the start of the interpreter",
            sides="time / 0.3 s",
            seconds=(beyond[program], 0.3),
            ratio=beyond[program] / 0.3,
            at_most=1,
        )
