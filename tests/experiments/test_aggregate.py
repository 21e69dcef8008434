"""Mean and standard deviation over experiments, from recorded reports and the real dvc."""

import contextlib
import csv
import io
import statistics
from pathlib import Path

import pytest

from roadseg.commands.main import main
from roadseg.experiments import dvc_experiments
from roadseg.experiments.aggregate import format_summaries, group_by_other_params, summarize
from roadseg.experiments.dvc_experiments import parse_experiments
from roadseg.system.errors import InputError
from tests.dvc_repository import commit, run, succeeds


def entry(name, fold, miou, *, state=None, recipe="modern", code="1", **data):
    """Imitate an experiment in `dvc exp show --json`."""
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
                        "src/roadseg/provenance/source_code.py": {
                            "hash": code,
                            "size": 1,
                            "nfiles": None,
                        },
                        "data/split.json": {"hash": name, "size": 1, "nfiles": None},
                    },
                    "outs": {},
                    **data,
                },
            }
        ],
    }


def report(*entries):
    """Imitate `dvc exp show --json`: the workspace, and a commit with experiments."""
    workspace = {"rev": "workspace", "name": None, "experiments": None}
    return [workspace, {"rev": "abc", "name": "main", "experiments": list(entries)}]


def parse(*entries):
    return parse_experiments(report(*entries), {"data/split.json"})


def list_names(groups):
    return [[experiment.name for experiment in group] for group in groups]


def test_mean_and_deviation_match_hand_computed_values():
    experiments = parse(entry("a", 0, 0.5), entry("b", 1, 0.75), entry("c", 2, 1.0))
    # deviations from the mean -1/4, 0, 1/4: variance 1/8 / (3 - 1)
    summary = summarize(experiments)
    assert list(summary.columns) == ["mean", "std", "min", "max", "count"]
    assert summary.T.to_dict("list") == {
        "evaluate.miou": [0.75, 0.25, 0.5, 1.0, 3],
        "train.epoch.best": [7, 0, 7, 7, 3],
        "train.miou": [1, 0, 1, 1, 3],
    }
    lines = format_summaries([experiments], "split.fold").splitlines()
    assert lines[0] == "split.fold: 0 (a), 1 (b), 2 (c)"
    assert lines[2].split() == ["evaluate.miou", "0.75", "0.25", "0.5", "1", "3"]


def test_only_finished_experiments_have_metrics_and_are_aggregated():
    broken = {"params": {}, "metrics": {"m.json": {"error": {"msg": "x", "type": "y"}}}}
    entries = [
        entry("workspace", 0, 0.1),
        entry("queue", 1, 0.2, state="success"),
        entry("queued", 2, 0.3, state="queued"),
        entry("running", 3, 0.4, state="running"),
        entry("failed", 4, 0.5, state="failed"),
        entry("without metrics", 5, 0.6, metrics={}),
        entry("unreadable", 6, 0.7, **broken),
    ]
    entries.append(entry("no data", 8, 0.8))
    entries[-1]["revs"][0]["data"] = None
    experiments = parse(*entries)
    assert {e.name: e.state for e in experiments} == {
        **{"workspace": "finished", "queue": "finished", "queued": "queued"},
        **{"running": "running", "failed": "failed"},
        **dict.fromkeys(["without metrics", "unreadable", "no data"], "unreadable"),
    }
    assert all(bool(e.metrics) == (e.state == "finished") for e in experiments)
    assert list_names(group_by_other_params(experiments, "split.fold")) == [["workspace", "queue"]]


def test_experiments_of_a_group_differ_only_in_one_parameter():
    experiments = parse(
        entry("a", 10, 0.1),
        entry("b", 9, 0.2),  # numbers are sorted by value, not as text
        entry("again", 9, 0.2),  # a repetition of the same run
        entry("other recipe", 0, 0.3, recipe="report"),
        entry("other recipe too", 1, 0.4, recipe="report"),
        entry("other code", 2, 0.5, code="2"),
    )
    groups = group_by_other_params(experiments, "split.fold")
    assert list_names(groups) == [["again", "a"], ["other recipe", "other recipe too"]]
    first, second = format_summaries(groups, "split.fold").split("\n\n")
    assert first.startswith("recipe modern\nsplit.fold: 9 (again), 10 (a)\n")
    assert second.startswith("recipe report\nsplit.fold: 0 (other recipe), 1 (other recipe too)\n")


@pytest.mark.parametrize(
    ("entries", "over", "message"),
    [
        ([], "split.fold", "no two of 0 finished experiments differ only in this parameter"),
        ([entry("a", 0, 0.1)], "split.fold", "no two of 1 finished experiments"),
        ([entry("a", 0, 0.1), entry("b", 0, 0.1)], "split.fold", "no two of 2 finished"),
        ([entry("a", 0, 0.1)], "split.flod", "no such parameter; did you mean 'split.fold'"),
    ],
)
def test_no_experiments_to_aggregate_is_an_error_of_one_line(entries, over, message):
    with pytest.raises(InputError, match=message) as caught:
        group_by_other_params(parse(*entries), over)
    assert str(caught.value).startswith(f"--over {over}: ")
    assert "\n" not in str(caught.value)


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
  report:  # reads the output of a stage, which is in git
    cmd: cp figures.json report.json
    deps: [figures.json]
    outs: [report.json]
"""


def experiments(folder: Path, *options: str) -> str:
    """Run `roadseg experiments` in the repository `folder`; return its standard output."""
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()) as printed:
        main(["experiments", *options])
    return printed.getvalue()


@pytest.mark.slow
def test_command_summarizes_real_experiments(tmp_path: Path):
    (tmp_path / "measure.py").write_text(MEASURE)
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / "params.yaml").write_text("split: {fold: 0, seed: 0}\n")
    (tmp_path / ".gitignore").write_text("__pycache__/\nexperiments/\n")
    succeeds(tmp_path, "git", "init", "-q", "-b", "main")
    succeeds(tmp_path, "dvc", "init", "-q")
    commit(tmp_path, "start")
    options = ("--by", "figures.miou", "--over", "split.fold")
    with pytest.raises(InputError, match=r"^no experiments"):
        experiments(tmp_path, *options)
    for change in ("split.fold=0", "split.fold=1", "split.fold=3", "split.seed=1"):
        succeeds(tmp_path, "dvc", "exp", "run", "-q", "-S", change)
    assert run(tmp_path, "dvc", "exp", "run", "-q", "-S", "split.fold=5").returncode != 0
    succeeds(tmp_path, "dvc", "exp", "run", "-q", "--queue", "-n", "waiting", "-S", "split.fold=9")

    table, summary = experiments(tmp_path, *options).split("\n\n")
    assert "wrote experiments/table.csv and experiments/parallel.png" in table
    lines = summary.splitlines()
    assert [word for word in lines[0].split() if word[0].isdigit()] == ["0", "1", "3"]
    name, mean, deviation, *rest = lines[2].split()
    values = (1, 1 / 2, 1 / 4)
    assert (name, rest) == ("figures.miou", ["0.25", "1", "3"])
    assert float(mean) == pytest.approx(sum(values) / 3, rel=1e-5)
    assert float(deviation) == pytest.approx(statistics.stdev(values), rel=1e-5)
    assert len(lines) == 3
    with (tmp_path / "experiments/table.csv").open() as file:
        *finished, waiting = csv.DictReader(file)
    assert [row["figures.miou"] for row in finished] == ["1", "0.5", "0.25", "0.25"]
    assert {row["state"] for row in finished} == {"finished"}
    assert (waiting["experiment"], waiting["state"]) == ("waiting", "queued")
    assert (waiting["split.fold"], waiting["figures.miou"]) == ("9", "")
    assert (tmp_path / "experiments/parallel.png").read_bytes().startswith(b"\x89PNG")

    succeeds(tmp_path, "git", "checkout", "-q", "--", ".")
    (tmp_path / "readme").write_text("later\n")
    commit(tmp_path, "later")
    with pytest.raises(InputError, match=r"^no experiments are based on this commit"):
        experiments(tmp_path, *options)
    assert "figures.miou" in (tmp_path / "experiments/table.csv").read_text()  # unchanged
    assert experiments(tmp_path, *options, "--all-commits").endswith(summary)


@pytest.mark.slow
def test_dvc_error_is_printed_in_one_line(tmp_path: Path):
    with pytest.raises(InputError, match=r"^dvc exp show: \S.*$"):
        experiments(tmp_path)


def test_missing_dvc_is_an_error_with_the_install_command(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(dvc_experiments, "find_spec", lambda name: None)
    with pytest.raises(
        InputError, match=r'dvc is not installed; run: pip install "roadseg\[pipeline'
    ):
        experiments(tmp_path)
