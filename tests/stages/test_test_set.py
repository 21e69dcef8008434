"""The test set: which images it has, who reads its masks, and the stage test."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from roadseg.data.prepared import PreparedDataset
from roadseg.data.split_file import read_split
from roadseg.evaluation.run_log import read_runs
from roadseg.prepare.layout import TEST_IMAGES, TEST_MASKS
from roadseg.system.errors import InputError
from roadseg.system.files import file_sha256
from stages import test, train
from tests.factories import ROOT, save_model, write_images, write_params
from tests.forbidden_reads import TestMaskReadError, forbid_test_masks
from tests.stage_runner import arguments, run_stage

PATTERN = f"{TEST_MASKS}/{{id}}.png"
SIZES = ((40, 48), (44, 52))


def prepare(folder: Path, *, test_masks: str | None = PATTERN, **changes: object) -> Path:
    """Run fetch and remap on 4 annotated and 2 test images, and save a model."""
    if not (folder / "source").exists():
        write_images(folder / "source", 4, 2, SIZES, test_masks=True)
    source = {"data__source": str(folder / "source"), "data__test_masks": test_masks}
    write_params(folder / "params.yaml", **{"train__precision": "fp32", **source, **changes})
    for stage in ("fetch", "remap", "split", "plan"):
        run_stage(stage, folder)
    (folder / "models").mkdir(exist_ok=True)
    save_model(folder / "models/best.safetensors")
    return folder


def run_test(folder: Path, *models: str) -> None:
    paths = {
        "params": folder / "params.yaml",
        "raw": folder / "data/raw",
        "classes": ROOT / "classes",
        "prepared": folder / "data/prepared_test",
        "metrics": folder / "metrics/test.json",
        "tables": folder / "plots/test",
        "runs": folder / "metrics/test_runs.csv",
    }
    words = [word for name, path in paths.items() for word in (f"--{name}", str(path))]
    chosen = [str(folder / "models" / name) for name in models or ["best.safetensors"]]
    test.main([*words, "--models", *chosen])


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the stage test has run twice, the second time on an ensemble."""
    folder = prepare(tmp_path_factory.mktemp("test_set"))
    run_test(folder)
    shutil.copytree(folder / "plots/test", folder / "first")
    shutil.copy(folder / "models/best.safetensors", folder / "models/other.safetensors")
    run_test(folder, "best.safetensors", "other.safetensors")
    return folder


def test_each_evaluation_of_the_test_set_is_a_row_of_the_log(done: Path):
    first, second = read_runs(done / "metrics/test_runs.csv")
    sha256 = file_sha256(done / "models/best.safetensors")
    assert (first.model_sha256, second.model_sha256) == (sha256, f"{sha256}+{sha256}")
    metrics = json.loads((done / "metrics/test.json").read_text())
    assert (second.miou, second.miou_low) == (metrics["miou"], metrics["miou_low"])
    assert (first.miou, first.images) == (second.miou, 2)  # two equal models


def test_tables_and_figure_are_those_of_the_test_images(done: Path):
    pixels = pd.read_csv(done / "first/per_class.csv")["pixels"].sum()
    assert pixels == sum(height * width for height, width in SIZES)
    assert set(pd.read_csv(done / "first/image_confusions.csv")["image"]) == {
        "000000_10",
        "000001_10",
    }
    with Image.open(done / "first/predictions/test.png") as figure:
        assert figure.width > 200


def test_masks_of_test_images_are_prepared_apart(done: Path):
    test_set, prepared = (PreparedDataset(done / "data" / n) for n in ("prepared_test", "prepared"))
    assert test_set.train_ids() == prepared.test_ids() == ["000000_10", "000001_10"]
    for name in test_set.train_ids():
        image, mask = test_set.pair(name)
        assert np.array_equal(image, prepared.test_image(name))
        assert not np.array_equal(mask, prepared.mask(name))  # a training image of the same id


def test_other_test_masks_change_no_byte_of_the_prepared_data(tmp_path: Path):
    prepare(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("data/prepared/**/*.*")}
    for path in (tmp_path / "source" / TEST_MASKS).iterdir():
        with Image.open(path) as mask:
            Image.new("L", mask.size, 7).save(path)
    prepare(tmp_path)
    raw = tmp_path / "data/raw" / TEST_MASKS / "000000_10.png"
    assert np.unique(np.asarray(Image.open(raw))).tolist() == [7]
    after = {path.name: path.read_bytes() for path in tmp_path.glob("data/prepared/**/*.*")}
    assert after == before


@pytest.mark.parametrize("read", [f"data/raw/{TEST_MASKS}", "data/prepared_test/masks"])
def test_train_fails_if_it_reads_a_test_mask(done: Path, read: str, monkeypatch):
    def read_split_and_more(path: Path):
        for mask in sorted((done / read).iterdir()):
            mask.read_bytes()
        return read_split(path)

    monkeypatch.setattr(train, "read_split", read_split_and_more)
    with forbid_test_masks(), pytest.raises(TestMaskReadError, match=read):
        train.main(arguments("train", done, done))


@pytest.mark.parametrize("ids", ["^00000[23]_", ["000003_10", "000002_10"], "mine.txt"])
def test_images_that_are_selected_by_id_are_the_test_set(tmp_path: Path, ids, capsys):
    if ids == "mine.txt":
        ids = str(tmp_path / ids)
        Path(ids).write_text("000002_10\n000003_10\n")
    prepare(tmp_path, test_masks=None, data__test_images=None, data__test_ids=ids)
    split = json.loads((tmp_path / "data/split.json").read_text())
    assert sorted(split["train"] + split["val"]) == ["000000_10", "000001_10"]
    assert split["test"] == ["000002_10", "000003_10"]
    manifest = json.loads((tmp_path / "data/raw/manifest.json").read_text())
    counts = [manifest[f"num_{name}"] for name in ("train", "test", "test_masks")]
    assert counts == [2, 2, 2]
    assert ("fetch: DVC does not track " in capsys.readouterr().out) == isinstance(ids, str) & (
        "mine" in ids
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data__test_ids": "^x"}, "data.test_ids: '^x' matches no image id; an id is '000000_10'"),
        ({"data__test_ids": ["a"]}, "data.test_ids: no image 'a' with a mask"),
        ({"data__test_ids": "."}, "data.test_ids: selects every image; none is left for training"),
        (
            {"data__test_ids": "^000001"},
            "data.test_ids: '000001_10' is also the id of a test image (000001_10); set "
            "data.test_images to null",
        ),
        ({"data__test_ids": "none.txt"}, "data.test_ids: no file 'none.txt'; use "),
        (
            {"data__test_masks": "testing/labels/{id}.png"},
            "no file matches testing/labels/{id}.png (data.test_masks)",
        ),
    ],
)
def test_test_set_that_does_not_exist_is_one_line(tmp_path: Path, changes, message):
    with pytest.raises(InputError) as raised:
        prepare(tmp_path, **changes)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_test_image_without_a_mask_is_an_error_or_only_rendered(tmp_path: Path):
    write_images(tmp_path / "source", 4, 2, SIZES, test_masks=True)
    (tmp_path / "source" / TEST_MASKS / "000001_10.png").unlink()
    with pytest.raises(
        InputError, match=f"{TEST_IMAGES}/000001_10.png has no mask in {TEST_MASKS}"
    ):
        prepare(tmp_path)
    prepare(tmp_path, data__unmasked="skip")
    manifest = json.loads((tmp_path / "data/raw/manifest.json").read_text())
    assert (manifest["num_test"], manifest["num_test_masks"]) == (2, 1)


def test_without_test_masks_one_line_says_how_to_set_them(tmp_path: Path):
    prepare(tmp_path, test_masks=None)
    with pytest.raises(InputError, match=r"no test image has a mask; set data\.test_masks or"):
        run_test(tmp_path)
    assert not (tmp_path / "metrics/test_runs.csv").exists()


def test_damaged_log_stops_the_stage_before_it_reads_the_test_set(tmp_path: Path):
    prepare(tmp_path)
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics/test_runs.csv").write_text("<<<<<<< HEAD\n")
    with forbid_test_masks(), pytest.raises(InputError, match=r"test_runs\.csv, line 1: should be"):
        run_test(tmp_path)


def test_model_of_another_scale_is_refused(done: Path, tmp_path: Path):
    save_model(tmp_path / "models/half.safetensors", scale=0.5)
    with pytest.raises(InputError, match="was trained with another class map or scale"):
        run_test(done, str(tmp_path / "models/half.safetensors"))
    assert len(read_runs(done / "metrics/test_runs.csv")) == 2
