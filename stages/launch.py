"""Start a stage in one process, or in many: python -m stages.launch --processes 4 stages.train ARGS

One is the stage itself. More are started by torchrun, whose options stand in the environment
(PET_NNODES and so on): docs/scaling.md has the commands for several computers.
"""

import argparse
import logging
import os
import signal
import sys

from roadseg.system.cli import INTERRUPTED, run_main
from roadseg.system.errors import InputError

_GRACE_S = "600"
"""How long a step and a save may take after Ctrl-C, before torchrun kills."""


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.launch", description=__doc__)
    parser.add_argument("--processes", type=int, required=True, help="on this computer")
    parser.add_argument("stage", help="a module")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    args = parser.parse_args(argv)
    if args.processes == 1 and os.environ.get("PET_NNODES", "1") == "1":
        words = [sys.executable, "-m", args.stage, *args.arguments]
        os.execv(words[0], words)  # noqa: S606 - no shell, as it should be
    _run_many(args.processes, args.stage, args.arguments)


def _run_many(count: int, stage: str, arguments: list[str]) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // count)))
    logging.disable()  # what torchrun would say in many lines, we say in one
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args
    from torch.distributed.run import run as torchrun

    options = [f"--nproc-per-node={count}", f"--shutdown-timeout={_GRACE_S}", "--module", stage]
    if "PET_NNODES" not in os.environ:
        options.insert(0, "--standalone")
    try:
        torchrun(parse_args([*options, *arguments]))
    except SignalException:
        sys.exit(INTERRUPTED)
    except ChildFailedError as error:
        _tell(error.failures, stage)


def _tell(failures: dict, stage: str) -> None:
    """End as the process has that ended first; where it could not say why, say it."""
    from roadseg.runtime.distributed import PEER_LOST

    name = stage.rpartition(".")[2]
    codes = {rank: failure.exitcode for rank, failure in failures.items()}
    if any(code > 0 and code not in (PEER_LOST, INTERRUPTED) for code in codes.values()):
        sys.exit(1)  # it has said why
    killed = {rank: -code for rank, code in codes.items() if code < 0 and -code != signal.SIGTERM}
    if killed:
        rank, number = next(iter(killed.items()))
        raise InputError(
            f"{name}: process {rank} (pid {failures[rank].pid}) was killed by "
            f"{signal.Signals(number).name}, so all have ended; run it again"
        )
    if INTERRUPTED in codes.values():
        sys.exit(INTERRUPTED)
    raise InputError(f"{name}: a process on another computer has ended, so all have")


if __name__ == "__main__":
    run_main(main)
