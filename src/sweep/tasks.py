"""The tasks of DVC's queue, and what `dvc queue` has no command for: to run one of them again.

A worker that was killed tells the queue nothing: DVC calls its task running for ever, or finished
though nobody collected the result, and `dvc exp show` may fail on it. So this reaches into DVC,
which is pinned.
"""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.repo.experiments.executor.base import ExecutorInfo
from dvc.repo.experiments.queue.base import QueueEntry
from dvc.repo.experiments.queue.celery import LocalCeleryQueue
from dvc.repo.experiments.queue.tasks import run_exp
from dvc.repo.experiments.utils import get_exp_rwlock

from src.files import InputError
from src.sweep.workers import live_workers

_GRACE_S = 60
"""A training saves its state before it ends."""


@dataclass(frozen=True)
class Task:
    """A task of the queue."""

    name: str
    state: str
    """queued, running, finished, failed, or abandoned: nobody collects what it does."""
    entry: QueueEntry
    message: Any
    """Of celery's broker."""


def opened_queue() -> LocalCeleryQueue:
    """The queue of the repository around the working directory. InputError if there is none."""
    try:
        return Repo().experiments.celery_queue
    except DvcException as error:
        raise InputError(f"dvc: {error}") from None


def tasks(queue: LocalCeleryQueue) -> list[Task]:
    """All tasks, by name."""
    waiting = [(message, entry, "queued") for message, entry in queue._iter_queued()]
    taken = list(queue._iter_processed())
    held = _held_by_workers(queue) if any(not _result(queue, m).ready() for m, _ in taken) else None
    started = [(message, entry, _state(queue, message, entry, held)) for message, entry in taken]
    found = [Task(e.name or e.stash_rev[:7], state, e, m) for m, e, state in [*waiting, *started]]
    return sorted(found, key=lambda task: task.name)


def told_as_failed(queue: LocalCeleryQueue) -> list[Task]:
    """All tasks; DVC calls the abandoned ones failed from now on, as `dvc queue kill` makes it."""
    found = tasks(queue)
    for task in found:
        if task.state == "abandoned" and not _result(queue, task.message).ready():
            queue.celery.backend.mark_as_failure(task.message.headers["id"], None)
    return found


def queue_again(queue: LocalCeleryQueue, task: Task) -> None:
    """Queue a failed or abandoned task as it was: its code, parameters, arguments and name.

    What still runs of it is ended first; the training saves its state. The new task stands in the
    queue before the old one leaves it.
    """
    entry = task.entry
    if _has_result(queue, entry):
        raise InputError(
            f"{task.name}: an experiment of this name is there; remove the task: dvc queue remove "
            f"{task.name}"
        )
    _end_orphans(entry.stash_rev)
    _remove_copy(queue, entry)
    with get_exp_rwlock(queue.repo, writes=[queue.ref, queue.failed_ref]):
        known = (entry.head_rev, entry.baseline_rev, entry.name, entry.branch)
        stashed = f"commit: {queue.stash.format_message(*known)}"
        queue.scm.set_ref(queue.ref, entry.stash_rev, message=stashed)
        failed = queue.failed_stash.stash_revs
        queue.failed_stash.remove_revs([failed[e] for e in failed if e == entry.stash_rev])
    args, kwargs, _ = task.message.decode()
    queue.celery.signature(run_exp.s(*args, **kwargs)).delay()
    _result(queue, task.message).forget()
    queue.celery.purge(task.message.delivery_tag)


def _result(queue: LocalCeleryQueue, message: Any) -> Any:
    return queue.celery.AsyncResult(message.headers["id"])


def _held_by_workers(queue: LocalCeleryQueue) -> set[str] | None:
    """Ids of the tasks that workers have; None where one does not answer."""
    before = live_workers(queue)
    inspect = queue.celery.control.inspect()
    answers = [inspect.active() or {}, inspect.reserved() or {}]
    for worker in before:
        if psutil.pid_exists(worker.pid) and any(worker.node not in answer for answer in answers):
            return None
    return {task["id"] for answer in answers for held in answer.values() for task in held}


def _state(queue: LocalCeleryQueue, message: Any, entry: QueueEntry, held: set[str] | None) -> str:
    result = _result(queue, message)
    if not result.ready():
        return "running" if held is None or message.headers["id"] in held else "abandoned"
    try:
        info = _info(queue, entry)
    except FileNotFoundError:
        return "failed"  # before it began
    if info.result is None or info.result.ref_info is None:
        return "failed"
    # a finished experiment that somebody removed is no loss
    lost = result.status == "FAILURE" and not _has_result(queue, entry)
    return "abandoned" if lost else "finished"


def _info(queue: LocalCeleryQueue, entry: QueueEntry) -> ExecutorInfo:
    return ExecutorInfo.load_json(queue.get_infofile_path(entry.stash_rev))


def _has_result(queue: LocalCeleryQueue, entry: QueueEntry) -> bool:
    base = entry.baseline_rev
    return queue.scm.get_ref(f"refs/exps/{base[:2]}/{base[2:]}/{entry.name}") is not None


def orphans(stash_rev: str) -> list[psutil.Process]:
    """The process of DVC that runs this task, if one does, and those that it started."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if "exec-run" in words and any(re.search(rf"{stash_rev}\.run$", word) for word in words):
            found += [process, *process.children(recursive=True)]
    return found


def _end_orphans(stash_rev: str) -> None:
    processes = orphans(stash_rev)
    for process in processes[:1]:  # the stage notices and saves
        process.terminate()
    alive = psutil.wait_procs(processes, _GRACE_S)[1]
    if alive:
        raise InputError(f"process {alive[0].pid} still runs this task; end it first: kill it")


def _remove_copy(queue: LocalCeleryQueue, entry: QueueEntry) -> None:
    """Remove the copy of the repository in which the task ran; its worker would have."""
    try:
        copy = Path(_info(queue, entry).root_dir)
    except FileNotFoundError:
        return
    if copy.parent == Path(queue.wdir).parent and copy.name.startswith("tmp"):
        shutil.rmtree(copy, ignore_errors=True)
