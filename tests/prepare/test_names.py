"""Names that tools and systems write differently: each data set is read, or the reason is named."""

import shutil
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from roadseg.prepare.fetch.file_patterns import FilePatterns
from roadseg.prepare.fetch.manifest import Manifest, read_manifest
from roadseg.prepare.fetch.source import fetch
from roadseg.system.errors import InputError
from tests.factories import LIMITS, STORE

UTF8_FLAG = 0x800


def write_set(root: Path, images: list[str], masks: list[str]) -> Path:
    """Write images and masks of 32x32 pixels with these names below `root`."""
    for names, mode in ((images, "RGB"), (masks, "L")):
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new(mode, (32, 32)).save(path)
    return root


def fetch_set(source: Path, patterns: FilePatterns) -> tuple[Manifest, list[str]]:
    """Fetch `source`; return the manifest, and the names of the images and masks."""
    out = source.parent / "raw"
    manifest = fetch(str(source), None, patterns, LIMITS, {}, out, STORE, set())
    found = [path.relative_to(out / "training") for path in out.glob("training/*/*")]
    return manifest, sorted(map(str, found))


def pairs(*ids: str, suffix: str = ".png") -> list[str]:
    return sorted(f"image_2/{i}{suffix}" for i in ids) + sorted(f"semantic/{i}.png" for i in ids)


def make_zip(root: Path, encode: Callable[[str], bytes]) -> Path:
    """Pack the files below `root`, with encoded names that do not have the flag of UTF-8."""
    archive = root.with_suffix(".zip")
    renamed: dict[bytes, bytes] = {}
    with zipfile.ZipFile(archive, "w") as opened:
        for i, path in enumerate(sorted(p for p in root.rglob("*") if p.is_file())):
            name = encode(str(path.relative_to(root)))
            placeholder = f"{i:04}".ljust(len(name), "-")
            renamed[placeholder.encode()] = name
            opened.write(path, placeholder)
    data = archive.read_bytes()
    for placeholder_name, name in renamed.items():
        assert data.count(placeholder_name) == 2
        data = data.replace(placeholder_name, name)
    archive.write_bytes(data)
    return archive


SIMPLE = FilePatterns(images="img/{id}.jpg", masks="lab/{id}.png", test_images=None)


def test_backslashes_in_a_zip_separate_directories(tmp_path: Path):
    root = write_set(tmp_path / "set", ["img/a.jpg"], ["lab/a.png"])
    archive = make_zip(root, lambda name: name.replace("/", "\\").encode())
    assert fetch_set(archive, SIMPLE)[1] == pairs("a", suffix=".jpg")


def test_zip_of_macos_with_decomposed_utf8_names_and_without_the_flag(tmp_path: Path):
    names = ["größe/img/café.jpg", "größe/lab/café.png"]
    root = write_set(tmp_path / "set", names[:1], names[1:])
    for extra in ("__MACOSX/größe/img/._café.jpg", "größe/.DS_Store", "größe/img/.DS_Store"):
        (root / extra).parent.mkdir(parents=True, exist_ok=True)
        (root / extra).write_bytes(b"x")
    archive = make_zip(root, lambda name: unicodedata.normalize("NFD", name).encode())
    patterns = FilePatterns(
        images="größe/img/{id}.jpg", masks="größe/lab/{id}.png", test_images=None
    )
    assert fetch_set(archive, patterns)[1] == pairs("café", suffix=".jpg")


@pytest.mark.parametrize("images", ["img/{id}.jpg", "表/{id}.jpg"])
def test_zip_names_in_shift_jis_are_reported_with_two_of_them(tmp_path: Path, images: str):
    """The second byte of 表 and ソ in Shift-JIS is a backslash."""
    folder = images.partition("/")[0]
    names = [f"{folder}/表紙{i}.jpg" for i in range(2)] + [f"{folder}/ソフト能.jpg"]
    root = write_set(tmp_path / "set", names, ["lab/a.png"])
    archive = make_zip(root, lambda name: name.encode("cp932"))
    patterns = FilePatterns(images=images, masks="lab/{id}.png", test_images=None)
    with pytest.raises(InputError) as caught:
        fetch_set(archive, patterns)
    assert str(caught.value) == (
        f"{archive}: file names are not UTF-8, but probably Shift-JIS (cp932): "
        f"'{folder}/ソフト能.jpg', '{folder}/表紙0.jpg'; unpack the archive and set data.source to "
        "the directory, or pack it again with UTF-8 names (7-Zip: -mcu=on)"
    )


@pytest.mark.parametrize(
    ("encoding", "name", "expected"),
    [
        ("gbk", "数据集_训练图像", "GBK"),
        ("cp949", "도로사진", "EUC-KR"),
        ("cp850", "Straße_grün", "cp850"),
        ("cp1251", "фото_улица", "cp1251"),
    ],
)
def test_other_encodings_are_recognized(tmp_path: Path, encoding: str, name: str, expected: str):
    root = write_set(tmp_path / "set", [f"img/{name}.jpg"], [f"lab/{name}.png"])
    archive = make_zip(root, lambda path: path.encode(encoding))
    with pytest.raises(InputError, match=rf"not UTF-8, but probably {expected}.*'img/{name}.jpg'"):
        fetch_set(archive, SIMPLE)


@pytest.mark.parametrize("packed", [False, True])
def test_colons_are_allowed_in_names(tmp_path: Path, packed: bool):
    source = write_set(tmp_path / "set", ["img/12:30:01.jpg"], ["lab/12:30:01.png"])
    if packed:
        source = Path(shutil.make_archive(str(source), "zip", source))
    assert fetch_set(source, SIMPLE)[1] == pairs("12:30:01", suffix=".jpg")


@pytest.mark.parametrize(
    "forms", [("NFD", "NFC", "NFC"), ("NFC", "NFD", "NFC"), ("NFC", "NFC", "NFD")]
)
@pytest.mark.parametrize("packed", [False, True])
def test_composed_and_decomposed_names_and_patterns_are_equal(tmp_path, forms, packed):
    image, mask, pattern = (unicodedata.normalize(form, "é") for form in forms)
    source = write_set(tmp_path / "set", [f"caf{image}/{image}0.jpg"], [f"caf{mask}L/{mask}0.png"])
    if packed:
        source = Path(shutil.make_archive(str(source), "zip", source))
    patterns = FilePatterns(
        images=f"caf{pattern}/{{id}}.jpg", masks=f"caf{pattern}L/{{id}}.png", test_images=None
    )
    assert fetch_set(source, patterns)[1] == pairs("é0", suffix=".jpg")


def test_one_pattern_names_several_suffixes(tmp_path: Path):
    source = write_set(
        tmp_path / "set",
        ["img/a.jpg", "img/b.JPG", "img/c.jpeg", "img/d.png", "img/e.tiff"],
        [f"lab/{name}.png" for name in "abcde"],
    )
    with pytest.raises(InputError, match=r"'img/b.JPG' does not match img/\{id\}.jpg; rename"):
        fetch_set(source, SIMPLE)
    patterns = FilePatterns(
        images="img/{id}.{jpg,JPG,jpeg,png,tiff}", masks="lab/{id}.png", test_images=None
    )
    images = ["a.jpg", "b.jpg", "c.jpg", "d.png", "e.tif"]
    expected = [f"image_2/{name}" for name in images]
    assert fetch_set(source, patterns)[1] == expected + [f"semantic/{name}.png" for name in "abcde"]


def test_masks_next_to_their_images_match_the_longer_pattern(tmp_path: Path):
    source = write_set(tmp_path / "set", ["a.png", "b.png"], ["a_mask.png", "b_mask.png"])
    patterns = FilePatterns(images="{id}.png", masks="{id}_mask.png", test_images=None)
    assert fetch_set(source, patterns)[1] == pairs("a", "b")


def test_ids_are_formed_from_directory_and_name(tmp_path: Path):
    folders = ("seq1", "seq2")
    source = write_set(
        tmp_path / "set",
        [f"{folder}/Images/000000.png" for folder in folders],
        [f"{folder}/Labels/000000.png" for folder in folders],
    )
    same = FilePatterns(images="*/Images/{id}.png", masks="*/Labels/{id}.png", test_images=None)
    with pytest.raises(InputError, match=r"seq1/Images/000000.png and seq2/.* both have the id"):
        fetch_set(source, same)
    fields = FilePatterns(images="{a}/Images/{b}.png", masks="{a}/Labels/{b}.png", test_images=None)
    assert fetch_set(source, fields)[1] == pairs("seq1_000000", "seq2_000000")


@pytest.mark.parametrize("packed", [False, True])
def test_images_without_a_mask_are_an_error_or_left_out_and_counted(tmp_path: Path, packed: bool):
    source = write_set(tmp_path / "set", [f"img/{name}.jpg" for name in "abcd"], ["lab/b.png"])
    if packed:
        source = Path(shutil.make_archive(str(source), "zip", source))
    with pytest.raises(InputError) as caught:
        fetch_set(source, SIMPLE)
    assert str(caught.value) == (
        f"{source}: img/a.jpg has no mask in lab/{{id}}.png, and 2 more images have none; add what "
        "is missing, or set data.unmasked to skip to leave such images out"
    )
    skip = FilePatterns(
        images=SIMPLE.images, masks=SIMPLE.masks, test_images=None, skip_unmasked=True
    )
    manifest, found = fetch_set(source, skip)
    assert found == pairs("b", suffix=".jpg")
    assert (manifest.num_train, manifest.num_unmasked) == (1, 3)
    assert read_manifest(tmp_path / "raw") == manifest


def test_masks_without_an_image_are_never_left_out(tmp_path: Path):
    source = write_set(tmp_path / "set", ["img/a.jpg"], ["lab/a.png", "lab/b.png"])
    skip = FilePatterns(
        images=SIMPLE.images, masks=SIMPLE.masks, test_images=None, skip_unmasked=True
    )
    with pytest.raises(InputError, match=r"lab/b.png has no image in img/\{id\}.jpg"):
        fetch_set(source, skip)


def test_companions_of_masks_are_left_out_but_not_masks_of_missing_images():
    names = ["img/a.jpg", "lab/a.png", "lab/a_color.png", "lab/a-train-ids.png"]
    assert list(SIMPLE.match(names).places) == ["img/a.jpg", "lab/a.png"]
    companion = [*names, "img/a_color.jpg"]
    assert "lab/a_color.png" in SIMPLE.match(companion).places
    for other in ("lab/a_2.png", "lab/ab.png", "lab/a_.png", "lab/b_color.png"):
        assert other in SIMPLE.match([*names, other]).places  # fetch refuses it


def test_annotation_files_are_kept_apart_with_the_images_that_they_describe():
    patterns = FilePatterns(
        images="{split:train,valid}/{id}.jpg",
        masks="{split:train,valid}/_annotations.coco.json",
        test_images=None,
    )
    names = [f"{split}/{i}.jpg" for split in ("train", "valid") for i in (1, 2)]
    files = patterns.match([*names, "valid/_annotations.coco.json", "train/_annotations.coco.json"])
    assert files.annotations == {
        "train/_annotations.coco.json": ["train/1.jpg", "train/2.jpg"],
        "valid/_annotations.coco.json": ["valid/1.jpg", "valid/2.jpg"],
    }
    assert [files.places[name] for name in files.annotations] == [
        "annotations/training/semantic/0.json",
        "annotations/training/semantic/1.json",
    ]
    assert files.places["valid/1.jpg"] == "training/image_2/valid_1.jpg"


def test_annotation_files_of_single_images_have_the_ids_of_the_images():
    yolo = FilePatterns(
        images="images/{id}.jpg", masks="labels/{id}.txt", test_images=None, skip_unmasked=True
    )
    names = ["images/a.jpg", "images/b.jpg", "labels/a.txt", "labels/classes.txt"]
    files = yolo.match(names)
    assert files.places == {
        "labels/a.txt": "annotations/training/semantic/a.txt",
        "images/a.jpg": "training/image_2/a.jpg",
    }
    assert files.annotations == {"labels/a.txt": ["images/a.jpg"]}
    assert files.num_unmasked == 1
    with pytest.raises(InputError, match=r"labels/c.txt has no image in images/\{id\}.jpg"):
        yolo.match([*names, "labels/c.txt"])


def test_directories_that_no_pattern_names_are_not_searched(tmp_path: Path):
    source = write_set(tmp_path / "set", ["img/a.jpg"], ["lab/a.png"])
    (source / "img/private").mkdir(mode=0o000)
    (source / "other").mkdir()
    (source / "other/broken.jpg").symlink_to("missing")
    assert fetch_set(source, SIMPLE)[1] == pairs("a", suffix=".jpg")
    (source / "img/broken.jpg").symlink_to("missing")
    with pytest.raises(InputError, match=r"img/broken.jpg: broken symbolic link"):
        fetch_set(source, SIMPLE)


def test_fields_in_another_order_pair_each_image_with_its_own_mask(tmp_path: Path):
    for folder in "12":
        for name in "ab":
            for path in (f"i/{folder}/{name}.png", f"m/{name}-{folder}.png"):
                (tmp_path / "set" / path).parent.mkdir(parents=True, exist_ok=True)
                value = np.full((32, 32), ord(name) + int(folder), np.uint8)
                Image.fromarray(value).save(tmp_path / "set" / path)
    patterns = FilePatterns(images="i/{a}/{b}.png", masks="m/{b}-{a}.png", test_images=None)
    _, found = fetch_set(tmp_path / "set", patterns)
    assert found == pairs("1_a", "1_b", "2_a", "2_b")
    for name in found[:4]:
        image, mask = (
            np.asarray(Image.open(tmp_path / "raw/training" / path))
            for path in (name, name.replace("image_2", "semantic"))
        )
        assert np.array_equal(image, mask)
