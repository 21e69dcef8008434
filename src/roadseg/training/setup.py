"""Building a trainer from the parameters and the data."""

import numpy as np
import torch

from roadseg.config.params import Model, Recipe, Train
from roadseg.data.dataset import SegmentationDataset
from roadseg.data.prepared import PreparedDataset
from roadseg.data.split_file import Split
from roadseg.provenance.model_metadata import (
    DataDigest,
    ModelMetadata,
    TrainingData,
    TrainingProvenance,
)
from roadseg.runtime.accelerator import Accelerator, select_accelerator
from roadseg.system.errors import InputError
from roadseg.system.files import file_sha256, repository_path
from roadseg.training.criterion import build_criterion
from roadseg.training.trainer import Trainer


def build_trainer(
    prepared: PreparedDataset,
    split: Split,
    model: Model,
    train: Train,
    recipe: Recipe,
    code: dict[str, str],
    accelerator: Accelerator | None = None,
) -> Trainer:
    """Build the trainer of a recipe.

    Args:
        split: the images; those that train are indexed in this order.
        code: Git blob ids of the modules that run, by name; part of the provenance.
        accelerator: the device and the process group; None for a single process on `train.device`.

    Raises:
        InputError: the device or precision is not available, a batch is larger than the data set
            or has fewer images than there are processes, or `train.start` does not exist.
    """
    accelerator = accelerator or select_accelerator(train.device, train.precision)
    _require_batch_size(train.recipe, recipe, len(split.train), accelerator.process_group.size)
    pixels, provenance = accelerator.process_group.broadcast_object(
        lambda: (
            prepared.class_pixels(split.train),
            _provenance(code, prepared, split, model, train, recipe, accelerator),
        )
    )
    class_map = prepared.class_map()
    criterion = build_criterion(recipe, class_map, pixels, accelerator.device)
    return Trainer(
        accelerator=accelerator,
        prepared=prepared,
        dataset=SegmentationDataset(
            prepared, split.train, train.seed, flip=recipe.flip, jitter=recipe.jitter
        ),
        criterion=criterion,
        recipe=recipe,
        train=train,
        val_ids=split.val,
        metadata=ModelMetadata(
            unet={"num_classes": class_map.num_classes, **model.model_dump()},
            classes=class_map,
            ignored_class=criterion.ignored,
            scale=prepared.scale(),
            provenance=provenance,
        ),
        provenance=provenance,
    )


def _require_batch_size(name: str, recipe: Recipe, num_images: int, num_processes: int) -> None:
    key = f"recipes.{name}.batch_size: {recipe.batch_size}"
    if recipe.batch_size > num_images:
        raise InputError(f"{key} is more than the {num_images} training images; lower it")
    if recipe.batch_size < num_processes:
        raise InputError(
            f"{key} is less than the {num_processes} processes that share a batch; raise it, or "
            "use fewer"
        )


def _provenance(
    code: dict[str, str],
    prepared: PreparedDataset,
    split: Split,
    model: Model,
    train: Train,
    recipe: Recipe,
    accelerator: Accelerator,
) -> TrainingProvenance:
    """Collect everything that decides the weights.

    The number of loader workers is left out, because it never changes a weight, and the number of
    epochs if no step depends on it, so that a longer training can resume from a shorter one.
    """
    train_data, val_data = (
        DataDigest(pictures=len(ids), sha256=prepared.digest(ids))
        for ids in (split.train, split.val)
    )
    epochs = {"epochs": train.epochs} if recipe.depends_on_epochs else {}
    start = {} if train.start is None else {"start": _start_sha256(train.start)}
    return TrainingProvenance(
        code=code,
        data=TrainingData(train=train_data, val=val_data),
        model=model.model_dump(),
        recipe={"name": train.recipe, **recipe.model_dump()},
        train={"seed": train.seed, **epochs, **start},
        machine={"device": accelerator.device.type, "precision": accelerator.precision},
        versions={"torch": torch.__version__, "numpy": np.__version__},
    )


def _start_sha256(start: str) -> str:
    path = repository_path(start)
    try:
        return file_sha256(path)
    except OSError as error:
        raise InputError(f"train.start: {path}: {error.strerror}") from None
