"""Commands in processes of their own, on a machine that fails; forked where all is imported."""

import os
import resource
import runpy
import sys
import threading
from collections.abc import Callable
from multiprocessing import get_context, set_start_method
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import torch._dynamo  # noqa: F401 - the optimizers import it late, and it takes 2 s

from roadseg.commands import predict  # noqa: F401
from roadseg.training.logger import TrainingLogger
from stages import card, check, evaluate, fetch, remap, render, split, train  # noqa: F401
from tests.factories import write_images, write_params
from tests.stage_runner import ORDER, arguments


class Ended(NamedTuple):
    code: int
    out: str
    err: str


class Limits(NamedTuple):
    """What a process may have; bytes, or a number of files."""

    file_size: int | None = None
    open_files: int | None = None
    more_memory: int | None = None
    """Of address space, beyond what it has when it begins."""
    user: int | None = None


def staged(stage: str, source: Path, target: Path, *limits: object, **more: object) -> Ended:
    return ended(f"stages.{stage}", arguments(stage, source, target), *limits, **more)


def ended(
    module: str,
    argv: list[str],
    limits: Limits = Limits(),  # noqa: B008 - it cannot change
    before: Callable[[], object] | None = None,
) -> Ended:
    """Run `module` as the shell would, within `limits`, and wait for its end.

    Args:
        before: called in the process, when all is imported and before it is limited.
    """
    readers, writers = zip(*(_CONTEXT.Pipe(duplex=False) for _ in range(2)), strict=True)
    process = _CONTEXT.Process(target=_run, args=(module, argv, limits, before, *writers))
    process.start()
    for writer in writers:
        writer.close()
    said: list[str] = ["", ""]
    threads = [
        threading.Thread(target=_collect, args=(reader, said, i))
        for i, reader in enumerate(readers)
    ]
    for thread in threads:
        thread.start()
    process.join(timeout=120)
    if process.exitcode is None:
        process.kill()
        process.join()
    for thread in threads:
        thread.join(timeout=10)
    return Ended(process.exitcode, *said)


def one_line(said: Ended) -> str:
    """The line that a failed command ends with; its only one but warnings."""
    assert said.code == 1, said
    assert "Traceback" not in said.err, said.err
    *before, line = said.err.splitlines()
    assert all(other.startswith("warning: ") for other in before), said.err
    assert line.startswith("error: "), said.err
    return line.removeprefix("error: ")


def tree(folder: Path, *without: str) -> dict[str, bytes]:
    """The content of each file below `folder`, but not of those below `without`."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    named = {path.relative_to(folder).as_posix(): path for path in files}
    return {n: path.read_bytes() for n, path in named.items() if n.split("/")[0] not in without}


def everything_done(folder: Path) -> Path:
    """All stages on eight pictures."""
    source = write_images(folder / "pictures")
    changes = {"data__source": str(source), "render__num_pictures": 1, "train__precision": "fp32"}
    write_params(folder / "params.yaml", **changes)
    for stage in ORDER:
        said = staged(stage, folder, folder)
        assert said.code == 0, said.err
    return folder


def _run(
    module: str,
    argv: list[str],
    limits: Limits,
    before: Callable[[], object] | None,
    out: Connection,
    err: Connection,
) -> None:
    os.dup2(out.fileno(), 1)
    os.dup2(err.fileno(), 2)
    out.close()
    err.close()
    sys.stdout = os.fdopen(1, "w", closefd=False)  # the inherited one is of another file
    set_start_method("fork", force=True)  # as in a process of its own
    TrainingLogger.log_histograms = lambda *_: None  # most of the time of so small a training
    if before is not None:
        before()
    _limit(limits)
    sys.modules.pop(module, None)
    sys.argv = [module, *argv]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _limit(limits: Limits) -> None:
    if limits.file_size is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file_size,) * 2)
    if limits.open_files is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limits.open_files,) * 2)
    if limits.more_memory is not None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + limits.more_memory,) * 2)
    if limits.user is not None:
        os.setgroups([])
        os.setgid(limits.user)
        os.setuid(limits.user)


def _collect(reader: Connection, said: list[str], place: int) -> None:
    with os.fdopen(os.dup(reader.fileno()), encoding="utf-8", errors="replace") as file:
        said[place] = file.read()
    reader.close()


_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])
