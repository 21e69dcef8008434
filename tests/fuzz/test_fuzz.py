"""One case of each kind of hostile input (`make fuzz` runs thousands), and the fuzzer itself."""

import contextlib
import os
import random
import shutil
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from roadseg.system.errors import InputError
from tests.fuzz import __main__ as fuzz
from tests.fuzz import case
from tests.fuzz.case import Case, Step, build_case, run_case, snapshot
from tests.fuzz.registry import KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_input_gives_one_line_of_error_or_a_correct_result(kind: str, tmp_path: Path):
    outcome = run_case(kind, 0, KINDS[kind], tmp_path)
    assert not outcome.is_fault, f"--kind {kind!r} --seed 0: {outcome.message}"
    assert list(tmp_path.iterdir()) == []


def outcome_of(main: Callable[[Path], None], tmp_path: Path, **options: object) -> case.Outcome:
    """Run a command that gets its workspace, reads in.txt, and may write below out/."""

    def build(_rng: random.Random, work: Path) -> Case:
        (work / "out").mkdir()
        (work / "out/old.txt").write_text("of an earlier run")
        step = Step(lambda _argv: main(work), [], ("out",), **options)
        return Case([step], ("in.txt",), lambda: _check_result(work))

    return run_case("kind", 0, build, tmp_path)


def _check_result(work: Path) -> None:
    assert (work / "out/new.txt").read_text() == "right", "wrong text"


def succeeds(work: Path) -> None:
    print("standard output is allowed")
    (work / "out/new.txt").write_text("right")


def fails(work: Path) -> None:
    raise InputError("in.txt: 3 is out of range; expected 1 or 2")


def test_correct_results_and_clear_errors_are_no_faults(tmp_path: Path):
    assert outcome_of(succeeds, tmp_path) == case.Outcome(True, "")
    message = "error: in.txt: 3 is out of range; expected 1 or 2"
    assert outcome_of(fails, tmp_path) == case.Outcome(False, message)


def raises(work: Path) -> None:
    raise ValueError("a traceback")


def allocates_too_much(work: Path) -> None:
    bytearray(2 * case.MEMORY_LIMIT)
    succeeds(work)


def writes_outside(work: Path) -> None:
    succeeds(work)
    (work.parent / "evil.txt").touch()


def writes_elsewhere(work: Path) -> None:
    succeeds(work)
    (work / "other.txt").touch()


def leaves_partial_output(work: Path) -> None:
    (work / "out/new.txt").write_text("ri")
    fails(work)


def removes_old_output(work: Path) -> None:
    (work / "out/old.txt").unlink()
    fails(work)


def changes_old_output(work: Path) -> None:
    (work / "out/old.txt").write_text("of an earlier ruin")
    fails(work)


def prints_two_lines(work: Path) -> None:
    print("something else", file=sys.stderr)
    fails(work)


def prints_from_c(work: Path) -> None:
    os.write(2, b"libpng error\n")
    fails(work)


def prints_and_succeeds(work: Path) -> None:
    succeeds(work)
    print("warning: in.txt", file=sys.stderr)


def warns(work: Path) -> None:
    succeeds(work)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.warn("of a library", stacklevel=1)


def mentions_no_file(work: Path) -> None:
    raise InputError("something is wrong")


def prints_no_error(work: Path) -> None:
    sys.exit("in.txt is wrong")


def prints_control_characters(work: Path) -> None:
    sys.exit("error: in.txt: \x1b[8m")


def prints_much(work: Path) -> None:
    sys.exit("error: in.txt: " + "x" * 2000)


def exits_with_3(work: Path) -> None:
    sys.exit(3)


def takes_a_minute(work: Path) -> None:
    try:
        time.sleep(60)
    except Exception:  # as a command that ignores every error
        succeeds(work)


def computes_without_end(work: Path) -> None:
    while True:
        pass


def writes_wrong_text(work: Path) -> None:
    (work / "out/new.txt").write_text("wrong")


def writes_nothing(work: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("main", "message"),
    [
        (raises, "ValueError: a traceback"),
        (allocates_too_much, "mentions none of .*: error: out of memory"),
        (writes_outside, "succeeded, but changed .*evil.txt"),
        (writes_elsewhere, "succeeded, but changed .*other.txt"),
        (leaves_partial_output, "failed .*, but changed .*new.txt"),
        (removes_old_output, "failed .*, but changed .*old.txt"),
        (changes_old_output, "failed .*, but changed .*old.txt"),
        (prints_two_lines, "2 lines on standard error"),
        (prints_from_c, "2 lines on standard error: .*libpng error"),
        (prints_and_succeeds, "succeeded, but printed .*warning: in.txt"),
        (warns, "succeeded, but printed .*of a library"),
        (mentions_no_file, "mentions none of"),
        (prints_no_error, "does not begin with 'error: ': 'in.txt is wrong'"),
        (prints_control_characters, "a line with control characters"),
        (prints_much, "a line of 2015 characters"),
        (exits_with_3, "exit code 3"),
        (takes_a_minute, "takes more than 3.0 s .SIGALRM"),
        (computes_without_end, "takes more than 0.3 s .SIGPROF"),
        (writes_wrong_text, "succeeded, but with a wrong result: .*wrong text"),
        (writes_nothing, "succeeded, but with a wrong result: FileNotFoundError"),
    ],
)
def test_faults_are_found(
    main: Callable[[Path], None], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(case, "LONGEST_CASE", 0.3)
    outcome = outcome_of(main, tmp_path)
    assert outcome.is_fault
    assert pytest.raises(AssertionError, match=message).matches(AssertionError(outcome.message))


def test_allowed_warnings_and_lock_files_are_no_faults(tmp_path: Path):
    assert outcome_of(prints_and_succeeds, tmp_path, may_warn=True).accepted
    writable = {"always_writable": ("out/new.txt",)}
    assert not outcome_of(leaves_partial_output, tmp_path, **writable).is_fault
    assert outcome_of(prints_two_lines, tmp_path, may_warn=True).is_fault
    assert outcome_of(removes_old_output, tmp_path, **writable).is_fault


@pytest.mark.parametrize("kind", KINDS)
def test_input_depends_only_on_kind_and_seed(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Not on the order in which a library returns things, nor on the time."""
    work, inputs = tmp_path / "work", []
    for seed, now in ((2, time.time()), (2, 1e9), (3, 1e9)):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        work.mkdir()
        with contextlib.chdir(work):
            build_case(kind, seed, KINDS[kind], work)
        inputs.append(snapshot(work))
        shutil.rmtree(work)
    assert inputs[0] == inputs[1]
    assert inputs[1] != inputs[2]


def test_command_counts_outcomes_per_kind_and_exits_with_1_on_a_fault(monkeypatch, capsys):
    results = iter([case.Outcome(True, ""), case.Outcome(False, "error: a/1.png: 7"), None, None])
    wrong = case.Outcome(False, "ValueError", is_fault=True)
    monkeypatch.setattr(fuzz, "run_case", lambda *_: next(results) or wrong)
    argv = ["--kind", "image cut", "--count"]
    assert fuzz.main([*argv, "2"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[1].split() == ["image", "cut", "2", "1", "1", "1", "0"]
    assert fuzz.main([*argv, "2"]) == 1
    assert (
        "all                            2         0         0         0         2"
        in capsys.readouterr().out
    )
    assert fuzz.main(["--kind", "nothing of the kind"]) == 2
