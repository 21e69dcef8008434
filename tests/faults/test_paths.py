"""Outs that may not be written, or stand where something else is to be: one line names them."""

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from roadseg.system.files import atomic_file, atomic_folder
from tests.faults.limited_process import Ended, Limits, ended, one_line, staged, tree
from tests.stage_runner import ORDER, READ, WRITTEN

NOBODY = 65534


@pytest.fixture
def foreign(done: Path, tmp_path: Path) -> Path:
    """The finished pipeline, which belongs to root, in folders that others may enter."""
    if os.geteuid() != 0:
        pytest.skip("only root may run a process as somebody else")
    shutil.copytree(done, tmp_path / "world")
    for folder in {done, *done.parents[:-2], tmp_path / "world", tmp_path, *tmp_path.parents[:-2]}:
        folder.chmod(folder.stat().st_mode | stat.S_IROTH | stat.S_IXOTH)
    return tmp_path / "world"


@pytest.mark.parametrize("stage", ORDER)
def test_no_permission_to_write(foreign: Path, stage: str):
    before = tree(foreign)
    line = one_line(staged(stage, foreign, foreign, Limits(user=NOBODY)))
    assert line.startswith(f"{foreign}/")
    assert line.endswith(": Permission denied")
    assert tree(foreign) == before


@pytest.mark.parametrize(
    ("stage", "option"), [(stage, option) for stage in ORDER for option in READ[stage]]
)
def test_no_permission_to_read(foreign: Path, tmp_path: Path, stage: str, option: str):
    path = foreign / READ[stage][option]
    path.chmod(0)
    outs = tmp_path / "outs"
    outs.mkdir()
    outs.chmod(0o777)
    line = one_line(staged(stage, foreign, outs, Limits(user=NOBODY)))
    assert line.startswith(str(path)) or READ[stage][option] in line, line


def test_no_permission_to_read_a_source(foreign: Path, done: Path):
    path = done / "pictures/training/image_2/000003_10.png"
    kept = path.stat().st_mode
    path.chmod(0)
    try:
        line = one_line(staged("fetch", foreign, foreign, Limits(user=NOBODY)))
    finally:
        path.chmod(kept)
    assert "Permission denied" in line


def as_a_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"in the way")


def as_a_folder(path: Path) -> None:
    path.mkdir(parents=True)
    (path / "in the way").touch()


def as_a_link_to_nothing(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to("nothing/at/all")


def as_a_link_to_itself(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(path.name)


OBSTACLES = (as_a_file, as_a_folder, as_a_link_to_nothing, as_a_link_to_itself)
BESIDE = ("runs", ".ckpt", ".downloads")


OUTS = [(stage, name) for stage in ORDER for name in WRITTEN[stage].values()]
# of stages with many outs, each of them meets one obstacle, and their first all
MEETINGS = [
    (stage, name, obstacle)
    for number, (stage, name) in enumerate(OUTS)
    for kind, obstacle in enumerate(OBSTACLES)
    if kind == number % len(OBSTACLES) or name == next(iter(WRITTEN[stage].values()))
]


@pytest.mark.parametrize(("stage", "name", "obstacle"), MEETINGS)
def test_something_else_in_an_outs_place(
    done: Path, tmp_path: Path, stage: str, name: str, obstacle: Callable[[Path], None]
):
    """It is replaced as the stage's own old out, or named; nothing hangs, nothing is half done."""
    obstacle(tmp_path / name)
    said = staged(stage, done, tmp_path)
    if said.code:
        line = one_line(said)
        assert line.startswith(f"{tmp_path / name}"), line
    else:
        own = tmp_path / name
        assert own.is_dir() == (done / name).is_dir() or name in BESIDE
        assert name in BESIDE or tree(own) == tree(done / name)
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("obstacle", [as_a_file, as_a_link_to_nothing, as_a_link_to_itself])
@pytest.mark.parametrize("stage", ORDER)
def test_a_part_of_a_path_is_no_folder(done: Path, tmp_path: Path, stage: str, obstacle):
    parents = {name.split("/")[0] for name in WRITTEN[stage].values() if "/" in name}
    for name in parents:
        obstacle(tmp_path / name)
    line = one_line(staged(stage, done, tmp_path))
    assert line.startswith(f"{tmp_path}/"), line
    assert all((tmp_path / name).is_symlink() or (tmp_path / name).is_file() for name in parents)


@pytest.mark.parametrize("stage", ORDER)
def test_a_name_too_long(done: Path, tmp_path: Path, stage: str):
    line = one_line(staged(stage, done, tmp_path / ("a" * 256)))
    assert line.endswith("File name too long") or "name too long" in line, line


@pytest.mark.parametrize("name", ["models/epochs.lock", ".ckpt"])
def test_a_lock_that_is_a_link_to_nothing_is_not_waited_for(done, tmp_path: Path, name: str):
    as_a_link_to_nothing(tmp_path / name)
    assert one_line(staged("train", done, tmp_path)).startswith(f"{tmp_path / name}")


@pytest.mark.parametrize("length", [230, 251])
def test_predict_keeps_long_names(done: Path, tmp_path: Path, length: int):
    """As long as file systems allow; temporary names are shorter."""
    name = "a" * length
    picture = tmp_path / f"{name}.png"
    shutil.copyfile(done / "pictures/testing/image_2/000000_10.png", picture)
    argv = [str(picture), "--out", str(tmp_path / "out"), "--device", "cpu"]
    argv += ["--model", str(done / "models/best.safetensors")]
    said = ended("roadseg.__main__", ["predict", *argv])
    assert said.code == 0, said.err
    assert (tmp_path / f"out/color/{name}.png").is_file()


def test_what_was_left_under_a_short_name_is_removed(tmp_path: Path):
    path = tmp_path / ("é" * 120)
    dead = subprocess.Popen(["true"])
    dead.wait()
    with atomic_file(path) as temporary:
        left = temporary.with_name(temporary.name.replace(f".{os.getpid()}.", f".{dead.pid}."))
        assert left != temporary
        left.touch()
        temporary.touch()
    from roadseg.system import files

    files._find_leftovers.cache_clear()
    with atomic_file(path) as temporary:
        temporary.touch()
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_a_folder_in_a_files_place_is_named_itself(tmp_path: Path):
    (tmp_path / "out").mkdir()
    with pytest.raises(IsADirectoryError) as caught, atomic_file(tmp_path / "out") as temporary:
        temporary.touch()
    assert caught.value.filename == str(tmp_path / "out")
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "a").touch()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a"]


def said_by_export(done: Path, out: Path) -> Ended:
    model = str(done / "models/best.safetensors")
    return ended("roadseg.__main__", ["export", model, "--out", str(out)])


def test_export_to_where_a_file_stands(done: Path, tmp_path: Path):
    as_a_file(tmp_path / "a")
    assert one_line(said_by_export(done, tmp_path / "a/unet.pt2")).startswith(f"{tmp_path}/a")
