"""Some cases of each kind of hostile input (`make fuzz` runs thousands), and the judge itself."""

import os
import random
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from roadseg.system.errors import InputError
from tests.fuzz import __main__ as fuzz
from tests.fuzz import case
from tests.fuzz.case import Case, Step, judged
from tests.fuzz.registry import KINDS

SEEDS = range(2)


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_input_is_refused_in_one_line_or_right(kind: str, tmp_path: Path):
    for seed in SEEDS:
        verdict = judged(kind, seed, KINDS[kind], tmp_path)
        assert not verdict.is_fault, f"--kind {kind!r} --seed {seed}: {verdict.message}"
    assert list(tmp_path.iterdir()) == []


def verdict_of(main: Callable[[Path], None], tmp_path: Path, **options: object) -> case.Verdict:
    """Of a command that reads in.txt, is called with its workspace, and may write below out/."""

    def make(_rng: random.Random, work: Path) -> Case:
        (work / "out").mkdir()
        (work / "out/old.txt").write_text("of an earlier run")
        step = Step(lambda _argv: main(work), [], ("out",), **options)
        return Case([step], ("in.txt",), lambda: _require_right(work))

    return judged("kind", 0, make, tmp_path)


def _require_right(work: Path) -> None:
    assert (work / "out/new.txt").read_text() == "right", "another text"


def right(work: Path) -> None:
    print("said on standard output")
    (work / "out/new.txt").write_text("right")


def refuses(work: Path) -> None:
    raise InputError("in.txt: 3 is out of range; expected 1 or 2")


def test_right_results_and_clear_refusals_are_no_faults(tmp_path: Path):
    assert verdict_of(right, tmp_path) == case.Verdict(True, "")
    message = "error: in.txt: 3 is out of range; expected 1 or 2"
    assert verdict_of(refuses, tmp_path) == case.Verdict(False, message)


def raises(work: Path) -> None:
    raise ValueError("a traceback")


def writes_outside(work: Path) -> None:
    right(work)
    (work.parent / "evil.txt").touch()


def writes_beside(work: Path) -> None:
    right(work)
    (work / "other.txt").touch()


def leaves_half(work: Path) -> None:
    (work / "out/new.txt").write_text("ri")
    refuses(work)


def removes_the_old(work: Path) -> None:
    (work / "out/old.txt").unlink()
    refuses(work)


def changes_the_old(work: Path) -> None:
    (work / "out/old.txt").write_text("of an earlier ruin")
    refuses(work)


def says_two_lines(work: Path) -> None:
    print("something else", file=sys.stderr)
    refuses(work)


def says_below_python(work: Path) -> None:
    os.write(2, b"libpng error\n")
    refuses(work)


def says_and_accepts(work: Path) -> None:
    right(work)
    print("warning: in.txt", file=sys.stderr)


def warns(work: Path) -> None:
    right(work)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.warn("of a library", stacklevel=1)


def names_no_file(work: Path) -> None:
    raise InputError("something is wrong")


def says_no_error(work: Path) -> None:
    sys.exit("in.txt is wrong")


def hides(work: Path) -> None:
    sys.exit("error: in.txt: \x1b[8m")


def says_much(work: Path) -> None:
    sys.exit("error: in.txt: " + "x" * 2000)


def has_another_code(work: Path) -> None:
    sys.exit(3)


def takes_long(work: Path) -> None:
    try:
        time.sleep(60)
    except Exception:  # as a command does that goes on after everything
        right(work)


def is_wrong(work: Path) -> None:
    (work / "out/new.txt").write_text("wrong")


def writes_nothing(work: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("main", "message"),
    [
        (raises, "ValueError: a traceback"),
        (writes_outside, "accepted, and changed .*evil.txt"),
        (writes_beside, "accepted, and changed .*other.txt"),
        (leaves_half, "refused .*, and changed .*new.txt"),
        (removes_the_old, "refused .*, and changed .*old.txt"),
        (changes_the_old, "refused .*, and changed .*old.txt"),
        (says_two_lines, "2 lines on standard error"),
        (says_below_python, "2 lines on standard error: .*libpng error"),
        (says_and_accepts, "accepted, and said .*warning: in.txt"),
        (warns, "accepted, and said .*of a library"),
        (names_no_file, "names none of"),
        (says_no_error, "no error: 'in.txt is wrong'"),
        (hides, "a line with control characters"),
        (says_much, "a line of 2015 characters"),
        (has_another_code, "exit code 3"),
        (takes_long, "takes more than 1 s"),
        (is_wrong, "accepted, and wrong: .*another text"),
        (writes_nothing, "accepted, and wrong: FileNotFoundError"),
    ],
)
def test_the_judge_finds_faults(
    main: Callable[[Path], None], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(case, "LONGEST_CASE", 1)
    verdict = verdict_of(main, tmp_path)
    assert verdict.is_fault
    assert pytest.raises(AssertionError, match=message).matches(AssertionError(verdict.message))


def test_what_a_step_may_say_and_keep_is_no_fault(tmp_path: Path):
    assert verdict_of(says_and_accepts, tmp_path, may_warn=True).accepted
    beside = {"beside": ("out/new.txt",)}
    assert not verdict_of(leaves_half, tmp_path, **beside).is_fault
    assert verdict_of(says_two_lines, tmp_path, may_warn=True).is_fault
    assert verdict_of(removes_the_old, tmp_path, **beside).is_fault


def test_a_case_is_a_function_of_its_kind_and_seed(tmp_path: Path, capsys):
    drawn = []

    def make(rng: random.Random, work: Path) -> Case:
        drawn.append(rng.random())
        return Case([Step(lambda _: right(work), [], ("out",))], ("in.txt",))

    for kind, seed in (("a", 1), ("a", 1), ("a", 2), ("b", 1)):
        judged(kind, seed, make, tmp_path)
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 3


def test_the_command_counts_kinds_and_ends_with_1_on_a_fault(monkeypatch, capsys):
    found = iter([case.Verdict(True, ""), case.Verdict(False, "error: a/1.png: 7"), None, None])
    wrong = case.Verdict(False, "ValueError", is_fault=True)
    monkeypatch.setattr(fuzz, "judged", lambda *_: next(found) or wrong)
    argv = ["--kind", "picture cut", "--count"]
    assert fuzz.main([*argv, "2"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[1].split() == ["picture", "cut", "2", "1", "1", "1", "0"]
    assert fuzz.main([*argv, "2"]) == 1
    assert (
        "all                            2         0         0         0         2"
        in capsys.readouterr().out
    )
    assert fuzz.main(["--kind", "nothing of the kind"]) == 2
