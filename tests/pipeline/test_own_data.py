"""A data set of another kind, from folder to metrics by parameters alone (docs/own-data.md).

Farm photographs: JPEG files, masks with a palette whose indices are the label ids, other file
names and classes, no test images, several images of each field.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from roadseg.system.errors import InputError
from tests.factories import write_params
from tests.stage_runner import ORDER, run_stage

CLASS_MAP = """
void: null
ignored_label_ids: [9]
unknown_label_ids: error
classes:
  - {name: soil, color: [120, 80, 40], label_ids: [0]}
  - {name: crop, color: [0, 160, 0], label_ids: [3, 4]}
  - {name: weed, color: [200, 0, 80], label_ids: [200]}
"""
LABELS = (0, 3, 4, 200, 9)
COLORS = ((120, 80, 40), (20, 160, 30), (40, 190, 60), (200, 30, 90), (255, 255, 255))


def write_farm(root: Path) -> None:
    """Three photographs of each of four fields: columns of soil, crops and weeds, and a frame."""
    rng = np.random.default_rng(0)
    palette = rng.integers(0, 256, 768, dtype=np.uint8).tobytes()
    for field in range(4):
        for shot in range(3):
            columns = np.roll(np.repeat(np.arange(4), 16), 8 * shot + field)
            kind = np.tile(columns, (48, 1))
            kind[:2] = 4
            photo = np.array(COLORS)[kind] + rng.integers(-9, 10, (48, 64, 3))
            folder = root / f"field {field}"
            folder.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(photo.clip(0, 255).astype(np.uint8))
            image.save(folder / f"f{field}-{shot}.JPG", quality=95)
            mask = Image.fromarray(np.array(LABELS, dtype=np.uint8)[kind])
            mask.putpalette(palette)
            mask.save(folder / f"f{field}-{shot} labels.png")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("farm")
    write_farm(folder / "photos")
    (folder / "farm.yaml").write_text(CLASS_MAP)
    changes = {
        "data__source": str(folder / "photos"),
        "data__images": "field */{id}.JPG",
        "data__masks": "field */{id} labels.png",
        "data__test_images": None,
        "remap__classes": str(folder / "farm.yaml"),
        "split__group_by": "^(f[0-9]+)-",
        "train__epochs": 12,
        "recipes__modern__rest_learning_rate": 0.02,
        "render__epochs": ["last"],
        "render__num_pictures": 2,
    }
    write_params(folder / "params.yaml", **changes)
    for stage in ORDER:
        run_stage(stage, folder)
    return folder


def test_palette_indices_become_the_classes_of_the_class_map(done: Path):
    mask = np.load(done / "data/prepared/masks/f0-0.npy")
    assert (mask[:2] == 255).all()
    assert mask[2, [0, 16, 32, 48]].tolist() == [0, 1, 1, 2]
    photo = np.load(done / "data/prepared/images/f0-0.npy")
    assert np.abs(photo[10, 5].astype(int) - COLORS[0]).max() < 30


def test_validation_images_are_those_of_one_field(done: Path):
    chosen = json.loads((done / "data/split.json").read_text())
    assert (len(chosen["train"]), len(chosen["val"]), chosen["test"]) == (9, 3, [])
    assert len({name[:2] for name in chosen["val"]}) == 1


def test_metrics_are_good_and_by_class_of_the_class_map(done: Path):
    metrics = json.loads((done / "metrics/evaluate.json").read_text())
    assert metrics["miou"] > 0.6
    assert metrics["miou_with_void"] == metrics["miou"]  # there is no void
    table = pd.read_csv(done / "plots/per_class.csv")
    assert table["class"].tolist() == ["soil", "crop", "weed"]
    assert metrics["miou"] == pytest.approx(table["iou"].mean(), abs=1e-5)


def test_predictions_are_plotted_without_test_images(done: Path):
    drawn = [path.name for path in (done / "plots/predictions").iterdir()]
    assert "epoch_012_training.png" in drawn


def test_mask_with_an_unknown_label_id_is_named(done: Path, tmp_path: Path):
    write_farm(tmp_path / "photos")
    path = tmp_path / "photos/field 2/f2-1 labels.png"
    mask = np.array(Image.open(path))
    mask[20, 30] = 77
    Image.fromarray(mask).save(path)
    (tmp_path / "params.yaml").write_text(
        (done / "params.yaml").read_text().replace(str(done / "photos"), str(tmp_path / "photos"))
    )
    run_stage("fetch", tmp_path)
    with pytest.raises(InputError, match=r"f2-1.png: label id 77 \(1 pixels\) has no class"):
        run_stage("remap", tmp_path)
