"""Training on CamVid for the minutes that are left, with its official validation images."""

import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from threading import Thread

import pandas as pd
from torch import Tensor

from benchmarks import sample
from benchmarks.epoch import make_trainer
from benchmarks.gpu.camvid_archive import prepare_archive
from benchmarks.gpu.options import Options
from roadseg.config.params import Evaluate, Params, load_params
from roadseg.data.prepared import PreparedDataset
from roadseg.data.split_file import Split, read_split
from roadseg.evaluation.model_evaluation import ModelEvaluation, evaluate_model
from roadseg.provenance.source_code import ROOT
from roadseg.reporting.charts import save_curves
from roadseg.reporting.figures import ImageRow, save_image_grid
from roadseg.reporting.panels import comparison_panels
from roadseg.runtime.determinism import make_deterministic
from roadseg.runtime.signals import GracefulShutdown
from roadseg.training.checkpointer import NullCheckpointer
from roadseg.training.logger import TrainingLogger
from roadseg.training.metrics import HistoryRow
from roadseg.training.train_state import TrainState
from roadseg.training.trainer import Trainer

_RESERVE, _RESERVE_S = 0.08, 20
"""Time kept for imports, the evaluation and slower epochs: part of the limit, and seconds."""
_SCALES = [0.75, 1.0, 1.25]
_MOST_ROWS, _MOST_EPOCHS = 50, 999


class _Logger(TrainingLogger):
    """Passes each epoch on, with the time at its end; writes no TensorBoard run."""

    def __init__(self, rows: "Queue[tuple[float, HistoryRow] | None]") -> None:
        super().__init__()
        self.rows = rows

    def log_epoch(self, row: HistoryRow, epochs: int) -> None:
        self.rows.put((time.monotonic(), row))
        super().log_epoch(row, epochs)


class _Best(NullCheckpointer):
    """Keeps the weights of the best epoch in memory; hundreds of models would fill a disk."""

    epoch, miou = 0, -1.0
    weights: dict[str, Tensor]

    def save(self, state: TrainState, epoch_done: bool = False) -> None:
        if epoch_done and state.history[-1].val_miou > self.miou:
            self.epoch, self.miou = state.epoch, state.history[-1].val_miou
            self.weights = state.weights()


def lines(options: Options) -> Iterator[str]:
    """Measure an epoch, train as many as fit, and evaluate the best of them."""
    end = time.monotonic() + options.seconds * (1 - _RESERVE) - _RESERVE_S
    make_deterministic()
    params = _params(options)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepared, split, images = _data(options, folder)
        if options.small:
            split = Split(train=split.train[:12], val=split.val[:4], test=[])
        height, width = prepared.size(split.val[0])
        yield (
            f"- {images}: {len(split.train)} training and {len(split.val)} validation images, "
            f"{height}x{width}; recipe {params.train.recipe}, batch {params.recipe.batch_size}"
        )
        times = [when for when, _ in _train(make_trainer(prepared, 2, params, split), _Best())]
        epoch_s = times[1] - times[0]
        epochs = min(_MOST_EPOCHS, max(1, math.floor((end - time.monotonic()) / epoch_s)))
        epochs = min(epochs, 3) if options.small else epochs
        yield f"- an epoch takes {epoch_s:.2f} s with its validation; {epochs} epochs\n"
        yield "| epoch | training loss | validation loss | validation mIoU | s |"
        yield "|---|---|---|---|---|"
        started, stride = time.monotonic(), math.ceil(epochs / _MOST_ROWS)
        trainer, best, history = make_trainer(prepared, epochs, params, split), _Best(), []
        for when, row in _train(trainer, best):
            history.append(row)
            if row.epoch % stride == 0 or row.epoch in (1, epochs):
                losses = f"{row.train_ce:.3f} | {row.val_ce:.3f} | {row.val_miou:.4f}"
                yield f"| {row.epoch} | {losses} | {when - started:.1f} |"
        yield ""
        yield from _results(trainer, best, history, params.evaluate, Path(options.out))


def _params(options: Options) -> Params:
    params = load_params(ROOT / "params.yaml")
    name = "thorough" if "thorough" in params.recipes else "modern"
    recipe = params.recipes[name]
    if options.batch_size or not isinstance(recipe.batch_size, int):
        recipe = recipe.model_copy(update={"batch_size": options.batch_size or 8})
    model = params.model
    if options.small:
        unet = model.unet.model_copy(update={"base_channels": 4})
        model = model.model_copy(update={"unet": unet})
    changes = {
        "train": params.train.model_copy(update={"recipe": name, "device": options.device}),
        "recipes": {**params.recipes, name: recipe},
        "model": model,
    }
    return params.model_copy(update=changes)


def _data(options: Options, folder: Path) -> tuple[PreparedDataset, Split, str]:
    """Return the data set, its split, and the format of its images."""
    if options.prepared and options.split:
        prepared, split = PreparedDataset(Path(options.prepared)), read_split(Path(options.split))
        return prepared, split, "prepared arrays"
    if options.camvid:
        return prepare_archive(Path(options.camvid), folder / "data")
    size = {"height": 36, "width": 64} if options.small else sample.SMALL
    prepared = sample.write_prepared(folder, 24, **size)
    ids = prepared.train_ids()
    return prepared, Split(train=ids[:18], val=ids[18:], test=[]), "synthetic streets (no --camvid)"


def _train(trainer: Trainer, best: _Best) -> Iterator[tuple[float, HistoryRow]]:
    """Train, and yield each epoch with the time of its end."""
    rows: Queue[tuple[float, HistoryRow] | None] = Queue()
    errors: list[BaseException] = []

    def run() -> None:
        try:
            trainer.run(best, _Logger(rows), GracefulShutdown())
        except BaseException as error:
            errors.append(error)
        rows.put(None)

    thread = Thread(target=run)
    thread.start()
    while (found := rows.get()) is not None:
        yield found
    thread.join()
    if errors:
        raise errors[0]


def _results(
    trainer: Trainer, best: _Best, history: list[HistoryRow], evaluation: Evaluate, out: Path
) -> Iterator[str]:
    """Evaluate the best epoch with and without test-time augmentation, and draw the plots."""
    network, prepared = trainer.initial_state().network, trainer.prepared
    network.load_state_dict(best.weights)
    views = {"one view": (False, [1.0]), f"flip and scales {_SCALES}": (True, _SCALES)}
    for number, (name, (flip, scales)) in enumerate(views.items()):
        result = evaluate_model(
            network,
            prepared,
            trainer.val_ids,
            trainer.accelerator,
            evaluation.model_copy(update={"flip": flip, "scales": scales}),
            ignored=trainer.criterion.ignored_class,
            model="the best epoch",
        )
        yield f"- best epoch {best.epoch}, {name}: validation mIoU {result.metrics.miou:.4f}"
        if number == 0:
            yield f"- IoU: {_ious(result)}"
    curves, drawn = (out.with_name(f"{out.stem}-{kind}.png") for kind in ("curves", "predictions"))
    save_curves(curves, pd.DataFrame(history), best.epoch)
    rows = [
        ImageRow(comparison_panels(network, prepared, image_id, trainer.accelerator), image_id)
        for image_id in trainer.val_ids[:: max(1, len(trainer.val_ids) // 4)][:4]
    ]
    save_image_grid(drawn, "validation images, the best epoch", rows, prepared.class_map())
    yield f"\n![curves]({curves.name})\n![predictions]({drawn.name})"


def _ious(result: ModelEvaluation) -> str:
    table = result.per_class
    return ", ".join(f"{n} {v:.3f}" for n, v in zip(table["class"], table["iou"], strict=True))
