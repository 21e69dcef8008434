"""Cityscapes in its own layout, from folder to figures with what docs/cityscapes.md says."""

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
    """What the two archives unpack to, and what else the site offers, in small."""
    for part, cities in CITIES.items():
        for number, city in enumerate(cities):
            for frame in range(PER_CITY):
                name = f"{city}_{number:06d}_{frame:06d}"
                image, label_ids = make_striped_pair(32, 64, shift=number + frame)
                if part == "test":  # the site's are dummies: ego vehicle and border alone
                    label_ids = np.where(np.arange(32)[:, None] < 28, 2, 1).repeat(64, axis=1)
                label_ids = label_ids.astype(np.uint8)
                _save(root, f"leftImg8bit/{part}/{city}/{name}_leftImg8bit.png", image)
                blurred = f"leftImg8bit_blurred/{part}/{city}/{name}_leftImg8bit_blurred.png"
                _save(root, blurred, image // 2)
                truth = f"gtFine/{part}/{city}/{name}_gtFine"
                _save(root, f"{truth}_labelIds.png", label_ids)
                _save(root, f"{truth}_instanceIds.png", label_ids.astype(np.uint16))
                _save(root, f"{truth}_color.png", np.dstack([image, label_ids]))
                (root / f"{truth}_polygons.json").write_text("{}")
    for name in ("README", "license.txt"):
        (root / name).write_text("terms")


def _save(root: Path, name: str, pixels: np.ndarray) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(root / name)


def documented() -> dict[str, object]:
    """The parameters that the page gives, by dotted key."""
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/cityscapes.md").read_text(), re.DOTALL)
    sections = YAML(typ="safe").load(text)
    return {f"{name}__{k}": v for name, section in sections.items() for k, v in section.items()}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cityscapes")
    write_cityscapes(folder / "cityscapes")
    changes = documented() | {"data__source": str(folder / "cityscapes")}
    changes |= {"remap__scale": 1.0}  # these are small already
    small = {"train__epochs": 1, "render__epochs": ["last"], "render__num_pictures": 2}
    write_params(folder / "params.yaml", **changes, **small)
    for stage in ORDER:
        run_stage(stage, folder)
    return folder


def test_cityscapes_own_split(done: Path):
    split = json.loads((done / "data/split.json").read_text())
    for part, key in (("train", "train"), ("val", "val"), ("test", "test")):
        cities = sorted(name.split("_")[0] for name in split[key])
        assert cities == sorted(CITIES[part] * PER_CITY)


def test_masks_are_the_label_ids_and_those_of_test_are_not_read(done: Path):
    masks = sorted(path.name for path in (done / "data/raw/training/semantic").iterdir())
    assert len(masks) == 6 * PER_CITY
    assert not [name for name in masks if "berlin" in name]
    _, label_ids = make_striped_pair(32, 64, shift=1)
    raw = Image.open(done / "data/raw/training/semantic/aachen_000000_000001.png")
    assert np.array_equal(np.asarray(raw), label_ids)


def test_it_is_trained_and_judged_in_the_benchmarks_classes(done: Path):
    figures = json.loads((done / "metrics/evaluate.json").read_text())
    assert 0 < figures["pixel_accuracy"] <= 1
    table = (done / "plots/per_class.csv").read_text()
    assert "traffic light" in table
    pictures = (done / "plots/pictures.csv").read_text()
    assert pictures.count("frankfurt_") == pictures.count("munster_") == PER_CITY


def test_a_picture_without_its_mask_is_told_in_cityscapes_names(done: Path, tmp_path: Path):
    write_cityscapes(tmp_path / "cityscapes")
    (tmp_path / "cityscapes/gtFine/val/lindau/lindau_000001_000000_gtFine_labelIds.png").unlink()
    text = (done / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace(str(done), str(tmp_path)))
    with pytest.raises(InputError, match=r"val/lindau/lindau_000001_000000_leftImg8bit.png has no"):
        run_stage("fetch", tmp_path)
