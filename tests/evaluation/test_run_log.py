"""metrics/test_runs.csv, and what the model card says about it."""

import subprocess
from pathlib import Path

import pytest

from roadseg.evaluation.run_log import LoggedRun, append_run, git_state, read_runs
from roadseg.reporting.model_card import test_set_section as make_section
from roadseg.system.errors import InputError
from tests.factories import ROOT

RUN = LoggedRun(
    commit="a" * 40,
    clean="yes",
    model_sha256="1" * 64,
    miou=0.51234,
    miou_low=0.4,
    miou_high=0.625,
    images=233,
)
OTHER = RUN.model_copy(update={"model_sha256": f"{'2' * 64}+{'1' * 64}", "clean": "no"})
HEADER = "commit,clean,model_sha256,miou,miou_low,miou_high,images\n"
ROW = f"{'a' * 40},yes,{'1' * 64},0.51234,0.4,0.625,233\n"


def test_rows_are_appended_and_read(tmp_path: Path):
    path = tmp_path / "runs.csv"
    assert read_runs(path) == []
    assert append_run(path, RUN) == 1
    assert append_run(path, OTHER) == 2
    assert read_runs(path) == [RUN, OTHER]
    assert path.read_text().startswith(HEADER + ROW)
    assert [p.name for p in tmp_path.iterdir()] == ["runs.csv"]  # the card depends on the directory


def test_committed_log_is_valid():
    assert (ROOT / "metrics/test_runs.csv").read_text().startswith(HEADER)
    read_runs(ROOT / "metrics/test_runs.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("commit\n", "line 1: should be commit,clean,"),
        (f"{HEADER}{ROW}<<<<<<< HEAD\n", "line 3: 1 fields, expected 7"),
        (HEADER + ROW.replace("0.4", "x"), "line 2: could not convert string to float: 'x'"),
        (HEADER + ROW.replace("0.4", "nan"), "line 2: miou_low: "),
        (HEADER + ROW.replace("yes", "perhaps"), "line 2: clean: "),
        (HEADER + ROW.replace("1" * 64, "1"), "line 2: model_sha256: "),
    ],
)
def test_damaged_log_names_the_line(tmp_path: Path, text: str, message: str):
    path = tmp_path / "runs.csv"
    path.write_text(text)
    with pytest.raises(InputError) as raised:
        append_run(path, RUN)
    assert str(raised.value).startswith(f"{path}, {message}")
    assert path.read_text() == text


def test_state_of_git_is_recorded(tmp_path: Path):
    assert git_state(tmp_path) == ("", "no")
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.example")
    for words in (("init", "-q"), ("commit", "-q", "--allow-empty", "-m", "a")):
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True)
    commit, clean = git_state(tmp_path)
    assert (len(commit), clean) == (40, "yes")
    (tmp_path / "new.py").touch()
    assert git_state(tmp_path) == (commit, "no")


def test_card_states_how_often_the_test_set_was_evaluated():
    log = Path("metrics/test_runs.csv")
    none = make_section(log, [], "1" * 64)
    assert "evaluated 0 times (`metrics/test_runs.csv`). `make final` evaluates this" in none
    assert "evaluated once (`metrics/test_runs.csv`), with other" in make_section(
        log, [OTHER], "1" * 64
    )
    text = make_section(log, [RUN, OTHER, RUN], "1" * 64)
    assert "The test set was evaluated 3 times (`metrics/test_runs.csv`), 2 times with this" in text
    assert "mIoU 0.512, 95 % interval 0.400 to 0.625, on 233 images" in text
