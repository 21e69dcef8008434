"""A small training in several real processes, started as dvc.yaml starts it."""

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
    # 11 pictures train, in batches of 5, 5 and 1: shares of differing size, and one without any
    "split__val_fraction": 0.35,
    "train__epochs": 8,
    "train__precision": "fp32",
    "recipes__modern__batch_size": 5,
    "resume__minutes": 0,
}
DROPOUT = {"model__norm": "group", "model__dropout": 0.3}
PLAIN_SGD = {
    # Muon and clipping would hide gradients that are wrong by a factor, and Muon and a higher
    # learning rate amplify rounding by orders of magnitude
    "recipes__modern__optimizer": "sgd",
    "recipes__modern__clip": "none",
    "recipes__modern__learning_rate": 0.0001,
    "recipes__modern__schedule": "constant",
    "render__epochs": ["last"],
}
ALONE = {"PET_NNODES": "1", "OMP_NUM_THREADS": "1"}


def made_data(folder: Path, **params: object) -> Path:
    """Everything that a training reads, below `folder`."""
    write_images(folder / "pictures", num_train=17)
    source = str(folder / "pictures")
    write_params(folder / "params.yaml", data__source=source, **{**SETTINGS, **params})
    for stage in ("fetch", "remap", "split"):
        run_stage(stage, folder)
    return folder


def command(count: int, stage: str, source: Path, target: Path) -> list[str]:
    launched = [sys.executable, "-m", "stages.launch", "--processes", str(count), f"stages.{stage}"]
    return launched + arguments(stage, source, target)


def launched(count: int, stage: str, source: Path, target: Path, **environment: str) -> str:
    """What `stage` in `count` processes prints; it must succeed."""
    result = subprocess.run(
        command(count, stage, source, target),
        cwd=ROOT,
        env={**os.environ, **ALONE, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@contextlib.contextmanager
def training(source: Path, target: Path, until: str) -> Iterator[tuple[psutil.Process, Path]]:
    """A training in two processes that has just printed `until`, and its log; all end after it."""
    target.mkdir(exist_ok=True)
    log = target / "log"
    with log.open("w") as stream:
        process = psutil.Popen(
            command(2, "train", source, target),
            cwd=ROOT,
            env={**os.environ, **ALONE},
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
        for left in [process, *process.children()] if process.is_running() else []:
            left.kill()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def weights(folder: Path) -> dict[str, dict[str, Tensor]]:
    """Of each epoch."""
    return {path.name: load_file(path) for path in sorted(folder.glob("models/epochs/*"))}


def losses(folder: Path) -> list[float]:
    """Of each step, as TensorBoard has them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (run,) = (folder / "runs").iterdir()
    events = EventAccumulator(str(run))
    events.Reload()
    return [event.value for event in events.Scalars("loss/train")]
