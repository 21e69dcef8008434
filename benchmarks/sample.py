"""Synthetic data sets for the benchmarks."""

import itertools
import shutil
from pathlib import Path

from roadseg.config.class_map import ClassMap, find_class_map, read_class_map
from roadseg.data.prepared import PreparedDataset
from roadseg.prepare.layout import TEST_IMAGES, TRAIN_IMAGES, TRAIN_MASKS
from roadseg.prepare.remap import remap_dataset
from roadseg.provenance.source_code import ROOT
from streetscenes.dataset import write_dataset

KITTI = {"height": 375, "width": 1242}
SMALL = {"height": 96, "width": 320}


def class_map() -> ClassMap:
    """Return the default class map."""
    return read_class_map(find_class_map("kitti12", ROOT / "classes"))


def write_raw(folder: Path, num_train: int, num_drawn: int, **size: int) -> Path:
    """Write a data set of `num_train` images, which repeats the first `num_drawn`."""
    root = folder / "raw"
    write_dataset(root, num_train=num_drawn, num_test=1, seed=0, **size)
    drawn = sorted((root / TRAIN_IMAGES).glob("*.png"))
    for number, path in zip(range(num_drawn, num_train), itertools.cycle(drawn), strict=False):
        for kind in (TRAIN_IMAGES, TRAIN_MASKS):
            shutil.copyfile(root / kind / path.name, root / kind / f"{number:06d}_10.png")
    assert len(list((root / TEST_IMAGES).glob("*.png"))) == 1
    return root


def write_prepared(folder: Path, num_train: int, **size: int) -> PreparedDataset:
    """Write a data set of `num_train` different images, and prepare it."""
    remap_dataset(
        write_raw(folder, num_train, num_train, **size), folder / "prepared", class_map(), 1.0
    )
    return PreparedDataset(folder / "prepared")
