"""An interrupted and resumed training gives the same bytes as an uninterrupted one."""

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


def add_dropout(params: Params) -> Params:
    """Make the training draw random numbers in the middle of an epoch."""
    unet = params.model.unet.model_copy(update={"dropout": 0.5})
    model = params.model.model_copy(update={"unet": unet})
    return params.model_copy(update={"model": model})


@pytest.mark.parametrize("recipe", ["report", "modern"])
@pytest.mark.parametrize("resume", [EVERY_STEP, RARELY])
def test_resume_after_many_interruptions_gives_identical_outputs(
    prepared: PreparedDataset, tmp_path: Path, recipe: str, resume: Resume
):
    params = add_dropout(make_params(tmp_path, recipe, epochs=3))
    uninterrupted = run_training(
        make_trainer(prepared, params, **ODD), tmp_path / "uninterrupted", resume=resume
    )
    rng, interruptions = random.Random(1), 0
    while True:
        stop = StopAfter(rng.randrange(1, 7))
        try:
            history = run_training(
                make_trainer(prepared, params, **ODD), tmp_path / "a", resume=resume, stop=stop
            )
            break
        except KeyboardInterrupt:
            interruptions += 1
    assert interruptions >= 4
    assert history == uninterrupted
    assert read_outputs(tmp_path / "a") == read_outputs(tmp_path / "uninterrupted")
    assert len(read_outputs(tmp_path / "a")) == 3 + 3


@pytest.mark.skipif(select_accelerator("cpu", "auto").precision != "bf16", reason="no native bf16")
def test_resume_in_bf16_before_and_after_the_last_halved_step_gives_identical_outputs(
    prepared, tmp_path, monkeypatch
):
    monkeypatch.setattr("roadseg.training.batch._MIN_HALVED_SIDE", 16)
    params = make_params(tmp_path, epochs=3, precision="bf16")
    trainer = make_trainer(prepared, params, halved=0.5)
    run_training(trainer, tmp_path / "uninterrupted")
    with contextlib.suppress(KeyboardInterrupt):
        run_training(trainer, tmp_path / "a", stop=StopAfter(2))
    with contextlib.suppress(KeyboardInterrupt):
        run_training(trainer, tmp_path / "a", stop=StopAfter(4))
    run_training(trainer, tmp_path / "a")
    assert read_outputs(tmp_path / "a") == read_outputs(tmp_path / "uninterrupted")


def test_resume_after_sigkill_at_random_moments_gives_identical_outputs(
    prepared: PreparedDataset, tmp_path: Path, processes
):
    """SIGKILL in a step, in a validation or while saving, without notice to the process."""
    params = add_dropout(make_params(tmp_path, "report", epochs=20))
    uninterrupted, killed = tmp_path / "uninterrupted", tmp_path / "killed"
    uninterrupted.mkdir()
    killed.mkdir()
    began = time.monotonic()
    assert (
        join(processes(target=train_in_process, args=(prepared.root, params, uninterrupted))) == 0
    )
    duration = time.monotonic() - began
    rng, kills = random.Random(7), 0
    while True:
        process = processes(target=train_in_process, args=(prepared.root, params, killed))
        checkpoint = last_checkpoint(killed)
        process.start()
        while kills % 2 and process.is_alive() and last_checkpoint(killed) == checkpoint:
            time.sleep(0.01)  # every second kill comes after a new checkpoint, however slow it is
        process.join(timeout=rng.uniform(0.02, 0.12) * duration if kills < 18 else 300)
        if process.exitcode is not None:
            break
        process.kill()
        process.join()
        kills += 1
    assert process.exitcode == 0
    print(f"{kills} kills, an uninterrupted run takes {duration:.1f} s")
    assert kills >= 10, f"only {kills} kills within {duration:.1f} s"
    log = (killed / "log").read_text()
    assert len(set(re.findall(r"resuming after step (\d+)", log))) >= 4
    assert read_outputs(killed) == read_outputs(uninterrupted)
    assert read_scalars(killed) == read_scalars(uninterrupted)


def last_checkpoint(folder: Path) -> str:
    """Return the name of the newest checkpoint, which begins with its number; empty if none."""
    return max((path.name for path in folder.glob("states/*/state_*")), default="")


def read_scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Read the scalars that TensorBoard shows of the only run in `folder`."""
    (run,) = (folder / "runs").iterdir()
    scalars = {}
    for part in (run, run / "epochs"):
        events = EventAccumulator(str(part), size_guidance={"scalars": 0}).Reload()
        for tag in events.Tags()["scalars"]:
            scalars[tag] = [(event.step, event.value) for event in events.Scalars(tag)]
    return scalars


def test_longer_training_resumes_and_shorter_one_is_already_trained(
    prepared: PreparedDataset, tmp_path: Path, capsys
):
    for epochs in (2, 3):
        params = make_params(tmp_path, "report", epochs=epochs)
        run_training(make_trainer(prepared, params), tmp_path / f"uninterrupted{epochs}")
    capsys.readouterr()
    messages = []
    for epochs in (2, 3, 2, 3):
        params = make_params(tmp_path, "report", epochs=epochs)
        history = run_training(make_trainer(prepared, params), tmp_path / "a")
        assert [row.epoch for row in history] == list(range(1, epochs + 1))
        assert read_outputs(tmp_path / "a") == read_outputs(tmp_path / f"uninterrupted{epochs}")
        out = capsys.readouterr().out
        messages += re.findall(r"train: ((?:starting|resuming|all).*)", out)
    trained = "all {} epochs are already trained; set FRESH=1 to retrain"
    assert messages == [
        "starting at step 0; no earlier checkpoint",
        "resuming after step 12 (epoch 3 of 3)",
        trained.format(2),
        trained.format(3),
    ]


def test_schedule_over_all_epochs_starts_over_and_gives_the_reason(prepared, tmp_path, capsys):
    for epochs in (2, 3):
        run_training(make_trainer(prepared, make_params(tmp_path, epochs=epochs)), tmp_path / "a")
    reason = "train.epochs 2 -> 3, over which the recipe spreads its schedule"
    assert f"the closest one differs in {reason}\n" in capsys.readouterr().out
    run_training(
        make_trainer(prepared, make_params(tmp_path, epochs=3)), tmp_path / "uninterrupted"
    )
    assert read_outputs(tmp_path / "a") == read_outputs(tmp_path / "uninterrupted")


def test_fresh_1_starts_over(prepared: PreparedDataset, tmp_path: Path, monkeypatch, capsys):
    trainer = make_trainer(prepared, make_params(tmp_path))
    run_training(trainer, tmp_path)
    monkeypatch.setenv("FRESH", "1")
    with pytest.raises(KeyboardInterrupt):
        run_training(trainer, tmp_path, stop=StopAfter(2))
    assert "starting at step 0; FRESH=1 is set" in capsys.readouterr().out
    monkeypatch.setenv("FRESH", "0")
    run_training(trainer, tmp_path)
    assert "resuming after step 3 (epoch 1 of 2)" in capsys.readouterr().out


def test_resume_on_different_hardware_warns_and_is_recorded(
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
    """With any number of loader processes and any state of the global random generator."""
    # a processor without native bf16 emulates it slowly
    monkeypatch.setattr(accelerator, "_has_native_bf16", lambda _: True)
    for workers in (0, 2):
        params = make_params(tmp_path, recipe, precision=precision, num_workers=workers)
        run_training(make_trainer(prepared, params), tmp_path / str(workers))
        torch.manual_seed(99)
    assert read_outputs(tmp_path / "0") == read_outputs(tmp_path / "2")
    assert len(read_outputs(tmp_path / "0")) == 2 + 3
