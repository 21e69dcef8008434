"""Made-up experiments."""

import csv
from pathlib import Path

import pytest

from src.files import InputError
from src.sweep.table import Row, save_parallel_plot, save_table, table, text_table

NAN = float("nan")


def row(name: str, miou: float | None, state: str = "finished", **params: object) -> Row:
    figures = {} if miou is None else {"evaluate.miou": miou, "evaluate.cross_entropy": miou}
    return Row(name, state, {"train.epochs": 7, **params}, figures)


ROWS = [
    row("worse", 0.25, **{"train.seed": 0}),
    row("failed", None, "failed", **{"train.seed": 3}),
    row("best", 0.5, **{"train.seed": 1, "model.new": [1, 2]}),
    row("nan", NAN, **{"train.seed": 2}),
    Row("lost", "abandoned", {}, {}),
    row("waits", None, "queued", **{"train.seed": 4}),
]


def test_the_best_comes_first_and_nothing_is_left_out():
    found = table("evaluate.miou", ROWS, [])
    assert [r.name for r in found.rows] == ["best", "worse", "nan", "waits", "failed", "lost"]
    assert found.params == ["train.seed", "model.new"]  # those that differ, in their order
    lowest = table("evaluate.cross_entropy", ROWS, [])
    assert [r.name for r in lowest.rows][:3] == ["worse", "best", "nan"]


def test_as_csv_and_as_text(tmp_path: Path):
    found = table("evaluate.miou", ROWS, [])
    save_table(tmp_path / "table.csv", found)
    with (tmp_path / "table.csv").open() as file:
        best, _, nan, _, _, lost = csv.DictReader(file)
    assert best == {
        **{"experiment": "best", "state": "finished", "train.seed": "1", "model.new": "[1, 2]"},
        **{"evaluate.miou": "0.5", "evaluate.cross_entropy": "0.5"},
    }
    assert nan["evaluate.miou"] == ""
    assert set(lost.values()) == {"lost", "abandoned", ""}
    lines = text_table(found).splitlines()
    assert lines[0].split() == ["experiment", "state", "seed", "new", "miou", "cross_entropy"]
    assert lines[2].split() == ["worse", "finished", "0", "0.25", "0.25"]
    assert lines[0].index("miou") == lines[2].index("0.25")


def test_a_picture_needs_two(tmp_path: Path):
    picture = tmp_path / "parallel.png"
    save_parallel_plot(picture, table("evaluate.miou", ROWS, []))
    assert picture.stat().st_size > 10_000
    with pytest.raises(InputError, match="of 2 experiments 1 finished; a picture needs two"):
        save_parallel_plot(picture, table("evaluate.miou", ROWS[:2], []))
    assert not picture.exists()  # it was of other experiments


def test_mistakes_are_said():
    with pytest.raises(InputError, match=r"--by evaluate.moiu: no such figure; did you mean 'eval"):
        table("evaluate.moiu", ROWS, [])
    with pytest.raises(InputError, match=r"no experiments here.*; 3 elsewhere"):
        table("evaluate.miou", [], ["3 elsewhere"])
