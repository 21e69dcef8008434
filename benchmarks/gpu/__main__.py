"""Test and measure training on a GPU within ten minutes, and write benchmarks/GPU.md.

Each part runs in a process of its own with a time limit, and its section is written line by line,
so that an interruption or a crash loses only the rest. `python -m benchmarks.gpu step profile` runs
single parts and keeps the other sections.
"""

import contextlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from benchmarks.gpu.options import PARTS, Options, parse_arguments
from benchmarks.sections import current_commit, replace_section
from roadseg.provenance.source_code import ROOT

_INTRODUCTION = """# GPU results

Written by `make gpu`; [README.md](README.md#gpu) explains the parts. The section `facts` describes
the machine; the last line of each section is when it ran, on which commit, and for how long.
"""
_ERROR_LINES = 25
"""Number of the last lines of a failed part's standard error that are written to its section."""


@dataclass(frozen=True)
class Outcome:
    """The result of a part."""

    lines: list[str]
    """The lines of its section that it had written."""
    error: str = ""
    """Empty if it succeeded; otherwise a summary, and the end of its standard error."""


def main(argv: list[str] | None = None) -> int:
    """Run the parts `argv`, or all of them; return 1 if any of them failed or was not run."""
    started = time.monotonic()
    names, minutes, options = parse_arguments(argv)
    if options.device != "cpu" and not _has_gpu():
        sys.exit("error: torch finds no CUDA GPU; rehearse with --device cpu --small --out FILE")
    code, out, end = current_commit(), Path(options.out), started + 60 * minutes
    failed = []
    for number, name in enumerate(names):
        shares = [PARTS[later] for later in names[number:]]
        seconds = (end - time.monotonic()) * shares[0] / sum(shares)
        if seconds < 1:
            print(f"{name}: not run, no time left", flush=True)
            replace_section(out, _INTRODUCTION, list(PARTS), name, "- not run: no time was left")
            failed.append(name)
            continue
        print(f"{name}: at most {seconds:.0f} s", flush=True)
        command = worker_command(name, replace(options, seconds=seconds))
        failed += [] if write_part(out, name, command, seconds, code) else [name]
    print(f"{out}: {', '.join(failed) if failed else 'no part'} failed")
    return int(bool(failed))


def worker_command(name: str, options: Options) -> list[str]:
    """Return the command that runs the part `name` in a process of its own."""
    return [sys.executable, "-m", "benchmarks.gpu.worker", name, options.to_json()]


def write_part(out: Path, name: str, command: Sequence[str], seconds: float, code: str) -> bool:
    """Run `command`, keep the section `name` of `out` up to date, and return if it succeeded.

    Args:
        command: writes the lines of the section to standard output.
        seconds: time limit.
        code: id of the commit.
    """
    started = time.monotonic()

    def write(lines: list[str], state: str) -> None:
        took = f"{time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}, commit {code}"
        took += f", {time.monotonic() - started:.1f} s"
        body = "\n".join([*lines, "", f"- {took}{state}"])
        replace_section(out, _INTRODUCTION, list(PARTS), name, body)

    def show(lines: list[str]) -> None:
        print(lines[-1], flush=True)
        write(lines, ", interrupted: the rest is missing")

    outcome = run_command(command, seconds, show)
    write(outcome.lines, f": failed, {outcome.error}" if outcome.error else "")
    if outcome.error:
        print(f"{name}: failed, {outcome.error}", flush=True)
    return not outcome.error


def run_command(
    command: Sequence[str], seconds: float, show: Callable[[list[str]], None]
) -> Outcome:
    """Run `command` and call `show` with all lines so far after each; kill it after `seconds`."""
    lines: list[str] = []
    with tempfile.TemporaryFile("w+") as log, _process(command, log) as process:
        output: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=_read, args=(process.stdout, output), daemon=True).start()
        end, error = time.monotonic() + seconds, ""
        try:
            while (line := output.get(timeout=max(0.0, end - time.monotonic()))) is not None:
                lines.append(line)
                show(lines)
            process.wait(timeout=max(0.1, end - time.monotonic()))
        except (queue.Empty, subprocess.TimeoutExpired):
            error = f"stopped after its limit of {seconds:.0f} s"
        else:
            if process.returncode:
                error = f"exit code {process.returncode}"
        if error:
            error += _indent(_tail(log))
    return Outcome(lines, error)


@contextlib.contextmanager
def _process(command: Sequence[str], log: IO[str]) -> "Iterator[subprocess.Popen[str]]":
    """Start `command` in a process group, which is killed at the end."""
    environment = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "PYTHONUNBUFFERED": "1", **os.environ}
    path = [str(ROOT), str(ROOT / "src"), *filter(None, [environment.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(path)
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        cwd=ROOT,
        env=environment,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _read(stream: IO[str], output: "queue.Queue[str | None]") -> None:
    for line in stream:
        output.put(line.rstrip("\n"))
    output.put(None)


def _tail(log: IO[str]) -> list[str]:
    log.seek(0)
    lines = [line.rstrip("\n").split("\r")[-1] for line in log]  # bars overwrite their line
    return [line[:300] for line in lines if line.strip()][-_ERROR_LINES:]


def _indent(lines: Sequence[str]) -> str:
    """Format `lines` as a code block of Markdown, which cannot contain a heading."""
    return "".join(f"\n      {line}" for line in ("", *lines)) if lines else ""


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit("error: interrupted"))  # ends the part, too
    sys.exit(main())
