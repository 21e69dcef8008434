"""Text files of validation ids: found like class maps, and errors name file, line and id."""

import re
from pathlib import Path

import pytest

from roadseg.prepare.id_list import find_id_list, read_ids
from roadseg.system.errors import InputError
from tests.factories import ROOT


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "mine.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_comments_blank_lines_and_other_line_ends_are_skipped(tmp_path: Path):
    path = write(tmp_path, "\ufeff# mine\r\n\r\n  b c \r\n#a\r\ncafe\u0301#1\r\n")
    assert read_ids(path, {"a", "b c", "caf\u00e9#1"}) == ["b c", "caf\u00e9#1"]


@pytest.mark.parametrize("count", [5_000, 100_000])
def test_lists_may_be_long(tmp_path: Path, count: int):
    ids = [f"drive_{i:06}" for i in range(count)]
    assert read_ids(write(tmp_path, "\n".join(ids)), dict.fromkeys(ids)) == ids


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\n\nd.png\n", "{}, line 3: no image 'd.png' with a mask; an id is 'a'"),
        ("a\nb\n# x\na\n", "{}, line 4: 'a' is also in line 1; remove one of them"),
        ("# nothing\n\n", "{}: lists no id"),
        (b"a\n\xff\n", "{}: not a UTF-8 text file: 'utf-8' codec can't decode byte 0xff"),
    ],
)
def test_error_has_file_line_and_id(tmp_path: Path, content: str | bytes, message: str):
    path = write(tmp_path, content)
    expected = re.escape(message.format(f"split.val_ids: {path}"))
    with pytest.raises(InputError, match=expected):
        read_ids(path, {"a", "b"})


def test_huge_file_is_not_read(tmp_path: Path):
    path = write(tmp_path, "")
    with path.open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(InputError, match=r"mine.txt: 1,099,511,627,776 bytes; the limit is"):
        read_ids(path, {"a"})


@pytest.mark.parametrize("name", ["mine.txt", "splits/mine.txt"])
def test_list_that_git_does_not_track_is_named(tmp_path: Path, monkeypatch, name: str):
    """DVC runs an experiment in a copy, which has only files that Git tracks."""
    (tmp_path / "main/splits").mkdir(parents=True)
    (tmp_path / "copy/splits").mkdir(parents=True)
    path = write(tmp_path / "main/splits", "a")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "main"))
    monkeypatch.chdir(tmp_path / "copy")
    with pytest.raises(InputError, match=r"split.val_ids: splits/mine.txt is not .*run: git add"):
        find_id_list(name, Path("splits"))
    path.rename(tmp_path / "main/mine.txt")
    assert find_id_list("mine.txt", Path("splits")) == tmp_path / "main/mine.txt"
    with pytest.raises(InputError, match=r"no file 'yours.txt'; use , or the path of a text file"):
        find_id_list("yours.txt", Path("splits"))


def test_nvidias_list_has_21_ids_of_kitti():
    path = find_id_list("kitti_nvidia.txt", ROOT / "splits")
    ids = read_ids(path, {f"{i:06}_10" for i in range(200)})
    assert len(ids) == 21
    assert (ids[0], ids[-1]) == ("000001_10", "000198_10")
