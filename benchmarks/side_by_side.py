"""Trainings side by side, each on its own cores, which resume after interruptions.

A training runs the stages plan (if there is one), train and evaluate, each in its own process. A
finished training is never repeated, and an interrupted one resumes from its last checkpoint.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue
from typing import IO

from benchmarks.trainings import Training, stage_arguments
from roadseg.config.schema import read_yaml
from roadseg.provenance.source_code import ROOT
from roadseg.system.errors import InputError
from roadseg.system.files import atomic_file, read_json, write_json
from roadseg.system.locks import acquire_lock

_POLL_S = 2.0


def run_trainings(trainings: Sequence[Training], jobs: int, accept_other_code: bool = False) -> int:
    """Run all trainings that are not finished, in order, `jobs` at a time, and print each result.

    The cores of this process are divided among the jobs, because processes that share cores are
    several times slower. After an interrupt, the trainings save a checkpoint and stop. A failure
    is printed, and the other trainings continue.

    Returns:
        Number of trainings that failed.

    Raises:
        InputError: more jobs than cores, or a finished training differs.
    """
    cores = sorted(os.sched_getaffinity(0))
    if not 1 <= jobs <= len(cores):
        raise InputError(f"--jobs {jobs}: should be 1 to {len(cores)}, the number of cores")
    waiting = [training for training in trainings if not training.is_finished(accept_other_code)]
    print(f"{len(trainings) - len(waiting)} of {len(trainings)} trainings are finished", flush=True)
    parts: SimpleQueue[set[int]] = SimpleQueue()
    for job in range(jobs):
        parts.put(set(cores[job * (len(cores) // jobs) :][: len(cores) // jobs]))
    stop, failures = threading.Event(), 0
    # a thread, and thus the processes that it starts, runs on the cores of its part
    with ThreadPoolExecutor(jobs, initializer=lambda: os.sched_setaffinity(0, parts.get())) as pool:
        try:
            for future in as_completed([pool.submit(_run, each, stop) for each in waiting]):
                try:
                    print(future.result(), flush=True)
                except (InputError, OSError) as error:
                    failures += 1
                    print(f"failed: {error}", file=sys.stderr, flush=True)
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    return failures


def _run(training: Training, stop: threading.Event) -> str:
    """Run the stages of `training`, record that it is finished, and remove its checkpoints."""
    folder = training.folder
    folder.mkdir(parents=True, exist_ok=True)
    with _lock(folder):
        plan = folder / "plan.json"
        if training.write_params():  # these were written for other parameters
            plan.unlink(missing_ok=True)
            (folder / "seconds.txt").unlink(missing_ok=True)
        identity = training.identity()
        stages = read_yaml(ROOT / "dvc.yaml")["stages"]
        for stage in ("plan", "train", "evaluate"):
            # a second plan would measure another speed, and change the training
            if stage in stages and not (stage == "plan" and plan.exists()):
                _run_stage(stage, training, stop)
        write_json(training.record, identity)
        for name in ("epochs", ".ckpt"):
            shutil.rmtree(folder / name, ignore_errors=True)
    metrics = read_json(folder / "train.json")
    return (
        f"{training.name}: mIoU {metrics['best_val_miou']:.4f} in epoch {metrics['best_epoch']}, "
        f"{training.seconds() / 60:.1f} minutes"
    )


def _lock(folder: Path) -> IO[str]:
    """Lock a training until the returned file is closed."""
    file = acquire_lock(folder / "run.lock")
    if file is None:
        raise InputError(f"{folder}: another process runs this training")
    return file


def _run_stage(stage: str, training: Training, stop: threading.Event) -> None:
    """Run a stage in its own process, which a signal stops when `stop` is set."""
    log = training.folder / "log.txt"
    before, started = training.seconds(), time.monotonic()
    command = [sys.executable, "-m", f"stages.{stage}", *stage_arguments(stage, training)]
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(len(os.sched_getaffinity(0))),
        "DVC_STAGE": stage,  # the stage ends if this process is killed
    }
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches this process only, which sends one signal
        )
        code, is_stopping = None, False
        while code is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = process.wait(_POLL_S)
            if stage == "train":
                with atomic_file(training.folder / "seconds.txt") as temporary:
                    temporary.write_text(f"{before + time.monotonic() - started:.1f}\n")
                _remove_old_epochs(training.folder)
            if stop.is_set() and not is_stopping:
                is_stopping = True
                process.send_signal(signal.SIGTERM)
    if code:
        last = (log.read_text(errors="replace").splitlines() or [""])[-1]
        raise InputError(f"{training.name}: stage {stage} exited with {code}: {last} (see {log})")


def _remove_old_epochs(folder: Path) -> None:
    """Remove the models of all epochs but the last two, which would fill the disk.

    The stage train reads the others only when it resumes, until it has written the best model; it
    copies them from the checkpoints then.
    """
    if (folder / "best.safetensors").exists():
        paths = (folder / "epochs").glob("epoch_*.safetensors")
        for path in sorted(paths, key=lambda path: (len(path.name), path.name))[:-2]:
            path.unlink(missing_ok=True)
