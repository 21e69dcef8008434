"""Paths that cannot be read or written, or have the wrong type: one line names them."""

import itertools
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from roadseg.system.files import atomic_file, atomic_folder
from tests.faults.limited_process import Limits, Result, error_line, run_module, run_stage, tree
from tests.stage_runner import ORDER, READ, WRITTEN

NOBODY = 65534


@pytest.fixture
def foreign(done: Path, tmp_path: Path) -> Path:
    """A copy of the finished pipeline that belongs to root, in folders that others may enter."""
    if os.geteuid() != 0:
        pytest.skip("only root may run a process as somebody else")
    shutil.copytree(done, tmp_path / "world")
    for folder in {done, *done.parents[:-2], tmp_path / "world", tmp_path, *tmp_path.parents[:-2]}:
        folder.chmod(folder.stat().st_mode | stat.S_IROTH | stat.S_IXOTH)
    return tmp_path / "world"


@pytest.mark.parametrize("stage", ORDER)
def test_missing_permission_to_write_is_reported(foreign: Path, stage: str):
    before = tree(foreign)
    line = error_line(run_stage(stage, foreign, foreign, Limits(user=NOBODY)))
    assert line.startswith(f"{foreign}/")
    assert line.endswith(": Permission denied")
    assert tree(foreign) == before


@pytest.mark.parametrize(
    ("stage", "option"),
    [
        (stage, option)
        for stage in ORDER
        for option in READ[stage]
        # not read: model.weights is none, and params.yaml has all numbers
        if option != "weights" and stage != "plan"
    ],
)
def test_missing_permission_to_read_is_reported(
    foreign: Path, tmp_path: Path, stage: str, option: str
):
    path = foreign / READ[stage][option]
    path.touch()  # the log of the test set need not exist
    path.chmod(0)
    outs = tmp_path / "outs"
    outs.mkdir()
    outs.chmod(0o777)
    line = error_line(run_stage(stage, foreign, outs, Limits(user=NOBODY)))
    assert line.startswith(str(path)) or READ[stage][option] in line, line


def test_missing_permission_to_read_a_source_is_reported(foreign: Path, done: Path):
    path = done / "pictures/training/image_2/000003_10.png"
    mode = path.stat().st_mode
    path.chmod(0)
    try:
        line = error_line(run_stage("fetch", foreign, foreign, Limits(user=NOBODY)))
    finally:
        path.chmod(mode)
    assert "Permission denied" in line


def put_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"in the way")


def put_folder(path: Path) -> None:
    path.mkdir(parents=True)
    (path / "in the way").touch()


def put_dangling_link(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to("nothing/at/all")


def put_link_to_itself(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(path.name)


OBSTACLES = (put_file, put_folder, put_dangling_link, put_link_to_itself)
NO_OUTS = ("runs", ".ckpt", ".downloads")


OUTS = [(stage, name) for stage in ORDER for name in WRITTEN[stage].values()]
# the first out of each stage meets all obstacles, and each other out one of them
CASES = [
    (stage, name, obstacle)
    for number, (stage, name) in enumerate(OUTS)
    for kind, obstacle in enumerate(OBSTACLES)
    if kind == number % len(OBSTACLES) or name == next(iter(WRITTEN[stage].values()))
]


@pytest.mark.parametrize(("stage", "name", "obstacle"), CASES)
def test_obstacle_at_the_path_of_an_out_is_replaced_or_named(
    done: Path, tmp_path: Path, stage: str, name: str, obstacle: Callable[[Path], None]
):
    """The stage replaces it like an old out of its own, or one line names it."""
    obstacle(tmp_path / name)
    result = run_stage(stage, done, tmp_path)
    if result.code:
        line = error_line(result)
        assert line.startswith(f"{tmp_path / name}"), line
    else:
        out = tmp_path / name
        assert out.is_dir() == (done / name).is_dir() or name in NO_OUTS
        assert name in NO_OUTS or tree(out) == tree(done / name)
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("stage", "obstacle"),
    list(zip(ORDER, itertools.cycle([put_file, put_dangling_link, put_link_to_itself]))),
)
def test_parent_that_is_no_folder_is_named(done: Path, tmp_path: Path, stage: str, obstacle):
    parents = {name.split("/")[0] for name in WRITTEN[stage].values() if "/" in name}
    for name in parents:
        obstacle(tmp_path / name)
    line = error_line(run_stage(stage, done, tmp_path))
    assert line.startswith(f"{tmp_path}/"), line
    assert all((tmp_path / name).is_symlink() or (tmp_path / name).is_file() for name in parents)


@pytest.mark.parametrize("stage", ORDER)
def test_too_long_name_is_reported(done: Path, tmp_path: Path, stage: str):
    line = error_line(run_stage(stage, done, tmp_path / ("a" * 256)))
    assert line.endswith("File name too long") or "name too long" in line, line


@pytest.mark.parametrize("name", ["models/epochs.lock", ".ckpt"])
def test_lock_that_is_a_dangling_link_is_an_error(done, tmp_path: Path, name: str):
    put_dangling_link(tmp_path / name)
    assert error_line(run_stage("train", done, tmp_path)).startswith(f"{tmp_path / name}")


@pytest.mark.parametrize("length", [230, 251])
def test_predict_handles_long_names(done: Path, tmp_path: Path, length: int):
    """Names of the greatest length that file systems allow; temporary names are shorter."""
    name = "a" * length
    image = tmp_path / f"{name}.png"
    shutil.copyfile(done / "pictures/testing/image_2/000000_10.png", image)
    argv = [str(image), "--out", str(tmp_path / "out"), "--device", "cpu"]
    argv += ["--model", str(done / "models/best.safetensors")]
    result = run_module("roadseg.__main__", ["predict", *argv])
    assert result.code == 0, result.err
    assert (tmp_path / f"out/color/{name}.png").is_file()


def test_temporary_file_of_a_dead_process_is_removed(tmp_path: Path):
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


def test_folder_at_the_path_of_a_file_is_named(tmp_path: Path):
    (tmp_path / "out").mkdir()
    with pytest.raises(IsADirectoryError) as caught, atomic_file(tmp_path / "out") as temporary:
        temporary.touch()
    assert caught.value.filename == str(tmp_path / "out")
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "a").touch()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a"]


def run_export(done: Path, out: Path) -> Result:
    model = str(done / "models/best.safetensors")
    return run_module("roadseg.__main__", ["export", model, "--out", str(out)])


def test_export_below_a_file_is_reported(done: Path, tmp_path: Path):
    put_file(tmp_path / "a")
    assert error_line(run_export(done, tmp_path / "a/unet.pt2")).startswith(f"{tmp_path}/a")
