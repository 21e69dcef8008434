"""The command `roadseg`. It imports only the chosen subcommand, so that help appears at once.

A subcommand is a module with `add_arguments(parser)` and `run(args)`, whose docstring is the
description in its help. It imports torch, numpy, pandas and matplotlib only inside `run`.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

import roadseg
from roadseg.system.cli import CLOSE_PROGRAMS, run_main
from roadseg.system.errors import missing_package

VERSION = "0.2.0"
"""Version of the package; pyproject.toml reads it from here."""


class Subcommand(NamedTuple):
    """A subcommand and what is known without importing it."""

    module: str
    help: str
    """One line for `roadseg --help`."""
    extra: str = ""
    """Optional dependencies in pyproject.toml that the subcommand needs."""
    less_memory: str = CLOSE_PROGRAMS
    """Advice after an out-of-memory error."""


SUBCOMMANDS = {
    "new": Subcommand("roadseg.commands.new.command", "create a project in a new directory"),
    "init": Subcommand("roadseg.commands.init", "configure the pipeline for a data set"),
    "predict": Subcommand(
        "roadseg.commands.predict",
        "segment images or a video: masks, overlays, probabilities",
        less_memory="try a smaller --tile or --batch-size",
    ),
    "evaluate": Subcommand(
        "roadseg.commands.evaluate",
        "compute metrics of models on annotated images",
        less_memory="try a smaller --batch-size",
    ),
    "export": Subcommand("roadseg.commands.export", "convert a model to ONNX or torch.export"),
    "demo": Subcommand(
        "roadseg.commands.demo.command", "serve a local web page to try a model", extra="demo"
    ),
    "submission": Subcommand(
        "roadseg.commands.submission", "write the zip file for KITTI's semantic benchmark"
    ),
    "inspect": Subcommand(
        "roadseg.commands.inspect", "show the code, data and parameters that a model was made from"
    ),
    "models": Subcommand(
        "roadseg.commands.models", "list the networks: size, speed, receptive field, license"
    ),
    "augment": Subcommand(
        "roadseg.commands.augment",
        "draw training images with the random changes of a recipe",
    ),
    "audit": Subcommand(
        "roadseg.commands.audit",
        "rank images and regions by how likely their labels are wrong",
    ),
    "gallery": Subcommand(
        "roadseg.commands.gallery",
        "write a web page of all validation images and their errors",
        less_memory="lower evaluate.batch_size",
    ),
    "experiments": Subcommand(
        "roadseg.commands.experiments", "compare DVC experiments in a table", extra="pipeline"
    ),
    "compare": Subcommand(
        "roadseg.commands.compare",
        "test whether two models differ significantly",
        extra="pipeline",
        less_memory="compare tables instead of models, or lower evaluate.batch_size",
    ),
    "verify": Subcommand(
        "roadseg.commands.verify",
        "rerun the committed pipeline and compare its outputs",
        extra="pipeline",
    ),
    "doctor": Subcommand("roadseg.commands.doctor", "report what is installed and what is missing"),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the subcommand in `argv` (default: `sys.argv[1:]`).

    Raises:
        InputError: a package that the subcommand needs is not installed, or the subcommand failed.
        SystemExit: after --help and --version, and for invalid commands and options.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    lines = [f"  {name:<12} {command.help}" for name, command in SUBCOMMANDS.items()]
    parser = argparse.ArgumentParser(
        prog="roadseg",
        usage="%(prog)s [-h] [--version] COMMAND ...",
        description=roadseg.__doc__,
        epilog="\n".join(["commands (`roadseg COMMAND --help` lists the options):", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"roadseg {VERSION}")
    subparsers = parser.add_subparsers(
        prog="roadseg", metavar="COMMAND", required=True, help=argparse.SUPPRESS
    )
    parsers = {name: subparsers.add_parser(name) for name in SUBCOMMANDS}
    name = next((argument for argument in argv if argument in SUBCOMMANDS), "")
    if not name:
        parser.parse_args(argv)  # always exits, because COMMAND is missing or invalid
    module = import_module(SUBCOMMANDS[name].module)
    parsers[name].description = module.__doc__
    module.add_arguments(parsers[name])
    args = parser.parse_args(argv)
    try:
        module.run(args)
    except ModuleNotFoundError as error:
        if not (extra := SUBCOMMANDS[name].extra):
            raise
        raise missing_package(str(error.name), extra) from None


def run_from_shell() -> None:
    """Run `main` with the exit codes and one-line errors of `run_main`."""
    subcommand = SUBCOMMANDS.get(sys.argv[1]) if len(sys.argv) > 1 else None
    run_main(main, subcommand.less_memory if subcommand else CLOSE_PROGRAMS)
