"""Recall of `roadseg audit` on the sample, of which 5 % of the objects have a random wrong class.

An object is a connected region of one class with at least OBJECT pixels.
"""

import csv
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from benchmarks.sample import SMALL, class_map
from benchmarks.table import Row
from roadseg.evaluation.components import connected_components
from roadseg.prepare.layout import TRAIN_MASKS
from roadseg.provenance.source_code import ROOT
from streetscenes.dataset import write_dataset

OBJECT = 16
"""Smallest object, pixels."""
FRACTION = 0.05
"""Fraction of the objects that are relabeled."""
OVERLAP = 0.5
"""Smallest intersection over union of the boxes of an object and of the region that finds it."""
TOPS = (0.01, 0.02, 0.05, 0.1)
FOLDS = 4

Box = tuple[int, int, int, int]


class WrongObject(NamedTuple):
    """A relabeled object."""

    image: str
    class_name: str
    """The wrong class, which its mask has now."""
    box: Box
    """Top, left, bottom and right, half-open."""


def rows() -> Iterator[Row]:
    """Measure all rows of this group; takes ten minutes, for four default trainings."""
    with tempfile.TemporaryDirectory() as name:
        source, clone = Path(name) / "source", Path(name) / "clone"
        write_dataset(source, num_train=64, num_test=1, seed=0, **SMALL)
        wrong, num_objects = relabel_objects(source / TRAIN_MASKS)
        regions = audit(clone, source)
    ranks = np.array([find_rank(item, regions) for item in wrong])
    for top in TOPS:
        yield _row(f"the first {top:.0%} of the regions", ranks, top * len(regions), top)
    yield _row("as many regions as a tenth of the objects", ranks, 0.1 * num_objects, None)


def _row(name: str, ranks: np.ndarray, limit: float, top: float | None) -> Row:
    found = int((ranks <= limit).sum())
    return Row(
        name=f"relabeled objects of the sample in {name}",
        sides="found / all",
        seconds=(found, len(ranks)),
        ratio=found / len(ranks),
        at_least=0.8 if top == 0.1 else None,
        unit="objects",
    )


def relabel_objects(folder: Path) -> tuple[list[WrongObject], int]:
    """Give FRACTION of the objects in the masks of `folder` another class; count all objects."""
    rng, classes = np.random.default_rng(0), class_map()
    table, label_ids = classes.table()[0], classes.label_ids()
    masks = {path: np.array(Image.open(path)) for path in sorted(folder.glob("*.png"))}
    objects = []
    for path, mask in masks.items():
        class_ids = table[mask]
        numbers = connected_components(class_ids, class_ids != classes.void_id)
        sizes = np.bincount(numbers[numbers >= 0])
        objects += [(path, class_ids, numbers == i) for i in np.flatnonzero(sizes >= OBJECT)]
    wrong = []
    for i in sorted(rng.choice(len(objects), round(FRACTION * len(objects)), replace=False)):
        path, class_ids, inside = objects[i]
        others = set(range(classes.num_classes)) - {classes.void_id, int(class_ids[inside][0])}
        new = int(rng.choice(sorted(others)))
        masks[path][inside] = label_ids[new]
        y, x = np.nonzero(inside)
        box = (y.min(), x.min(), y.max() + 1, x.max() + 1)
        wrong.append(WrongObject(path.stem, classes.names[new], tuple(map(int, box))))
    for path, mask in masks.items():
        Image.fromarray(mask).save(path)
    return wrong, len(objects)


def audit(clone: Path, source: Path) -> list[dict[str, str]]:
    """Train FOLDS models on `source` in a clone; return regions.csv of their audit."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    def run(*command: str) -> None:
        subprocess.run(command, cwd=clone, env={**os.environ, "PATH": path}, check=True)

    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    names = [f"fold-{fold}" for fold in range(FOLDS)]
    for fold, name in enumerate(names):
        options = [f"data.source={source}", f"split.val_fraction={1 / FOLDS}", f"split.fold={fold}"]
        settings = [word for option in options for word in ("-S", option)]
        run("dvc", "exp", "run", "-n", name, *settings, "train")
    run("python", "-m", "roadseg", "audit", *names)
    with (clone / "audit/regions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def find_rank(item: WrongObject, regions: list[dict[str, str]]) -> float:
    """Return the rank of the first region that marks `item`; infinity if none does."""
    for region in regions:
        if (region["image"], region["class"]) == (item.image, item.class_name):
            top, left, bottom, right = (
                int(region[side]) for side in ("top", "left", "bottom", "right")
            )
            if box_iou(item.box, (top, left, bottom, right)) >= OVERLAP:
                return int(region["rank"])
    return float("inf")


def box_iou(first: Box, second: Box) -> float:
    """Intersection over union of two boxes (top, left, bottom, right), 0..1."""
    height = min(first[2], second[2]) - max(first[0], second[0])
    width = min(first[3], second[3]) - max(first[1], second[1])
    both = max(0, height) * max(0, width)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return both / (sum(areas) - both)
