"""Order, columns and format of the table of experiments."""

import csv
from pathlib import Path

import pytest

from roadseg.experiments.dvc_experiments import Experiment
from roadseg.experiments.table import format_table, make_table, save_parallel_plot, save_table
from roadseg.system.errors import InputError

NAN = float("nan")


def experiment(name, miou=None, state="finished", *, commit="main", code="1", **params):
    metrics = {} if miou is None else {"evaluate.miou": miou, "evaluate.cross_entropy": miou}
    params = {"train.epochs": 7, **params} if state != "unreadable" else {}
    return Experiment(
        name, commit, state, params, {"src/roadseg/provenance/source_code.py": code}, metrics
    )


EXPERIMENTS = [
    experiment("worse", 0.25, **{"train.seed": 0}),
    experiment("broken", state="failed", **{"train.seed": 3}),
    experiment("best", 0.5, **{"train.seed": 1, "model.new": [1, 2]}),
    experiment("nan", NAN, **{"train.seed": 2}),
    experiment("lost", state="unreadable"),
    experiment("waiting", state="queued", **{"train.seed": 4}),
    experiment("training", state="running", **{"train.seed": 5}),
]


def test_best_experiment_comes_first_and_unfinished_ones_last():
    table = make_table(EXPERIMENTS, "evaluate.miou")
    names = ["best", "worse", "nan", "lost", "training", "waiting", "broken"]
    assert [e.name for e in table.experiments] == names
    assert table.params[-2:] == ["train.seed", "model.new"]
    table = make_table(EXPERIMENTS, "evaluate.cross_entropy")  # lower is better
    assert [e.name for e in table.experiments][:3] == ["worse", "best", "nan"]


def test_commit_and_code_are_columns_if_they_differ():
    same = [experiment("a", 0.1), experiment("b", 0.2)]
    assert make_table(same, "evaluate.miou").params == []
    other = [*same, experiment("c", 0.3, commit="old", code="2")]
    table = make_table(other, "evaluate.miou")
    assert table.params == ["commit", "code"]
    codes = [e.params["code"] for e in table.experiments]  # c, b, a
    assert codes[0] != codes[1] == codes[2]


def test_csv_has_all_metrics_and_text_has_aligned_columns(tmp_path: Path):
    table = make_table([e for e in EXPERIMENTS if e.name != "lost"], "evaluate.miou")
    save_table(tmp_path / "table.csv", table)
    with (tmp_path / "table.csv").open() as file:
        best, _, nan, *_, broken = csv.DictReader(file)
    assert best == {
        **{"experiment": "best", "state": "finished", "train.seed": "1", "model.new": "[1, 2]"},
        **{"evaluate.miou": "0.5", "evaluate.cross_entropy": "0.5"},
    }
    assert nan["evaluate.miou"] == ""
    assert broken["evaluate.miou"] == ""
    assert broken["train.seed"] == "3"
    lines = format_table(table).splitlines()
    assert lines[0].split() == ["experiment", "state", "seed", "new", "miou", "cross_entropy"]
    assert lines[2].split() == ["worse", "finished", "0", "0.25", "0.25"]
    assert lines[0].index("miou") == lines[2].index("0.25")


def test_plot_is_written(tmp_path: Path):
    save_parallel_plot(tmp_path / "parallel.png", make_table(EXPERIMENTS, "evaluate.miou"))
    assert (tmp_path / "parallel.png").stat().st_size > 10_000


def test_unknown_metric_and_no_experiments_are_errors():
    with pytest.raises(InputError, match=r"--by evaluate.moiu: no such metric; did you mean 'eval"):
        make_table(EXPERIMENTS, "evaluate.moiu")
    with pytest.raises(InputError, match=r"no experiments .*--all-commits"):
        make_table([], "evaluate.miou")
