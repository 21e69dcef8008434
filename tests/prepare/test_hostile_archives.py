"""Archives made by an attacker or a careless tool: refused, or unpacked without foreign files."""

import struct
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from roadseg.prepare.fetch.file_patterns import KITTI
from roadseg.prepare.fetch.source import fetch
from roadseg.system.errors import InputError
from tests.factories import LIMITS, STORE
from tests.prepare.test_source import SAMPLE, make_zip, tree

IMAGE, MASK = "training/image_2/000001_10.png", "training/semantic/000001_10.png"
DIRECTORY, MEMBER = b"PK\x01\x02", b"PK\x03\x04"


def add(name: str, content: bytes = b"x", mode: int = 0) -> Callable[[Path], None]:
    """Add a member with this Unix file type."""

    def change(archive: Path) -> None:
        info = zipfile.ZipInfo(name)
        info.filename = name  # unchanged, even with a backslash
        info.external_attr = mode << 16
        with zipfile.ZipFile(archive, "a") as opened, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of duplicate names
            opened.writestr(info, content)

    return change


def patch(record: bytes, offset: int, value: bytes, name: str = IMAGE) -> Callable[[Path], None]:
    """Overwrite bytes of the record for `name`, in the directory or at the member."""

    def change(archive: Path) -> None:
        data = bytearray(archive.read_bytes())
        header = 46 if record == DIRECTORY else 30
        at = data.index(name.encode(), data.index(DIRECTORY) if record == DIRECTORY else 0) - header
        assert data[at : at + 4] == record
        data[at + offset : at + offset + len(value)] = value
        archive.write_bytes(data)

    return change


def rename(name: bytes, flags: int) -> Callable[[Path], None]:
    """Rename IMAGE in both of its records to a name of the same length, and set flags."""

    def change(archive: Path) -> None:
        for record, at in ((DIRECTORY, 8), (MEMBER, 6)):
            patch(record, at, struct.pack("<H", flags))(archive)
        archive.write_bytes(archive.read_bytes().replace(IMAGE.encode(), name))

    return change


def truncate(fraction: float) -> Callable[[Path], None]:
    def change(archive: Path) -> None:
        data = archive.read_bytes()
        archive.write_bytes(data[: round(len(data) * fraction)])

    return change


def flip_byte(archive: Path) -> None:
    data = bytearray(archive.read_bytes())
    data[data.index(IMAGE.encode()) + len(IMAGE) + 60] ^= 255
    archive.write_bytes(data)


def replace_content(content: bytes) -> Callable[[Path], None]:
    return lambda archive: archive.write_bytes(content) and None


def add_huge_file(archive: Path) -> None:
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("training/image_2/000077_10.png", bytes(70 << 20))


def add_many_files(archive: Path) -> None:
    with zipfile.ZipFile(archive, "a") as opened:
        for number in range(LIMITS.files):
            opened.writestr(f"other/{number}", b"")


def move_below(folder: str) -> Callable[[Path], None]:
    """Copy all members of the layout to below `folder`."""

    def change(archive: Path) -> None:
        with zipfile.ZipFile(archive, "a") as opened:
            for name in [n for n in opened.namelist() if n.startswith(("training", "testing"))]:
                opened.writestr(folder + name, opened.read(name))

    return change


def remove_originals(archive: Path) -> None:
    """Keep only the copies in another directory."""
    with zipfile.ZipFile(archive) as opened:
        kept = {n: opened.read(n) for n in opened.namelist() if not n.startswith(("tr", "te"))}
    with zipfile.ZipFile(archive, "w") as opened:
        for name, content in kept.items():
            opened.writestr(name, content)


def both(*changes: Callable[[Path], None]) -> Callable[[Path], None]:
    def change(archive: Path) -> None:
        for single in changes:
            single(archive)

    return change


def prepend_program(archive: Path) -> None:
    """Make a self-extracting archive."""
    archive.write_bytes(b"#!" + archive.read_bytes())


OUTSIDE = "is a path outside the archive"
REFUSED = {
    "parent": (add("../evil.png"), OUTSIDE),
    "parent within": (add("training/image_2/../../../evil.png"), OUTSIDE),
    "parent at the end": (add("training/.."), OUTSIDE),
    "parent by backslash": (add("training\\..\\..\\evil.png"), OUTSIDE),
    "absolute": (add("/etc/evil.png"), OUTSIDE),
    "absolute by backslash": (add("\\evil.png"), OUTSIDE),
    "network share": (add("\\\\host\\share\\evil.png"), OUTSIDE),
    "drive": (add("C:\\evil.png"), OUTSIDE),
    "drive by slash": (add("c:/evil.png"), OUTSIDE),
    "soft link": (add("training/image_2/a.png", b"/etc/passwd", 0o120777), "a link or a device"),
    "device": (add("training/image_2/a.png", b"", 0o020666), "a link or a device"),
    "block device": (add("training/image_2/a.png", b"", 0o060666), "a link or a device"),
    "pipe": (add("training/image_2/a.png", b"", 0o010666), "a link or a device"),
    "socket": (add("training/semantic/a.png", b"", 0o140666), "a link or a device"),
    "twice": (add(IMAGE), f"{IMAGE} is in the archive twice"),
    "case": (
        both(add("training/image_2/A.png"), add("training/image_2/a.png")),
        "A.png and training/image_2/a.png both have the id a",
    ),
    "accents": (
        both(add("training/image_2/\u00e9.png"), add("training/image_2/e\u0301.png")),
        "both have the id",
    ),
    "another ending": (add("training/image_2/000001_10.jpg"), "both have the id 000001_10"),
    "capital ending": (add("training/image_2/000001_10.PNG"), "both have the id 000001_10"),
    "unmatched name": (add("training/image_2/strange.jpg"), "does not match"),
    "control character": (add("training/image_2/a\nb.png"), "does not match"),
    "name not UTF-8": (
        rename(b"training/image_2/\xff\xfe0001_10.png", 0x800),
        "not a complete zip",
    ),
    "name of old DOS": (
        rename(b"training/image_2/\xff\xfe0001_10.png", 0),
        "file names are not UTF-8, but probably cp1251",
    ),
    "encrypted": (patch(DIRECTORY, 8, b"\x01\x00"), "is encrypted"),
    "strongly encrypted": (patch(DIRECTORY, 8, b"\x41\x00"), "is encrypted"),
    "patch data": (patch(DIRECTORY, 8, b"\x20\x00"), f"{IMAGE} is damaged"),
    "unknown method": (patch(DIRECTORY, 10, b"\x63\x00"), "is compressed with method 99;"),
    "another method": (patch(DIRECTORY, 10, b"\x0c\x00"), "is compressed with bzip2;"),
    "needs version 99": (patch(DIRECTORY, 6, b"\x63\x00"), "not a complete zip"),
    "wrong checksum": (patch(DIRECTORY, 16, b"\x00\x00\x00\x00"), "Bad CRC-32"),
    "declares less": (patch(DIRECTORY, 24, struct.pack("<I", 20)), "Bad CRC-32"),
    "declares more": (
        patch(DIRECTORY, 24, struct.pack("<I", 99_000)),
        f"{IMAGE} is damaged: .* of 99000 bytes were unpacked",
    ),
    "declares far more": (patch(DIRECTORY, 24, b"\xf0\xff\xff\xff"), "data.max_gigabytes allows"),
    "packed size of more": (patch(DIRECTORY, 20, b"\xf0\xff\xff\x00"), "overlap"),
    "packed size 0": (patch(DIRECTORY, 20, bytes(4)), "damaged"),
    "place beyond the end": (patch(DIRECTORY, 42, b"\xf0\xff\xff\x7f"), "archive"),
    "place of another": (patch(DIRECTORY, 42, bytes(4), MASK), "is damaged: File name in dir"),
    "other name inside": (patch(MEMBER, 30, b"T"), "is damaged: File name in directory"),
    "flipped byte": (flip_byte, "is damaged"),
    "cut, a tenth": (truncate(0.1), "not a complete zip"),
    "cut, half": (truncate(0.5), "not a complete zip"),
    "cut, all but the last": (truncate(0.999), "not a complete zip"),
    "empty": (replace_content(b""), "not a complete zip"),
    "a web page": (replace_content(b"<html>not found</html>"), "not a complete zip"),
    "only an end record": (replace_content(b"PK\x05\x06" + bytes(18)), "no file matches"),
    "zeros": (replace_content(bytes(5000)), "not a complete zip"),
    "a ratio": (add_huge_file, "times its size; data.max_ratio allows 100"),
    "many files": (add_many_files, "files; data.max_files allows 1,000"),
    "the layout in two folders": (
        both(move_below("one/"), move_below("two/"), remove_originals),
        "one/ and two/ both contain a dataset",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_archive_changes_nothing(raw_images: Path, tmp_path: Path, kind: str):
    change, message = REFUSED[kind]
    archive = make_zip(raw_images, tmp_path / "data.zip")
    change(archive)
    out = tmp_path / "work" / "raw"
    fetch("sample", None, KITTI, LIMITS, SAMPLE, out, STORE, set())
    before = tree(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        fetch(str(archive), None, KITTI, LIMITS, SAMPLE, out, STORE, set())
    assert str(caught.value).startswith(str(archive))
    assert "\n" not in str(caught.value)
    assert tree(tmp_path) == before


SKIPPED = {
    "a top folder": both(move_below("data_semantics/"), remove_originals),
    "a top folder, with macOS's": both(
        move_below("KITTI/"),
        remove_originals,
        add("__MACOSX/KITTI/training/image_2/._000001_10.png"),
    ),
    "a dot for a folder": both(move_below("./"), remove_originals),
    "macOS": add("__MACOSX/training/image_2/._000001_10.png"),
    "dot files": both(add("training/image_2/.DS_Store"), add("training/.git/a.png")),
    "a hidden image": add("training/image_2/.000099_10.png"),
    "other folders": both(add("training/instance/000001_10.png"), add("devkit/readme.txt")),
    "a deeper folder": add("training/image_2/more/000001_10.png"),
    "a colon": add("c:evil.png"),
    "foreign names that are not UTF-8": add("other/\u2524\u256b.png"),
    "other files": both(add("training/image_2/Thumbs.db"), add("training/image_2/notes.txt")),
    "a companion of another kind": add("training/image_2/000001_10_colors.jpg"),
    "the same in a format that is not read": add("training/image_2/000001_10.tif"),
    "a link elsewhere": add("training/latest", b"image_2", 0o120777),
    "a zip in it": add("training/image_2/more.zip", b"PK\x03\x04"),
    "folders of their own": both(add("training/"), add("training/image_2/", mode=0o040755)),
    "a program before it": prepend_program,
}


@pytest.mark.parametrize("kind", SKIPPED)
def test_foreign_files_are_skipped(raw_images: Path, tmp_path: Path, kind: str):
    archive = make_zip(raw_images, tmp_path / "data.zip")
    SKIPPED[kind](archive)
    fetch(str(archive), None, KITTI, LIMITS, SAMPLE, tmp_path / "work" / "raw", STORE, set())
    expected = {f"raw/{name}": content for name, content in tree(raw_images).items()}
    found = tree(tmp_path / "work")
    found.pop("raw/manifest.json")
    assert found == expected


FEW, SMALL = {"files": 10}, {"pixels": 1000}


@pytest.mark.parametrize(
    ("packed", "limits", "message"),
    [
        (True, FEW, "data.max_files allows 10"),
        (False, FEW, "data.max_files allows 10"),
        (True, SMALL, "000000_10.png: 32x48 pixels; the limit is 0.001 million"),
        (False, SMALL, "000000_10.png: 32x48 pixels; the limit is 0.001 million"),
        (True, {"bytes": 1000}, "data.max_gigabytes allows 1,000"),
    ],
)
def test_limits_apply_to_archives_and_directories(raw_images, tmp_path, packed, limits, message):
    source = make_zip(raw_images, tmp_path / "data.zip") if packed else raw_images
    with pytest.raises(InputError, match=message):
        fetch(
            str(source),
            None,
            KITTI,
            replace(LIMITS, **limits),
            SAMPLE,
            tmp_path / "raw",
            STORE,
            set(),
        )
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_bomb_with_a_small_declared_size_takes_no_memory(raw_images: Path, tmp_path: Path, method):
    """With these methods, Python unpacks a whole chunk at once."""
    archive = make_zip(raw_images, tmp_path / "data.zip")
    name = "training/image_2/bomb.png"
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(name, bytes(100 << 20), method)
    patch(DIRECTORY, 24, struct.pack("<I", 100), name)(archive)
    tracemalloc.start()
    with pytest.raises(InputError, match=f"{name} is compressed with (bzip2|LZMA); compress"):
        fetch(str(archive), None, KITTI, LIMITS, SAMPLE, tmp_path / "raw", STORE, set())
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()
