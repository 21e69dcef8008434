"""Cityscapes in its own layout, from images to metrics, as docs/cityscapes.md describes."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ruamel.yaml import YAML

from roadseg.system.errors import InputError
from tests.factories import ROOT, make_striped_pair, write_params
from tests.stage_runner import ORDER, run_stage

CITIES = {
    "train": ("aachen", "bremen", "weimar"),
    "val": ("frankfurt", "lindau", "munster"),
    "test": ("berlin",),
}
PER_CITY = 2


def write_cityscapes(root: Path) -> None:
    """Write small images in the layout of the site's archives."""
    for split, cities in CITIES.items():
        for number, city in enumerate(cities):
            for frame in range(PER_CITY):
                name = f"{city}_{number:06d}_{frame:06d}"
                image, label_ids = make_striped_pair(32, 64, shift=number + frame)
                if split == "test":  # the site's are dummies with only ego vehicle and border
                    label_ids = np.where(np.arange(32)[:, None] < 28, 2, 1).repeat(64, axis=1)
                label_ids = label_ids.astype(np.uint8)
                _save(root, f"leftImg8bit/{split}/{city}/{name}_leftImg8bit.png", image)
                blurred = f"leftImg8bit_blurred/{split}/{city}/{name}_leftImg8bit_blurred.png"
                _save(root, blurred, image // 2)
                truth = f"gtFine/{split}/{city}/{name}_gtFine"
                _save(root, f"{truth}_labelIds.png", label_ids)
                _save(root, f"{truth}_instanceIds.png", label_ids.astype(np.uint16))
                _save(root, f"{truth}_color.png", np.dstack([image, label_ids]))
                (root / f"{truth}_polygons.json").write_text("{}")
    for name in ("README", "license.txt"):
        (root / name).write_text("terms")


def _save(root: Path, name: str, pixels: np.ndarray) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(root / name)


def documented_parameters() -> dict[str, object]:
    """The parameters in docs/cityscapes.md, as keywords of `write_params`."""
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/cityscapes.md").read_text(), re.DOTALL)
    sections = YAML(typ="safe").load(text)
    return {f"{name}__{k}": v for name, section in sections.items() for k, v in section.items()}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cityscapes")
    write_cityscapes(folder / "cityscapes")
    changes = documented_parameters() | {"data__source": str(folder / "cityscapes")}
    changes |= {"remap__scale": 1.0}  # these images are small already
    small = {"train__epochs": 1, "render__epochs": ["last"], "render__num_pictures": 2}
    write_params(folder / "params.yaml", **changes, **small)
    for stage in ORDER:
        run_stage(stage, folder)
    return folder


def test_split_is_that_of_cityscapes(done: Path):
    split = json.loads((done / "data/split.json").read_text())
    for name in ("train", "val", "test"):
        cities = sorted(image_id.split("_")[0] for image_id in split[name])
        assert cities == sorted(CITIES[name] * PER_CITY)


def test_masks_are_the_label_ids_and_test_masks_are_not_read(done: Path):
    masks = sorted(path.name for path in (done / "data/raw/training/semantic").iterdir())
    assert len(masks) == 6 * PER_CITY
    assert not [name for name in masks if "berlin" in name]
    _, label_ids = make_striped_pair(32, 64, shift=1)
    raw = Image.open(done / "data/raw/training/semantic/aachen_000000_000001.png")
    assert np.array_equal(np.asarray(raw), label_ids)


def test_training_and_evaluation_use_the_classes_of_the_benchmark(done: Path):
    metrics = json.loads((done / "metrics/evaluate.json").read_text())
    assert 0 < metrics["pixel_accuracy"] <= 1
    table = (done / "plots/per_class.csv").read_text()
    assert "traffic light" in table
    images = (done / "plots/pictures.csv").read_text()
    assert images.count("frankfurt_") == images.count("munster_") == PER_CITY


def test_missing_mask_is_reported_by_the_name_in_cityscapes(done: Path, tmp_path: Path):
    write_cityscapes(tmp_path / "cityscapes")
    (tmp_path / "cityscapes/gtFine/val/lindau/lindau_000001_000000_gtFine_labelIds.png").unlink()
    text = (done / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace(str(done), str(tmp_path)))
    with pytest.raises(InputError, match=r"val/lindau/lindau_000001_000000_leftImg8bit.png has no"):
        run_stage("fetch", tmp_path)
