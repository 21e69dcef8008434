"""Each stage's main([...]) on eight made-up pictures, chained as dvc.yaml chains them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from roadseg.config.class_map import read_class_map
from roadseg.system.errors import InputError
from stages import check, fetch, remap, split, train
from tests.factories import ROOT, write_images, write_params
from tests.stage_runner import ORDER, run_stage

FETCH = (
    *(sys.executable, "-m", "stages.fetch"),
    *("--pipeline", "dvc.yaml", "--downloads", ".downloads"),
)


def arguments(folder: Path, **paths: str) -> list[str]:
    named = {"params": "params.yaml", **paths}
    return [word for name, path in named.items() for word in (f"--{name}", str(folder / path))]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All stages, run once."""
    folder = tmp_path_factory.mktemp("stages")
    source = write_images(folder / "pictures")
    changes = {"data__source": str(source), "render__num_pictures": 3}
    write_params(folder / "params.yaml", **changes)
    for stage in ORDER:
        run_stage(stage, folder)
    return folder


def test_fetch_says_what_it_brought(done: Path):
    manifest = json.loads((done / "data/raw/manifest.json").read_text())
    assert (manifest["num_train"], manifest["num_test"]) == (8, 2)
    assert len(list((done / "data/raw/training/semantic").iterdir())) == 8


def test_remap_caches_and_counts(done: Path):
    frequency = pd.read_csv(done / "plots/class_frequency.csv")
    class_map = json.loads((done / "data/prepared/classes.json").read_text())
    assert frequency["class"].tolist() == [entry["name"] for entry in class_map["classes"]]
    masks = [np.load(path) for path in (done / "data/prepared/masks").iterdir()]
    assert frequency["pixels"].sum() == sum(mask.size for mask in masks)
    assert frequency["pixels"][1] == sum((mask == 1).sum() for mask in masks)


def test_split_holds_a_quarter_of_each_size_out(done: Path):
    parts = json.loads((done / "data/split.json").read_text())
    assert (len(parts["train"]), len(parts["val"]), len(parts["test"])) == (6, 2, 2)
    assert sum(int(name[:6]) % 2 for name in parts["val"]) == 1  # odd ones are the larger


def test_groups_are_kept_whole_and_named(done: Path, tmp_path: Path, capsys):
    write_params(tmp_path / "params.yaml", split__group_by="size", split__fold=1)
    paths = arguments(done, prepared="data/prepared")[2:]
    split.main([*arguments(tmp_path, out="split.json"), *paths])
    parts = json.loads((tmp_path / "split.json").read_text())
    assert parts["grouped_by"] == "picture size"
    assert len({int(name[:6]) % 2 for name in parts["val"]}) == 1
    said = capsys.readouterr().out
    assert "split: 4 train, 4 val, 2 test in " in said
    assert "; groups kept whole: picture size" in said


def test_train_writes_a_model_an_epoch(done: Path):
    models = sorted(path.name for path in (done / "models/epochs").iterdir())
    assert models == ["epoch_001.safetensors", "epoch_002.safetensors"]
    assert len(pd.read_csv(done / "plots/history.csv")) == 2
    assert len(list((done / "runs").glob("*/events*"))) == 1


def test_evaluate_agrees_with_the_training_of_its_epoch(done: Path):
    figures = json.loads((done / "metrics/evaluate.json").read_text())
    best = json.loads((done / "metrics/train.json").read_text())
    assert sorted(figures) == [
        "boundary_f",
        "cross_entropy",
        "ece",
        "mean_class_accuracy",
        "mean_dice",
        "miou",
        "miou_high",
        "miou_low",
        "miou_with_void",
        "pixel_accuracy",
    ]
    assert figures["miou"] == best["best_val_miou"]
    confusion = pd.read_csv(done / "plots/confusion.csv")
    rows = confusion.groupby("actual", sort=False)
    assert rows["share"].sum().round(4).eq(1).all()
    per_class = pd.read_csv(done / "plots/per_class.csv").set_index("class")
    assert (rows["pixels"].sum() == per_class["pixels"]).all()
    assert per_class["iou"].drop("void").mean() == pytest.approx(figures["miou"], abs=1e-5)
    assert per_class["boundary_f"].mean() == pytest.approx(figures["boundary_f"], abs=1e-5)
    assert figures["miou_low"] <= figures["miou_high"]
    calibration = pd.read_csv(done / "plots/calibration.csv")
    assert calibration["share"].sum() == pytest.approx(1, abs=1e-5)
    accuracy = (calibration["accuracy"] * calibration["share"]).sum()
    assert accuracy == pytest.approx(figures["pixel_accuracy"], abs=1e-5)


def test_render_draws_the_chosen_epochs_and_the_extremes(done: Path):
    pictures = sorted(path.name for path in (done / "plots/predictions").iterdir())
    expected = ["best.png", "epoch_002_test.png", "epoch_002_training.png"]
    assert pictures == [*expected, "epochs.gif", "epochs.png", "hardest.png"]
    with Image.open(done / "plots/predictions/epoch_002_training.png") as picture:
        colors = set(map(tuple, np.asarray(picture.convert("RGB")).reshape(-1, 3).tolist()))
    class_map = read_class_map(ROOT / "classes/kitti12.yaml")
    assert {tuple(color) for color in class_map.colors.tolist()} <= colors
    with Image.open(done / "plots/predictions/epochs.gif") as animation:
        assert animation.n_frames == 2  # one an epoch


def test_the_card_tells_what_the_files_do(done: Path):
    text = (done / "models/README.md").read_text()
    figures = json.loads((done / "metrics/evaluate.json").read_text())
    manifest = json.loads((done / "data/raw/manifest.json").read_text())
    assert f"| mIoU, void left out | {figures['miou']:.4g} |" in text
    assert f"`{manifest['sha256']}`" in text
    assert "6 trained and 2 validated" in text
    assert "Recipe `modern`, epochs 2, seed 0, device cpu" in text
    per_class = pd.read_csv(done / "plots/per_class.csv").set_index("class")
    assert f"| 1 | road | `#804080` | 7 | {per_class['iou']['road']:.3f} |" in text
    assert "2 validation pictures are few" in text
    for name in ("curves", "confusion", "per_class"):
        assert f"(../plots/figures/{name}.png)" in text
        with Image.open(done / f"plots/figures/{name}.png") as picture:
            assert picture.width > 1000


@pytest.mark.parametrize(
    "name", ["metrics/train.json", "metrics/evaluate.json", "data/raw/manifest.json"]
)
def test_a_card_without_its_facts_is_one_line(done: Path, name: str):
    before = (done / name).read_text(), (done / "models/README.md").read_bytes()
    (done / name).write_text("{}")
    with pytest.raises(InputError, match=rf"{name}: \w+: missing; dvc repro makes it again"):
        run_stage("card", done)
    (done / name).write_text(before[0])
    assert (done / "models/README.md").read_bytes() == before[1]


def test_the_same_again_gives_the_same_bytes(done: Path):
    def tree() -> dict[str, bytes]:
        skipped = {"runs", "pictures", ".ckpt"}
        files = [path for path in done.rglob("*") if path.is_file()]
        names = {str(path.relative_to(done)): path for path in files}
        return {n: p.read_bytes() for n, p in names.items() if n.split("/")[0] not in skipped}

    before = tree()
    for stage in ("fetch", "remap", "split", "evaluate", "render", "card"):
        run_stage(stage, done)
    assert tree() == before


def test_ignored_pixels_are_neither_trained_nor_counted(tmp_path: Path):
    """kitti11 on the stripes: void is 255 in the masks and in no figure."""
    source = write_images(tmp_path / "pictures")
    changes = {"data__source": str(source), "remap__classes": "kitti11", "train__epochs": 1}
    write_params(tmp_path / "params.yaml", **changes, render__epochs=["last"])
    for stage in ("fetch", "remap", "split"):
        run_stage(stage, tmp_path)
    run_stage("train", tmp_path)
    for stage in ("evaluate", "render"):
        run_stage(stage, tmp_path)
    val_ids = json.loads((tmp_path / "data/split.json").read_text())["val"]
    masks = [np.load(tmp_path / f"data/prepared/masks/{name}.npy") for name in val_ids]
    table = pd.read_csv(tmp_path / "plots/per_class.csv")
    assert table["pixels"].tolist() == [sum((m == i).sum() for m in masks) for i in range(11)]
    assert any((mask == 255).any() for mask in masks)
    figures = json.loads((tmp_path / "metrics/evaluate.json").read_text())
    assert figures["miou"] == figures["miou_with_void"]


def test_an_own_class_map_needs_nothing_but_its_file(tmp_path: Path, capsys):
    own = tmp_path / "two.yaml"
    own.write_text(
        "void: null\nignored_label_ids: []\nunknown_label_ids: rest\nclasses:\n"
        "  - {name: rest, color: [0, 0, 0], label_ids: []}\n"
        "  - {name: road, color: [255, 0, 0], label_ids: [7]}\n"
    )
    source = write_images(tmp_path / "pictures")
    changes = {"data__source": str(source), "remap__classes": str(own), "train__epochs": 1}
    write_params(tmp_path / "params.yaml", **changes, render__epochs=["last"])
    run_stage("fetch", tmp_path)
    run_stage("remap", tmp_path)
    assert f"DVC does not watch {own}" in capsys.readouterr().out
    run_stage("split", tmp_path)
    run_stage("train", tmp_path)
    run_stage("evaluate", tmp_path)
    assert pd.read_csv(tmp_path / "plots/per_class.csv")["class"].tolist() == ["rest", "road"]


@pytest.mark.parametrize("stage", ["check", "fetch", "remap", "split", "train"])
def test_a_wrong_key_stops_every_stage(tmp_path: Path, stage: str):
    write_params(tmp_path / "params.yaml", train__batchsize=4)
    module = {"check": check, "fetch": fetch, "remap": remap, "split": split, "train": train}[stage]
    options = {
        "check": ["pipeline", "out"],
        "fetch": ["pipeline", "out", "downloads"],
        "remap": ["raw", "classes", "out", "frequency"],
        "split": ["prepared", "out"],
        "train": ["prepared", "split", "epochs", "best", "history", "metrics", "runs", "states"],
    }
    paths = dict.fromkeys(options[stage], "x")
    with pytest.raises(InputError, match=r"train.batchsize: unknown key"):
        module.main(arguments(tmp_path, **paths))
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_the_shell_sees_one_line_and_exit_code_1(tmp_path: Path):
    write_params(tmp_path / "params.yaml", data__source="nowhere.zip")
    command = [*FETCH, *arguments(tmp_path, out="raw")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 1
    assert result.stderr.startswith("error: data.source: 'nowhere.zip': no such file or folder")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_stage_never_exits_with_0(tmp_path: Path, number: signal.Signals):
    """Exit 0 would let DVC record a part of a stage as the whole."""
    write_params(tmp_path / "params.yaml", sample__num_train=5000)
    command = [*FETCH, *arguments(tmp_path, out="raw")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("000003_10.png")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, number)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (130, "interrupted\n")
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def imported_by(statement: str) -> set[str]:
    """The modules that a new interpreter has imported after `statement`."""
    probe = f"import atexit, sys; atexit.register(lambda: print(*sys.modules)); {statement}"
    command = [sys.executable, "-c", probe]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(result.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("stage", ["check", "fetch", "remap", "split"])
def test_stages_before_training_need_no_torch(stage: str):
    assert "torch" not in imported_by(f"import stages.{stage}")


def test_split_runs_without_torch_and_shows_its_help_without_numpy(done: Path, tmp_path: Path):
    paths = arguments(done, prepared="data/prepared") + arguments(tmp_path, out="split.json")[2:]
    used = imported_by(f"from stages.split import main; main({paths})")
    assert "numpy" in used
    assert "torch" not in used
    help_used = imported_by("from stages.split import main; main(['--help'])")
    assert "pydantic" in help_used
    assert not help_used & {"numpy", "numba", "pandas", "torch"}
