"""`roadseg submission`, on 200 images named like those of the benchmark."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from roadseg.commands.main import main
from roadseg.config.class_map import ClassMap, LabelClass, read_class_map
from roadseg.inference.predictor import Predictor
from roadseg.inference.submission import (
    BENCHMARK,
    benchmark_label_ids,
    require_benchmark_classes,
)
from roadseg.system.errors import InputError
from tests.factories import ROOT, make_striped_pair, save_model

SIZES = ((32, 48), (34, 50))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmark")
    save_model(folder / "model.safetensors", "cityscapes19", scale=0.9)
    (folder / "images").mkdir()
    for number in range(200):
        image, _ = make_striped_pair(*SIZES[number % 2], shift=number)
        Image.fromarray(image).save(folder / f"images/{number:06d}_10.png")
    return folder


def run(folder: Path, out: Path) -> None:
    model, images = str(folder / "model.safetensors"), str(folder / "images")
    main(["submission", "--model", model, "--images", images, "--out", str(out)])


def test_zip_contains_a_mask_of_label_ids_for_each_image(folder: Path, tmp_path: Path, capsys):
    run(folder, tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [f"semantic/{i:06d}_10.png" for i in range(200)]
        seen = set()
        for number, name in enumerate(archive.namelist()):
            with Image.open(io.BytesIO(archive.read(name))) as mask:
                assert (mask.mode, mask.size) == ("L", SIZES[number % 2][::-1])
                seen |= set(np.unique(np.asarray(mask)))
            if number == 7:
                label_ids = np.asarray(mask)
    assert len(seen) > 2
    assert seen <= set(BENCHMARK)
    predictor = Predictor([folder / "model.safetensors"])
    image = np.asarray(Image.open(folder / "images/000007_10.png"))
    (class_ids,) = predictor.class_ids([image])
    assert (predictor.class_map.table()[0][label_ids] == class_ids).all()
    assert "submission: 200 masks" in capsys.readouterr().out
    run(folder, tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_model_without_the_classes_of_the_benchmark_is_refused(folder: Path, tmp_path: Path):
    model = save_model(tmp_path / "twelve.safetensors", "kitti12")
    with pytest.raises(InputError) as caught:
        main(["submission", "--model", str(model), "--out", str(tmp_path / "a.zip")])
    text = str(caught.value)
    assert text.startswith(f"{model}: its 12 classes do not cover the benchmark's 19: construction")
    assert "construction contains building, wall, fence; " in text
    assert text.endswith("Train with remap.classes=cityscapes19")
    assert not (tmp_path / "a.zip").exists()


def test_missing_label_ids_are_named_and_additional_ones_allowed():
    classes = read_class_map(ROOT / "classes/cityscapes19.yaml").classes
    wider = [LabelClass(name="road", color=[1, 2, 3], label_ids=[9, 7]), *classes[1:]]
    options = {"void": None, "ignored_label_ids": [], "unknown_label_ids": "ignore"}
    require_benchmark_classes(ClassMap(classes=wider, **options), Path("m"))
    assert benchmark_label_ids(ClassMap(classes=wider, **options))[0] == 7
    with pytest.raises(InputError, match=r"no class has label id 33 \(bicycle\)"):
        require_benchmark_classes(ClassMap(classes=wider[:-1], **options), Path("m"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "000003_10.png").unlink(), r"lacks 000003_10 \(1 images\)"),
        (lambda folder: (folder / "x.png").touch(), r"has x \(1 images\)"),
    ],
)
def test_images_other_than_those_of_the_benchmark_are_refused(folder, tmp_path, change, message):
    (tmp_path / "images").mkdir()
    for path in (folder / "images").iterdir():
        (tmp_path / "images" / path.name).symlink_to(path)
    change(tmp_path / "images")
    (tmp_path / "model.safetensors").symlink_to(folder / "model.safetensors")
    with pytest.raises(InputError, match=message):
        run(tmp_path, tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()
