"""An interrupted training ends with the bytes of an undisturbed one."""

import json
import os
import random
import re
import resource
import sys
import threading
import time
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
import torch._dynamo  # the optimizers import it (2 s); here once for all processes
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tqdm import tqdm

from src.config import Params, Resume
from src.data.cache import Cache
from src.files import InputError
from src.model import machine
from src.model.weights import read_description
from src.report.board import Board
from src.training.stop import Stop
from tests.training.small import (
    EVERY_STEP,
    made_params,
    made_trainer,
    outs,
    trained,
)

ONLY_EPOCHS = Resume(minutes=1440, states=2, trainings=5)
ODD = {"batch_size": 2, "validations_per_epoch": 2}


@pytest.fixture(autouse=True)
def without_histograms(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take most of the time of so small a training."""
    monkeypatch.setattr(Board, "histograms", lambda *_: None)


class StopAfter(Stop):
    """Asks for the end at its check number `count`: after a step, or within a validation."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def check(self) -> None:
        self.count -= 1
        if self.count < 0:
            raise KeyboardInterrupt


def with_dropout(params: Params) -> Params:
    """Random numbers in the middle of an epoch."""
    return replace(params, model=replace(params.model, dropout=0.5))


def states(folder: Path) -> list[Path]:
    return sorted((folder / "states").glob("*/state_*"))


@pytest.mark.parametrize("recipe", ["report", "modern"])
@pytest.mark.parametrize("resume", [EVERY_STEP, ONLY_EPOCHS])
def test_interrupted_again_and_again(cache: Cache, tmp_path: Path, recipe: str, resume: Resume):
    params = with_dropout(made_params(tmp_path, recipe, epochs=3))
    straight = trained(made_trainer(cache, params, **ODD), tmp_path / "straight", resume=resume)
    checks, interruptions = random.Random(1), 0
    while True:
        stop = StopAfter(checks.randrange(1, 7))
        try:
            history = trained(
                made_trainer(cache, params, **ODD), tmp_path / "a", resume=resume, stop=stop
            )
            break
        except KeyboardInterrupt:
            interruptions += 1
    assert interruptions >= 4
    assert history == straight
    assert outs(tmp_path / "a") == outs(tmp_path / "straight")
    assert len(outs(tmp_path / "a")) == 3 + 3


def train_in_a_process(
    cache: Path, params: Params, folder: Path, limit: int | None = None, **options: object
) -> None:
    """Log to folder/log; no file may grow beyond `limit` bytes."""
    Board.histograms = lambda *_: None
    tqdm.set_lock(threading.RLock())  # else a killed process leaves a semaphore, and a warning
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    stream = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    try:
        trained(made_trainer(Cache(cache), params, **ODD), folder, **options)
    except InputError as error:
        sys.exit(f"error: {error}")


def ended(process) -> int:
    """Exit code of `process`, started and waited for."""
    process.start()
    process.join(timeout=120)
    return process.exitcode


@pytest.fixture(scope="module")
def processes():
    """Starts processes in which torch is imported already."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["tests.training.test_resume"])
    assert ended(context.Process(target=print)) == 0  # the imports are done
    return context.Process


def test_killed_at_random_moments(cache: Cache, tmp_path: Path, processes):
    """SIGKILL: in a step, in a validation, while saving; nothing is told to the process."""
    params = with_dropout(made_params(tmp_path, "report", epochs=8))
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    straight.mkdir()
    killed.mkdir()
    began = time.monotonic()
    assert ended(processes(target=train_in_a_process, args=(cache.root, params, straight))) == 0
    duration = time.monotonic() - began
    moments, kills = random.Random(7), 0
    while True:
        process = processes(target=train_in_a_process, args=(cache.root, params, killed))
        process.start()
        process.join(timeout=moments.uniform(0.05, 0.3) * duration if kills < 20 else 300)
        if process.exitcode is not None:
            break
        process.kill()
        process.join()
        kills += 1
    assert process.exitcode == 0
    assert kills >= 10, f"only {kills} kills within {duration:.1f} s"
    log = (killed / "log").read_text()
    assert len(set(re.findall(r"goes on after step (\d+)", log))) >= 5
    assert outs(killed) == outs(straight)
    assert scalars(killed) == scalars(straight)


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of the one run in `folder`."""
    (run,) = (folder / "runs").iterdir()
    events = EventAccumulator(str(run), size_guidance={"scalars": 0})
    events.Reload()
    tags = events.Tags()["scalars"]
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags}


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty"])
def test_a_damaged_state_is_named_and_the_one_before_it_used(
    cache: Cache, tmp_path: Path, damage: str, capsys
):
    params = made_params(tmp_path)
    trained(made_trainer(cache, params), tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        trained(made_trainer(cache, params), tmp_path / "a", stop=StopAfter(7))
    _, newest = states(tmp_path / "a")
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes({"flipped": content, "cut": content[:-1], "empty": b""}[damage])
    capsys.readouterr()
    trained(made_trainer(cache, params), tmp_path / "a")
    out, err = capsys.readouterr()
    assert err.startswith(f"warning: {newest}: is damaged")
    assert err.count("\n") == 1
    assert "goes on after step 5, in epoch 2 of 2" in out
    assert not newest.exists()
    assert outs(tmp_path / "a") == outs(tmp_path / "straight")


def test_weights_of_an_epoch_that_are_gone_take_their_states_with_them(
    cache: Cache, tmp_path: Path, capsys
):
    params = made_params(tmp_path)
    trained(made_trainer(cache, params), tmp_path)
    straight = outs(tmp_path)
    (checkpoint,) = (tmp_path / "states").glob("*/epoch_001*")
    checkpoint.unlink()
    capsys.readouterr()
    trained(made_trainer(cache, params), tmp_path)
    out, err = capsys.readouterr()
    assert err.count(f"warning: {checkpoint}: is missing; using the state before it") == 2
    assert "starts at step 0" in out
    assert outs(tmp_path) == straight


def test_a_full_disk_costs_the_last_interval(cache: Cache, tmp_path: Path, processes):
    params = made_params(tmp_path)
    params = replace(params, model=replace(params.model, base_channels=8))
    trained(made_trainer(cache, params, **ODD), tmp_path / "straight")
    folder = tmp_path / "a"
    with pytest.raises(KeyboardInterrupt):
        trained(made_trainer(cache, params, **ODD), folder, stop=StopAfter(4))
    (newest,) = states(folder)[-1:]
    (tmp_path / "limited").mkdir()
    for limit, message in (
        (newest.stat().st_size // 2, "the state of the training cannot be saved ("),
        (newest.stat().st_size // 4, "epoch_001.safetensors: cannot be written"),
    ):
        resume = EVERY_STEP if "state" in message else ONLY_EPOCHS
        train = processes(
            target=train_in_a_process,
            args=(cache.root, params, folder, limit),
            kwargs={"resume": resume},
        )
        assert ended(train) == 1
        *_, last = (folder / "log").read_text().splitlines()
        assert last.startswith("error: ")
        assert message in last
        assert newest in states(folder)
        assert not list(folder.rglob("*unfinished*"))
    trained(made_trainer(cache, params, **ODD), folder)
    assert {**outs(folder), "log": None} == {**outs(tmp_path / "straight"), "log": None}


def test_a_longer_training_goes_on_and_a_shorter_one_is_there_already(
    cache: Cache, tmp_path: Path, capsys
):
    for epochs in (2, 3):
        params = made_params(tmp_path, "report", epochs=epochs)
        trained(made_trainer(cache, params), tmp_path / f"straight{epochs}")
    capsys.readouterr()
    said = []
    for epochs in (2, 3, 2, 3):
        params = made_params(tmp_path, "report", epochs=epochs)
        history = trained(made_trainer(cache, params), tmp_path / "a")
        assert [row["epoch"] for row in history] == list(range(1, epochs + 1))
        assert outs(tmp_path / "a") == outs(tmp_path / f"straight{epochs}")
        said += re.findall(r"train: (.*) \(", capsys.readouterr().out)
    trained_before = "all {} epochs were trained before; FRESH=1 trains them again"
    assert said == [
        "starts at step 0; no other training has left a state",
        "goes on after step 12, in epoch 3 of 3",
        trained_before.format(2),
        trained_before.format(3),
    ]


def test_a_schedule_over_all_epochs_starts_over_and_says_why(cache, tmp_path, capsys):
    for epochs in (2, 3):
        trained(made_trainer(cache, made_params(tmp_path, epochs=epochs)), tmp_path / "a")
    reason = "train.epochs 2 -> 3, over which the schedule spreads the learning rate"
    assert f"differs in {reason} (" in capsys.readouterr().out
    trained(made_trainer(cache, made_params(tmp_path, epochs=3)), tmp_path / "straight")
    assert outs(tmp_path / "a") == outs(tmp_path / "straight")


def test_fresh_starts_over(cache: Cache, tmp_path: Path, monkeypatch, capsys):
    trainer = made_trainer(cache, made_params(tmp_path))
    trained(trainer, tmp_path)
    monkeypatch.setenv("FRESH", "1")
    with pytest.raises(KeyboardInterrupt):
        trained(trainer, tmp_path, stop=StopAfter(2))
    assert "starts at step 0; FRESH=1 asks for it" in capsys.readouterr().out
    monkeypatch.setenv("FRESH", "0")
    trained(trainer, tmp_path)
    assert "goes on after step 3, in epoch 1 of 2" in capsys.readouterr().out


def test_another_machine_goes_on_and_says_so(cache: Cache, tmp_path: Path, monkeypatch, capsys):
    trainer = made_trainer(cache, made_params(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        trained(trainer, tmp_path, stop=StopAfter(5))
    here = trainer.machine.description()
    other = {**here, "threads": here["threads"] + 1}
    monkeypatch.setattr(type(trainer.machine), "description", lambda _: other)
    trained(trainer, tmp_path)
    assert "warning: this training began on another machine" in capsys.readouterr().err
    machines = read_description(tmp_path / "best.safetensors")["machines"]
    later = read_description(tmp_path / "epochs/epoch_002.safetensors")["machines"]
    assert later == [{"from_epoch": 1, **here}, {"from_epoch": 2, **other}]
    assert machines in (later, later[:1])


def test_who_trains_the_same_waits_and_takes_it(cache: Cache, tmp_path: Path, processes):
    """As two experiments with the same parameters do: outs of their own, states in common."""
    params = made_params(tmp_path, epochs=4)
    folders = [tmp_path / "a", tmp_path / "b"]
    (tmp_path / "states").mkdir()
    for folder in folders:
        folder.mkdir()
        (folder / "states").symlink_to(tmp_path / "states")
    both = [
        processes(target=train_in_a_process, args=(cache.root, params, folder))
        for folder in folders
    ]
    for process in both:
        process.start()
    assert [process.join(timeout=120) or process.exitcode for process in both] == [0, 0]
    logs = [(folder / "log").read_text() for folder in folders]
    assert sum("all 4 epochs were trained before" in log for log in logs) == 1
    assert sum("trains exactly this already; waiting for its end" in log for log in logs) == 1
    first, second = ({k: v for k, v in outs(f).items() if k != "log"} for f in folders)
    assert first == second


def test_old_states_and_trainings_are_removed(cache: Cache, tmp_path: Path):
    keep = Resume(minutes=0, states=3, trainings=2)
    for seed in (1, 2, 3):
        trained(made_trainer(cache, made_params(tmp_path, seed=seed)), tmp_path, resume=keep)
    folders = list((tmp_path / "states").iterdir())
    seeds = {json.loads((f / "provenance.json").read_text())["train"]["seed"] for f in folders}
    assert seeds == {2, 3}
    for folder in folders:
        assert len(list(folder.glob("state_*"))) == 3
        assert len(list(folder.glob("epoch_*"))) == 2


@pytest.mark.parametrize("recipe", ["report", "modern"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_two_runs_give_the_same_bytes(cache, tmp_path, monkeypatch, recipe: str, precision: str):
    """Whatever the number of loader processes, and whatever the process drew before."""
    monkeypatch.setattr(machine, "_multiplies_bf16", lambda _: True)  # else it is emulated; slow
    for workers in (0, 2):
        params = made_params(tmp_path, recipe, precision=precision, num_workers=workers)
        trained(made_trainer(cache, params), tmp_path / str(workers))
        torch.manual_seed(99)
    assert outs(tmp_path / "0") == outs(tmp_path / "2")
    assert len(outs(tmp_path / "0")) == 2 + 3
