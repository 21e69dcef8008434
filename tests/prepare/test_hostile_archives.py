"""Archives made by an attacker or a careless tool: what is refused, and what is just left out."""

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
from tests.prepare.test_source import SAMPLE, tree, zipped

IMAGE, MASK = "training/image_2/000001_10.png", "training/semantic/000001_10.png"
DIRECTORY, MEMBER = b"PK\x01\x02", b"PK\x03\x04"


def added(name: str, content: bytes = b"x", mode: int = 0) -> Callable[[Path], None]:
    """Another member, of that Unix file type."""

    def change(archive: Path) -> None:
        info = zipfile.ZipInfo(name)
        info.filename = name  # as it is, also with a backslash
        info.external_attr = mode << 16
        with zipfile.ZipFile(archive, "a") as opened, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of duplicate names
            opened.writestr(info, content)

    return change


def patched(record: bytes, offset: int, value: bytes, name: str = IMAGE) -> Callable[[Path], None]:
    """Bytes of the directory's or the member's own record for `name`, overwritten."""

    def change(archive: Path) -> None:
        data = bytearray(archive.read_bytes())
        header = 46 if record == DIRECTORY else 30
        at = data.index(name.encode(), data.index(DIRECTORY) if record == DIRECTORY else 0) - header
        assert data[at : at + 4] == record
        data[at + offset : at + offset + len(value)] = value
        archive.write_bytes(data)

    return change


def renamed(name: bytes, flags: int) -> Callable[[Path], None]:
    """Another name of the same length for IMAGE, in both of its records, with general flags."""

    def change(archive: Path) -> None:
        for record, at in ((DIRECTORY, 8), (MEMBER, 6)):
            patched(record, at, struct.pack("<H", flags))(archive)
        archive.write_bytes(archive.read_bytes().replace(IMAGE.encode(), name))

    return change


def cut(share: float) -> Callable[[Path], None]:
    def change(archive: Path) -> None:
        data = archive.read_bytes()
        archive.write_bytes(data[: round(len(data) * share)])

    return change


def flipped_byte(archive: Path) -> None:
    data = bytearray(archive.read_bytes())
    data[data.index(IMAGE.encode()) + len(IMAGE) + 60] ^= 255
    archive.write_bytes(data)


def of_content(content: bytes) -> Callable[[Path], None]:
    return lambda archive: archive.write_bytes(content) and None


def huge(archive: Path) -> None:
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("training/image_2/000077_10.png", bytes(70 << 20))


def many(archive: Path) -> None:
    with zipfile.ZipFile(archive, "a") as opened:
        for number in range(LIMITS.files):
            opened.writestr(f"other/{number}", b"")


def within(folder: str) -> Callable[[Path], None]:
    """All members of the layout below `folder` as well."""

    def change(archive: Path) -> None:
        with zipfile.ZipFile(archive, "a") as opened:
            for name in [n for n in opened.namelist() if n.startswith(("training", "testing"))]:
                opened.writestr(folder + name, opened.read(name))

    return change


def without_top(archive: Path) -> None:
    """Leave only what lies in a folder round the layout."""
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


def program_before(archive: Path) -> None:
    """As archives that unpack themselves have."""
    archive.write_bytes(b"#!" + archive.read_bytes())


OUTSIDE = "would lie outside the folder"
REFUSED = {
    "parent": (added("../evil.png"), OUTSIDE),
    "parent within": (added("training/image_2/../../../evil.png"), OUTSIDE),
    "parent at the end": (added("training/.."), OUTSIDE),
    "parent by backslash": (added("training\\..\\..\\evil.png"), OUTSIDE),
    "absolute": (added("/etc/evil.png"), OUTSIDE),
    "absolute by backslash": (added("\\evil.png"), OUTSIDE),
    "network share": (added("\\\\host\\share\\evil.png"), OUTSIDE),
    "drive": (added("C:\\evil.png"), OUTSIDE),
    "drive, relative": (added("c:evil.png"), OUTSIDE),
    "soft link": (added("training/image_2/a.png", b"/etc/passwd", 0o120777), "a link or a device"),
    "device": (added("training/image_2/a.png", b"", 0o020666), "a link or a device"),
    "block device": (added("training/image_2/a.png", b"", 0o060666), "a link or a device"),
    "pipe": (added("training/image_2/a.png", b"", 0o010666), "a link or a device"),
    "socket": (added("training/semantic/a.png", b"", 0o140666), "a link or a device"),
    "twice": (added(IMAGE), f"{IMAGE} stands in the archive twice"),
    "case": (
        both(added("training/image_2/A.png"), added("training/image_2/a.png")),
        "A.png and training/image_2/a.png both have the id a",
    ),
    "accents": (
        both(added("training/image_2/\u00e9.png"), added("training/image_2/e\u0301.png")),
        "both have the id",
    ),
    "another ending": (added("training/image_2/000001_10.jpg"), "both have the id 000001_10"),
    "capital ending": (added("training/image_2/000001_10.PNG"), "both have the id 000001_10"),
    "a stranger": (added("training/image_2/strange.jpg"), "is named otherwise"),
    "control character": (added("training/image_2/a\nb.png"), "is named otherwise"),
    "name not UTF-8": (renamed(b"training/image_2/\xff\xfe0001_10.png", 0x800), "not a whole zip"),
    "name of old DOS": (renamed(b"training/image_2/\xff\xfe0001_10.png", 0), "has no mask"),
    "encrypted": (patched(DIRECTORY, 8, b"\x01\x00"), "is encrypted"),
    "strongly encrypted": (patched(DIRECTORY, 8, b"\x41\x00"), "is encrypted"),
    "patch data": (patched(DIRECTORY, 8, b"\x20\x00"), f"{IMAGE} is damaged"),
    "unknown method": (patched(DIRECTORY, 10, b"\x63\x00"), f"{IMAGE} is packed by 99;"),
    "another method": (patched(DIRECTORY, 10, b"\x0c\x00"), f"{IMAGE} is packed by bzip2; pack"),
    "needs version 99": (patched(DIRECTORY, 6, b"\x63\x00"), "not a whole zip"),
    "wrong checksum": (patched(DIRECTORY, 16, b"\x00\x00\x00\x00"), "Bad CRC-32"),
    "states less": (patched(DIRECTORY, 24, struct.pack("<I", 20)), "Bad CRC-32"),
    "states more": (
        patched(DIRECTORY, 24, struct.pack("<I", 99_000)),
        f"{IMAGE} is damaged: .* of 99000 bytes came",
    ),
    "states far more": (patched(DIRECTORY, 24, b"\xf0\xff\xff\xff"), "data.max_gigabytes allows"),
    "packed size of more": (patched(DIRECTORY, 20, b"\xf0\xff\xff\x00"), "overlap"),
    "packed size 0": (patched(DIRECTORY, 20, bytes(4)), "damaged"),
    "place beyond the end": (patched(DIRECTORY, 42, b"\xf0\xff\xff\x7f"), "archive"),
    "place of another": (patched(DIRECTORY, 42, bytes(4), MASK), "is damaged: File name in dir"),
    "other name inside": (patched(MEMBER, 30, b"T"), "is damaged: File name in directory"),
    "flipped byte": (flipped_byte, "is damaged"),
    "cut, a tenth": (cut(0.1), "not a whole zip"),
    "cut, half": (cut(0.5), "not a whole zip"),
    "cut, all but the last": (cut(0.999), "not a whole zip"),
    "empty": (of_content(b""), "not a whole zip"),
    "a page": (of_content(b"<html>not found</html>"), "not a whole zip"),
    "an end alone": (of_content(b"PK\x05\x06" + bytes(18)), "no file is named"),
    "zeros": (of_content(bytes(5000)), "not a whole zip"),
    "a ratio": (huge, "times its own; data.max_ratio allows 100"),
    "many files": (many, "files; data.max_files allows 1,000"),
    "the layout in two folders": (
        both(within("one/"), within("two/"), without_top),
        "one/ and two/ both hold such a data set",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_hostile_archive_changes_nothing(raw_images: Path, tmp_path: Path, kind: str):
    change, message = REFUSED[kind]
    archive = zipped(raw_images, tmp_path / "data.zip")
    change(archive)
    out = tmp_path / "work" / "raw"
    fetch("sample", None, KITTI, LIMITS, SAMPLE, out, STORE, set())
    before = tree(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        fetch(str(archive), None, KITTI, LIMITS, SAMPLE, out, STORE, set())
    assert str(caught.value).startswith(str(archive))
    assert "\n" not in str(caught.value)
    assert tree(tmp_path) == before


LEFT_OUT = {
    "a top folder": both(within("data_semantics/"), without_top),
    "a top folder, with macOS's": both(
        within("KITTI/"), without_top, added("__MACOSX/KITTI/training/image_2/._000001_10.png")
    ),
    "a dot for a folder": both(within("./"), without_top),
    "macOS": added("__MACOSX/training/image_2/._000001_10.png"),
    "dot files": both(added("training/image_2/.DS_Store"), added("training/.git/a.png")),
    "a hidden picture": added("training/image_2/.000099_10.png"),
    "other folders": both(added("training/instance/000001_10.png"), added("devkit/readme.txt")),
    "a deeper folder": added("training/image_2/more/000001_10.png"),
    "other files": both(added("training/image_2/Thumbs.db"), added("training/image_2/notes.txt")),
    "a companion of another kind": added("training/image_2/000001_10_colors.jpg"),
    "the same in a format that is not read": added("training/image_2/000001_10.tif"),
    "a link elsewhere": added("training/latest", b"image_2", 0o120777),
    "a zip in it": added("training/image_2/more.zip", b"PK\x03\x04"),
    "folders of their own": both(added("training/"), added("training/image_2/", mode=0o040755)),
    "a program before it": program_before,
}


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_what_does_not_belong_to_the_data_set_stays_out(
    raw_images: Path, tmp_path: Path, kind: str
):
    archive = zipped(raw_images, tmp_path / "data.zip")
    LEFT_OUT[kind](archive)
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
        (True, SMALL, "000000_10.png: 32x48 pixels; allowed are 0.001 million"),
        (False, SMALL, "000000_10.png: 32x48 pixels; allowed are 0.001 million"),
        (True, {"bytes": 1000}, "data.max_gigabytes allows 1,000"),
    ],
)
def test_limits_hold_for_archives_and_folders(raw_images, tmp_path, packed, limits, message):
    source = zipped(raw_images, tmp_path / "data.zip") if packed else raw_images
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
def test_a_bomb_that_states_a_small_size_takes_no_memory(raw_images: Path, tmp_path: Path, method):
    """These methods' decompressors give all that a piece unpacks to at once."""
    archive = zipped(raw_images, tmp_path / "data.zip")
    name = "training/image_2/bomb.png"
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(name, bytes(100 << 20), method)
    patched(DIRECTORY, 24, struct.pack("<I", 100), name)(archive)
    tracemalloc.start()
    with pytest.raises(InputError, match=f"{name} is packed by (bzip2|lzma); pack the archive"):
        fetch(str(archive), None, KITTI, LIMITS, SAMPLE, tmp_path / "raw", STORE, set())
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()
