"""A fuzz case: a hostile input, the commands that read it, and the rules for their outcome.

A case is a function of (kind, seed): all its random draws come from the generator it is given.
"""

import contextlib
import io
import os
import random
import re
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

import psutil

from roadseg.system import cli
from roadseg.system.errors import InputError

LONGEST_LINE = 1000
"""Maximum length of an error message, in characters."""
LONGEST_CASE = 20
"""Maximum CPU time of a step, in seconds; it may take ten times as long on a busy machine."""
MOST_MEMORY = 400 << 20
"""Maximum increase of the process's peak memory by a step, in bytes."""
MEMORY_LIMIT = 4 << 30
"""Bytes that a step can allocate at all; more is refused, so that a fault cannot fill the RAM."""
DEPTH = Path("outer/inner/work")
"""Path of the workspace in a case's directory; files written outside of it are found."""


@dataclass(frozen=True)
class Step:
    """A command, and the files that it may write."""

    main: Callable[[list[str]], object]
    argv: list[str]
    outs: tuple[str, ...]
    """Paths that it may change if it succeeds."""
    always_writable: tuple[str, ...] = ()
    """Paths that it may change even if it fails, such as lock files."""
    may_warn: bool = False
    """It may print warnings and continue."""


@dataclass(frozen=True)
class Case:
    """Commands that run one after the other until one of them refuses the input."""

    steps: Sequence[Step]
    names: tuple[str, ...]
    """An error message must contain at least one of them."""
    check: Callable[[], None] = field(default=lambda: None)
    """Called if all steps succeed; raises AssertionError if their results are wrong."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of a case."""

    accepted: bool
    message: str
    """The error message if the input was refused, or the description of a fault."""
    is_fault: bool = False


CaseBuilder = Callable[[random.Random, Path], Case]


class _Timeout(BaseException):
    """Not an Exception, so that the code under test cannot handle it."""


def run_case(kind: str, seed: int, build: CaseBuilder, root: Path) -> Outcome:
    """Run case `seed` of `kind` in a directory below `root`, which is removed afterwards."""
    folder = root / "case"
    work = folder / DEPTH
    work.mkdir(parents=True)
    try:
        with contextlib.chdir(work):
            return _run_steps(build_case(kind, seed, build, work), folder)
    except AssertionError as error:
        return Outcome(False, f"{error}", is_fault=True)
    finally:
        shutil.rmtree(folder)


def build_case(kind: str, seed: int, build: CaseBuilder, work: Path) -> Case:
    """Write the input of case `seed` of `kind` to the workspace `work`."""
    return build(random.Random(f"{kind} {seed}"), work)


def _run_steps(case: Case, folder: Path) -> Outcome:
    for step in case.steps:
        before, peak = snapshot(folder), _peak_memory()
        code, lines = _run(step)
        after, growth = snapshot(folder), _peak_memory() - peak
        assert growth < MOST_MEMORY, f"raised the peak memory by {growth >> 20} MB; {lines}"
        changed = {name for name in before.keys() | after if before.get(name) != after.get(name)}
        changed = {name for name in changed if not _is_in(name, step.always_writable)}
        if step.may_warn:
            lines = [line for line in lines if not _is_warning(line, case.names)]
        if code == 1:
            _require_clear(lines, case.names)
            assert not changed, f"failed ({lines[0]}), but changed {sorted(changed)[:5]}"
            return Outcome(False, lines[0])
        assert code == 0, f"exit code {code}: {lines}"
        assert not lines, f"succeeded, but printed {lines}"
        unexpected = [name for name in changed if not _is_in(name, step.outs)]
        assert not unexpected, f"succeeded, but changed {sorted(unexpected)[:5]}"
    try:
        case.check()
    except Exception as error:  # a file is missing or unreadable, too
        raise AssertionError(
            f"succeeded, but with a wrong result: {_format_error(error)}"
        ) from None
    return Outcome(True, "")


def _is_in(name: str, places: tuple[str, ...]) -> bool:
    """Return True if `name`, a key of `snapshot`, is or lies below one of the workspace's paths."""
    paths = [f"{DEPTH}/{place}" for place in places]
    return any(name == path or name.startswith(f"{path}/") for path in paths)


def _is_warning(line: str, names: tuple[str, ...]) -> bool:
    clear = len(line) <= LONGEST_LINE and line.isprintable()
    return clear and line.startswith("warning: ") and any(name in line for name in names)


def _require_clear(lines: list[str], names: tuple[str, ...]) -> None:
    assert len(lines) == 1, f"{len(lines)} lines on standard error: {lines[:20]}"
    (line,) = lines
    assert line.startswith("error: "), f"does not begin with 'error: ': {line[:LONGEST_LINE]!r}"
    assert len(line) <= LONGEST_LINE, f"a line of {len(line)} characters: {line[:300]}.."
    assert line.isprintable(), f"a line with control characters: {line!r}"
    assert any(name in line for name in names), f"mentions none of {names}: {line}"
    assert ".tmp" not in line, f"mentions a temporary file: {line}"


_LIBTIFF = re.compile(r"(_?TIFF|PackBits|LZW|ZSTD|JPEG|Fax|tempfile)[\w.]*: .*\n")
"""Messages of libtiff about damaged files, which Pillow cannot turn off."""


def _run(step: Step) -> tuple[int, list[str]]:
    """Return the exit code and the lines on standard error, including warnings."""
    errors = io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace", write_through=True)
    output = io.TextIOWrapper(io.BytesIO(), "utf-8", "strict", write_through=True)
    code = 0
    with _capture_c_stderr() as raw, contextlib.redirect_stdout(output), _record_warnings() as seen:
        with (
            contextlib.redirect_stderr(errors),
            _time_limit(signal.ITIMER_PROF, signal.SIGPROF, LONGEST_CASE),
            _time_limit(signal.ITIMER_REAL, signal.SIGALRM, 10 * LONGEST_CASE),
            _memory_limit(MEMORY_LIMIT),
        ):
            try:
                cli.run_main(lambda: step.main(step.argv))
            except SystemExit as left:
                code = left.code if isinstance(left.code, int) else 1
                if isinstance(left.code, str):
                    print(left.code, file=errors)
            except (Exception, _Timeout) as error:
                raise AssertionError(_format_error(error)) from None
        raw.seek(0)
        from_c = raw.read().decode("utf-8", "backslashreplace")
    text = errors.buffer.getvalue().decode() + _LIBTIFF.sub("", from_c)
    return code, [*text.splitlines(), *(f"{w.category.__name__}: {w.message}" for w in seen)]


def _format_error(error: BaseException) -> str:
    """Return the exception and the last lines of this project in its traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = ("/src/", "/tests/fuzz/")
    own = [
        f"{Path(f.filename).name}:{f.lineno}" for f in frames if any(o in f.filename for o in ours)
    ]
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]} ({' '.join(own[-3:])})"


@contextlib.contextmanager
def _record_warnings() -> Iterator[list[warnings.WarningMessage]]:
    """Record the warnings that Python would print, including repeated ones."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.filters[:] = [
            ("always", *rest) if action in ("default", "once", "module") else (action, *rest)
            for action, *rest in warnings.filters
        ] + [("always", None, Warning, None, 0)]
        warnings._filters_mutated()
        yield seen


@contextlib.contextmanager
def _capture_c_stderr() -> Iterator[io.BufferedRandom]:
    """Redirect file descriptor 2, to which C libraries write, to a temporary file."""
    sys.stderr.flush()
    original = os.dup(2)
    try:
        with tempfile.TemporaryFile() as raw:
            os.dup2(raw.fileno(), 2)
            yield raw
    finally:
        os.dup2(original, 2)
        os.close(original)


@contextlib.contextmanager
def _time_limit(timer: int, number: int, seconds: float) -> Iterator[None]:
    """Raise _Timeout after `seconds` of an interval timer, which sends the signal `number`."""

    def stop(*_: object) -> None:
        raise _Timeout(f"takes more than {seconds} s ({signal.Signals(number).name})")

    old = signal.signal(number, stop)
    signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        signal.setitimer(timer, 0)
        signal.signal(number, old)


@contextlib.contextmanager
def _memory_limit(num_bytes: int) -> Iterator[None]:
    """Limit allocations to `num_bytes`, not counting mapped files and reserved addresses."""
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = psutil.Process().memory_info().data + num_bytes
    limits = [limit] + [old for old in (soft, hard) if old != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def snapshot(folder: Path) -> dict[str, object]:
    """Return the type and content of everything below `folder`, by relative path."""
    contents: dict[str, object] = {}
    for parent, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = os.path.join(parent, name)
            contents[os.path.relpath(path, folder)] = _content(path)
    return contents


def _content(path: str) -> object:
    if os.path.islink(path):
        return "link", os.readlink(path)
    if os.path.isfile(path):
        with open(path, "rb") as file:
            return file.read()
    return "folder" if os.path.isdir(path) else "device"


__all__ = ["Case", "CaseBuilder", "InputError", "Outcome", "Step", "build_case", "run_case"]
