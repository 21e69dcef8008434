"""`roadseg init`: from a data set in a public layout to prepared arrays, without manual edits."""

import re
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from roadseg.commands.main import main
from roadseg.config import schema
from roadseg.config.json_files import read_model
from roadseg.config.params import load_params
from roadseg.data.prepared import PreparedDataset
from roadseg.data.split_file import Split
from roadseg.reporting import contact_sheet
from roadseg.system.errors import InputError
from tests.factories import ROOT
from tests.layouts import HEIGHT, IMAGE_COLORS, LAYOUTS, NAMES, WIDTH, make_classes, make_points
from tests.stage_runner import arguments


class Expected(NamedTuple):
    """Classes and numbers of images that are prepared of a layout."""

    classes: tuple[str | None, ...]
    """Classes of sky, building, road and car; None is ignored."""
    num_classes: int
    num_train: int
    num_val: int
    num_test: int = 0


CAMVID = ("Sky", "Building", "Road", "Car")
OBJECTS = ("background", "building", "road", "car")
NUMBERED = ("class_0", "class_1", "class_2", "class_3")
EXPECTED = {
    "kitti": Expected(("sky", "construction", "road", "vehicle"), 12, 5, 1, 2),
    "cityscapes": Expected(NAMES, 19, 4, 2, 2),
    "camvid_segnet": Expected(NAMES, 11, 5, 2, 2),
    "camvid_original": Expected(CAMVID, 31, 6, 1),
    "camvid_kaggle": Expected(CAMVID, 31, 5, 2, 2),
    "voc": Expected(("background", "person", "background", "car"), 21, 4, 2),
    "ade20k": Expected(NAMES, 21, 5, 2),
    "coco": Expected(OBJECTS, 4, 5, 2),
    "roboflow_coco": Expected(("background", "background", "road", "car"), 3, 5, 2, 2),
    "labelme": Expected(NAMES, 4, 5, 1),
    "cvat_xml": Expected(NAMES, 4, 5, 1),
    "cvat_masks": Expected(OBJECTS, 4, 5, 1),
    "yolo": Expected(OBJECTS, 4, 5, 2),
    "same_folder": Expected(NUMBERED, 4, 5, 1),
    "nested": Expected(NUMBERED, 4, 6, 3),
    "binary": Expected(("background", "background", "object", "background"), 2, 5, 1),
    "gray_as_rgb": Expected(("class_2", "class_1", "class_0", None), 3, 5, 1),
}


# every stage parses the same files, which takes most of the time of these tests
parse_yaml_once = cache(schema.parse_yaml)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone of the project without code, which is the working directory."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "classes", tmp_path / "classes")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(schema, "parse_yaml", parse_yaml_once)
    return tmp_path


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch):
    def save(path: Path, *_: object) -> None:
        path.write_bytes(b"")

    monkeypatch.setattr(contact_sheet, "save_contact_sheet", save)


def run_stage(stage: str) -> None:
    words = [word.removeprefix(f"{ROOT}/") for word in arguments(stage, Path(), Path())]
    import_module(f"stages.{stage}").main(words)


def find_scene(image: np.ndarray) -> int:
    """Return the number of the scene that the image shows."""
    distances = [abs(IMAGE_COLORS[make_classes(n)] - image.astype(int)).mean() for n in range(9)]
    return int(np.argmin(distances))


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_public_layouts_need_no_manual_edits(layout: str, project: Path):
    LAYOUTS[layout](project / "datasets" / layout)
    main(["init", f"datasets/{layout}"])
    for stage in ("fetch", "remap", "split"):
        run_stage(stage)
    expected = EXPECTED[layout]
    prepared = PreparedDataset(project / "data/prepared")
    split = read_model(Split, project / "data/split.json")
    counts = len(split.train), len(split.val), len(split.test)
    assert counts == (expected.num_train, expected.num_val, expected.num_test)
    names = prepared.class_map().names
    assert len(names) == expected.num_classes
    scenes = set()
    for name in prepared.train_ids():
        image, mask = prepared.pair(name)
        scenes.add(scene := find_scene(image))
        found = [int(mask[point]) for point in make_points(scene)]
        assert [None if i == 255 else names[i] for i in found] == list(expected.classes)
    assert len(scenes) == len(prepared.train_ids())


def read_all(folder: Path) -> dict[str, bytes]:
    """Read all files of the project except the data sets."""
    files = [path for path in folder.rglob("*") if path.is_file() and "datasets" not in path.parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("suffix", [".zip", ".tgz"])
def test_an_archive_is_configured_like_its_folder(suffix: str, project: Path):
    LAYOUTS["voc"](project / "datasets/VOC 2012")
    main(["init", "datasets/VOC 2012"])
    of_folder = read_all(project)
    archive = Path(f"datasets/VOC 2012{suffix}")
    if suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as opened:
            for path in sorted(Path("datasets/VOC 2012").rglob("*")):
                opened.write(path, path.relative_to("datasets"))
    else:
        with tarfile.open(archive, "w:gz") as opened:
            opened.add("datasets/VOC 2012", "VOC 2012")
    main(["init", str(archive), "--force"])
    of_archive = read_all(project)
    for name in ("params.yaml", "classes/voc_2012.yaml"):
        text = of_archive[name].replace(str(archive).encode(), b"datasets/VOC 2012")
        assert text == of_folder[name]
    assert of_archive["splits/voc_2012_val.txt"] == b"2007_000004\n2007_000005\n"


def test_the_summary_says_what_was_found(project: Path, capsys: pytest.CaptureFixture[str]):
    LAYOUTS["voc"](project / "voc")
    main(["init", "voc"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "init: voc"
    text = "\n".join(" ".join(line.split()) for line in lines)
    for expected in (
        "images 6 with masks, 48x64 pixels\nJPEGImages/{id}.jpg\n",
        "masks label ids, palette indices; all 6 masks read\nSegmentationClass/{id}.png\n",
        "first pair JPEGImages/2007_000000.jpg\nSegmentationClass/2007_000000.png\n",
        "validation 2 ids in splits/voc_val.txt\n",
        "\n15 person #c08080 11.03% ids 15\n",
        "\nignored 7.16%\n",
        "3 of 9 images have no mask and are skipped",
        "unsure: label id 255 is ignored",
        "unsure: no pixel of aeroplane, bicycle, bird and 15 others in all 6 masks",
        "wrote params.yaml, classes/voc.yaml, splits/voc_val.txt, contact-sheet-voc.png\n",
        "then run: dvc repro",
    ):
        assert expected in text
    with Image.open("contact-sheet-voc.png") as sheet:
        assert sheet.width == 1400
        colors = np.asarray(sheet.convert("RGB")).reshape(-1, 3)
    for color in ((0, 0, 0), (192, 128, 128), (128, 128, 128)):  # background, person, car
        assert (colors == color).all(axis=1).mean() > 0.01


@pytest.mark.usefixtures("no_figures")
def test_own_values_are_only_replaced_with_force(project: Path):
    for name in ("one", "two"):
        LAYOUTS["labelme"](project / "datasets" / name)
    main(["init", "datasets/one"])
    first = read_all(project)
    main(["init", "datasets/one"])
    assert read_all(project) == first
    with pytest.raises(InputError, match=r"params.yaml: data.source is 'datasets/one'; use"):
        main(["init", "datasets/two"])
    edited = first["classes/one.yaml"] + b"# my remark\n"
    (project / "classes/one.yaml").write_bytes(edited)
    with pytest.raises(InputError, match=r"classes/one.yaml has another content"):
        main(["init", "datasets/one"])
    assert read_all(project) == first | {
        "classes/one.yaml": first["classes/one.yaml"] + b"# my remark\n"
    }
    main(["init", "datasets/two", "--name", "one", "--force"])
    assert load_params(Path("params.yaml")).data.source == "datasets/two"
    assert b"my remark" not in (project / "classes/one.yaml").read_bytes()


@pytest.mark.usefixtures("no_figures")
def test_an_own_split_is_only_replaced_with_force(project: Path):
    LAYOUTS["yolo"](project / "street")
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("val_ids: null", "val_ids: ^0"))
    with pytest.raises(InputError, match=r"split.val_ids is '\^0'"):
        main(["init", "street"])
    main(["init", "street", "--force"])
    assert load_params(Path("params.yaml")).split.val_ids == "^val_"


def break_table(project: Path) -> None:
    (project / "street/class_dict.csv").write_text("name,r,g\nroad,1,2\n")


def break_mask(project: Path) -> None:
    path = project / "street/train_labels/0001TP_000000_L.png"
    path.write_bytes(path.read_bytes()[:-9])


def forbid_class_map(project: Path) -> None:
    (project / "classes/street.yaml").mkdir()


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            break_table,
            "street: class_dict.csv: line 1: no column 'b'; .*; correct it",
        ),
        (break_mask, "street: train_labels/0001TP_000000_L.png: cannot be decoded"),
        (forbid_class_map, "classes/street.yaml"),
    ],
)
def test_nothing_is_written_after_an_error(
    change: Callable[[Path], None], message: str, project: Path
):
    LAYOUTS["camvid_kaggle"](project / "street")
    change(project)
    before = read_all(project)
    with pytest.raises((InputError, OSError), match=message):
        main(["init", "street", "--force"])
    assert read_all(project) == before


@pytest.mark.usefixtures("no_figures")
def test_a_source_outside_of_the_project_is_absolute(
    project: Path, tmp_path_factory: pytest.TempPathFactory
):
    folder = tmp_path_factory.mktemp("elsewhere")
    LAYOUTS["binary"](folder)
    main(["init", str(folder), "--name", "lines"])
    params = load_params(Path("params.yaml"))
    assert (params.data.source, params.remap.classes) == (str(folder), "lines")


@pytest.mark.usefixtures("no_figures")
def test_patterns_can_be_given(project: Path):
    LAYOUTS["kitti"](project / "street")
    main(["init", "street", "--masks", "training/semantic_rgb/{id}.png"])
    data = load_params(Path("params.yaml")).data
    assert (data.masks, data.mask_values) == ("training/semantic_rgb/{id}.png", "colors")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere"),
        (["https://example.org/a.zip"], "https://example.org/a.zip: init reads local files; down"),
        (["data/raw"], "data/raw, which the pipeline deletes"),
        (["street", "--name", "../a"], "--name: '../a' should have only letters, digits, _ and -"),
    ],
)
def test_wrong_arguments(arguments: list[str], message: str, project: Path):
    LAYOUTS["binary"](project / "street")
    before = read_all(project)
    with pytest.raises(InputError, match=re.escape(message)):
        main(["init", *arguments])
    assert read_all(project) == before


def test_it_runs_only_in_a_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"params.yaml: no such file; run roadseg init in"):
        main(["init", "street"])


@pytest.mark.usefixtures("no_figures")
def test_a_folder_named_like_a_built_in_source_is_a_folder(project: Path):
    LAYOUTS["binary"](project / "kitti")
    main(["init", "kitti"])
    assert load_params(Path("params.yaml")).data.source == "./kitti"
    run_stage("fetch")
    assert len(list(project.glob("data/raw/training/semantic/*"))) == 6


@pytest.mark.usefixtures("no_figures")
def test_a_single_class_is_reported(project: Path, capsys: pytest.CaptureFixture[str]):
    LAYOUTS["binary"](project / "street")
    for path in (project / "street/masks").iterdir():
        Image.new("RGBA", (WIDTH, HEIGHT), (0, 0, 0, 255)).save(path)  # classes in alpha, lost
    main(["init", "street"])
    assert "- unsure: there is only one class" in capsys.readouterr().out


@pytest.mark.usefixtures("no_figures")
def test_masks_of_another_size_are_named(project: Path):
    LAYOUTS["binary"](project / "street")
    path = project / "street/masks/street_2.png"
    Image.open(path).crop((0, 0, 40, 40)).save(path)
    with pytest.raises(InputError, match=r"masks/street_2.png and images/street_2.jpg have diff"):
        main(["init", "street"])
