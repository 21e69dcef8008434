import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from roadseg.system.errors import InputError
from roadseg.system.files import atomic_file, atomic_folder, read_json, repository_path, write_json
from tests.factories import ROOT


class BrokenError(Exception):
    pass


KILLED_AFTER_HALF = """
import os, pathlib, sys
from roadseg.system import files
with getattr(files, sys.argv[1])(pathlib.Path(sys.argv[2])) as temporary:
    (temporary / "half.txt" if temporary.is_dir() else temporary).write_text("half")
    os.kill(os.getpid(), 9)
"""


def write_half(path: Path, atomic: Callable) -> None:
    """Raise BrokenError after writing to the temporary file or folder."""
    with atomic(path) as temporary:
        target = temporary / "half.txt" if temporary.is_dir() else temporary
        target.write_text("half")
        raise BrokenError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_file_is_unchanged_until_the_new_one_is_complete(tmp_path: Path):
    path = tmp_path / "deep" / "a.txt"
    with atomic_file(path) as temporary:
        temporary.write_text("first")
        assert not path.exists()
    with pytest.raises(BrokenError):
        write_half(path, atomic_file)
    assert path.read_text() == "first"
    assert names(path.parent) == ["a.txt"]


def test_folder_is_unchanged_until_the_new_one_is_complete(tmp_path: Path):
    path = tmp_path / "data"
    for text in ("first", "second"):
        with atomic_folder(path) as fresh:
            (fresh / f"{text}.txt").write_text(text)
        assert names(path) == [f"{text}.txt"]
    with pytest.raises(BrokenError):
        write_half(path, atomic_folder)
    assert names(path) == ["second.txt"]
    assert names(tmp_path) == ["data"]


def test_folder_is_restored_when_its_replacement_is_interrupted(tmp_path: Path, monkeypatch):
    path = tmp_path / "data"
    path.mkdir()
    (path / "a.txt").write_text("first")
    replace = os.replace

    def interrupt_second(source: Path, target: Path) -> None:
        if Path(source).name == "new":
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", interrupt_second)
    with pytest.raises(KeyboardInterrupt), atomic_folder(path):
        pass
    assert names(path) == ["a.txt"]
    assert names(tmp_path) == ["data"]


@pytest.mark.parametrize("atomic", [atomic_file, atomic_folder])
def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path, atomic):
    path = tmp_path / "a[1].txt"
    command = (sys.executable, "-c", KILLED_AFTER_HALF, atomic.__name__, str(path))
    killed = subprocess.run(command, cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 1
    with pytest.raises(BrokenError):
        write_half(path, atomic)
    assert names(tmp_path) == []


def test_json_has_sorted_keys_and_no_nan(tmp_path: Path):
    write_json(tmp_path / "a.json", {"b": 1, "a": "ö"})
    assert (tmp_path / "a.json").read_text() == '{\n  "a": "ö",\n  "b": 1\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"a": math.nan})
    assert read_json(tmp_path / "a.json") == {"a": "ö", "b": 1}


def test_error_of_missing_or_cut_json_has_the_file(tmp_path: Path):
    with pytest.raises(InputError, match=r"none.json: no such file"):
        read_json(tmp_path / "none.json")
    (tmp_path / "cut.json").write_text('{"a": ')
    with pytest.raises(InputError, match=r"cut.json: not JSON"):
        read_json(tmp_path / "cut.json")


def test_relative_paths_are_resolved_in_the_main_repository(monkeypatch):
    monkeypatch.setenv("DVC_ROOT", "/main")
    assert repository_path("a/b.zip") == Path("/main/a/b.zip")
    assert repository_path("/elsewhere/b.zip") == Path("/elsewhere/b.zip")
    with pytest.raises(InputError, match=r"~nosuchuser/b.zip: "):
        repository_path("~nosuchuser/b.zip")
    monkeypatch.delenv("DVC_ROOT")
    assert repository_path("a") == Path("a")


def test_oserror_has_the_final_path_and_not_the_temporary_one(tmp_path: Path):
    def write() -> None:
        with atomic_folder(tmp_path / "out") as fresh:
            (fresh / ("x" * 300)).touch()

    with pytest.raises(OSError, match="File name too long") as caught:
        write()
    assert caught.value.filename == str(tmp_path / "out" / ("x" * 300))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("NaN", "NaN is not a JSON number"),
        ('{"a": -Infinity}', "-Infinity is not a JSON number"),
        ("[" * 100_000, "recursion"),
        ("9" * 5000, "4300 digits"),
    ],
    ids=["nan", "infinity", "deep", "digits"],
)
def test_json_beyond_the_limits_of_python_is_refused(tmp_path: Path, text: str, reason: str):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(InputError, match=f"a.json: not JSON .*{reason}"):
        read_json(path)


@pytest.mark.parametrize("number", ["dead", "own"])
def test_folder_that_a_killed_process_had_moved_away_is_restored(tmp_path: Path, number: str):
    path = tmp_path / "data"
    dead = subprocess.Popen(["true"])
    dead.wait()
    pid = dead.pid if number == "dead" else os.getpid()  # in a container, process ids are reused
    left = tmp_path / f".data.{pid}.tmp"
    for name in ("old", "new"):
        (left / name).mkdir(parents=True)
        (left / name / f"{name}.txt").touch()
    with pytest.raises(BrokenError):
        write_half(path, atomic_folder)
    assert names(tmp_path) == ["data"]
    assert names(path) == ["old.txt"]


@pytest.mark.parametrize("atomic", [atomic_file, atomic_folder])
def test_temporary_files_of_a_living_process_are_kept(tmp_path: Path, atomic: Callable):
    living = tmp_path / f".data.{os.getppid()}.tmp"
    living.mkdir()
    with pytest.raises(BrokenError):
        write_half(tmp_path / "data", atomic)
    assert names(tmp_path) == [living.name]
