"""Each stage's main([...]) on eight generated images, in the order of dvc.yaml."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from roadseg.config.class_map import read_class_map
from roadseg.prepare.layout import TEST_MASKS, TRAIN_MASKS
from roadseg.system.errors import InputError
from stages import check, fetch, remap, split, train
from tests.factories import ROOT, write_images, write_params
from tests.forbidden_reads import forbid_test_masks
from tests.stage_runner import ORDER, run_stage

FETCH = (
    *(sys.executable, "-m", "stages.fetch"),
    *("--pipeline", "dvc.yaml", "--splits", "splits", "--downloads", ".downloads"),
)


def arguments(folder: Path, **paths: str) -> list[str]:
    named = {"params": "params.yaml", **paths}
    return [word for name, path in named.items() for word in (f"--{name}", str(folder / path))]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run all stages once; return their folder."""
    folder = tmp_path_factory.mktemp("stages")
    source = write_images(folder / "pictures", test_masks=True)
    changes = {"data__source": str(source), "render__num_pictures": 3}
    write_params(folder / "params.yaml", **changes, data__test_masks=f"{TEST_MASKS}/{{id}}.png")
    for stage in ORDER:
        reads = stage in ("fetch", "remap")
        with nullcontext() if reads else forbid_test_masks():
            run_stage(stage, folder)
    return folder


def test_fetch_writes_the_data_set_and_its_manifest(outputs: Path):
    manifest = json.loads((outputs / "data/raw/manifest.json").read_text())
    assert (manifest["num_train"], manifest["num_test"]) == (8, 2)
    assert len(list((outputs / "data/raw/training/semantic").iterdir())) == 8


def test_remap_writes_arrays_and_class_frequencies(outputs: Path):
    frequency = pd.read_csv(outputs / "plots/class_frequency.csv")
    class_map = json.loads((outputs / "data/prepared/classes.json").read_text())
    assert frequency["class"].tolist() == [entry["name"] for entry in class_map["classes"]]
    masks = [np.load(path) for path in (outputs / "data/prepared/masks").iterdir()]
    assert frequency["pixels"].sum() == sum(mask.size for mask in masks)
    assert frequency["pixels"][1] == sum((mask == 1).sum() for mask in masks)


def test_split_stratifies_by_image_size(outputs: Path):
    parts = json.loads((outputs / "data/split.json").read_text())
    assert (len(parts["train"]), len(parts["val"]), len(parts["test"])) == (6, 2, 2)
    assert sum(int(name[:6]) % 2 for name in parts["val"]) == 1  # odd numbers are larger images


def test_split_keeps_groups_together_and_reports_them(outputs: Path, tmp_path: Path, capsys):
    write_params(tmp_path / "params.yaml", split__group_by="size", split__fold=1)
    paths = [*arguments(outputs, prepared="data/prepared")[2:], "--splits", str(ROOT / "splits")]
    split.main([*arguments(tmp_path, out="split.json"), *paths])
    parts = json.loads((tmp_path / "split.json").read_text())
    assert parts["grouped_by"] == "picture size"
    assert len({int(name[:6]) % 2 for name in parts["val"]}) == 1
    output = capsys.readouterr().out
    assert "split: 4 train, 4 val, 2 test in " in output
    assert "; grouped by: picture size" in output


def test_validation_images_are_those_in_a_text_file(outputs: Path, tmp_path: Path, capsys):
    ids = ["000003_10", "000004_10"]
    (tmp_path / "mine.txt").write_text("# by hand\n\n" + "\n".join(ids))
    write_params(tmp_path / "params.yaml", split__val_ids=str(tmp_path / "mine.txt"))
    paths = [*arguments(outputs, prepared="data/prepared")[2:], "--splits", str(ROOT / "splits")]
    split.main([*arguments(tmp_path, out="split.json"), *paths])
    assert json.loads((tmp_path / "split.json").read_text())["val"] == ids
    assert (
        f"split: DVC does not track {tmp_path / 'mine.txt'}; it does if" in capsys.readouterr().out
    )


def test_train_writes_one_model_per_epoch(outputs: Path):
    models = sorted(path.name for path in (outputs / "models/epochs").iterdir())
    assert models == ["epoch_001.safetensors", "epoch_002.safetensors"]
    assert len(pd.read_csv(outputs / "plots/history.csv")) == 2
    assert len(list((outputs / "runs").glob("*/events*"))) == 1


def test_evaluate_agrees_with_the_metrics_of_training(outputs: Path):
    metrics = json.loads((outputs / "metrics/evaluate.json").read_text())
    best = json.loads((outputs / "metrics/train.json").read_text())
    assert sorted(metrics) == [
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
    assert metrics["miou"] == best["best_val_miou"]
    confusion = pd.read_csv(outputs / "plots/confusion.csv")
    rows = confusion.groupby("actual", sort=False)
    assert rows["share"].sum().round(4).eq(1).all()
    per_class = pd.read_csv(outputs / "plots/per_class.csv").set_index("class")
    assert (rows["pixels"].sum() == per_class["pixels"]).all()
    assert per_class["iou"].drop("void").mean() == pytest.approx(metrics["miou"], abs=1e-5)
    assert per_class["boundary_f"].mean() == pytest.approx(metrics["boundary_f"], abs=1e-5)
    assert metrics["miou_low"] <= metrics["miou_high"]
    calibration = pd.read_csv(outputs / "plots/calibration.csv")
    assert calibration["share"].sum() == pytest.approx(1, abs=1e-5)
    accuracy = (calibration["accuracy"] * calibration["share"]).sum()
    assert accuracy == pytest.approx(metrics["pixel_accuracy"], abs=1e-5)


def test_confusion_matrices_of_the_images_add_up_to_that_of_all(outputs: Path):
    by_image = pd.read_csv(outputs / "plots/image_confusions.csv")
    val_ids = json.loads((outputs / "data/split.json").read_text())["val"]
    assert by_image["image"].unique().tolist() == val_ids
    total = by_image.groupby(["actual", "predicted"], sort=False)["pixels"].sum()
    confusion = pd.read_csv(outputs / "plots/confusion.csv", index_col=["actual", "predicted"])
    found = confusion["pixels"][confusion["pixels"] > 0]
    assert total.to_dict() == found.to_dict()


def test_render_plots_selected_epochs_extreme_images_and_the_augmentation(outputs: Path):
    images = sorted(path.name for path in (outputs / "plots/predictions").iterdir())
    expected = ["augmentation.png", "best.png", "epoch_002_test.png", "epoch_002_training.png"]
    assert images == [*expected, "epochs.gif", "epochs.png", "hardest.png"]
    with Image.open(outputs / "plots/predictions/epoch_002_training.png") as image:
        pixels = np.asarray(image.convert("RGB")) @ np.array([1 << 16, 1 << 8, 1])
    class_map = read_class_map(ROOT / "classes/kitti12.yaml")
    # in the legend; tests/reporting/test_predictions.py checks the panels
    assert {int(color[1:], 16) for color in class_map.hex_colors} <= set(np.unique(pixels))
    with Image.open(outputs / "plots/predictions/epochs.gif") as animation:
        assert animation.n_frames == 2  # one per epoch


def test_model_card_agrees_with_the_files(outputs: Path):
    text = (outputs / "models/README.md").read_text()
    metrics = json.loads((outputs / "metrics/evaluate.json").read_text())
    manifest = json.loads((outputs / "data/raw/manifest.json").read_text())
    assert f"| mIoU without void | {metrics['miou']:.4g} |" in text
    assert f"`{manifest['sha256']}`" in text
    assert "6 for training and 2 for validation" in text
    assert "Recipe `modern`, epochs 2, seed 0, device cpu" in text
    per_class = pd.read_csv(outputs / "plots/per_class.csv").set_index("class")
    assert f"| 1 | road | `#804080` | 7 | {per_class['iou']['road']:.3f} |" in text
    assert "2 validation images are few" in text
    for name in ("curves", "confusion", "per_class"):
        assert f"(../plots/figures/{name}.png)" in text
        with Image.open(outputs / f"plots/figures/{name}.png") as image:
            assert image.width > 1000


@pytest.mark.parametrize(
    "name", ["metrics/train.json", "metrics/evaluate.json", "data/raw/manifest.json"]
)
def test_invalid_input_of_card_gives_a_one_line_error(outputs: Path, name: str):
    before = (outputs / name).read_text(), (outputs / "models/README.md").read_bytes()
    (outputs / name).write_text("{}")
    with pytest.raises(InputError, match=rf"{name}: \w+: missing; run dvc repro to rebuild it"):
        run_stage("card", outputs)
    (outputs / name).write_text(before[0])
    assert (outputs / "models/README.md").read_bytes() == before[1]


def test_second_run_gives_identical_files(outputs: Path):
    def tree() -> dict[str, bytes]:
        skipped = {"runs", "pictures", ".ckpt"}
        files = [path for path in outputs.rglob("*") if path.is_file()]
        names = {str(path.relative_to(outputs)): path for path in files}
        return {n: p.read_bytes() for n, p in names.items() if n.split("/")[0] not in skipped}

    before = tree()
    for stage in ("fetch", "remap", "split", "plan", "evaluate", "render", "card"):
        run_stage(stage, outputs)
    assert tree() == before


def test_ignored_pixels_are_excluded_from_training_and_metrics(tmp_path: Path):
    """Void of kitti11 is 255 in the masks and in no metric."""
    source = write_images(tmp_path / "pictures")
    changes = {"data__source": str(source), "remap__classes": "kitti11", "train__epochs": 1}
    write_params(tmp_path / "params.yaml", **changes, render__epochs=["last"])
    for stage in ("fetch", "remap", "split", "plan"):
        run_stage(stage, tmp_path)
    run_stage("train", tmp_path)
    for stage in ("evaluate", "render"):
        run_stage(stage, tmp_path)
    val_ids = json.loads((tmp_path / "data/split.json").read_text())["val"]
    masks = [np.load(tmp_path / f"data/prepared/masks/{name}.npy") for name in val_ids]
    table = pd.read_csv(tmp_path / "plots/per_class.csv")
    assert table["pixels"].tolist() == [sum((m == i).sum() for m in masks) for i in range(11)]
    assert any((mask == 255).any() for mask in masks)
    metrics = json.loads((tmp_path / "metrics/evaluate.json").read_text())
    assert metrics["miou"] == metrics["miou_with_void"]


def test_class_map_of_a_user_needs_only_its_file(tmp_path: Path, capsys):
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
    assert f"DVC does not track {own}" in capsys.readouterr().out
    run_stage("split", tmp_path)
    run_stage("plan", tmp_path)
    run_stage("train", tmp_path)
    run_stage("evaluate", tmp_path)
    assert pd.read_csv(tmp_path / "plots/per_class.csv")["class"].tolist() == ["rest", "road"]


@pytest.mark.parametrize("void", ["null", "rest"])
def test_remap_hints_that_one_class_besides_void_has_a_perfect_miou(
    outputs: Path, tmp_path: Path, capsys, void: str
):
    rest = "" if void == "null" else "  - {name: rest, color: [0, 0, 0], label_ids: []}\n"
    own = tmp_path / "one.yaml"
    own.write_text(
        f"void: {void}\nignored_label_ids: []\nunknown_label_ids: road\nclasses:\n{rest}"
        "  - {name: road, color: [255, 0, 0], label_ids: [7]}\n"
    )
    write_params(tmp_path / "params.yaml", remap__classes=str(own))
    (tmp_path / "data").mkdir()
    (tmp_path / "data/raw").symlink_to(outputs / "data/raw")
    run_stage("remap", tmp_path)
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"remap: hint: {own} has fewer than two classes besides void, so predicting one class "
        "everywhere has mIoU 1; add a class for other pixels (docs/own-data.md)"
    )


def test_masks_in_almost_the_colors_of_the_classes_need_a_tolerance(tmp_path: Path, capsys):
    class_map = read_class_map(ROOT / "classes/kitti12.yaml")
    source = write_images(tmp_path / "pictures", num_train=3)
    for path in sorted((source / TRAIN_MASKS).iterdir()):
        colors = class_map.colors[class_map.table()[0][np.asarray(Image.open(path))]]
        colors[:2] ^= 3
        Image.fromarray(colors).save(path)
    changes = {"data__source": str(source), "data__mask_values": "colors"}
    write_params(tmp_path / "params.yaml", **changes)
    run_stage("fetch", tmp_path)
    with pytest.raises(InputError, match=r"nearest color is void \[0, 0, 0\] at distance 3; .*tol"):
        run_stage("remap", tmp_path)
    write_params(tmp_path / "params.yaml", **changes, data__color_tolerance=3)
    run_stage("remap", tmp_path)
    assert (
        "remap: data.color_tolerance 3 changed the color of 292 of 4,772 pixels (6.12%)"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize("stage", ["check", "fetch", "remap", "split", "train"])
def test_unknown_key_stops_every_stage(tmp_path: Path, stage: str):
    write_params(tmp_path / "params.yaml", train__batchsize=4)
    module = {"check": check, "fetch": fetch, "remap": remap, "split": split, "train": train}[stage]
    options = {
        "check": ["pipeline", "out"],
        "fetch": ["pipeline", "splits", "out", "downloads"],
        "remap": ["raw", "classes", "out", "frequency"],
        "split": ["prepared", "splits", "out"],
        "train": [
            "prepared",
            "split",
            "weights",
            "plan",
            "epochs",
            "best",
            "history",
            "metrics",
            "runs",
            "states",
        ],
    }
    paths = dict.fromkeys(options[stage], "x")
    with pytest.raises(InputError, match=r"train.batchsize: unknown key"):
        module.main(arguments(tmp_path, **paths))
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


def test_invalid_input_gives_one_line_and_exit_code_1(tmp_path: Path):
    write_params(tmp_path / "params.yaml", data__source="nowhere.zip")
    command = [*FETCH, *arguments(tmp_path, out="raw")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 1
    assert result.stderr.startswith("error: data.source: 'nowhere.zip': no such file or directory")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_stage_exits_with_130(tmp_path: Path, number: signal.Signals):
    """With exit code 0, DVC would record incomplete outputs."""
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


def imported_modules(statement: str) -> set[str]:
    """List the modules that a new interpreter has imported after `statement`."""
    probe = f"import atexit, sys; atexit.register(lambda: print(*sys.modules)); {statement}"
    command = [sys.executable, "-c", probe]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(result.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("stage", ["check", "fetch", "remap", "split", "plan"])
def test_stages_before_training_do_not_import_torch(stage: str):
    assert "torch" not in imported_modules(f"import stages.{stage}")


def test_split_does_not_import_torch_and_its_help_not_numpy(outputs: Path, tmp_path: Path):
    paths = [*arguments(outputs, prepared="data/prepared"), "--splits", str(ROOT / "splits")]
    paths += arguments(tmp_path, out="split.json")[2:]
    used = imported_modules(f"from stages.split import main; main({paths})")
    assert "numpy" in used
    assert "torch" not in used
    help_used = imported_modules("from stages.split import main; main(['--help'])")
    assert "pydantic" in help_used
    assert not help_used & {"numpy", "numba", "pandas", "torch"}
