"""A training step, compared to the report's implementation and to the machine's matrix rate."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

from benchmarks.table import MATRIX_FLOP, ROUNDS, Row, matrix_product, time_alternately
from benchmarks.worker import Worker
from roadseg.config.class_map import read_class_map
from roadseg.config.params import load_params
from roadseg.data.augmentation import (
    Transforms,
    draw_transform,
    output_size,
    stack_transforms,
)
from roadseg.data.collate import Batch
from roadseg.models.unet import UNet
from roadseg.provenance.model_metadata import ModelMetadata
from roadseg.provenance.source_code import ROOT
from roadseg.runtime.accelerator import Accelerator, select_accelerator
from roadseg.runtime.determinism import make_deterministic
from roadseg.system.memory import keep_freed_memory
from roadseg.training.criterion import build_criterion
from roadseg.training.train_state import TrainState, synchronize_state
from roadseg.training.trainer import Trainer

UNET = {"base_channels": 64, "bilinear": True, "norm": "batch", "dropout": 0.0}
CLASSES = 12
FLOP_PER_PIXEL = 1.69e12 / (375 * 1242)
"""Arithmetic of a training step of this network: forward pass and both gradients."""
TARGETS = {(96, 320): 2.5, (180, 240): None, (375, 1242): 3.2}


def random_transforms(height: int, width: int, count: int) -> Transforms:
    """Draw transforms of the recipe modern for `count` images."""
    augmentation = load_params(ROOT / "params.yaml").recipes["modern"].augmentation
    size, rng = (height, width), np.random.default_rng(0)
    draws = [draw_transform(rng, augmentation, size, mean=127.5) for _ in range(count)]
    return stack_transforms(draws, output_size(augmentation, size))


def random_batch(height: int, width: int, count: int = 1) -> Batch:
    """Return a batch of `count` random images and masks."""
    torch.manual_seed(0)
    images = torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8)
    masks = torch.randint(0, CLASSES, (count, height, width), dtype=torch.uint8)
    return Batch(images.permute(0, 3, 1, 2), masks, random_transforms(height, width, count))


def reports_step(
    height: int, width: int, device: str = "cpu", own_memory: bool = False
) -> Callable:
    """Prepare a step as in the report: fp32, NCHW, RMSprop, gradient clipping by value."""
    if own_memory:
        keep_freed_memory()
    torch.manual_seed(0)
    network = UNet(num_classes=CLASSES, **UNET).to(device).train()
    optimizer = torch.optim.RMSprop(network.parameters(), lr=0.001, weight_decay=1e-8, momentum=0.9)
    batch = random_batch(height, width)
    images = (batch.images.contiguous().float() / 255).to(device)
    masks, criterion = batch.masks.long().to(device), nn.CrossEntropyLoss()

    def step() -> None:
        loss = criterion(network(images), masks)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_value_(network.parameters(), 0.1)
        optimizer.step()
        loss.item()

    return step


def our_step(
    height: int, width: int, device: str = "cpu", count: int = 1, recipe: str = "modern"
) -> Callable:
    """Prepare a step of a recipe of params.yaml on `count` images."""
    accelerator = select_accelerator(device, "auto")
    make_deterministic()
    keep_freed_memory()
    return prepare_step(accelerator, random_batch(height, width, count), recipe)


def prepare_step(
    accelerator: Accelerator, batch: Batch, name: str = "modern", norm: str = "batch"
) -> Callable:
    """Prepare a step on this rank's shard of a batch, without the moving average of the weights."""
    trainer, state = prepare_training(accelerator, name, norm)
    return lambda: trainer.train_step(state, batch)


def prepare_training(
    accelerator: Accelerator, name: str = "modern", norm: str = "batch"
) -> tuple[Trainer, TrainState]:
    """Prepare a trainer, which has no images, for steps at a constant learning rate."""
    params = load_params(ROOT / "params.yaml")
    recipe = params.recipes[name].model_copy(
        update={"schedule": "constant", "halved": 0.0, "ema": 0.0, "batch_size": 1}
    )
    class_map = read_class_map(ROOT / "classes/kitti12.yaml")
    pixels = np.ones(CLASSES, dtype=np.int64)
    unet = {"num_classes": CLASSES, **UNET, "norm": norm}
    metadata = ModelMetadata(network=unet, classes=class_map, ignored_class=None, scale=1.0)
    trainer = Trainer(
        accelerator=accelerator,
        prepared=None,
        dataset=[None],  # only its length is needed, because only steps are run
        criterion=build_criterion(recipe, class_map, pixels, accelerator.device),
        recipe=recipe,
        train=params.train,
        val_ids=[],
        metadata=metadata,
    )
    state = trainer.initial_state()
    synchronize_state(state, accelerator.process_group)
    return trainer, state


def rows(rounds: int = ROUNDS) -> Iterator[Row]:
    """Measure all rows of this group."""
    dtype = (
        torch.bfloat16 if select_accelerator("cpu", "auto").precision == "bf16" else torch.float32
    )
    for (height, width), target in TARGETS.items():
        size = f"{height}x{width}"
        with (
            Worker(reports_step, height, width) as report,
            Worker(reports_step, height, width, "cpu", True) as report_with_memory,
            Worker(our_step, height, width) as ours,
            Worker(our_step, height, width, "cpu", 1, "report") as same,
            Worker(matrix_product, dtype, "cpu") as product,
        ):
            seconds = time_alternately(
                report, report_with_memory, ours, same, product, rounds=rounds
            )
        theirs, with_memory, our, same_training, of_product = seconds
        name = f"training step, {size}, batch 1"
        yield Row(
            name=name,
            sides="the report's implementation / ours, same algorithm (recipe report)",
            seconds=(theirs, same_training),
            ratio=theirs / same_training,
            at_least=target,
        )
        yield Row(
            name=name,
            sides="the report's implementation / ours (recipe modern, whose steps do more)",
            seconds=(theirs, our),
            ratio=theirs / our,
            at_least=target,
        )
        yield Row(
            name=name,
            sides="the report's implementation with our allocator settings / ours (recipe report)",
            seconds=(with_memory, same_training),
            ratio=with_memory / same_training,
        )
        rates = (
            FLOP_PER_PIXEL * height * width / same_training / 1e9,
            MATRIX_FLOP / of_product / 1e9,
        )
        yield Row(
            name=f"fraction of the {str(dtype).removeprefix('torch.')} matrix rate, {size}",
            sides="arithmetic of a step / of a matrix product, measured between the steps",
            seconds=rates,
            ratio=rates[0] / rates[1],
            at_least=0.85 if (height, width) == (375, 1242) else None,
            unit="GFLOP/s",
        )
