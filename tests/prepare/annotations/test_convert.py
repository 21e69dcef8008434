import json
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from roadseg.prepare.annotations import convert
from roadseg.prepare.annotations.convert import AnnotationFile, convert_annotations
from roadseg.prepare.annotations.shapes import Polygon, Regions, read_shapes
from roadseg.system.errors import InputError

SQUARE = [1, 1, 3, 1, 3, 3, 1, 3]
ACCENT = "é"


def coco(*file_names: str) -> str:
    """Return a COCO file whose first image has one car."""
    images = [
        {"id": i, "file_name": name, "height": 5, "width": 6} for i, name in enumerate(file_names)
    ]
    car = {"id": 1, "image_id": 0, "category_id": 1, "segmentation": [SQUARE]}
    categories = [{"id": 1, "name": "car"}]
    return json.dumps({"images": images, "categories": categories, "annotations": [car]})


def make_file(root: Path, name: str, text: str, *image_names: str) -> AnnotationFile:
    """Write an annotation file, and an image of 5x6 pixels with the id i for image number i."""
    (root / name).write_text(text, encoding="utf-8")
    images = {image_name: root / f"{i}.png" for i, image_name in enumerate(image_names)}
    for path in images.values():
        Image.new("RGB", (6, 5)).save(path)
    return AnnotationFile(root / name, f"labels/{name}", images)


def convert_one(root: Path, name: str, text: str, *image_names: str) -> dict[str, str]:
    return convert_annotations([make_file(root, name, text, *image_names)], root, 10**6)


def test_coco_images_without_shapes_are_all_background_and_others_stay_unmasked(tmp_path: Path):
    written = convert_one(tmp_path, "c.json", coco("a.jpg", "b.jpg"), "a.jpg", "b.jpg", "c.jpg")
    assert written == {
        "0.json": "labels/c.json: image 'a.jpg'",
        "1.json": "labels/c.json: image 'b.jpg'",
    }
    shapes = read_shapes(tmp_path / "0.json")
    assert (shapes.source, shapes.height, shapes.width) == (written["0.json"], 5, 6)
    assert shapes.shapes == [Regions(label="car", polygons=[SQUARE])]
    assert read_shapes(tmp_path / "1.json").shapes == []
    assert not (tmp_path / "2.json").exists()


@pytest.mark.parametrize(
    ("file_name", "image"),
    [
        ("a.jpg", "images/train/a.jpg"),
        ("train\\a.jpg", "images/train/a.jpg"),
        ("./images/a.jpg", "images/a.jpg"),
        (unicodedata.normalize("NFD", f"{ACCENT}.jpg"), f"images/{ACCENT}.jpg"),
        (f"{ACCENT}.jpg", unicodedata.normalize("NFD", f"images/{ACCENT}.jpg")),
    ],
)
def test_image_is_found_by_the_end_of_its_path(tmp_path: Path, file_name: str, image: str):
    written = convert_one(tmp_path, "c.json", coco(file_name), "other/b.jpg", image)
    assert list(written) == ["1.json"]


def test_whole_path_is_preferred_to_the_end_of_another(tmp_path: Path):
    assert list(convert_one(tmp_path, "c.json", coco("a.jpg"), "x/a.jpg", "a.jpg")) == ["1.json"]


@pytest.mark.parametrize(
    ("file_names", "images", "message"),
    [
        (["a.jpg"], ["x/a.jpg", "y/a.jpg"], "image 'a.jpg' may be x/a.jpg or y/a.jpg"),
        (["a.jpg", "b.jpg", "c.jpg"], ["a.jpg"], "2 of its images are .* the first is 'b.jpg'"),
        (["ba.jpg"], ["a.jpg"], "1 of its images are not among the 1 that match data.images"),
        (["a.jpg", "x/a.jpg"], ["x/a.jpg"], "image 'x/a.jpg' and .* 'a.jpg' are the same image"),
        (["../a.jpg"], ["a.jpg"], "image '../a.jpg' is a path outside of the data set"),
        (["/a.jpg"], ["a.jpg"], "image '/a.jpg' is a path outside of the data set"),
        (["C:\\a.jpg"], ["a.jpg"], "is a path outside of the data set"),
        (["x\\..\\a.jpg"], ["a.jpg"], "is a path outside of the data set"),
    ],
)
def test_names_that_fit_no_image_or_several_are_an_error(
    tmp_path: Path, file_names: list[str], images: list[str], message: str
):
    with pytest.raises(InputError, match=f"^labels/c.json: .*{message}"):
        convert_one(tmp_path, "c.json", coco(*file_names), *images)


def test_image_in_two_files_is_an_error(tmp_path: Path):
    files = [make_file(tmp_path, name, coco("a.jpg"), "a.jpg") for name in ("c.json", "d.json")]
    with pytest.raises(InputError, match=r"labels/d.json: image 'a.jpg' and labels/c.json: image"):
        convert_annotations(files, tmp_path, 10**6)


def test_files_of_each_format_are_recognized(tmp_path: Path):
    labelme = json.dumps({"shapes": [{"label": "car", "points": [[1, 1], [3, 1], [3, 3], [1, 3]]}]})
    assert convert_one(tmp_path, "l.json", labelme, "a.jpg") == {"0.json": "labels/l.json"}
    assert read_shapes(tmp_path / "0.json").shapes == [Polygon(label="car", points=SQUARE)]
    convert_one(tmp_path, "y.txt", "3 0 0 1 0 1 1", "a.jpg")
    assert read_shapes(tmp_path / "0.json").shapes == [Polygon(label=3, points=[0, 0, 6, 0, 6, 5])]
    cvat = '<annotations><image name="a.jpg" width="6" height="5"/></annotations>'
    assert convert_one(tmp_path, "c.xml", cvat, "a.jpg") == {
        "0.json": "labels/c.xml: image 'a.jpg'"
    }


def test_labelme_and_yolo_files_describe_one_image(tmp_path: Path):
    with pytest.raises(InputError, match=r"y.txt: describes one image, but data.masks matches"):
        convert_one(tmp_path, "y.txt", "", "a.jpg", "b.jpg")


def test_large_file_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(convert, "MAX_BYTES", 3)
    with pytest.raises(InputError, match=r"labels/y.txt: 4 bytes; the limit is 3"):
        convert_one(tmp_path, "y.txt", "    ", "a.jpg")
