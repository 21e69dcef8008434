"""Run a stage in one process or, with torchrun, in several that share its work.

For example: python -m stages.launch --processes 4 stages.train ARGS. torchrun reads further options
from the environment (PET_NNODES etc.); docs/scaling.md has the commands for several computers.
"""

import argparse
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from roadseg.system.cli import INTERRUPTED, run_main
from roadseg.system.errors import InputError

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

_GRACE_S = "600"
"""Time after Ctrl-C for finishing a step and saving, before torchrun kills; seconds."""


def main(argv: list[str] | None = None) -> None:
    """Run the stage with the command-line arguments `argv`."""
    parser = argparse.ArgumentParser(prog="python -m stages.launch", description=__doc__)
    parser.add_argument(
        "--processes", type=int, required=True, help="number of processes on this computer"
    )
    parser.add_argument("stage", help="module of the stage, such as stages.train")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments")
    args = parser.parse_args(argv)
    if args.processes == 1 and os.environ.get("PET_NNODES", "1") == "1":
        words = [sys.executable, "-m", args.stage, *args.arguments]
        os.execv(words[0], words)  # noqa: S606 - replaces this process; no shell is wanted
    _run_many(args.processes, args.stage, args.arguments)


def _run_many(count: int, stage: str, arguments: list[str]) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (cores or 1) // count)))
    logging.disable()  # torchrun's many lines; _exit_with_failure prints one instead
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args
    from torch.distributed.run import run as torchrun

    options = [f"--nproc-per-node={count}", f"--shutdown-timeout={_GRACE_S}", "--module", stage]
    if "PET_NNODES" not in os.environ:
        options.insert(0, "--standalone")
    try:
        # torch.distributed.run has no annotations
        torchrun(parse_args([*options, *arguments]))  # type: ignore[no-untyped-call]
    except SignalException:
        sys.exit(INTERRUPTED)
    except ChildFailedError as error:
        _exit_with_failure(error.failures, stage)


def _exit_with_failure(failures: "dict[int, ProcessFailure]", stage: str) -> NoReturn:
    """Exit with the code of the rank that failed first; if it was killed, report the signal."""
    from roadseg.runtime.distributed import PEER_LOST

    name = stage.rpartition(".")[2]
    codes = {rank: failure.exitcode for rank, failure in failures.items()}
    if any(code > 0 and code not in (PEER_LOST, INTERRUPTED) for code in codes.values()):
        sys.exit(1)  # that process has printed its error
    killed = {rank: -code for rank, code in codes.items() if code < 0 and -code != signal.SIGTERM}
    if killed:
        rank, number = next(iter(killed.items()))
        raise InputError(
            f"{name}: process {rank} (pid {failures[rank].pid}) was killed by "
            f"{signal.Signals(number).name}, so all processes were stopped; run it again"
        )
    if INTERRUPTED in codes.values():
        sys.exit(INTERRUPTED)
    raise InputError(f"{name}: a process on another computer exited, so all processes were stopped")


if __name__ == "__main__":
    run_main(main)
