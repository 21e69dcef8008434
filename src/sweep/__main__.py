"""Many experiments: python -m src.sweep start | retry | show; docs/sweeps.md tells all."""

import argparse
from pathlib import Path

from src.command import run
from src.files import InputError
from src.sweep.tasks import Task, opened_queue, orphans, queue_again, told_as_failed
from src.sweep.workers import live_workers, start_one_a_gpu, start_some

_AGAIN = "python -m src.sweep retry"


def start(args: argparse.Namespace) -> None:
    queue = opened_queue()
    gpus, count = args.gpus, args.workers
    started = start_one_a_gpu(queue, gpus) if gpus else start_some(queue, count)
    for worker in live_workers(queue):
        new = "started" if worker in started else "was there"
        gpu = "" if worker.devices is None else f", GPU {worker.devices}"
        print(f"worker {worker.number}: {new}, process {worker.pid}{gpu}")
    if not started:
        print("as many workers as asked for were there")


def retry(args: argparse.Namespace) -> None:
    queue = opened_queue()
    found = {task.name: task for task in told_as_failed(queue)}
    chosen = [task for task in found.values() if task.state in ("failed", "abandoned")]
    if args.names:
        chosen = [_named(name, found) for name in args.names]
    for task in chosen:
        queue_again(queue, task)
        print(f"{task.name}: {task.state}; queued again as it was")
    if not chosen:
        print("no task of the queue failed")
    elif not live_workers(queue):
        print("no worker is there: python -m src.sweep start")


def show(args: argparse.Namespace) -> None:
    # pandas and matplotlib are slow to import
    from src.sweep.table import gathered, save_parallel_plot, save_table, text_table

    queue = opened_queue()
    found = told_as_failed(queue)
    table = gathered(args.by, found, args.all_commits)
    args.out.mkdir(parents=True, exist_ok=True)
    save_table(args.out / "table.csv", table)
    print(text_table(table))
    for line in [*_complaints(found), *table.remarks]:
        print(line)
    save_parallel_plot(args.out / "parallel.png", table)
    print(f"in {args.out}: table.csv, parallel.png")


def _named(name: str, found: dict[str, Task]) -> Task:
    if name not in found:
        raise InputError(f"{name}: no such task; dvc queue status lists them")
    if found[name].state not in ("failed", "abandoned"):
        raise InputError(f"{name}: it is {found[name].state}; only what failed is queued again")
    return found[name]


def _complaints(found: list[Task]) -> list[str]:
    """What went wrong, and what to do about it."""
    lines = []
    for task in found:
        if task.state in ("failed", "abandoned"):
            alive = orphans(task.entry.stash_rev)
            rest = f"; process {alive[0].pid} goes on, for nothing" if alive else ""
            lost = f"{task.name} has lost its worker, which was killed"
            failed = f"{task.name} failed: dvc queue logs {task.name}"
            lines.append((lost if task.state == "abandoned" else failed) + rest)
    return [*lines, f"to run them again: {_AGAIN}"] if lines else []


def _gpus(text: str) -> list[str]:
    gpus = text.split(",")
    if not all(gpus) or len(set(gpus)) < len(gpus):
        raise argparse.ArgumentTypeError(f"{text!r}: name each GPU once, such as 0,1")
    return gpus


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r}: a number from 1 on is needed")
    return int(text)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m src.sweep", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("start", help="start workers for the queued experiments")
    command.set_defaults(function=start)
    either = command.add_mutually_exclusive_group()
    either.add_argument("--gpus", type=_gpus, metavar="0,1", help="a worker for each of these GPUs")
    either.add_argument(
        "--workers", type=_count, default=1, metavar="N", help="N workers that share the cores"
    )
    command = commands.add_parser("retry", help="queue failed tasks again, as they were")
    command.set_defaults(function=retry)
    command.add_argument("names", nargs="*", metavar="NAME", help="only these")
    command = commands.add_parser("show", help="all experiments in one table and one picture")
    command.set_defaults(function=show)
    command.add_argument(
        "--by", default="evaluate.miou", metavar="FIGURE", help="sorts and colours; %(default)s"
    )
    command.add_argument("--all-commits", action="store_true", help="not only of this commit")
    command.add_argument("--out", type=Path, default=Path("sweep"), metavar="DIR")
    args = parser.parse_args(argv)
    args.function(args)


if __name__ == "__main__":
    run(main)
