"""Fetching datasets: valid ones are copied, invalid ones are named and change nothing."""

import hashlib
import json
import os
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from roadseg.prepare.fetch.file_patterns import KITTI, FilePatterns
from roadseg.prepare.fetch.source import fetch, folder_sha256
from roadseg.system.errors import InputError
from tests.factories import LIMITS, STORE, write_images

SAMPLE = {"num_train": 3, "num_test": 1, "height": 36, "width": 64, "seed": 0}
MASK = "training/semantic/000001_10.png"
IMAGE = "training/image_2/000001_10.png"


def make_zip(root: Path, archive: Path, prefix: str = "") -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for path in sorted(root.rglob("*.png")):
            opened.write(path, prefix + str(path.relative_to(root)))
    return archive


def tree(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_directory_and_its_zip_give_the_same_images(raw_images: Path, tmp_path: Path):
    archive = make_zip(raw_images, tmp_path / "data.zip")
    from_folder = fetch(
        str(raw_images), None, KITTI, LIMITS, SAMPLE, tmp_path / "folder", STORE, set()
    )
    from_zip = fetch(str(archive), None, KITTI, LIMITS, SAMPLE, tmp_path / "zip", STORE, set())
    for out in ("folder", "zip"):
        copied = tree(tmp_path / out)
        assert json.loads(copied.pop("manifest.json"))
        assert copied == tree(raw_images)
    assert from_zip.bytes == archive.stat().st_size
    assert from_zip.sha256 == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert from_folder.sha256 == folder_sha256(raw_images, KITTI.files(raw_images))
    for manifest in (from_folder, from_zip):
        assert (manifest.num_train, manifest.num_test) == (8, 2)
        assert manifest.train_sizes == {"32x48": 4, "34x50": 4}


def test_sample_is_reproducible(tmp_path: Path):
    manifest = fetch("sample", None, KITTI, LIMITS, SAMPLE, tmp_path / "raw", STORE, set())
    assert (manifest.num_train, manifest.num_test) == (3, 1)
    assert manifest.license.startswith("MIT")
    again = fetch(
        "sample", manifest.sha256, KITTI, LIMITS, SAMPLE, tmp_path / "again", STORE, set()
    )
    assert again == manifest
    assert tree(tmp_path / "again") == tree(tmp_path / "raw")


def test_relative_path_starts_at_the_root_of_the_repository(raw_images, tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(raw_images.parent))
    monkeypatch.chdir("/")
    manifest = fetch("pictures", None, KITTI, LIMITS, SAMPLE, tmp_path / "raw", STORE, set())
    assert (manifest.source, manifest.num_train) == ("pictures", 8)


def test_only_files_of_the_dataset_are_unpacked(raw_images: Path, tmp_path: Path):
    archive = make_zip(raw_images, tmp_path / "data.zip")
    with zipfile.ZipFile(archive, "a") as opened:
        for name in (
            "training/image_2/deep/other.png",
            "__MACOSX/training/image_2/._000000_10.png",
            "training/image_2/.DS_Store",
            "training/image_2/._000000_10.png",
            "training/instance/000000_10.png",
            "training/image_2/notes.txt",
        ):
            opened.writestr(name, b"x")
    fetch(str(archive), None, KITTI, LIMITS, SAMPLE, tmp_path / "out" / "raw", STORE, set())
    assert set(tree(tmp_path / "out")) == {f"raw/{n}" for n in tree(raw_images)} | {
        "raw/manifest.json"
    }


def remove(name):
    return lambda root: (root / name).unlink()


def resize_mask(root: Path) -> None:
    Image.fromarray(np.zeros((20, 30), np.uint8)).save(root / MASK)


def save_jpeg_mask(root: Path) -> None:
    Image.new("L", (50, 34)).save(root / MASK, "JPEG")


def save_16_bit_image(root: Path) -> None:
    Image.fromarray(np.zeros((34, 50), np.uint16)).save(root / IMAGE)


def truncate_header(root: Path) -> None:
    (root / IMAGE).write_bytes((root / IMAGE).read_bytes()[:20])


def remove_masks(root: Path) -> None:
    shutil.rmtree(root / "training/semantic")


def remove_images(root: Path) -> None:
    shutil.rmtree(root / "training/image_2")


FAULTS = [
    (remove_masks, "training/semantic: no masks"),
    (remove_images, "training/image_2: no images"),
    (remove(MASK), f"{IMAGE} has no mask"),
    (remove(IMAGE), f"{MASK} has no image"),
    (resize_mask, f"{MASK}: 20x30 pixels, but {IMAGE} has 34x50"),
    (save_jpeg_mask, f"{MASK}: JPEG compression is lossy"),
    (save_16_bit_image, f"{IMAGE}: unsupported mode I;16; save the image as 8-bit RGB"),
    (truncate_header, f"{IMAGE}: (not a PNG|cannot be decoded)"),
]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("spoil", "message"), FAULTS)
def test_invalid_dataset_is_named_and_the_old_one_stays(
    raw_images, tmp_path, spoil, message, packed
):
    out = tmp_path / "work" / "raw"
    fetch("sample", None, KITTI, LIMITS, SAMPLE, out, STORE, set())
    before = tree(tmp_path / "work")
    spoil(raw_images)
    source = make_zip(raw_images, tmp_path / "data.zip") if packed else raw_images
    with pytest.raises(InputError, match=message) as caught:
        fetch(str(source), None, KITTI, LIMITS, SAMPLE, out, STORE, set())
    assert str(source) in str(caught.value)
    assert tree(tmp_path / "work") == before


def test_missing_source_lists_the_kinds_of_sources(tmp_path: Path):
    with pytest.raises(InputError, match=r"data.source: 'nowhere.zip': no such file .* use sample"):
        fetch("nowhere.zip", None, KITTI, LIMITS, SAMPLE, tmp_path / "raw", STORE, set())


@pytest.mark.parametrize("source", ["sample", "folder", "zip"])
def test_wrong_sha256_is_refused(raw_images: Path, tmp_path: Path, source: str):
    archive = make_zip(raw_images, tmp_path / "data.zip")
    names = {"sample": "sample", "folder": str(raw_images), "zip": str(archive)}
    with pytest.raises(InputError, match=r"data.sha256: .* expected 0000"):
        fetch(names[source], "0" * 64, KITTI, LIMITS, SAMPLE, tmp_path / "raw", STORE, set())
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[: len(data) // 2], "not a complete zip archive"),
        (lambda data: b"<html>not found</html>", "not a complete zip archive"),
        (lambda data: data[:300] + bytes([data[300] ^ 255]) + data[301:], "is damaged"),
    ],
)
def test_damaged_zip_is_refused(raw_images: Path, tmp_path: Path, change, message):
    archive = make_zip(raw_images, tmp_path / "data.zip")
    archive.write_bytes(change(archive.read_bytes()))
    with pytest.raises(InputError, match=message):
        fetch(str(archive), None, KITTI, LIMITS, SAMPLE, tmp_path / "raw", STORE, set())
    assert not (tmp_path / "raw").exists()


def test_repeated_members_and_links_are_refused(raw_images: Path, tmp_path: Path):
    archive = make_zip(raw_images, tmp_path / "twice.zip")
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(IMAGE, b"another")
    with pytest.raises(InputError, match=f"{IMAGE} is in the archive twice"):
        fetch(str(archive), None, KITTI, LIMITS, SAMPLE, tmp_path / "raw", STORE, set())
    link = zipfile.ZipInfo(IMAGE.replace("000001", "000099"))
    link.external_attr = 0o120777 << 16
    archive = make_zip(raw_images, tmp_path / "link.zip")
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(link, "/etc/hostname")
    with pytest.raises(InputError, match=r"000099_10\.png is a link"):
        fetch(str(archive), None, KITTI, LIMITS, SAMPLE, tmp_path / "raw", STORE, set())


def test_zip_without_matching_files_lists_the_patterns(tmp_path: Path):
    root = write_images(tmp_path / "p")
    archive = make_zip(root, tmp_path / "data.zip", prefix="some/where/")
    with pytest.raises(InputError, match=r"no file matches training/image_2/\{id\}.png or "):
        fetch(str(archive), None, KITTI, LIMITS, SAMPLE, tmp_path / "raw", STORE, set())


OWN = FilePatterns(images="*/photos/{id}.jpeg", masks="*/labels/{id}_L.png", test_images=None)


def write_own_data(root: Path) -> Path:
    """Write JPEG images and palette masks, in directories by drive."""
    kitti = write_images(root / "kitti")
    for path in sorted((kitti / "training/image_2").iterdir()):
        drive = root / "own" / f"drive{path.stem[5]}"
        for folder in ("photos", "labels"):
            (drive / folder).mkdir(parents=True, exist_ok=True)
        Image.open(path).save(drive / "photos" / f"{path.stem}.jpeg")
        mask = Image.open(kitti / "training/semantic" / path.name)
        mask.putpalette(list(range(255, -1, -1)) * 3)
        mask.save(drive / "labels" / f"{path.stem}_L.png")
    return root / "own"


@pytest.mark.parametrize("packed", [False, True])
def test_files_of_other_names_are_copied_to_kittis_layout(tmp_path: Path, packed: bool):
    source = write_own_data(tmp_path)
    if packed:
        source = Path(shutil.make_archive(str(tmp_path / "own"), "zip", source))
    manifest = fetch(str(source), None, OWN, LIMITS, SAMPLE, tmp_path / "raw", STORE, set())
    assert (manifest.num_train, manifest.num_test) == (8, 0)
    found = set(tree(tmp_path / "raw")) - {"manifest.json"}
    pairs = (("image_2", "jpg"), ("semantic", "png"))
    assert found == {f"training/{f}/{i:06d}_10.{e}" for i in range(8) for f, e in pairs}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (remove("drive1/labels/000001_10_L.png"), r"drive1/photos/000001_10.jpeg has no mask in "
         r"\*/labels/\{id\}_L.png"),
        (remove("drive1/photos/000001_10.jpeg"), "drive1/labels/000001_10_L.png has no image"),
        (lambda root: shutil.copytree(root / "drive1", root / "drive9"),
         "drive1/labels/000001_10_L.png and drive9/.* both have the id 000001_10"),
        (lambda root: shutil.rmtree(root), r"no such file or directory"),
    ],
)  # fmt: skip
def test_errors_use_the_names_in_the_source(tmp_path: Path, change, message):
    source = write_own_data(tmp_path)
    change(source)
    with pytest.raises(InputError, match=message):
        fetch(str(source), None, OWN, LIMITS, SAMPLE, tmp_path / "raw", STORE, set())


def test_directory_above_the_limit_is_refused(raw_images: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"has [\d,]+ bytes; data.max_gigabytes allows 1,000"):
        fetch(
            str(raw_images),
            None,
            KITTI,
            replace(LIMITS, bytes=1000),
            SAMPLE,
            tmp_path / "raw",
            STORE,
            set(),
        )


def test_directory_with_an_undecodable_name_is_read(raw_images: Path, tmp_path: Path):
    shutil.copytree(raw_images, tmp_path / "data" / os.fsdecode(b"t\xff"))
    manifest = fetch(
        str(tmp_path / "data"), None, KITTI, LIMITS, SAMPLE, tmp_path / "raw", STORE, set()
    )
    assert manifest.num_train == 8
