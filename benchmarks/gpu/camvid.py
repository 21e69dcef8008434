"""Training on CamVid for the minutes that are left, with its official validation images."""

import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from threading import Thread

import pandas as pd

from benchmarks import sample
from benchmarks.epoch import make_checkpointer, make_trainer
from benchmarks.gpu.camvid_archive import prepare_archive
from benchmarks.gpu.options import Options
from roadseg.config.params import Params, load_params
from roadseg.data.prepared import PreparedDataset
from roadseg.data.split_file import Split, read_split
from roadseg.evaluation.model_evaluation import ModelEvaluation, evaluate_model
from roadseg.models.model_file import load_network
from roadseg.provenance.source_code import ROOT
from roadseg.reporting.charts import save_curves
from roadseg.reporting.figures import ImageRow, save_image_grid
from roadseg.reporting.panels import comparison_panels
from roadseg.runtime.accelerator import select_accelerator
from roadseg.runtime.determinism import make_deterministic
from roadseg.runtime.signals import GracefulShutdown
from roadseg.training.logger import TrainingLogger
from roadseg.training.metrics import HistoryRow

_RESERVE = 0.12
"""Fraction of the time limit that is kept for the evaluation and for slower epochs."""
_SCALES = [0.75, 1.0, 1.25]
_MOST_ROWS = 50


class _Logger(TrainingLogger):
    """Passes each epoch on, with the time at its end; writes no TensorBoard run."""

    def __init__(self, rows: "Queue[tuple[float, HistoryRow] | None]") -> None:
        super().__init__()
        self.rows = rows

    def log_epoch(self, row: HistoryRow, epochs: int) -> None:
        self.rows.put((time.monotonic(), row))
        super().log_epoch(row, epochs)


def lines(options: Options) -> Iterator[str]:
    """Measure an epoch, train as many as fit, and evaluate the best of them."""
    end = time.monotonic() + options.seconds * (1 - _RESERVE)
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
        times = [when for when, _ in _train(prepared, split, params, 2, folder / "measured")]
        epoch_s = times[1] - times[0]
        epochs = max(1, math.floor((end - time.monotonic()) / epoch_s))
        epochs = min(epochs, 3) if options.small else epochs
        yield f"- an epoch takes {epoch_s:.2f} s with validation and saving; {epochs} epochs\n"
        yield "| epoch | training loss | validation loss | validation mIoU | s |"
        yield "|---|---|---|---|---|"
        started, stride = time.monotonic(), math.ceil(epochs / _MOST_ROWS)
        for when, row in _train(prepared, split, params, epochs, folder / "run"):
            if row.epoch % stride == 0 or row.epoch in (1, epochs):
                losses = f"{row.train_ce:.3f} | {row.val_ce:.3f} | {row.val_miou:.4f}"
                yield f"| {row.epoch} | {losses} | {when - started:.1f} |"
        yield ""
        yield from _results(prepared, split, params, folder / "run", Path(options.out))


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
        "resume": params.resume.model_copy(update={"minutes": 1440}),  # there is no second try
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


def _train(
    prepared: PreparedDataset, split: Split, params: Params, epochs: int, folder: Path
) -> Iterator[tuple[float, HistoryRow]]:
    """Train, and yield each epoch with the time of its end."""
    rows: Queue[tuple[float, HistoryRow] | None] = Queue()
    errors: list[BaseException] = []

    def run() -> None:
        try:
            trainer = make_trainer(prepared, epochs, params, split)
            checkpointer = make_checkpointer(trainer, folder, params.resume)
            trainer.run(checkpointer, _Logger(rows), GracefulShutdown())
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
    prepared: PreparedDataset, split: Split, params: Params, folder: Path, out: Path
) -> Iterator[str]:
    """Evaluate the best epoch with and without test-time augmentation, and draw the plots."""
    history = pd.read_csv(folder / "history.csv")
    best = int(history["epoch"][history["val_miou"].idxmax()])
    network, metadata = load_network(folder / "models" / "best.safetensors", prepared.class_map())
    accelerator = select_accelerator(params.train.device, "auto")
    plain = params.evaluate.model_copy(update={"flip": False, "scales": [1.0]})
    several = params.evaluate.model_copy(update={"flip": True, "scales": _SCALES})
    names, results = ("one view", f"flip and scales {_SCALES}"), []
    for name, options in zip(names, (plain, several), strict=True):
        result = evaluate_model(
            network,
            prepared,
            split.val,
            accelerator,
            options,
            ignored=metadata.ignored_class,
            model="the best epoch",
        )
        results.append(result)
        yield f"- best epoch {best}, {name}: validation mIoU {result.metrics.miou:.4f}"
    yield f"- IoU: {_ious(results[0])}"
    curves, drawn = (out.with_name(f"{out.stem}-{kind}.png") for kind in ("curves", "predictions"))
    save_curves(curves, history, best)
    rows = [
        ImageRow(comparison_panels(network, prepared, image_id, accelerator), image_id)
        for image_id in split.val[:: max(1, len(split.val) // 4)][:4]
    ]
    save_image_grid(drawn, "validation images, the best epoch", rows, prepared.class_map())
    yield f"\n![curves]({curves.name})\n![predictions]({drawn.name})"


def _ious(result: ModelEvaluation) -> str:
    table = result.per_class
    return ", ".join(f"{n} {v:.3f}" for n, v in zip(table["class"], table["iou"], strict=True))
