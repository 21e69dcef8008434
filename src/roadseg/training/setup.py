"""Builds a trainer from the parameters and the data."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from roadseg.config.params import Model, Train
from roadseg.config.recipe import TrainingRecipe
from roadseg.config.schema import flatten
from roadseg.data.dataset import SegmentationDataset
from roadseg.data.prepared import PreparedDataset
from roadseg.data.split_file import Split
from roadseg.models.registry import validate_options
from roadseg.models.smp import SMP_PACKAGES
from roadseg.provenance.encoder_weights import ENCODER, WeightsRecord, read_weights_record
from roadseg.provenance.model_metadata import (
    DataDigest,
    TrainingData,
    TrainingProvenance,
)
from roadseg.runtime.accelerator import Accelerator, select_accelerator
from roadseg.system.errors import InputError
from roadseg.system.files import file_sha256, repository_path
from roadseg.training.checkpointer import RunMetadata
from roadseg.training.criterion import build_criterion
from roadseg.training.trainer import Trainer


def build_trainer(
    prepared: PreparedDataset,
    split: Split,
    model: Model,
    train: Train,
    recipe: TrainingRecipe,
    code: dict[str, str],
    accelerator: Accelerator | None = None,
    weights: Path | None = None,
) -> Trainer:
    """Build the trainer of a recipe.

    Args:
        split: ids of the images; the order of the training images is kept.
        code: Git blob id of each module that runs, by path; part of the provenance.
        accelerator: device and process group; None: a single process on `train.device`.
        weights: output folder of the stage weights; not read if `model.weights` is none.

    Raises:
        InputError: the device or precision is not available, a batch is larger than the data set
            or has fewer images than there are processes, `train.start` does not exist, the weights
            are of another encoder, or all pixels of the training or validation masks are ignored.
    """
    accelerator = accelerator or select_accelerator(train.device, train.precision)
    if model.weights == "none":
        weights = None
    _require_batch_size(train.recipe, recipe, len(split.train), accelerator.process_group.size)
    class_map = prepared.class_map()
    network = validate_options(
        model.architecture, {"num_classes": class_map.num_classes, **model.network_options}
    )
    record = None if weights is None else _weights_record(weights, model)
    train_pixels, val_pixels, provenance = accelerator.process_group.broadcast_object(
        lambda: (
            prepared.class_pixels(split.train),
            prepared.class_pixels(split.val),
            _provenance(code, prepared, split, model, network, train, recipe, accelerator, weights),
        )
    )
    criterion = build_criterion(recipe, class_map, train_pixels, accelerator.device)
    _require_counted_pixels("training", train_pixels, split.train, criterion.ignored_class)
    _require_counted_pixels("validation", val_pixels, split.val, class_map.void_id)
    metadata = RunMetadata(
        architecture=model.architecture,
        network=network,
        classes=class_map,
        ignored_class=criterion.ignored_class,
        scale=prepared.scale(),
        provenance=provenance,
    )
    if record is not None:
        metadata = metadata.model_copy(update={"weights": record})
    return Trainer(
        accelerator=accelerator,
        prepared=prepared,
        dataset=SegmentationDataset(
            prepared,
            split.train,
            train.seed,
            recipe.augmentation,
            recipe.class_uniform,
            train.epochs,
        ),
        criterion=criterion,
        recipe=recipe,
        train=train,
        val_ids=split.val,
        metadata=metadata,
        weights=weights,
    )


def _require_batch_size(
    name: str, recipe: TrainingRecipe, num_images: int, num_processes: int
) -> None:
    key = f"recipes.{name}.batch_size: {recipe.batch_size}"
    if recipe.batch_size > num_images:
        raise InputError(f"{key} is more than the {num_images} training images; lower it")
    if recipe.batch_size < num_processes:
        raise InputError(
            f"{key} is less than the {num_processes} processes that share a batch; raise it or "
            "use fewer processes"
        )


def _require_counted_pixels(
    kind: str, pixels: np.ndarray, ids: Sequence[str], excluded_class: int | None
) -> None:
    """Raise InputError if `pixels`, (K,) int of all masks `ids`, are of the excluded class only."""
    excluded = 0 if excluded_class is None else pixels[excluded_class]
    if pixels.sum() == excluded:
        reason = "ignored (255)" if excluded_class is None else "ignored (255) or void"
        names = ", ".join(ids[:5]) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
        raise InputError(
            f"train: all pixels of the {kind} masks are {reason}: {names}; change the split "
            "(split.val_ids or split.seed) or the class map (remap.classes)"
        )


def _provenance(
    code: dict[str, str],
    prepared: PreparedDataset,
    split: Split,
    model: Model,
    network: dict[str, Any],
    train: Train,
    recipe: TrainingRecipe,
    accelerator: Accelerator,
    weights: Path | None,
) -> TrainingProvenance:
    """Collect everything that determines the weights.

    This excludes the number of loader workers, and the number of epochs if no step depends on it,
    so that a longer training can resume from a shorter one.
    """
    train_data, val_data = (
        DataDigest(pictures=len(ids), sha256=prepared.digest(ids))
        for ids in (split.train, split.val)
    )
    epochs = {"epochs": train.epochs} if recipe.depends_on_epochs else {}
    start = {} if train.start is None else {"start": _start_sha256(train.start)}
    encoder = {} if weights is None else {"weights": file_sha256(weights / ENCODER)}
    versions = {"torch": torch.__version__, "numpy": np.__version__}
    if model.encoder is not None:
        versions |= {name: version(name) for name in SMP_PACKAGES}
    return TrainingProvenance(
        code=code,
        data=TrainingData(train=train_data, val=val_data),
        model={"architecture": model.architecture, **network},
        recipe={"name": train.recipe, **flatten(recipe.model_dump())},
        train={"seed": train.seed, **epochs, **start, **encoder},
        machine={"device": accelerator.device.type, "precision": accelerator.precision},
        versions=versions,
    )


def _weights_record(folder: Path, model: Model) -> WeightsRecord:
    """Read the record of the initial weights; require that they are of this encoder."""
    record = read_weights_record(folder)
    if record.encoder != model.encoder:
        raise InputError(
            f"{folder}: has weights of {record.encoder or 'no encoder'}, but model.encoder is "
            f"{model.encoder}; run dvc repro weights"
        )
    return record


def _start_sha256(start: str) -> str:
    path = repository_path(start)
    try:
        return file_sha256(path)
    except OSError as error:
        raise InputError(f"train.start: {path}: {error.strerror}") from None
