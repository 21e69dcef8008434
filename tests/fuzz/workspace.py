"""A small valid workspace, created once; cases copy the files that they damage."""

import atexit
import contextlib
import dataclasses
import functools
import io
import itertools
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch

from roadseg.commands.main import main as roadseg
from roadseg.config.class_map import read_class_map
from roadseg.config.schema import read_yaml
from roadseg.models.model_file import save_weights
from roadseg.models.unet import UNet
from roadseg.provenance.model_metadata import ModelMetadata
from stages import check, evaluate, fetch, plan, remap, render, split, train
from tests.factories import ROOT, write_images, write_params
from tests.fuzz.case import Step

CLASSES = ROOT / "classes"
PIPELINE, SPLITS = str(ROOT / "dvc.yaml"), str(ROOT / "splits")
TWELVE = read_class_map(CLASSES / "kitti12.yaml")
UNET = {"num_classes": 12, "base_channels": 1, "bilinear": True, "norm": "batch", "dropout": 0.0}
DESCRIPTION = {
    "classes": TWELVE.model_dump(),
    "ignored_class": None,
    "scale": 1.0,
    "network": UNET,
}


def make_step(
    main: Callable[[list[str]], object],
    outs: tuple[str, ...],
    always: tuple[str, ...] = (),
    **paths: str,
) -> Step:
    """Create the step of a stage with these paths as options; outs and always as in Step."""
    options = [(f"--{name.replace('_', '-')}", path) for name, path in paths.items()]
    return Step(main, ["--params", "params.yaml", *itertools.chain(*options)], outs, always)


MODEL_OUT = "models/best.safetensors"
RAW, CACHE, SPLIT_FILE, MODEL = "data/raw", "data/prepared", "data/split.json", "best.safetensors"
PLAN_FILE = "data/plan.json"
CHECK = make_step(check.main, ("data",), out="data/params.checked", pipeline=PIPELINE)
FETCH = make_step(
    fetch.main, ("data/raw",), out=RAW, pipeline=PIPELINE, splits=SPLITS, downloads=".downloads"
)
REMAP = make_step(
    remap.main,
    (CACHE, "plots"),
    always=("data/.prepared.lock",),
    raw=RAW,
    out=CACHE,
    frequency="plots/frequency.csv",
    classes=str(CLASSES),
)
SPLIT = make_step(
    split.main, (SPLIT_FILE,), prepared=CACHE, splits=str(ROOT / "splits"), out=SPLIT_FILE
)
PLAN = make_step(plan.main, (PLAN_FILE,), prepared=CACHE, split=SPLIT_FILE, out=PLAN_FILE)
EVALUATE = make_step(
    evaluate.main,
    ("out",),
    prepared=CACHE,
    split=SPLIT_FILE,
    model=MODEL,
    metrics="out/evaluate.json",
    confusion="out/confusion.csv",
    per_class="out/per_class.csv",
    calibration="out/calibration.csv",
    pictures="out/pictures.csv",
    image_confusions="out/image_confusions.csv",
)
TRAIN = dataclasses.replace(
    make_step(
        train.main,
        ("models", "plots", "metrics"),
        prepared=CACHE,
        split=SPLIT_FILE,
        weights="data/weights",  # not read: model.weights is none
        plan=PLAN_FILE,
        epochs="models/epochs",
        best=MODEL_OUT,
        history="plots/history.csv",
        metrics="metrics/train.json",
        runs="runs",
        states=".ckpt",
    ),
    always_writable=("runs", ".ckpt", "models/epochs.lock"),
    may_warn=True,
)
RENDER = make_step(
    render.main,
    ("out/figures",),
    prepared=CACHE,
    split=SPLIT_FILE,
    plan=PLAN_FILE,
    epochs="models/epochs",
    best=MODEL_OUT,
    pictures="out/pictures.csv",
    out="out/figures",
)
PREDICT = Step(
    roadseg, ["predict", "--model", MODEL, "--out", "predicted", "pictures/testing"], ("predicted",)
)
EXPORT = Step(roadseg, ["export", MODEL, "--out", "out/model.pt2"], ("out",))


@functools.cache
def valid_workspace() -> Path:
    """Create a workspace in which the stages up to evaluate have run."""
    folder = _temporary_folder()
    write_images(folder / "pictures", 4, 1)
    write_params(
        folder / "params.yaml",
        data__source="pictures",
        data__max_files=200,
        data__max_gigabytes=0.2,
        data__max_megapixels=1,
        train__epochs=1,
        render__epochs=["last"],
        render__num_pictures=1,
        model__unet__base_channels=1,
        train__precision="fp32",
    )
    torch.manual_seed(0)
    save_weights(folder / MODEL, UNet(**UNET).state_dict(), ModelMetadata(**DESCRIPTION))
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        for stage in (CHECK, FETCH, REMAP, SPLIT, PLAN, EVALUATE, PREDICT):
            stage.main(stage.argv)
    return folder


@functools.cache
def trained_workspace() -> Path:
    """Create a workspace in which train has run too (`valid_workspace` has an untrained model)."""
    folder = _temporary_folder() / "work"
    shutil.copytree(valid_workspace(), folder)
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(io.StringIO()),
        mock.patch("time.strftime", return_value="20260101-000000"),  # the run's name
    ):
        TRAIN.main(TRAIN.argv)
    for lock in folder.glob(".ckpt/*/lock"):
        lock.write_text("process 1\n")  # instead of the id of this process
    return folder


def _temporary_folder() -> Path:
    """Create a directory that is removed when the process exits."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def params() -> dict:
    """Return the values of the valid workspace's params.yaml."""
    return read_yaml(valid_workspace() / "params.yaml")


def copy_in(work: Path, *names: str, source: Path | None = None) -> None:
    """Copy files and directories of the valid workspace, or of `source`, to `work`."""
    for name in names:
        origin, target = (source or valid_workspace()) / name, work / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if origin.is_dir():
            shutil.copytree(origin, target)
        else:
            shutil.copyfile(origin, target)


def write_old_outputs(work: Path, *names: str) -> None:
    """Create outputs of an earlier run, which a failing step must keep; name/ is a directory."""
    for name in names:
        path = work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir()
            path /= "old.txt"
        path.write_text("of an earlier run")
