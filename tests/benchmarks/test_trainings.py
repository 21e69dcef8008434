"""Benchmarks of trainings skip what is finished, resume the rest, and print true commands."""

import argparse
import os
import shlex
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import side_by_side
from benchmarks.recipes import Row, dvc_command, format_tables, parse_row, parse_rows
from benchmarks.results import Result, format_difference, format_mean, format_range
from benchmarks.side_by_side import run_trainings
from benchmarks.trainings import Training, make_training, override_params, stage_arguments
from roadseg.config.class_map import read_class_map
from roadseg.config.json_files import write_model
from roadseg.config.schema import parse_yaml, read_yaml
from roadseg.data.split_file import Split
from roadseg.evaluation.comparison import Source
from roadseg.evaluation.image_confusions import ImageConfusions
from roadseg.evaluation.metric_files import TrainingMetrics
from roadseg.system.errors import InputError
from roadseg.system.files import read_json, write_json
from tests.factories import ROOT, make_red_dataset

PARAMS = ROOT / "params.yaml"


@pytest.fixture
def args(tmp_path: Path) -> argparse.Namespace:
    prepared = make_red_dataset(tmp_path, [([[1]], [[1]])] * 3)
    ids = prepared.train_ids()
    write_model(tmp_path / "split.json", Split(train=ids[:2], val=ids[2:], test=[]))
    return argparse.Namespace(
        prepared=prepared.root,
        split=tmp_path / "split.json",
        weights=tmp_path / "weights",
        out=tmp_path / "out",
        params=PARAMS,
        set=["train.epochs=3"],
    )


def finish(training: Training) -> None:
    """Write the record of a finished training."""
    training.folder.mkdir(parents=True)
    write_json(training.record, training.identity())


def fake_stages(monkeypatch, run) -> None:
    """Call `run(stage, training)` instead of starting a process, then write what it would."""

    def run_stage(stage: str, training: Training, stop: threading.Event) -> None:
        run(stage, training)
        for name in ("epochs", ".ckpt"):
            (training.folder / name).mkdir(exist_ok=True)
        write_json(training.folder / "train.json", {"best_val_miou": 0.5, "best_epoch": 3})

    monkeypatch.setattr(side_by_side, "_run_stage", run_stage)


def test_row_is_a_name_and_options_that_a_shell_could_quote():
    assert parse_row("modern") == Row("modern", [])
    assert parse_row("no Lovász: recipes.modern.lovasz=0 'data.images=a b'") == Row(
        "no Lovász", ["recipes.modern.lovasz=0", "data.images=a b"]
    )
    for text in ("train.epochs=3", ": train.epochs=3", "a: 'b", ""):
        with pytest.raises(InputError):
            parse_row(text)


def test_rows_of_a_file_follow_those_of_the_command_line(tmp_path: Path):
    file = tmp_path / "rows.txt"
    file.write_text("# a comment\n\nsecond: train.epochs=2\n  third\n")
    assert [row.name for row in parse_rows(["first"], file)] == ["first", "second", "third"]
    with pytest.raises(InputError, match="same directory, a_b"):
        parse_rows(["a b", "a/b"], None)
    with pytest.raises(InputError, match="no rows"):
        parse_rows([], None)


def test_options_change_the_parameters_as_dvc_does():
    values = parse_yaml(override_params(PARAMS, ["recipes.modern.lovasz=1e-3", "train.start=null"]))
    expected = read_yaml(PARAMS)
    expected["recipes"]["modern"]["lovasz"] = 0.001
    assert values == expected
    for option in ("recipes.modern.lovas=1", "train.epochs", "train.epochs=0", "train.epochs=[1"):
        with pytest.raises(InputError, match=r"params\.yaml"):
            override_params(PARAMS, [option])


def test_printed_command_turns_params_yaml_into_the_parameters_of_the_training(tmp_path: Path):
    options = [
        r"data.source='/it\'s here'",
        r"data.images='{split:train,val}/{id}.png'",
        r"data.masks='{split:train,val}annot/{id}.png'",
        "data.test_images=null",
        "split.val_ids=['a b','c']",
        "recipes.modern.weight_decay=1e-05",
        "evaluate.scales=[0.5,1]",
        "evaluate.flip=true",
    ]
    other = tmp_path / "params.yaml"
    other.write_text(override_params(PARAMS, options))
    words = shlex.split(dvc_command(other, ["train.epochs=9"]))
    assert words[:3] == ["dvc", "exp", "run"]
    assert words[3::2] == ["-S"] * (len(options) + 1)
    result = override_params(PARAMS, words[4::2])
    assert parse_yaml(result) == parse_yaml(override_params(other, ["train.epochs=9"]))


def test_stage_has_the_arguments_of_the_pipeline_with_the_files_of_the_training(args):
    training = make_training(args, "row/0", [])
    words = stage_arguments("train", training)
    paths = dict(zip(words[::2], map(Path, words[1::2]), strict=True))
    command = read_yaml(ROOT / "dvc.yaml")["stages"]["train"]["cmd"]
    assert [f"--{word.split()[0]}" for word in command.split(" --")[2:]] == list(paths)
    assert paths["--prepared"] == args.prepared
    assert paths["--split"] == args.split
    written = paths.keys() - {"--prepared", "--split", "--weights"}
    assert {paths[key].parent for key in written} == {args.out / "row/0"}
    assert len({paths[key] for key in written}) == len(written)


def test_finished_training_is_recognized_and_never_overwritten(args):
    training = make_training(args, "row/0", [])
    assert not training.is_finished(False)
    finish(training)
    assert training.is_finished(False)
    # parameters of other stages and of other recipes do not matter
    others = ["data.max_files=5", "recipes.report.momentum=0", "resume.minutes=9"]
    assert make_training(args, "row/0", others).is_finished(False)
    with pytest.raises(InputError, match=r"train\.epochs is 3, not 4"):
        make_training(args, "row/0", ["train.epochs=4"]).is_finished(True)
    split = read_json(args.split)
    write_json(args.split, {**split, "train": split["train"][:1]})
    with pytest.raises(InputError, match="other data"):
        training.is_finished(True)


def test_training_by_other_code_is_accepted_only_on_request(args):
    training = make_training(args, "row/0", [])
    finish(training)
    record = read_json(training.record)
    params = {key: value for key, value in record["params"].items() if key != "train.num_workers"}
    write_json(training.record, {**record, "params": params, "code": "older"})
    with pytest.raises(InputError, match=r"train\.num_workers is None, not 0; other code"):
        training.is_finished(False)
    assert training.is_finished(True)


def test_trainings_run_side_by_side_on_cores_of_their_own(args, monkeypatch, capsys):
    trainings = [make_training(args, f"row/{seed}", [f"train.seed={seed}"]) for seed in range(3)]
    finish(trainings[0])
    cores, meet = {}, threading.Barrier(2, timeout=60)

    def run(stage: str, training: Training) -> None:
        if stage == "train":
            meet.wait()  # both run at the same time
            cores[training.name] = os.sched_getaffinity(0)

    fake_stages(monkeypatch, run)
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two cores")
    assert run_trainings(trainings, 2) == 0
    assert cores.keys() == {"row/1", "row/2"}
    assert not cores["row/1"] & cores["row/2"]
    assert all(training.is_finished(False) for training in trainings)
    assert not list(args.out.glob("row/*/epochs")) + list(args.out.glob("row/*/.ckpt"))
    out = capsys.readouterr().out
    assert "1 of 3 trainings are finished" in out
    assert "row/1: mIoU 0.5000 in epoch 3" in out


def test_failure_of_a_training_is_counted_and_the_others_continue(args, monkeypatch, capsys):
    def run(stage: str, training: Training) -> None:
        if training.name == "row/0":
            raise InputError("row/0: stage train exited with 1")

    fake_stages(monkeypatch, run)
    trainings = [make_training(args, f"row/{seed}", [f"train.seed={seed}"]) for seed in range(2)]
    assert run_trainings(trainings, 1) == 1
    assert [training.is_finished(False) for training in trainings] == [False, True]
    assert "failed: row/0: stage train exited with 1" in capsys.readouterr().err
    with pytest.raises(InputError, match="number of cores"):
        run_trainings(trainings, 0)


def test_plan_of_other_parameters_is_removed_and_the_same_one_is_kept(args, monkeypatch):
    fake_stages(monkeypatch, lambda stage, training: None)
    first = make_training(args, "row/0", [])
    first.write_params()
    for training, is_kept in (first, True), (make_training(args, "row/0", ["train.seed=1"]), False):
        write_json(first.folder / "plan.json", {})
        run_trainings([training], 1)
        first.record.unlink()
        assert (first.folder / "plan.json").exists() == is_kept


def make_result(miou: float, right: int, minutes: float = 1.0) -> Result:
    """Return the result of two epochs; in each of 8 images, `right` of 10 pixels are right."""
    metrics = TrainingMetrics(
        best_epoch=1, best_epoch_share=1, best_val_miou=miou, train_ce=1, val_ce=1, val_miou=0.1
    )
    history = pd.DataFrame({"epoch": [1, 2], "val_miou": [miou, 0.1]})
    confusions = np.array([[[10, 0], [10 - right, right]]] * 8)
    table = ImageConfusions(["road", "sky"], [str(i) for i in range(8)], confusions)
    return Result(metrics, history, minutes, Source("", table))


def test_table_has_mean_and_deviation_over_seeds_and_the_difference():
    class_map = read_class_map(ROOT / "classes/kitti12.yaml")
    rows = [Row("modern", []), Row("variant", ["a=1", "b='c d'"]), Row("later", [])]
    results = [
        {0: make_result(0.5, 5), 1: make_result(0.7, 5)},
        {0: make_result(0.25, 10, 4.0), 2: make_result(0.5, 5)},
        {},
    ]
    lines = format_tables(rows, results, class_map, classes=True)
    assert lines[2] == "| modern | 2 | 1.0 | 0.600 ± 0.141 (2) | 0.100 ± 0.000 (2) |  |  |"
    # only seed 0 is paired: IoU 10/15 and 5/10 against 1 and 1; all images are equal
    assert lines[3].startswith("| variant | 2 | 2.5 | 0.375 ± 0.177 (2) |")
    assert "| +0.417 (no interval) | -S a=1 -S \"b='c d'\" |" in lines[3]
    assert lines[4] == "| later |  |  |  |  |  |  |"
    assert lines[6:] == [
        "|  | road | sky |",
        "| --- | --- | --- |",
        "| modern | 0.667 | 0.500 |",
        "| variant | 1.000 | 1.000 |",
    ]


def test_numbers_are_formatted_with_deviation_range_and_interval():
    assert format_mean([0.5]) == "0.500"
    assert format_range([7, 5, 7]) == "5 to 7"
    assert format_range([7, 7]) == "7"
    row = pd.Series({"difference": -0.01, "low": -0.02, "high": 0.0304})
    assert format_difference(row) == "-0.010 (-0.020 to +0.030)"


def test_old_epochs_are_removed_once_the_best_model_is_written(tmp_path: Path):
    (tmp_path / "epochs").mkdir()
    for name in ("epoch_001", "epoch_998", "epoch_999", "epoch_1000"):
        (tmp_path / f"epochs/{name}.safetensors").touch()
    side_by_side._remove_old_epochs(tmp_path)
    assert len(list((tmp_path / "epochs").iterdir())) == 4
    (tmp_path / "best.safetensors").touch()
    side_by_side._remove_old_epochs(tmp_path)
    names = {path.stem for path in (tmp_path / "epochs").iterdir()}
    assert names == {"epoch_999", "epoch_1000"}
