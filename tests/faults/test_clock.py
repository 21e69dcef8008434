"""A wrong or jumping clock neither loses checkpoints nor keeps them forever."""

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
from tests.faults.limited_process import run_stage, tree

YEAR = 365 * 24 * 3600
NS = 10**9


def make_store(root: Path, number: int) -> CheckpointStore:
    return CheckpointStore(root, make_provenance(seed=number))


def save_in(store: CheckpointStore) -> None:
    with store.lock(lambda: None, fresh=False):
        store.save({}, {}, [])


def kept(root: Path, stores: list[CheckpointStore]) -> set[int]:
    names = {path.name for path in root.iterdir()}
    return {number for number, store in enumerate(stores) if store.folder.name in names}


@pytest.mark.parametrize("jump", [-60 * YEAR, -YEAR, -3600, -1, 3600, YEAR, 200 * YEAR])
def test_newest_checkpoints_stay_when_the_clock_jumps(tmp_path: Path, monkeypatch, jump: int):
    """The clock jumps between the use of stores 2 and 3; the newest three stay."""
    stores, now = [make_store(tmp_path, number) for number in range(5)], time.time_ns()
    clock = [now]
    monkeypatch.setattr(time, "time_ns", lambda: clock[0])
    for store in stores[:3]:
        save_in(store)
        clock[0] += NS
    clock[0] += jump * NS
    for store in stores[3:]:
        save_in(store)
        clock[0] += NS
    with stores[4].lock(lambda: None, fresh=False):
        stores[4].remove_oldest_trainings(3)
    assert kept(tmp_path, stores) == {2, 3, 4}


@pytest.mark.parametrize("ahead", [YEAR, 12 * YEAR])
def test_checkpoints_from_the_future_are_removed_in_their_turn(tmp_path: Path, ahead: int):
    stores = [make_store(tmp_path, number) for number in range(4)]
    save_in(stores[0])
    future = time.time_ns() + ahead * NS
    os.utime(stores[0].folder, ns=(future, future))
    for store in stores[1:]:
        save_in(store)
        with store.lock(lambda: None, fresh=False):
            store.remove_oldest_trainings(2)
    assert kept(tmp_path, stores) == {2, 3}


@pytest.mark.parametrize("jump", [-10 * YEAR, -3600, 3600, 10 * YEAR])
def test_clock_that_jumps_at_each_call_changes_no_results(
    prepared, tmp_path, monkeypatch, without_histograms, jump
):
    """Training, interrupting and resuming."""
    run_training(make_trainer(prepared, make_params(tmp_path), **ODD), tmp_path / "straight")
    real, calls = time.time, [0]

    def jumping() -> float:
        calls[0] += 1
        return real() + (calls[0] % 2) * jump

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
    assert calls[0] > 3


@pytest.mark.parametrize("when", [0, 1, 2**31, 2**33])
def test_file_times_do_not_change_results(done: Path, tmp_path: Path, when: int):
    """Times in 1970, 2038 and later, of inputs and of earlier outputs."""
    write_images(tmp_path / "pictures")
    write_params(tmp_path / "params.yaml", data__source=str(tmp_path / "pictures"))
    for _ in range(2):
        for path in tmp_path.rglob("*"):
            os.utime(path, (when, when))
        for stage in ("fetch", "remap", "split"):
            assert run_stage(stage, tmp_path, tmp_path).code == 0
    assert tree(tmp_path / "data/prepared") == tree(done / "data/prepared")


@pytest.mark.parametrize("when", [(1980, 1, 1, 0, 0, 0), (2107, 12, 31, 23, 59, 58), None])
def test_times_of_zip_members_do_not_matter(done: Path, tmp_path: Path, when):
    """The first and the last time that a zip can hold, and an invalid one: month 0 of 1980."""
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
    result = run_stage("fetch", tmp_path, tmp_path)
    assert result.code == 0, result.err
    written = tree(tmp_path / "data/raw")
    assert {n: v for n, v in written.items() if n.endswith(".png")} == {
        n: v for n, v in tree(done / "data/raw").items() if n.endswith(".png")
    }
