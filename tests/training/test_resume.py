"""An interrupted training ends with the bytes of an undisturbed one."""

import contextlib
import random
import re
import time
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from roadseg.config.params import Params, Resume
from roadseg.data.prepared import PreparedDataset
from roadseg.provenance.model_metadata import Machine, TrainedModelMetadata, read_metadata
from roadseg.runtime import accelerator
from roadseg.runtime.accelerator import select_accelerator
from tests.factories import (
    EVERY_STEP,
    ODD,
    RARELY,
    StopAfter,
    join,
    make_params,
    make_trainer,
    read_outputs,
    run_training,
    train_in_process,
)

pytestmark = pytest.mark.usefixtures("without_histograms")


def with_dropout(params: Params) -> Params:
    """Random numbers in the middle of an epoch."""
    model = params.model.model_copy(update={"dropout": 0.5})
    return params.model_copy(update={"model": model})


@pytest.mark.parametrize("recipe", ["report", "modern"])
@pytest.mark.parametrize("resume", [EVERY_STEP, RARELY])
def test_interrupted_again_and_again(
    prepared: PreparedDataset, tmp_path: Path, recipe: str, resume: Resume
):
    params = with_dropout(make_params(tmp_path, recipe, epochs=3))
    straight = run_training(
        make_trainer(prepared, params, **ODD), tmp_path / "straight", resume=resume
    )
    checks, interruptions = random.Random(1), 0
    while True:
        stop = StopAfter(checks.randrange(1, 7))
        try:
            history = run_training(
                make_trainer(prepared, params, **ODD), tmp_path / "a", resume=resume, stop=stop
            )
            break
        except KeyboardInterrupt:
            interruptions += 1
    assert interruptions >= 4
    assert history == straight
    assert read_outputs(tmp_path / "a") == read_outputs(tmp_path / "straight")
    assert len(read_outputs(tmp_path / "a")) == 3 + 3


@pytest.mark.skipif(select_accelerator("cpu", "auto").precision != "bf16", reason="no native bf16")
def test_interrupted_in_bf16_and_where_pictures_cease_to_be_halved(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr("roadseg.training.batch._MIN_HALVED_SIDE", 16)
    params = make_params(tmp_path, epochs=3, precision="bf16")
    trainer = make_trainer(prepared, params, halved=0.5)
    run_training(trainer, tmp_path / "straight")
    with contextlib.suppress(KeyboardInterrupt):
        run_training(trainer, tmp_path / "a", stop=StopAfter(2))
    with contextlib.suppress(KeyboardInterrupt):
        run_training(trainer, tmp_path / "a", stop=StopAfter(4))
    run_training(trainer, tmp_path / "a")
    assert read_outputs(tmp_path / "a") == read_outputs(tmp_path / "straight")


def test_killed_at_random_moments(prepared: PreparedDataset, tmp_path: Path, processes):
    """SIGKILL: in a step, in a validation, while saving; nothing is told to the process."""
    params = with_dropout(make_params(tmp_path, "report", epochs=20))
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    straight.mkdir()
    killed.mkdir()
    began = time.monotonic()
    assert join(processes(target=train_in_process, args=(prepared.root, params, straight))) == 0
    duration = time.monotonic() - began
    moments, kills = random.Random(7), 0
    while True:
        process = processes(target=train_in_process, args=(prepared.root, params, killed))
        said = size_of(killed / "log")
        process.start()
        while kills % 2 and process.is_alive() and size_of(killed / "log") == said:
            time.sleep(0.01)  # each second time it is killed in what it does, not on its way there
        process.join(timeout=moments.uniform(0.02, 0.12) * duration if kills < 18 else 300)
        if process.exitcode is not None:
            break
        process.kill()
        process.join()
        kills += 1
    assert process.exitcode == 0
    print(f"{kills} kills, a straight run takes {duration:.1f} s")
    assert kills >= 10, f"only {kills} kills within {duration:.1f} s"
    log = (killed / "log").read_text()
    assert len(set(re.findall(r"resuming after step (\d+)", log))) >= 4
    assert read_outputs(killed) == read_outputs(straight)
    assert scalars(killed) == scalars(straight)


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of the one run in `folder`."""
    (run,) = (folder / "runs").iterdir()
    shown = {}
    for part in (run, run / "epochs"):
        events = EventAccumulator(str(part), size_guidance={"scalars": 0}).Reload()
        for tag in events.Tags()["scalars"]:
            shown[tag] = [(event.step, event.value) for event in events.Scalars(tag)]
    return shown


def test_a_longer_training_goes_on_and_a_shorter_one_is_there_already(
    prepared: PreparedDataset, tmp_path: Path, capsys
):
    for epochs in (2, 3):
        params = make_params(tmp_path, "report", epochs=epochs)
        run_training(make_trainer(prepared, params), tmp_path / f"straight{epochs}")
    capsys.readouterr()
    said = []
    for epochs in (2, 3, 2, 3):
        params = make_params(tmp_path, "report", epochs=epochs)
        history = run_training(make_trainer(prepared, params), tmp_path / "a")
        assert [row.epoch for row in history] == list(range(1, epochs + 1))
        assert read_outputs(tmp_path / "a") == read_outputs(tmp_path / f"straight{epochs}")
        out = capsys.readouterr().out
        said += re.findall(r"train: ((?:starting|resuming|all).*)", out)
    trained_before = "all {} epochs are already run_training; set FRESH=1 to retrain"
    assert said == [
        "starting at step 0; no earlier checkpoint",
        "resuming after step 12 (epoch 3 of 3)",
        trained_before.format(2),
        trained_before.format(3),
    ]


def test_a_schedule_over_all_epochs_starts_over_and_says_why(prepared, tmp_path, capsys):
    for epochs in (2, 3):
        run_training(make_trainer(prepared, make_params(tmp_path, epochs=epochs)), tmp_path / "a")
    reason = "train.epochs 2 -> 3, over which the recipe spreads its schedule"
    assert f"the closest one differs in {reason}\n" in capsys.readouterr().out
    run_training(make_trainer(prepared, make_params(tmp_path, epochs=3)), tmp_path / "straight")
    assert read_outputs(tmp_path / "a") == read_outputs(tmp_path / "straight")


def test_fresh_starts_over(prepared: PreparedDataset, tmp_path: Path, monkeypatch, capsys):
    trainer = make_trainer(prepared, make_params(tmp_path))
    run_training(trainer, tmp_path)
    monkeypatch.setenv("FRESH", "1")
    with pytest.raises(KeyboardInterrupt):
        run_training(trainer, tmp_path, stop=StopAfter(2))
    assert "starting at step 0; FRESH=1 is set" in capsys.readouterr().out
    monkeypatch.setenv("FRESH", "0")
    run_training(trainer, tmp_path)
    assert "resuming after step 3 (epoch 1 of 2)" in capsys.readouterr().out


def test_another_machine_goes_on_and_says_so(
    prepared: PreparedDataset, tmp_path: Path, monkeypatch, capsys
):
    trainer = make_trainer(prepared, make_params(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        run_training(trainer, tmp_path, stop=StopAfter(5))
    here = trainer.accelerator.description()
    other = {**here, "threads": here["threads"] + 1}
    monkeypatch.setattr(type(trainer.accelerator), "description", lambda _: other)
    run_training(trainer, tmp_path)
    assert "warning: resuming on different hardware" in capsys.readouterr().err
    best, last = tmp_path / "best.safetensors", tmp_path / "epochs/epoch_002.safetensors"
    machines, later = (read_metadata(path, TrainedModelMetadata).machines for path in (best, last))
    assert later == [Machine(from_epoch=1, **here), Machine(from_epoch=2, **other)]
    assert machines in (later, later[:1])


@pytest.mark.parametrize("recipe", ["report", "modern"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_two_runs_give_the_same_bytes(prepared, tmp_path, monkeypatch, recipe: str, precision: str):
    """Whatever the number of loader processes, and whatever the process drew before."""
    monkeypatch.setattr(
        accelerator, "_has_native_bf16", lambda _: True
    )  # else it is emulated; slow
    for workers in (0, 2):
        params = make_params(tmp_path, recipe, precision=precision, num_workers=workers)
        run_training(make_trainer(prepared, params), tmp_path / str(workers))
        torch.manual_seed(99)
    assert read_outputs(tmp_path / "0") == read_outputs(tmp_path / "2")
    assert len(read_outputs(tmp_path / "0")) == 2 + 3
