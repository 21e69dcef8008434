import tarfile
import zipfile
from pathlib import Path

import pytest

from roadseg.prepare.discovery.files import open_files
from roadseg.prepare.fetch.limits import Limits
from roadseg.system.errors import InputError

LIMITS = Limits(files=10, bytes=1 << 20, ratio=100, pixels=10**6)
NAMES = {
    "b/cafe\u0301.png": b"1",
    "a.txt": b"23456",
    "classes.txt": b"",
    ".DS_Store": b"7",
    "b/.hidden/x.png": b"8",
    "__MACOSX/a.txt": b"9",
}


def write_folder(path: Path) -> None:
    for name, content in NAMES.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("b/", b"")
        for name, content in NAMES.items():
            opened.writestr(name.replace("/", "\\") if "b/c" in name else name, content)


def write_tar(path: Path) -> None:
    write_folder(path.with_suffix(".folder"))
    with tarfile.open(path, "w:gz") as opened:
        opened.add(path.with_suffix(".folder"), ".")


@pytest.mark.parametrize("write", [write_folder, write_zip, write_tar])
def test_files_have_the_same_names_and_contents_in_all_kinds_of_sources(write, tmp_path: Path):
    write(tmp_path / "data")
    with open_files(tmp_path / "data", LIMITS) as files:
        names = [name.removeprefix("./") for name in files.names]
        assert names == ["a.txt", "b/café.png", "classes.txt"]
        first, second, third = files.names
        assert (files.size(first), files.size(third)) == (5, 0)
        assert files.read(second) == b"1"
        assert files.read(first, limit=3) == b"234"
        assert dict(files.read_each([second, first], limit=4)) == {first: b"2345", second: b"1"}


def test_files_are_read_in_the_order_of_the_archive(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as opened:
        for name in "cab":
            opened.writestr(name, name)
    with open_files(tmp_path / "a.zip", LIMITS) as files:
        assert [name for name, _ in files.read_each("abc")] == ["c", "a", "b"]


def test_links_are_followed_but_not_in_circles(tmp_path: Path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/x.png").write_bytes(b"1")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data/again").symlink_to(tmp_path / "data")
    (tmp_path / "data/broken.png").symlink_to(tmp_path / "missing")
    with open_files(tmp_path / "data", LIMITS) as files:
        assert files.names == ["linked/x.png"]


def test_refused_sources_are_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"missing: no such file or directory$"):
        open_files(tmp_path / "missing", LIMITS).__enter__()
    (tmp_path / "text.zip").write_text("not an archive")
    with pytest.raises(InputError, match=r"text.zip: not a complete zip archive"):
        open_files(tmp_path / "text.zip", LIMITS).__enter__()
    (tmp_path / "many").mkdir()
    for number in range(11):
        (tmp_path / f"many/{number}").touch()
    with pytest.raises(InputError, match=r"many: has over 10 files; raise data.max_files$"):
        open_files(tmp_path / "many", LIMITS).__enter__()


def test_two_files_of_one_name_are_refused(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as opened:
        opened.writestr("café.png", b"1")
        opened.writestr("cafe\u0301.png", b"2")
    with pytest.raises(InputError, match=r"a.zip: café.png exists twice"):
        open_files(tmp_path / "a.zip", LIMITS).__enter__()


def test_a_member_that_unpacks_to_too_much_is_not_read(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("a.png", bytes(2 << 20))
    with (
        pytest.raises(InputError, match=r"a.zip: unpacks to 2,097,152 bytes; data.max_gigabytes"),
        open_files(tmp_path / "a.zip", LIMITS) as files,
    ):
        files.read("a.png")
