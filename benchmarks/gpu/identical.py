"""Repeated, interrupted and killed trainings, whose outputs must have the same bytes.

Each training is a process; those of one recipe run at the same time, which varies their timing.
"""

import hashlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

from benchmarks import sample
from benchmarks.epoch import make_checkpointer, make_trainer
from benchmarks.gpu.options import Options
from roadseg.config.params import Params, load_params
from roadseg.data.prepared import PreparedDataset
from roadseg.provenance.source_code import ROOT
from roadseg.runtime.signals import GracefulShutdown
from roadseg.training.logger import TrainingLogger

_RECIPES = ("modern", "thorough", "report")
_RUNS = {
    "repeated": (None,),
    "SIGTERM after step 3, then resumed": (signal.SIGTERM, None),
    "SIGKILL after step 4, then restarted": (signal.SIGKILL, None),
}
"""Signals that end the processes of a run, one after the other."""
_STEPS_BEFORE = {signal.SIGTERM: 3, signal.SIGKILL: 4}
_CONTEXT = get_context("forkserver")  # imports torch once; each process starts CUDA itself


def lines(options: Options) -> Iterator[str]:
    """Compare the outputs of all runs with those of an undisturbed one.

    Raises:
        SystemExit: outputs differ, or a process failed.
    """
    _CONTEXT.set_forkserver_preload(["benchmarks.gpu.identical"])
    size = {"height": 36, "width": 64} if options.small else sample.SMALL
    params, wrong = load_params(ROOT / "params.yaml"), 0
    recipes = [name for name in _RECIPES if name in params.recipes]
    yield "| recipe | run | exit codes | time | outputs |\n|---|---|---|---|---|"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepared = sample.write_prepared(folder, 14, **size).root
        for recipe in recipes[: 1 if options.small else None]:
            changed = _params(params, recipe, options)
            started = time.monotonic()
            runs = {"undisturbed": (None,), **_RUNS}
            parts = {run: folder / recipe / str(number) for number, run in enumerate(runs)}
            codes: dict[str, list[int | None]] = {run: [] for run in runs}
            for turn in range(2):
                processes = {
                    run: _start(prepared, changed, parts[run], signals[turn])
                    for run, signals in runs.items()
                    if turn < len(signals)
                }
                for run, process in processes.items():
                    process.join()
                    codes[run].append(process.exitcode)
            seconds = time.monotonic() - started
            expected = _outputs(parts["undisturbed"])
            for run in runs:
                same = _outputs(parts[run]) == expected and codes[run][-1] == 0
                wrong += not same
                state = f"{len(expected)} files, {'same bytes' if same else 'OTHER BYTES'}"
                yield f"| {recipe} | {run} | {codes[run]} | {seconds:.0f} s for all | {state} |"
    if wrong:
        sys.exit(f"{wrong} of the runs failed or have other outputs")


def _params(params: Params, recipe: str, options: Options) -> Params:
    """Return parameters with dropout, whose random numbers a resumed run must continue."""
    unet = {"dropout": 0.5, **({"base_channels": 4} if options.small else {})}
    changes = {
        "model": params.model.model_copy(
            update={"unet": params.model.unet.model_copy(update=unet)}
        ),
        "train": params.train.model_copy(update={"recipe": recipe, "device": options.device}),
        "recipes": {
            **params.recipes,
            recipe: params.recipes[recipe].model_copy(update={"batch_size": 2}),
        },
    }
    return params.model_copy(update=changes)


def _start(
    prepared: Path, params: Params, folder: Path, stop: signal.Signals | None
) -> BaseProcess:
    process = _CONTEXT.Process(target=_train, args=(prepared, params, folder, stop))
    process.start()
    return process


def _train(prepared: Path, params: Params, folder: Path, stop: signal.Signals | None) -> None:
    """Train two epochs on eight images; this process sends itself the signal `stop`."""
    os.dup2(2, 1)
    trainer = make_trainer(PreparedDataset(prepared), 2, params)
    train_step, before = trainer.train_step, _STEPS_BEFORE.get(stop, -1)

    def step(*arguments: object) -> object:
        result = train_step(*arguments)
        if arguments[0].step == before:
            os.kill(os.getpid(), stop)
        return result

    trainer.train_step = step
    # a run that is killed saves a checkpoint at each step
    minutes = 0 if stop == signal.SIGKILL else params.resume.minutes
    resume = params.resume.model_copy(update={"minutes": minutes})
    checkpointer = make_checkpointer(trainer, folder, resume)
    with GracefulShutdown() as shutdown:
        try:
            trainer.run(checkpointer, TrainingLogger(), shutdown)
        except KeyboardInterrupt:
            sys.exit(130)


def _outputs(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each output of a training, by name."""
    files = [*folder.glob("models/**/*.safetensors"), folder / "history.csv", folder / "train.json"]
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if path.is_file()
    }
