"""Checks of the results that stages wrote; they raise AssertionError if a result is wrong."""

import csv
import json
import math
from pathlib import Path

import numpy as np
from safetensors.numpy import load

from tests.fuzz.workspace import CACHE, MODEL_OUT, SPLIT_FILE, trained_workspace


def check_prepared_data(work: Path, num_classes: int = 12, num_train: int | None = None) -> None:
    """Check that data/prepared holds valid pairs of images and masks."""
    folder = work / "data/prepared"
    masks = sorted(path.name for path in (folder / "masks").iterdir())
    assert masks == sorted(path.name for path in (folder / "images").iterdir())
    assert num_train in (None, len(masks)), f"{len(masks)} masks, expected {num_train}"
    check_images_and_masks(work, [name.removesuffix(".npy") for name in masks], num_classes)


def check_images_and_masks(work: Path, ids: list[str], num_classes: int = 12) -> None:
    """Check dtype, shape and class ids of these images and masks of the prepared data."""
    for name in ids:
        mask, image = (np.load(work / CACHE / f"{kind}/{name}.npy") for kind in ("masks", "images"))
        assert mask.dtype == image.dtype == np.uint8
        assert image.shape == (*mask.shape, 3)
        known = (mask < num_classes) | (mask == 255)
        assert known.all(), f"{name}: class ids {np.unique(mask)} of {num_classes} classes"


def check_evaluation_tables(work: Path) -> None:
    """Check that the confusion matrix counts each pixel once, and the range of all metrics."""
    ids = json.loads((work / SPLIT_FILE).read_text())["val"]
    masks = [np.load(work / CACHE / "masks" / f"{name}.npy") for name in ids]
    classes = json.loads((work / CACHE / "classes.json").read_text())["classes"]
    pixels = np.bincount(np.concatenate([mask.ravel() for mask in masks]), minlength=256)
    counted = dict.fromkeys([entry["name"] for entry in classes], 0)
    with (work / "out/confusion.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            counted[row["actual"]] += int(row["pixels"])
    assert list(counted.values()) == pixels[: len(classes)].tolist(), "wrong number of pixels"
    metrics = json.loads((work / "out/evaluate.json").read_text())
    fractions = {name: value for name, value in metrics.items() if name != "cross_entropy"}
    assert all(0 <= value <= 1 for value in fractions.values()), metrics
    assert 0 <= metrics["cross_entropy"] < math.inf, metrics


def check_training_outputs(work: Path, identical: bool = False) -> None:
    """Check that train's outputs are complete, finite and, optionally, the expected ones."""
    paths = ("models/epochs/epoch_001.safetensors", MODEL_OUT, "plots/history.csv")
    for name in (*paths, "metrics/train.json"):
        data = (work / name).read_bytes()
        assert not identical or data == (trained_workspace() / name).read_bytes(), (
            f"{name} has other bytes"
        )
    tensors = load((work / MODEL_OUT).read_bytes())
    assert all(np.isfinite(tensor).all() for tensor in tensors.values())
    assert (work / MODEL_OUT).read_bytes() == (work / paths[0]).read_bytes()
    assert len(list((work / "models/epochs").iterdir())) == 1
    # Only in this training's own directory: a case may have copied the file elsewhere.
    names = (
        [path.name for path in (trained_workspace() / ".ckpt").iterdir()] if identical else ["*"]
    )
    assert not [path for name in names for path in (work / ".ckpt").glob(f"{name}/*unfinished*")]
