"""Hostile models, masks, patterns and class maps for `roadseg evaluate`, then `roadseg compare`."""

import contextlib
import functools
import io
import json
import random
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from roadseg.commands.main import main
from roadseg.config.class_map import IGNORE_INDEX
from roadseg.evaluation.image_confusions import read_image_confusions
from tests.fuzz import models
from tests.fuzz.case import Case, CaseBuilder, Step
from tests.fuzz.mutation import mutate_bytes, mutate_text, truncate_bytes
from tests.fuzz.workspace import CLASSES, MODEL, TWELVE, valid_workspace

VALID = "valid.safetensors"
TABLE = "image_confusions.csv"
IMAGES, MASKS = "training/image_2/{id}.png", "training/semantic/{id}.png"
ODD_PATTERNS = ("", "{id}", "{id}.png", "*.png", "/etc/{id}.png", "../{id}.png", "{id:}.png")
ODD_PATTERNS += ("training/image_2/{id}.{png,png}", "a\n{id}.png", "{id}" * 999 + ".png", IMAGES)
DAMAGE = (*models.KINDS.values(), *[models.mutate_model] * 3)


def evaluate_and_compare(rng: random.Random, work: Path) -> Case:
    """Evaluate a model, often damaged, alone or with a valid one; compare it with the valid one."""
    if rng.random() < 0.3:
        rng.choice(DAMAGE)(rng, work)
    else:
        models.make_case(rng, work, models.original())
    (work / VALID).write_bytes(models.original())
    shutil.copytree(valid_workspace() / "pictures/training", work / "pictures/training")
    shutil.copytree(CLASSES, work / "classes")
    (work / "valid.csv").write_bytes(_valid_table())
    if rng.random() < 0.3:
        _damage_file(rng, rng.choice(sorted((work / "pictures").rglob("*.png"))))
    chosen = rng.choice(([MODEL], [MODEL, VALID], [VALID, MODEL], [MODEL, MODEL]))
    words = [word for name in chosen for word in ("--model", name)]
    evaluate = ["evaluate", *words, *_options(rng, work), "--data", "pictures", "--out", "out"]
    sides = rng.choice((["out", "valid.csv"], ["valid.csv", f"out/{TABLE}"], [MODEL, VALID]))
    compare = ["compare", *sides, *rng.choice(([], ["--void", "road"], ["--void", ""]))]
    same = (work / MODEL).read_bytes() == models.original()
    steps = [Step(main, evaluate, ("out",)), Step(main, [*compare, "--out", "compared"], _COMPARED)]
    names = (MODEL, VALID, "pictures", "--images", "--masks", "classes", "own.yaml", "valid.csv")
    return Case(steps, names, lambda: _check(work, len(chosen), same))


_COMPARED = ("compared",)


def _options(rng: random.Random, work: Path) -> list[str]:
    """Return the patterns and the class map, one of which may be odd."""
    images, masks = IMAGES, MASKS
    kind = rng.randrange(10)
    if kind == 0:
        images = rng.choice(ODD_PATTERNS)
    elif kind == 1:
        masks = rng.choice(ODD_PATTERNS)
    options = ["--images", images, "--masks", masks, "--device", "cpu", "--precision", "fp32"]
    if kind == 2:
        (work / "own.yaml").write_bytes(mutate_text(rng, (CLASSES / "kitti12.yaml").read_text()))
        return [*options, "--classes", "own.yaml"]
    if kind == 3:
        return [*options, "--classes", rng.choice(("kitti12", "kitti11", "cityscapes19", ""))]
    return options


def _damage_file(rng: random.Random, path: Path) -> None:
    """Remove or damage an image or mask, or give it other pixels or another size."""
    kind = rng.randrange(4)
    if kind == 0:
        path.unlink()
    elif kind == 1:
        path.write_bytes(rng.choice((mutate_bytes, truncate_bytes))(rng, path.read_bytes()))
    else:
        height, width = rng.choice(((32, 48), (34, 50), (1, 1), (33, 47), (300, 5)))
        label_ids = [rng.choice((*range(34), 7, 8, 200, 255)) for _ in range(4)]
        pixels = np.resize(np.array(label_ids, dtype=np.uint8), (height, width))
        Image.fromarray(pixels).save(path)


@functools.cache
def _valid_table() -> bytes:
    """Return the table of the valid model on the undamaged images."""
    folder = valid_workspace() / "evaluated"
    patterns = ["--images", IMAGES, "--masks", MASKS, "--device", "cpu", "--precision", "fp32"]
    data = ["--data", str(valid_workspace() / "pictures"), "--out", str(folder)]
    with contextlib.redirect_stdout(io.StringIO()):
        main(["evaluate", "--model", str(valid_workspace() / MODEL), *patterns, *data])
    return (folder / TABLE).read_bytes()


def _check(work: Path, num_models: int, same: bool) -> None:
    """Check the pixels of the masks, the records of the models, and the sign of the differences."""
    read = read_image_confusions(work / "out" / TABLE)
    assert len(json.loads((work / "out/models.json").read_text())) == num_models
    sizes = {}
    for name in read.ids:
        with Image.open(work / "pictures/training/semantic" / f"{name}.png") as mask:
            sizes[name] = mask.width * mask.height
    counts = read.confusions.sum((1, 2))
    assert all(count <= sizes[name] for name, count in zip(read.ids, counts, strict=True))
    assert len(read.class_names) <= TWELVE.num_classes < IGNORE_INDEX
    table = pd.read_csv(work / "compared/comparison.csv")
    assert np.allclose(table["difference"], table["b"] - table["a"], atol=1e-5, equal_nan=True)
    if same and (work / "out" / TABLE).read_bytes() == _valid_table():
        assert (table["difference"].dropna() == 0).all()


KINDS: dict[str, CaseBuilder] = {"evaluate and compare": evaluate_and_compare}
