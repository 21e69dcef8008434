"""What a right result is: AssertionError where accepted input gave something else."""

import csv
import json
import math
from pathlib import Path

import numpy as np
from safetensors.numpy import load

from tests.fuzz.workspace import CACHE, MODEL_OUT, SPLIT_FILE, trained


def require_whole_cache(work: Path, num_classes: int = 12, num_train: int | None = None) -> None:
    """Raise AssertionError where data/prepared is not what training can read."""
    folder = work / "data/prepared"
    masks = sorted(path.name for path in (folder / "masks").iterdir())
    assert masks == sorted(path.name for path in (folder / "images").iterdir())
    assert num_train in (None, len(masks)), f"{len(masks)} masks, expected {num_train}"
    require_pairs(work, [name.removesuffix(".npy") for name in masks], num_classes)


def require_pairs(work: Path, ids: list[str], num_classes: int = 12) -> None:
    """Raise AssertionError where these pictures and masks of the cache are none."""
    for name in ids:
        mask, image = (np.load(work / CACHE / f"{kind}/{name}.npy") for kind in ("masks", "images"))
        assert mask.dtype == image.dtype == np.uint8
        assert image.shape == (*mask.shape, 3)
        known = (mask < num_classes) | (mask == 255)
        assert known.all(), f"{name}: class ids {np.unique(mask)} of {num_classes} classes"


def require_counted(work: Path) -> None:
    """Raise AssertionError where the tables of evaluate do not hold each pixel that counts once."""
    ids = json.loads((work / SPLIT_FILE).read_text())["val"]
    masks = [np.load(work / CACHE / "masks" / f"{name}.npy") for name in ids]
    classes = json.loads((work / CACHE / "classes.json").read_text())["classes"]
    pixels = np.bincount(np.concatenate([mask.ravel() for mask in masks]), minlength=256)
    counted = dict.fromkeys([entry["name"] for entry in classes], 0)
    with (work / "out/confusion.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            counted[row["actual"]] += int(row["pixels"])
    assert list(counted.values()) == pixels[: len(classes)].tolist(), "pixels went astray"
    figures = json.loads((work / "out/evaluate.json").read_text())
    shares = {name: value for name, value in figures.items() if name != "cross_entropy"}
    assert all(0 <= value <= 1 for value in shares.values()), figures
    assert 0 <= figures["cross_entropy"] < math.inf, figures


def require_trained(work: Path, as_trained: bool = False) -> None:
    """Raise AssertionError where the outs of train are not whole.

    Args:
        as_trained: they must be those of `trained`, byte by byte.
    """
    paths = ("models/epochs/epoch_001.safetensors", MODEL_OUT, "plots/history.csv")
    for name in (*paths, "metrics/train.json"):
        data = (work / name).read_bytes()
        assert not as_trained or data == (trained() / name).read_bytes(), f"{name} is another"
    tensors = load((work / MODEL_OUT).read_bytes())
    assert all(np.isfinite(tensor).all() for tensor in tensors.values())
    assert (work / MODEL_OUT).read_bytes() == (work / paths[0]).read_bytes()
    assert len(list((work / "models/epochs").iterdir())) == 1
    # in other folders a case may have copied one
    names = [path.name for path in (trained() / ".ckpt").iterdir()] if as_trained else ["*"]
    assert not [path for name in names for path in (work / ".ckpt").glob(f"{name}/*unfinished*")]
