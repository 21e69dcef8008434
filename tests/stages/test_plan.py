"""The stage plan, and training with numbers that it measured."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from roadseg.training import batch_size, timing
from stages import render
from tests.factories import ROOT, write_images, write_params
from tests.stage_runner import WRITTEN, arguments, run_stage

OPEN = {"train__minutes": 0.001, "recipes__modern__batch_size": "auto"}
FAST = {"train__precision": "fp32", "model__kernels": "torch"}


def read_plan(folder: Path) -> dict:
    return json.loads((folder / "data/plan.json").read_text())


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the stages up to train have run; plan has measured both numbers."""
    folder = tmp_path_factory.mktemp("measured")
    source = write_images(folder / "pictures")
    (folder / "params.yaml").symlink_to("measured.yaml")
    write_params(folder / "measured.yaml", data__source=str(source), **FAST, **OPEN)
    for stage in ("fetch", "remap", "split"):
        run_stage(stage, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timing, "MAX_EPOCHS", 2)  # a measurement may find anything
        patch.setattr(batch_size, "available_bytes", lambda: 1 << 40)
        run_stage("plan", folder)
    run_stage("train", folder)
    return folder


def test_stated_numbers_are_copied_without_torch_and_without_data(tmp_path: Path):
    write_params(tmp_path / "params.yaml", train__epochs=5)
    code = "import sys; from stages import plan; plan.main(sys.argv[1:]); "
    code += "assert not {'torch', 'numpy'} & sys.modules.keys()"
    command = [sys.executable, "-c", code, *arguments("plan", tmp_path, tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True)
    assert (tmp_path / "data/plan.json").read_text() == '{\n  "batch_size": 2,\n  "epochs": 5\n}\n'


def test_only_the_first_rank_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_params(tmp_path / "params.yaml")
    environment = {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "2", "RANK": "1"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    run_stage("plan", tmp_path)
    assert not (tmp_path / "data").exists()
    monkeypatch.setenv("RANK", "0")
    run_stage("plan", tmp_path)
    assert read_plan(tmp_path) == {"epochs": 2, "batch_size": 2}


def test_measured_plan_fits_the_data_and_leaves_no_other_file(measured: Path):
    found = read_plan(measured)
    assert found["batch_size"] == 4  # six training images
    assert found["epochs"] in (1, 2)
    names = {path.name for path in (measured / "data").iterdir()}
    assert names == {".prepared.lock", "plan.json", "prepared", "raw", "split.json"}


def test_training_with_the_measured_numbers_gives_the_same_bytes(measured: Path, tmp_path: Path):
    found, source = read_plan(measured), str(measured / "pictures")
    stated = {"train__epochs": found["epochs"], "recipes__modern__batch_size": 4, **FAST}
    write_params(tmp_path / "params.yaml", data__source=source, render__epochs=["last"], **stated)
    (tmp_path / "data").mkdir()
    for name in ("prepared", "split.json"):
        (tmp_path / "data" / name).symlink_to(measured / "data" / name)
    run_stage("plan", tmp_path)
    assert (tmp_path / "data/plan.json").read_bytes() == (measured / "data/plan.json").read_bytes()
    run_stage("train", tmp_path)
    outs = [measured / name for name in WRITTEN["train"].values() if name not in ("runs", ".ckpt")]
    files = [p for out in outs for p in (out.rglob("*") if out.is_dir() else [out])]
    assert len(files) == 3 + found["epochs"]
    for path in files:
        assert (tmp_path / path.relative_to(measured)).read_bytes() == path.read_bytes(), path


def test_render_replaces_epochs_that_were_not_trained(
    measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    drawn = []
    monkeypatch.setattr(render, "draw_epochs", lambda *args: drawn.extend(args[2:4]))
    monkeypatch.setattr(render, "draw_extremes", lambda *_: None)
    monkeypatch.setattr(render, "read_table", lambda *_: {"picture": [], "miou": []})
    write_params(measured / "measured.yaml", **OPEN, render__epochs=[50, "last"])
    run_stage("render", measured, tmp_path)
    epochs = read_plan(measured)["epochs"]
    assert drawn == [[epochs], epochs]
    text = "render: epoch 50 of render.epochs was not trained; the last is plotted\n"
    assert capsys.readouterr().out.startswith(text)
