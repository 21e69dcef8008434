"""Runs a small training in several processes, as dvc.yaml does."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from safetensors.torch import load_file
from torch import Tensor

from tests.factories import ROOT, write_images, write_params
from tests.stage_runner import arguments, run_stage

SETTINGS = {
    # 11 training images in batches of 5, 5 and 1: shards of different sizes, one of them empty
    "split__val_fraction": 0.35,
    "train__epochs": 8,
    "train__precision": "fp32",
    "recipes__modern__batch_size": 5,
    "recipes__modern__class_uniform": 0.5,
    "recipes__modern__augmentation__scale_min": 0.5,
    "recipes__modern__augmentation__crop": 0.75,
    "recipes__modern__augmentation__noise": 0.05,
    "resume__minutes": 0,
}
DROPOUT = {"model__unet__norm": "group", "model__unet__dropout": 0.3}
FROZEN_ENCODER = {"recipes__modern__encoder_frozen": 2, "recipes__modern__encoder_rate": 0.5}
PLAIN_SGD = {
    # Muon and clipping would hide gradients that are wrong by a factor; Muon and a higher learning
    # rate amplify rounding by orders of magnitude
    "recipes__modern__optimizer": "sgd",
    "recipes__modern__clip": "none",
    "recipes__modern__learning_rate": 0.0001,
    "recipes__modern__schedule": "constant",
    "render__epochs": ["last"],
}
ONE_COMPUTER = {"PET_NNODES": "1", "OMP_NUM_THREADS": "1"}


def make_data(folder: Path, **params: object) -> Path:
    """Create everything that the stage `train` reads below `folder`."""
    write_images(folder / "images", num_train=17)
    source = str(folder / "images")
    write_params(folder / "params.yaml", data__source=source, **{**SETTINGS, **params})
    for stage in ("fetch", "remap", "split", "plan"):
        run_stage(stage, folder)
    return folder


def command(count: int, stage: str, source: Path, target: Path) -> list[str]:
    launcher = [sys.executable, "-m", "stages.launch", "--processes", str(count), f"stages.{stage}"]
    return launcher + arguments(stage, source, target)


def launch(count: int, stage: str, source: Path, target: Path) -> str:
    """Run `stage` in `count` processes and return its standard output; it must succeed."""
    result = subprocess.run(
        command(count, stage, source, target),
        cwd=ROOT,
        env={**os.environ, **ONE_COMPUTER},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@contextlib.contextmanager
def start_training(source: Path, target: Path, until: str) -> Iterator[tuple[psutil.Process, Path]]:
    """Start a training in two processes; yield it and its log when it has printed `until`."""
    target.mkdir(exist_ok=True)
    log = target / "log"
    with log.open("w") as stream:
        process = psutil.Popen(
            command(2, "train", source, target),
            cwd=ROOT,
            env={**os.environ, **ONE_COMPUTER},
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 120
        while until not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        workers = process.children()
        yield process, log
        assert not psutil.wait_procs(workers, timeout=60)[1]
    finally:
        for remaining in [process, *process.children()] if process.is_running() else []:
            remaining.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def read_weights(folder: Path) -> dict[str, dict[str, Tensor]]:
    """Read the weights of each epoch."""
    return {path.name: load_file(path) for path in sorted(folder.glob("models/epochs/*"))}


def read_losses(folder: Path) -> list[float]:
    """Read the loss of each step from TensorBoard's files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (run,) = (folder / "runs").iterdir()
    events = EventAccumulator(str(run))
    events.Reload()
    return [event.value for event in events.Scalars("loss/train")]
