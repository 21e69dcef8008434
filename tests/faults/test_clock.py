"""A clock that is wrong, or goes back: nothing of a training is lost or kept by it."""

import os
import time
import zipfile
from pathlib import Path

import pytest

from roadseg.training.checkpoint_store import CheckpointStore
from tests.factories import (
    EVERY_STEP,
    ODD,
    StopAfter,
    make_params,
    make_provenance,
    make_trainer,
    read_outputs,
    run_training,
    write_images,
    write_params,
)
from tests.faults.limited_process import staged, tree

YEAR = 365 * 24 * 3600
NS = 10**9


def store(root: Path, number: int) -> CheckpointStore:
    return CheckpointStore(root, make_provenance(seed=number))


def used(one: CheckpointStore) -> None:
    with one.lock(lambda: None, fresh=False):
        one.save({}, {}, [])


def left(root: Path, stores: list[CheckpointStore]) -> set[int]:
    names = {path.name for path in root.iterdir()}
    return {number for number, one in enumerate(stores) if one.folder.name in names}


@pytest.mark.parametrize("jump", [-60 * YEAR, -YEAR, -3600, -1, 3600, YEAR, 200 * YEAR])
def test_the_order_of_use_survives_a_jump(tmp_path: Path, monkeypatch, jump: int):
    """Used 0, 1, 2; then the clock jumps; used 3, 4: the newest three stay."""
    stores, now = [store(tmp_path, number) for number in range(5)], time.time_ns()
    clock = [now]
    monkeypatch.setattr(time, "time_ns", lambda: clock[0])
    for one in stores[:3]:
        used(one)
        clock[0] += NS
    clock[0] += jump * NS
    for one in stores[3:]:
        used(one)
        clock[0] += NS
    with stores[4].lock(lambda: None, fresh=False):
        stores[4].remove_oldest_trainings(3)
    assert left(tmp_path, stores) == {2, 3, 4}


@pytest.mark.parametrize("ahead", [YEAR, 12 * YEAR])
def test_a_training_from_the_future_is_not_kept_for_ever(tmp_path: Path, ahead: int):
    stores = [store(tmp_path, number) for number in range(4)]
    used(stores[0])
    future = time.time_ns() + ahead * NS
    os.utime(stores[0].folder, ns=(future, future))
    for one in stores[1:]:
        used(one)
        with one.lock(lambda: None, fresh=False):
            one.remove_oldest_trainings(2)
    assert left(tmp_path, stores) == {2, 3}


@pytest.mark.parametrize("jump", [-10 * YEAR, -3600, 3600, 10 * YEAR])
def test_a_clock_that_jumps_at_each_look(prepared, tmp_path, monkeypatch, without_histograms, jump):
    """While training, stopped and going on: the bytes and the states of an undisturbed one."""
    run_training(make_trainer(prepared, make_params(tmp_path), **ODD), tmp_path / "straight")
    real, looks = time.time, [0]

    def jumping() -> float:
        looks[0] += 1
        return real() + (looks[0] % 2) * jump

    monkeypatch.setattr(time, "time", jumping)
    monkeypatch.setattr(time, "time_ns", lambda: int(jumping() * NS))
    with pytest.raises(KeyboardInterrupt):
        run_training(
            make_trainer(prepared, make_params(tmp_path), **ODD), tmp_path / "a", stop=StopAfter(3)
        )
    run_training(
        make_trainer(prepared, make_params(tmp_path), **ODD), tmp_path / "a", resume=EVERY_STEP
    )
    assert read_outputs(tmp_path / "a") == read_outputs(tmp_path / "straight")
    assert looks[0] > 3


@pytest.mark.parametrize("when", [0, 1, 2**31, 2**33])
def test_files_of_any_time_give_the_same(done: Path, tmp_path: Path, when: int):
    """1970, 2038 and beyond, of inputs and of earlier read_outputs."""
    write_images(tmp_path / "pictures")
    write_params(tmp_path / "params.yaml", data__source=str(tmp_path / "pictures"))
    for _ in range(2):
        for path in tmp_path.rglob("*"):
            os.utime(path, (when, when))
        for stage in ("fetch", "remap", "split"):
            assert staged(stage, tmp_path, tmp_path).code == 0
    assert tree(tmp_path / "data/prepared") == tree(done / "data/prepared")


@pytest.mark.parametrize("when", [(1980, 1, 1, 0, 0, 0), (2107, 12, 31, 23, 59, 58), None])
def test_members_of_any_time(done: Path, tmp_path: Path, when):
    """All that a zip can tell, and a date that is none: month 0 of 1980."""
    archive = tmp_path / "data.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted((done / "pictures").rglob("*.png")):
            name = path.relative_to(done / "pictures").as_posix()
            file.writestr(zipfile.ZipInfo(name, when or (1980, 1, 1, 0, 0, 0)), path.read_bytes())
    if when is None:
        content = archive.read_bytes()
        assert content.count(b"\x00\x00\x21\x00") >= 18
        archive.write_bytes(content.replace(b"\x00\x00\x21\x00", b"\x00\x00\x00\x00"))
    write_params(tmp_path / "params.yaml", data__source=str(archive))
    said = staged("fetch", tmp_path, tmp_path)
    assert said.code == 0, said.err
    written = tree(tmp_path / "data/raw")
    assert {n: v for n, v in written.items() if n.endswith(".png")} == {
        n: v for n, v in tree(done / "data/raw").items() if n.endswith(".png")
    }
