"""The benchmarks run and compute medians, targets and sections correctly."""

import re
import subprocess
import sys
from pathlib import Path

from benchmarks.__main__ import write_section
from benchmarks.table import Row, time_alternately
from tests.factories import ROOT


def test_median_ignores_the_untimed_round_and_the_outlier():
    first, second = iter([99.0, 1.0, 3.0, 2.0]), iter([0.0, 5.0, 4.0, 60.0])
    order = []

    def side(name: str, seconds) -> float:
        order.append(name)
        return next(seconds)

    medians = time_alternately(lambda: side("a", first), lambda: side("b", second), rounds=3)
    assert medians == (2.0, 5.0)
    assert order == ["a", "b"] * 4


def test_row_says_whether_its_target_was_met():
    row = {"name": "n", "sides": "a / b", "seconds": (3.0, 2.0), "ratio": 1.5}
    assert str(Row(**row)) == "| n | a / b | 3 / 2 s | 1.5 |  |"
    assert str(Row(**row, at_least=1.5)).endswith("| at least 1.5: yes |")
    assert str(Row(**row, at_least=1.6)).endswith("| at least 1.6: no |")
    assert str(Row(**row, at_most=1.4)).endswith("| at most 1.4: no |")


def test_section_of_a_group_is_replaced_and_the_others_stay(tmp_path: Path):
    path = tmp_path / "RESULTS.md"
    write_section(path, "step", ["one machine"], ["| a |", "| b |"])
    write_section(path, "remap", ["one machine"], ["| c |"])
    write_section(path, "step", ["another"], ["| d |"])
    text = path.read_text()
    assert re.findall(r"^## \w+|^\| [a-d] \||^- .*", text, re.MULTILINE) == [
        "## remap", "| c |", "- one machine", "## step", "| d |", "- another"
    ]  # fmt: skip
    write_section(path, "step", ["another"], ["| d |"])
    assert path.read_text() == text


def test_unknown_group_is_an_error_that_lists_the_groups():
    command = [sys.executable, "-m", "benchmarks", "steps"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == (
        "error: steps: no such group; "
        "use remap, step, epoch, processes, predict, stages, memory, growth, repro, audit\n"
    )
