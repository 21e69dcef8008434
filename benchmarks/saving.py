"""What share of an epoch goes into saving the training, on pictures of KITTI's size.

    python -m benchmarks.saving

Steps of the training that params.yaml describes, each followed by one save of the state and by
all that the end of an epoch writes: three sides, timed in turn in one process. From their medians
follows the share in an epoch of KITTI's 180 training pictures (200, less a tenth). The validation
is left out, so the true share is lower.
"""

import argparse
import itertools
import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from src.code import ROOT, code_of
from src.config import Params, load_params
from src.data.batches import Batch, training_batches
from src.data.cache import Cache
from src.data.remap import remap_dataset
from src.data.sample.write import write_sample
from src.labels import class_map_path, read_class_map
from src.training.loop import Trainer
from src.training.outputs import Outputs
from src.training.record import Record
from src.training.stop import Stop

_KITTI = {"height": 375, "width": 1242}
_KITTI_TRAINING, _PICTURES = 180, 8
_FIGURES = {"train_ce": 1.0, "val_ce": 1.0, "val_miou": 0.5, "lr": 0.001}  # any will do


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=12, help="timed, after one that is not")
    steps = parser.parse_args().steps
    params = load_params(ROOT / "params.yaml")
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".ckpt-") as folder:
        trainer = made_trainer(Path(folder), params, steps + 1)
        seconds, (state_bytes, epoch_bytes) = measured(trainer, Path(folder), params, steps + 1)
    step, save, end = np.median(seconds[1:], axis=0)
    size, minutes = params.recipe.batch_size, params.resume.minutes
    steps_per_epoch = math.ceil(_KITTI_TRAINING / size)
    epoch = steps_per_epoch * step
    saves = min(int(epoch / (60 * minutes)), steps_per_epoch) if minutes else steps_per_epoch
    print(
        f"{trainer.machine.device}, {trainer.machine.precision}, batch {size}, medians of {steps}: "
        f"step {step:.2f} s, saving a state {save:.2f} s, end of an epoch {end:.2f} s"
    )
    print(f"an epoch of {_KITTI_TRAINING} pictures: {epoch:.0f} s, {saves} saves before its end")
    print(f"disk: {state_bytes / 1e6:.0f} MB a state, {epoch_bytes / 1e6:.0f} MB an epoch")
    print(f"saving / epoch = {(saves * save + end) / epoch:.4f}")


def made_trainer(folder: Path, params: Params, steps: int) -> Trainer:
    """A training of at least `steps` steps on a few pictures of the sample in KITTI's size."""
    write_sample(folder / "raw", num_train=_PICTURES, num_test=1, seed=0, **_KITTI)
    class_map = read_class_map(class_map_path(params.remap.classes, ROOT / "classes"))
    remap_dataset(folder / "raw", folder / "cache", class_map, 1.0)
    cache = Cache(folder / "cache")
    split = {"train": cache.train_ids(), "val": cache.train_ids()[:1]}
    train = replace(params.train, epochs=steps)
    code = code_of(ROOT / "stages" / "train.py")
    return Trainer(cache, split, params.model, train, params.recipe, code)


def batches(trainer: Trainer, steps: int) -> Iterator[Batch]:
    """`steps` batches, of as many epochs as that takes."""
    size = trainer.recipe.batch_size
    epochs = (training_batches(trainer.pictures, n, size, 0) for n in itertools.count(1))
    return itertools.islice(itertools.chain.from_iterable(epochs), steps)


def measured(
    trainer: Trainer, folder: Path, params: Params, steps: int
) -> tuple[np.ndarray, list[int]]:
    """(steps, 3) seconds of step, save and end of epoch; bytes of a state and an epoch's copy."""
    outputs = Outputs(
        epochs=folder / "models" / "epochs",
        best=folder / "models" / "best.safetensors",
        history=folder / "history.csv",
        metrics=folder / "train.json",
        runs=folder / "runs",
        states=folder / "states",
    )
    every_step = replace(params.resume, minutes=0)
    marks = []
    with Stop() as stop:
        record = Record(outputs, trainer.description, every_step, stop)
        state = trainer.initial_state()
        with record.opened(state, steps, trainer.machine.description()):
            for number, batch in enumerate(batches(trainer, steps), start=1):
                marks.append([time.perf_counter()])
                trainer.step(state, batch)
                marks[-1].append(time.perf_counter())
                record.step_done(state)
                marks[-1].append(time.perf_counter())
                state.history.append({"epoch": number, **_FIGURES})
                record.epoch_done(state)
                marks[-1].append(time.perf_counter())
        files = [next(record.store.folder.glob(kind)) for kind in ("state_*", "epoch_*")]
        return np.diff(marks), [file.stat().st_size for file in files]


if __name__ == "__main__":
    main()
