"""Checkpoints on disk: damaged, on a full disk, shared by two processes, removed."""

import json
import shutil
from pathlib import Path

import pytest

from roadseg.config.params import Resume
from roadseg.data.prepared import PreparedDataset
from roadseg.training.checkpoint_store import CheckpointStore
from tests.factories import (
    EVERY_STEP,
    ODD,
    RARELY,
    StopAfter,
    join,
    make_params,
    make_provenance,
    make_trainer,
    read_outputs,
    run_training,
    train_in_process,
)

pytestmark = pytest.mark.usefixtures("without_histograms")


def checkpoints(folder: Path) -> list[Path]:
    return sorted((folder / "states").glob("*/state_*"))


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty"])
def test_damaged_checkpoint_is_reported_and_the_previous_one_is_used(
    prepared: PreparedDataset, tmp_path: Path, damage: str, capsys
):
    params = make_params(tmp_path)
    run_training(make_trainer(prepared, params), tmp_path / "uninterrupted")
    with pytest.raises(KeyboardInterrupt):
        run_training(make_trainer(prepared, params), tmp_path / "a", stop=StopAfter(7))
    _, latest = checkpoints(tmp_path / "a")
    content = bytearray(latest.read_bytes())
    content[len(content) // 2] ^= 1
    latest.write_bytes({"flipped": content, "cut": content[:-1], "empty": b""}[damage])
    capsys.readouterr()
    run_training(make_trainer(prepared, params), tmp_path / "a")
    out, err = capsys.readouterr()
    assert err.startswith(f"warning: {latest}: is damaged")
    assert err.count("\n") == 1
    assert "resuming after step 5 (epoch 2 of 2)" in out
    assert not latest.exists()
    assert read_outputs(tmp_path / "a") == read_outputs(tmp_path / "uninterrupted")


def test_checkpoints_whose_epoch_weights_are_missing_are_not_used(
    prepared: PreparedDataset, tmp_path: Path, capsys
):
    params = make_params(tmp_path)
    run_training(make_trainer(prepared, params), tmp_path)
    uninterrupted = read_outputs(tmp_path)
    (checkpoint,) = (tmp_path / "states").glob("*/epoch_001*")
    checkpoint.unlink()
    capsys.readouterr()
    run_training(make_trainer(prepared, params), tmp_path)
    out, err = capsys.readouterr()
    assert err.count(f"warning: {checkpoint}: is missing; state_") == 2
    assert "no usable checkpoint is left" in err
    assert "starting at step 0" in out
    assert read_outputs(tmp_path) == uninterrupted


def test_checkpoints_are_saved_at_intervals_and_at_the_end(
    prepared: PreparedDataset, tmp_path: Path
):
    """The weights of each epoch are saved; a checkpoint is saved only when it is due."""
    trainer = make_trainer(prepared, make_params(tmp_path, epochs=3), **ODD)
    run_training(trainer, tmp_path / "a", resume=RARELY)
    first, last = checkpoints(tmp_path / "a")
    assert [path.name[:14] for path in (first, last)] == ["state_00000001", "state_00000002"]
    assert len(list((tmp_path / "a").glob("states/*/epoch_*"))) == 3
    often = RARELY.model_copy(update={"minutes": 0})
    run_training(trainer, tmp_path / "b", resume=often)
    assert int(checkpoints(tmp_path / "b")[-1].name[6:14]) > 3 + 1


def test_full_disk_keeps_the_previous_checkpoint(
    prepared: PreparedDataset, tmp_path: Path, processes
):
    params = make_params(tmp_path)
    run_training(make_trainer(prepared, params, **ODD), tmp_path / "uninterrupted")
    folder = tmp_path / "a"
    with pytest.raises(KeyboardInterrupt):
        run_training(make_trainer(prepared, params, **ODD), folder, stop=StopAfter(4))
    (latest,) = checkpoints(folder)[-1:]
    for limit, message in (
        (latest.stat().st_size // 2, "the checkpoint cannot be saved ("),
        (latest.stat().st_size // 8, "epoch_001.safetensors: cannot be written"),
    ):
        resume = EVERY_STEP if "checkpoint" in message else RARELY
        train = processes(
            target=train_in_process,
            args=(prepared.root, params, folder, limit),
            kwargs={"resume": resume},
        )
        assert join(train) == 1
        *_, last = (folder / "log").read_text().splitlines()
        assert last.startswith("error: ")
        assert message in last
        assert latest in checkpoints(folder)
        assert not list(folder.rglob("*unfinished*"))
    run_training(make_trainer(prepared, params, **ODD), folder)
    assert {**read_outputs(folder), "log": None} == {
        **read_outputs(tmp_path / "uninterrupted"),
        "log": None,
    }


def test_second_process_with_the_same_training_waits_and_uses_its_checkpoints(
    prepared: PreparedDataset, tmp_path: Path, processes
):
    """Two experiments with the same parameters have separate outputs and share checkpoints."""
    params = make_params(tmp_path, epochs=4)
    folders = [tmp_path / "a", tmp_path / "b"]
    (tmp_path / "states").mkdir()
    for folder in folders:
        folder.mkdir()
        (folder / "states").symlink_to(tmp_path / "states")
    running = [
        processes(target=train_in_process, args=(prepared.root, params, folder))
        for folder in folders
    ]
    for process in running:
        process.start()
    assert [process.join(timeout=120) or process.exitcode for process in running] == [0, 0]
    logs = [(folder / "log").read_text() for folder in folders]
    assert sum("all 4 epochs are already trained" in log for log in logs) == 1
    assert sum("is already running this training; waiting" in log for log in logs) == 1
    first, second = ({k: v for k, v in read_outputs(f).items() if k != "log"} for f in folders)
    assert first == second


def test_old_checkpoints_and_trainings_are_removed(prepared: PreparedDataset, tmp_path: Path):
    keep = Resume(minutes=0, states=3, trainings=2)
    for seed in (1, 2, 3):
        run_training(
            make_trainer(prepared, make_params(tmp_path, seed=seed)), tmp_path, resume=keep
        )
    folders = list((tmp_path / "states").iterdir())
    seeds = {json.loads((f / "provenance.json").read_text())["train"]["seed"] for f in folders}
    assert seeds == {2, 3}
    for folder in folders:
        assert len(list(folder.glob("state_*"))) == 3
        assert len(list(folder.glob("epoch_*"))) == 2


def test_training_that_saved_last_counts_as_the_latest(tmp_path: Path):
    stores = [CheckpointStore(tmp_path, make_provenance(seed)) for seed in range(4)]
    with stores[0].lock(lambda: None, fresh=False):
        for other in stores[1:3]:
            with other.lock(lambda: None, fresh=False):
                other.save({}, {}, [])
        stores[0].save({}, {}, [])
    with stores[3].lock(lambda: None, fresh=False):
        stores[3].remove_oldest_trainings(2)
    assert {path.name for path in tmp_path.iterdir()} == {stores[n].folder.name for n in (0, 3)}


def test_files_that_cannot_be_removed_do_not_stop_the_training(tmp_path: Path):
    old, new = (CheckpointStore(tmp_path, make_provenance(seed)) for seed in range(2))
    with old.lock(lambda: None, fresh=False):
        (old.folder / "foreign folder").mkdir()
    with new.lock(lambda: None, fresh=False):
        new.remove_oldest_trainings(1)
    assert (old.folder / "foreign folder").is_dir()


def test_directory_removed_while_waiting_for_its_lock_is_created_again(tmp_path: Path):
    holder, waiter = (CheckpointStore(tmp_path, make_provenance()) for _ in range(2))

    def remove_directory() -> None:
        shutil.rmtree(holder.folder, ignore_errors=True)

    with holder.lock(lambda: None, fresh=False), waiter.lock(remove_directory, fresh=False):
        assert (waiter.folder / "provenance.json").is_file()


@pytest.mark.parametrize("content", ["[]", "{", '{"code": "x"}', "1"])
def test_invalid_provenance_file_is_ignored(tmp_path: Path, content: str):
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "provenance.json").write_text(content)
    assert (
        CheckpointStore(tmp_path, make_provenance()).describe_closest() == "no earlier checkpoint"
    )


@pytest.mark.parametrize(
    "name",
    ["state_x-0123456789abcdef", "state_99999999", "state_", "state_00000009-x", "epoch_1", "x"],
)
def test_file_with_another_name_is_not_a_checkpoint(tmp_path: Path, name: str, capsys):
    store = CheckpointStore(tmp_path, make_provenance())
    with store.lock(lambda: None, fresh=False):
        foreign = store.folder / f"{name}.safetensors"
        foreign.write_bytes(b"other content")
        for _ in range(3):
            store.save({}, {"step": 1}, [])
        store.keep_latest(2)
        names = sorted(
            path.name[:14] for path in store.folder.glob("state_000*-?*") if path != foreign
        )
        assert names == ["state_00000002", "state_00000003"]
        assert store.load_latest(0) == ({}, {"step": 1}, [])
    with store.lock(lambda: None, fresh=True):
        assert store.load_latest(0) is None
    assert foreign.read_bytes() == b"other content"
    assert capsys.readouterr().err == ""


def test_copy_of_the_directory_is_not_the_closest_training(tmp_path: Path):
    store = CheckpointStore(tmp_path, make_provenance())
    with store.lock(lambda: None, fresh=False):
        shutil.copytree(store.folder, tmp_path / "copy")
    assert store.describe_closest() == "no earlier checkpoint"


def test_difference_in_code_is_one_short_clause(tmp_path: Path):
    """Also if the modules of the checkpoint had other names."""
    now = make_provenance().model_copy(
        update={"code": {"stages/train.py": "1", "src/roadseg/a.py": "1"}}
    )
    other = now.model_copy(update={"code": {"stages/train.py": "0", "src/a.py": "1"}})
    with CheckpointStore(tmp_path, other).lock(lambda: None, fresh=False):
        pass
    code = (
        "no matching checkpoint; the closest one differs in its code (3 modules, such as src/a.py)"
    )
    assert CheckpointStore(tmp_path, now).describe_closest() == code
    seed = now.model_copy(update={"train": {"seed": 1}})
    assert CheckpointStore(tmp_path, seed).describe_closest() == code + "; train.seed 0 -> 1"
    with CheckpointStore(tmp_path, seed).lock(lambda: None, fresh=False):
        pass
    closest = CheckpointStore(tmp_path, now).describe_closest()
    assert closest == "no matching checkpoint; the closest one differs in train.seed 1 -> 0"


def test_modifying_one_model_in_place_changes_no_other(prepared: PreparedDataset, tmp_path: Path):
    """Most libraries save in place; epochs, best model and checkpoints share no file."""
    run_training(make_trainer(prepared, make_params(tmp_path)), tmp_path)
    epochs, saved = sorted(tmp_path.glob("epochs/*")), sorted(tmp_path.glob("states/*/epoch_*"))
    original = [path.read_bytes() for path in epochs]
    (tmp_path / "best.safetensors").write_bytes(b"other content")
    assert [path.read_bytes() for path in epochs] == original
    for path in epochs:
        path.write_bytes(b"other content")
    assert [path.read_bytes() for path in saved] == original
