"""One hostile input, the command that meets it, and what of the outcome would be a fault.

A case is a function of (kind, seed): whatever it draws, it draws from the generator it is given.
"""

import contextlib
import io
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from roadseg.system import cli
from roadseg.system.errors import InputError

LONGEST_LINE = 1000
"""Characters of an error; more is no clear line."""
LONGEST_CASE = 20
"""Seconds."""
MOST_MEMORY = 400 << 20
"""Bytes by which a case may raise the process's peak."""
DEPTH = Path("outer/inner/work")
"""The workspace in a case's folder: what climbs out of it by one or two levels is seen."""


@dataclass(frozen=True)
class Step:
    """A command, and what it may write when it accepts its input."""

    main: Callable[[list[str]], object]
    argv: list[str]
    outs: tuple[str, ...]
    beside: tuple[str, ...] = ()
    """What it may also write when it refuses, for it keeps that beside its outs."""
    may_warn: bool = False
    """It may say what it leaves aside, and go on without."""


@dataclass(frozen=True)
class Case:
    """Commands that run one after the other until one refuses."""

    steps: Sequence[Step]
    names: tuple[str, ...]
    """One of them, at least, stands in a refusal."""
    check: Callable[[], None] = field(default=lambda: None)
    """Raises AssertionError where all steps accept, and what they made of the input is wrong."""


@dataclass(frozen=True)
class Verdict:
    """What came of a case."""

    accepted: bool
    message: str
    """Of a refusal, as the user sees it; of a fault, all that is known."""
    is_fault: bool = False


Make = Callable[[random.Random, Path], Case]


class _TooLong(BaseException):
    """No part of the code under test may take it for its own."""


def judged(kind: str, seed: int, make: Make, root: Path) -> Verdict:
    """Run case `seed` of `kind`, in a folder below `root` that is removed afterwards."""
    folder = root / "case"
    work = folder / DEPTH
    work.mkdir(parents=True)
    try:
        with contextlib.chdir(work):
            case = make(random.Random(f"{kind} {seed}"), work)
            return _outcome(case, folder)
    except AssertionError as error:
        return Verdict(False, f"{error}", is_fault=True)
    finally:
        shutil.rmtree(folder)


def _outcome(case: Case, folder: Path) -> Verdict:
    for step in case.steps:
        before, peak = snapshot(folder), _peak_memory()
        code, lines = _run(step)
        after, grown = snapshot(folder), _peak_memory() - peak
        assert grown < MOST_MEMORY, f"took {grown >> 20} MB more than any case before; {lines}"
        changed = {name for name in before.keys() | after if before.get(name) != after.get(name)}
        changed = {name for name in changed if not _is_in(name, step.beside)}
        if step.may_warn:
            lines = [line for line in lines if not _is_warning(line, case.names)]
        if code == 1:
            _require_clear(lines, case.names)
            assert not changed, f"refused ({lines[0]}), and changed {sorted(changed)[:5]}"
            return Verdict(False, lines[0])
        assert code == 0, f"exit code {code}: {lines}"
        assert not lines, f"accepted, and said {lines}"
        strange = [name for name in changed if not _is_in(name, step.outs)]
        assert not strange, f"accepted, and changed {sorted(strange)[:5]}"
    try:
        case.check()
    except Exception as error:  # a file that is not there, or not what a reader takes
        raise AssertionError(f"accepted, and wrong: {_traced(error)}") from None
    return Verdict(True, "")


def _is_in(name: str, places: tuple[str, ...]) -> bool:
    """Whether `name`, as `snapshot` has it, is one of `places` in the workspace, or below one."""
    whole = [f"{DEPTH}/{place}" for place in places]
    return any(name == place or name.startswith(f"{place}/") for place in whole)


def _is_warning(line: str, names: tuple[str, ...]) -> bool:
    clear = len(line) <= LONGEST_LINE and line.isprintable()
    return clear and line.startswith("warning: ") and any(name in line for name in names)


def _require_clear(lines: list[str], names: tuple[str, ...]) -> None:
    assert len(lines) == 1, f"{len(lines)} lines on standard error: {lines[:20]}"
    (line,) = lines
    assert line.startswith("error: "), f"no error: {line[:LONGEST_LINE]!r}"
    assert len(line) <= LONGEST_LINE, f"a line of {len(line)} characters: {line[:300]}.."
    assert line.isprintable(), f"a line with control characters: {line!r}"
    assert any(name in line for name in names), f"names none of {names}: {line}"
    assert ".tmp" not in line, f"names a temporary file: {line}"


def _run(step: Step) -> tuple[int, list[str]]:
    """Exit code, and all lines on standard error, warnings and those of C libraries too."""
    errors = io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace", write_through=True)
    output = io.TextIOWrapper(io.BytesIO(), "utf-8", "strict", write_through=True)
    code = 0
    with _below_python() as raw, contextlib.redirect_stdout(output), _seen_warnings() as seen:
        with contextlib.redirect_stderr(errors), _within(LONGEST_CASE):
            try:
                cli.run_main(lambda: step.main(step.argv))
            except SystemExit as left:
                code = left.code if isinstance(left.code, int) else 1
                if isinstance(left.code, str):
                    print(left.code, file=errors)
            except (Exception, _TooLong) as error:
                raise AssertionError(_traced(error)) from None
        raw.seek(0)
        below = raw.read().decode("utf-8", "backslashreplace")
    text = errors.buffer.getvalue().decode() + below
    return code, [*text.splitlines(), *(f"{w.category.__name__}: {w.message}" for w in seen)]


def _traced(error: BaseException) -> str:
    """The exception and the last places of the project that it passed."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = ("/src/", "/tests/fuzz/")
    own = [
        f"{Path(f.filename).name}:{f.lineno}" for f in frames if any(o in f.filename for o in ours)
    ]
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]} ({' '.join(own[-3:])})"


@contextlib.contextmanager
def _seen_warnings() -> Iterator[list[warnings.WarningMessage]]:
    """Those that Python would print; each time, not only the first."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.filters[:] = [
            ("always", *rest) if action in ("default", "once", "module") else (action, *rest)
            for action, *rest in warnings.filters
        ] + [("always", None, Warning, None, 0)]
        warnings._filters_mutated()
        yield seen


@contextlib.contextmanager
def _below_python() -> Iterator[io.BufferedRandom]:
    """What C libraries write to standard error."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with tempfile.TemporaryFile() as raw:
            os.dup2(raw.fileno(), 2)
            yield raw
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextlib.contextmanager
def _within(seconds: int) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise _TooLong(f"takes more than {seconds} s")

    old = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)


def _peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def snapshot(folder: Path) -> dict[str, object]:
    """Kind and content of everything below `folder`, by name."""
    found: dict[str, object] = {}
    for parent, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = os.path.join(parent, name)
            found[os.path.relpath(path, folder)] = _content(path)
    return found


def _content(path: str) -> object:
    if os.path.islink(path):
        return "link", os.readlink(path)
    if os.path.isfile(path):
        with open(path, "rb") as file:
            return file.read()
    return "folder" if os.path.isdir(path) else "device"


__all__ = ["Case", "InputError", "Make", "Step", "Verdict", "judged", "snapshot"]
