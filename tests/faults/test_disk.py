"""Any write may find the disk full: one line names the file, and no file is half-written."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.limited_process import Limits, Result, error_line, run_module, run_stage, tree
from tests.stage_runner import WRITTEN, arguments

OLD = b"from an earlier run"
FULL = "No space left on device; make room, then run it again"
STAGES = ("check", "fetch", "remap", "split", "evaluate", "render", "card")
"""All but train, which first removes its outs, as DVC does."""
PAGE = 4096
UNFINISHED = ("data/.prepared.lock",)
"""The lock of remap, which remains."""


def outs(stage: str, folder: Path) -> dict[str, bytes]:
    """Files that `stage` has written below `folder`."""
    names = WRITTEN[stage].values()
    return {n: v for n, v in tree(folder).items() if any(n.startswith(name) for name in names)}


def write_old_outs(stage: str, done: Path, target: Path) -> dict[str, bytes]:
    """Write outs of an earlier run: files, and folders with one file."""
    for name in WRITTEN[stage].values():
        if name == ".downloads":  # no output of the stage
            continue
        path = target / name if (done / name).is_file() else target / name / "old"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(OLD)
    return tree(target)


def require_old_or_new(found: dict[str, bytes], old: dict[str, bytes], new: dict[str, bytes]):
    found = {name: found[name] for name in found if not name.startswith(UNFINISHED)}
    assert set(found) >= set(old)
    added = set(found) - set(old)
    assert added <= set(new), "temporary files remain"
    assert not (added and any("/old" in name for name in old)), "a folder was replaced in part"
    for name, content in found.items():
        assert content in (old.get(name), new.get(name)), name


def without_lock(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: files[name] for name in files if name != "data/.prepared.lock"}


def sizes(stage: str, done: Path) -> list[int]:
    """Limits of the file size at which different files fail."""
    found = sorted({len(content) for content in outs(stage, done).values()})
    return sorted({0, *(size - 1 for size in found[:: max(1, len(found) // 2)]), found[-1] - 1})


@pytest.mark.parametrize("stage", STAGES)
def test_file_size_limit_keeps_old_outs(done: Path, tmp_path: Path, stage: str):
    """RLIMIT_FSIZE causes EFBIG, like a quota; also at the last byte of a file."""
    new = outs(stage, done)
    old = write_old_outs(stage, done, tmp_path)
    for limit in sizes(stage, done):
        line = error_line(run_stage(stage, done, tmp_path, Limits(file_size=limit)))
        assert line.endswith(": File too large"), (limit, line)
        name = line.removeprefix(f"{tmp_path}/").split(":")[0]
        if name not in ("data/.raw.download/lock", "data/.prepared.lock"):
            assert name in new, (limit, line)
            assert len(new[name]) > limit
        require_old_or_new(tree(tmp_path), old, new)
    assert run_stage(stage, done, tmp_path).code == 0
    assert without_lock(tree(tmp_path)) == new


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """A file system whose size in bytes can be set."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "test", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root may mount a file system")

    def resize(size: int) -> Path:
        subprocess.run(["mount", "-o", f"remount,size={max(PAGE, size)}", str(folder)], check=True)
        return folder

    try:
        yield resize
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def pages(files: dict[str, bytes]) -> int:
    """Bytes that `files` occupy in a tmpfs."""
    return sum(-(-len(content) // PAGE) * PAGE for content in files.values())


@pytest.mark.parametrize("stage", STAGES)
def test_full_disk_keeps_old_outs(done: Path, small_disk, stage: str):
    """ENOSPC, with room for nothing and for more and more of the outs."""
    disk = small_disk(1 << 26)
    new = outs(stage, done)
    if stage != "evaluate":  # which replaces its old outs one by one and so gains room
        write_old_outs(stage, done, disk)
    old = tree(disk)
    total, used = pages(new), pages(old)
    fractions = (0, 0.4, 0.8) if stage in ("render", "card") else (0, 0.1, 0.3, 0.5, 0.7, 0.9)
    rooms = sorted({int(fraction * total) // PAGE * PAGE for fraction in fractions})
    for room in rooms:
        if room >= total:
            continue
        small_disk(used + room)
        line = error_line(run_stage(stage, done, disk))
        name = line.removeprefix(f"{disk}/").split(":")[0]
        assert line.endswith(f": {FULL}"), (room, line)
        written = {*new, *(str(parent) for path in new for parent in Path(path).parents)}
        assert name in written or name.startswith(UNFINISHED), line
        require_old_or_new(tree(disk), old, new)
    small_disk(1 << 26)
    assert run_stage(stage, done, disk).code == 0
    assert without_lock(tree(disk)) == new


def run_predict(done: Path, out: Path, limits: Limits) -> Result:
    options = ["--model", str(done / "models/best.safetensors"), "--device", "cpu"]
    paths = [str(done / "pictures/testing/image_2"), "--out", str(out), "--probabilities"]
    return run_module("roadseg.__main__", ["predict", *paths, *options], limits)


def test_predict_with_a_file_size_limit_leaves_whole_files(done: Path, tmp_path: Path):
    assert run_predict(done, tmp_path / "undisturbed", Limits()).code == 0
    undisturbed = tree(tmp_path / "undisturbed")
    out = tmp_path / "out"
    for limit in sorted({0, *(len(content) - 1 for content in undisturbed.values())}):
        shutil.rmtree(out, ignore_errors=True)
        line = error_line(run_predict(done, out, Limits(file_size=limit)))
        failed = line.removeprefix(f"{out}/").split(":")[0]
        assert line.endswith(": File too large"), line
        assert len(undisturbed[failed]) > limit
        for name, content in tree(out).items():
            assert content == undisturbed[name], name
    assert run_predict(done, out, Limits()).code == 0
    assert tree(out) == undisturbed


def test_export_on_a_full_disk_leaves_no_file(done: Path, small_disk):
    disk = small_disk(200_000)
    argv = ["export", str(done / "models/best.safetensors"), "--out", str(disk / "unet.pt2")]
    assert error_line(run_module("roadseg.__main__", argv)) == f"{disk}/unet.pt2: {FULL}"
    assert tree(disk) == {}


BESIDE = (".ckpt", "runs")


@pytest.fixture(scope="module")
def trained(done: Path) -> dict[str, bytes]:
    return outs_of_training(done)


def outs_of_training(folder: Path) -> dict[str, bytes]:
    found = outs("train", folder)
    found = {n: v for n, v in found.items() if n.split("/")[0] not in BESIDE}
    return {name: content for name, content in found.items() if not name.endswith(".lock")}


def require_whole(folder: Path, trained: dict[str, bytes]) -> None:
    """Every out is a file of the undisturbed training, as it was after some epoch."""
    assert not [name for name in tree(folder) if "tmp" in name or "unfinished" in name]
    for name, content in outs_of_training(folder).items():
        if "epoch_" in name:
            assert content == trained[name], name
        if name.endswith("best.safetensors"):
            assert content in trained.values()


def test_training_resumes_after_a_full_disk(done: Path, small_disk, trained):
    """Outs, checkpoints, provenance, locks or TensorBoard find no room."""
    state = max(path.stat().st_size for path in done.glob(".ckpt/*/state_*"))
    epoch = len(trained["models/epochs/epoch_001.safetensors"])
    first = (state + epoch) // 2  # a checkpoint before the first step has no averages
    rooms = (0, 2, 5, 6, 8, first // PAGE, (first + epoch) // PAGE, (first + 2 * epoch) // PAGE + 8)
    rooms += ((first + 3 * epoch) // PAGE + 8, (first + 4 * epoch) // PAGE + 8)
    places = set()
    for room in rooms:
        disk = small_disk(room * PAGE)
        for path in disk.iterdir():
            shutil.rmtree(path)
        line = error_line(run_stage("train", done, disk))
        assert "No space left on device" in line
        assert line.startswith(f"{disk}/")
        places.add(line.split(":")[0].removeprefix(f"{disk}/").split("/")[0])
        require_whole(disk, trained)
    assert places == {"models", ".ckpt", "runs"}
    small_disk(1 << 26)
    assert run_stage("train", done, disk).code == 0
    assert outs_of_training(disk) == trained


@pytest.mark.parametrize("room", [1, 2])
def test_full_disk_of_tensorboard_is_reported(
    done: Path, tmp_path: Path, small_disk, trained, room: int
):
    """TensorBoard writes, and raises, in a thread."""
    disk = small_disk(room * PAGE)
    argv = arguments("train", done, tmp_path / "a")
    argv[argv.index("--runs") + 1] = str(disk)
    line = error_line(run_module("stages.train", argv))
    assert line.startswith(f"{disk}/")
    assert line.endswith(f": {FULL}")
    require_whole(tmp_path / "a", trained)
    small_disk(1 << 26)
    assert run_module("stages.train", argv).code == 0
    assert outs_of_training(tmp_path / "a") == trained


def test_training_resumes_after_a_file_size_limit(done: Path, tmp_path: Path, trained):
    states = [path.stat().st_size for path in done.glob(".ckpt/*/state_*")]
    epoch = len(trained["models/epochs/epoch_001.safetensors"])
    provenance = next(done.glob(".ckpt/*/provenance.json")).stat().st_size
    for limit in (0, 13, provenance - 1, provenance, epoch - 1, min(states) - 1, max(states) - 1):
        line = error_line(run_stage("train", done, tmp_path, Limits(file_size=limit)))
        assert "File too large" in line
        assert line.startswith(f"{tmp_path}/")
        require_whole(tmp_path, trained)
    assert run_stage("train", done, tmp_path).code == 0
    assert outs_of_training(tmp_path) == trained
