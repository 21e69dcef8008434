"""Commands in processes with limited resources, forked from one that has imported everything."""

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

import torch._dynamo  # noqa: F401 - optimizers import it later, which takes 2 s

from roadseg.commands import predict  # noqa: F401
from roadseg.training.logger import TrainingLogger
from stages import card, check, evaluate, fetch, remap, render, split, train  # noqa: F401
from tests.factories import write_images, write_params
from tests.stage_runner import ORDER, arguments


class Result(NamedTuple):
    code: int
    out: str
    err: str


class Limits(NamedTuple):
    """Resource limits of a process: bytes, or a number of files."""

    file_size: int | None = None
    open_files: int | None = None
    more_memory: int | None = None
    """Address space beyond that at the start."""
    user: int | None = None


def run_stage(stage: str, source: Path, target: Path, *limits: object, **more: object) -> Result:
    return run_module(f"stages.{stage}", arguments(stage, source, target), *limits, **more)


def run_module(
    module: str,
    argv: list[str],
    limits: Limits = Limits(),  # noqa: B008 - it cannot change
    before: Callable[[], object] | None = None,
) -> Result:
    """Run `module` as a program within `limits`, and wait for its end.

    Args:
        before: called in the process before the limits apply.
    """
    readers, writers = zip(*(_CONTEXT.Pipe(duplex=False) for _ in range(2)), strict=True)
    process = _CONTEXT.Process(target=_run, args=(module, argv, limits, before, *writers))
    process.start()
    for writer in writers:
        writer.close()
    output: list[str] = ["", ""]
    threads = [
        threading.Thread(target=_collect, args=(reader, output, i))
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
    return Result(process.exitcode, *output)


def error_line(result: Result) -> str:
    """Assert that a command failed with one line, apart from warnings, and return it."""
    assert result.code == 1, result
    assert "Traceback" not in result.err, result.err
    *before, line = result.err.splitlines()
    assert all(other.startswith("warning: ") for other in before), result.err
    assert line.startswith("error: "), result.err
    return line.removeprefix("error: ")


def tree(folder: Path, *without: str) -> dict[str, bytes]:
    """Content of each file below `folder`, except in its subfolders `without`."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    paths = {path.relative_to(folder).as_posix(): path for path in files}
    return {n: path.read_bytes() for n, path in paths.items() if n.split("/")[0] not in without}


def run_all_stages(folder: Path) -> Path:
    """Run all stages on eight images."""
    source = write_images(folder / "pictures")
    changes = {"data__source": str(source), "render__num_pictures": 1, "train__precision": "fp32"}
    write_params(folder / "params.yaml", **changes)
    for stage in ORDER:
        result = run_stage(stage, folder, folder)
        assert result.code == 0, result.err
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
    set_start_method("fork", force=True)  # the default of a new process
    TrainingLogger.log_histograms = lambda *_: None  # most of the time of a small training
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


def _collect(reader: Connection, output: list[str], place: int) -> None:
    with os.fdopen(os.dup(reader.fileno()), encoding="utf-8", errors="replace") as file:
        output[place] = file.read()
    reader.close()


_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])
