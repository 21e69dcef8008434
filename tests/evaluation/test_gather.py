"""Canned answers of dvc, and the real dvc on a pipeline of one tiny stage."""

import statistics
from pathlib import Path

import pytest

from src import experiments
from src.evaluation import gather
from src.evaluation.gather import comparable_sets, spread, table
from src.files import InputError
from tests.conftest import ROOT
from tests.repository import commit, run, succeeds


def entry(name, fold, miou, *, state=None, recipe="modern", code="1", **data):
    """An experiment as `dvc exp show --json` lists it."""
    return {
        "name": None,
        "executor": state and {"state": state, "name": "dvc-task", "local": None},
        "revs": [
            {
                "rev": "0123456789abcdef",
                "name": name,
                "error": None,
                "experiments": None,
                "data": {
                    "params": {
                        "params.yaml": {"data": {"split": {"fold": fold}, "recipe": recipe}}
                    },
                    "metrics": {
                        "metrics/evaluate.json": {"data": {"miou": miou, "best": "yes"}},
                        "metrics/train.json": {"data": {"miou": 1, "epoch": {"best": 7}}},
                    },
                    "deps": {
                        "src/code.py": {"hash": code, "size": 1, "nfiles": None},
                        "data/split.json": {"hash": name, "size": 1, "nfiles": None},
                    },
                    "outs": {},
                    **data,
                },
            }
        ],
    }


def shown(*entries):
    """What `dvc exp show --json` prints: the workspace, and a commit with experiments."""
    workspace = {"rev": "workspace", "name": None, "experiments": None}
    return [workspace, {"rev": "abc", "name": "main", "experiments": list(entries)}]


def finished_experiments(shown):
    return experiments.finished_experiments(shown, {"data/split.json"})


def names(sets):
    return [[experiment.name for experiment in chosen] for chosen in sets]


def test_spread_by_hand():
    entries = [entry("a", 0, 0.5), entry("b", 1, 0.75), entry("c", 2, 1.0)]
    found = finished_experiments(shown(*entries))
    # deviations -1/4, 0, 1/4: variance 1/8 / (3 - 1)
    assert spread(found) == {
        "evaluate.miou": (0.75, 0.25, 0.5, 1.0, 3),
        "train.epoch.best": (7, 0, 7, 7, 3),
        "train.miou": (1, 0, 1, 1, 3),
    }
    lines = table(found, "split.fold").splitlines()
    assert lines[0] == "split.fold: 0 (a), 1 (b), 2 (c)"
    assert lines[2].split() == ["evaluate.miou", "0.75", "0.25", "0.5", "1", "3"]


def test_only_finished_experiments_are_used():
    broken = {"params": {}, "metrics": {"m.json": {"error": {"msg": "x", "type": "y"}}}}
    entries = [
        entry("here", 0, 0.1),
        entry("queue", 1, 0.2, state="success"),
        entry("waiting", 2, 0.3, state="queued"),
        entry("at work", 3, 0.4, state="running"),
        entry("failed", 4, 0.5, state="failed"),
        entry("without figures", 5, 0.6, metrics={}),
        entry("unreadable", 6, 0.7, **broken),
    ]
    entries.append(entry("no data", 8, 0.8))
    entries[-1]["revs"][0]["data"] = None
    found = finished_experiments(shown(*entries))
    assert [experiment.name for experiment in found] == ["here", "queue"]


def test_sets_differ_in_one_parameter_alone():
    entries = [
        entry("a", 10, 0.1),
        entry("b", 9, 0.2),  # numbers are sorted as numbers
        entry("again", 9, 0.2),  # the same run, once more
        entry("other recipe", 0, 0.3, recipe="report"),
        entry("other recipe too", 1, 0.4, recipe="report"),
        entry("other code", 2, 0.5, code="2"),
    ]
    sets = comparable_sets(finished_experiments(shown(*entries)), "split.fold")
    assert names(sets) == [["again", "a"], ["other recipe", "other recipe too"]]


@pytest.mark.parametrize(
    ("entries", "over", "message"),
    [
        ([], "split.fold", "of 0 finished experiments on this commit no two differ in it alone"),
        ([entry("a", 0, 0.1)], "split.fold", "of 1 finished experiments"),
        ([entry("a", 0, 0.1), entry("b", 0, 0.1)], "split.fold", "no two differ in it alone"),
        ([entry("a", 0, 0.1)], "split.flod", "no such parameter; did you mean 'split.fold'"),
    ],
)
def test_too_few_are_said_in_one_line(entries, over, message):
    with pytest.raises(InputError, match=message) as caught:
        comparable_sets(finished_experiments(shown(*entries)), over)
    assert str(caught.value).startswith(f"--over {over}: ")
    assert "\n" not in str(caught.value)


def test_several_sets_say_what_sets_them_apart(monkeypatch, capsys):
    entries = [entry("a", 0, 0.1), entry("b", 1, 0.2)]
    entries += [entry("c", 0, 0.3, recipe="report"), entry("d", 2, 0.4, recipe="report")]
    monkeypatch.setattr(gather, "shown_by_dvc", lambda: shown(*entries))
    gather.main(["--over", "split.fold"])
    first, second = capsys.readouterr().out.split("\n\n")
    assert first.startswith("recipe modern\nsplit.fold: 0 (a), 1 (b)\n")
    assert second.startswith("recipe report\nsplit.fold: 0 (c), 2 (d)\n")


MEASURE = """
import json, pathlib, sys
from ruamel.yaml import YAML
fold = YAML(typ="safe").load(pathlib.Path("params.yaml").read_text())["split"]["fold"]
sys.exit("no fold 5") if fold == 5 else None
pathlib.Path("figures.json").write_text(json.dumps({"miou": 1 / (1 + fold)}))
"""
PIPELINE = """
stages:
  measure:
    cmd: python measure.py
    deps: [measure.py]
    params: [split]
    metrics: [figures.json: {cache: false}]
  report:  # reads what a stage writes, which is in git
    cmd: cp figures.json report.json
    deps: [figures.json]
    outs: [report.json]
"""


def gathered(folder: Path, over: str):
    """The command, in the repository `folder`."""
    command = "import runpy; runpy.run_module('src.evaluation.gather', run_name='__main__')"
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); {command}"
    return run(folder, "python", "-c", code, "--over", over)


def test_with_the_real_dvc(tmp_path: Path):
    (tmp_path / "measure.py").write_text(MEASURE)
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / "params.yaml").write_text("split: {fold: 0, seed: 0}\n")
    (tmp_path / ".gitignore").write_text("__pycache__/\n")
    succeeds(tmp_path, "git", "init", "-q", "-b", "main")
    succeeds(tmp_path, "dvc", "init", "-q")
    commit(tmp_path, "start")
    for changes in (["split.fold=0"], ["split.fold=1"], ["split.fold=3"], ["split.seed=1"]):
        options = [word for change in changes for word in ("-S", change)]
        succeeds(tmp_path, "dvc", "exp", "run", "-q", *options)
    assert run(tmp_path, "dvc", "exp", "run", "-q", "-S", "split.fold=5").returncode != 0
    succeeds(tmp_path, "dvc", "exp", "run", "-q", "--queue", "-S", "split.fold=9")

    result = gathered(tmp_path, "split.fold")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert [word for word in lines[0].split() if word[0].isdigit()] == ["0", "1", "3"]
    name, mean, deviation, *rest = lines[2].split()
    values = (1, 1 / 2, 1 / 4)
    assert (name, rest) == ("figures.miou", ["0.25", "1", "3"])
    assert float(mean) == pytest.approx(sum(values) / 3, rel=1e-5)
    assert float(deviation) == pytest.approx(statistics.stdev(values), rel=1e-5)
    assert len(lines) == 3

    succeeds(tmp_path, "git", "checkout", "-q", "--", ".")
    commit_of_its_own = tmp_path / "readme"
    commit_of_its_own.write_text("later\n")
    commit(tmp_path, "later")
    result = gathered(tmp_path, "split.fold")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("error: --over split.fold: of 0 finished experiments")
    assert result.stderr.count("\n") == 1


def test_outside_a_repository_dvc_is_quoted_in_one_line(tmp_path: Path):
    result = gathered(tmp_path, "split.fold")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("error: dvc exp show: ")
    assert result.stderr.count("\n") == 1
