"""Overhead of `roadseg predict` compared to its forward passes."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks import sample
from benchmarks.table import Row, time_alternately
from roadseg.inference.batch_predict import predict_files
from roadseg.inference.image_files import find_images, read_image
from roadseg.inference.predictor import Predictor
from roadseg.models.model_file import save_weights
from roadseg.models.unet import UNet
from roadseg.prepare.layout import TRAIN_IMAGES
from roadseg.provenance.model_metadata import ModelMetadata

_UNET = {"base_channels": 64, "bilinear": True, "norm": "batch", "dropout": 0.0}
_IMAGES = {"KITTI": (sample.KITTI, 12), "the sample": (sample.SMALL, 60)}


def save_model(path: Path) -> Path:
    """Save the default network; untrained weights take the same time."""
    class_map = sample.class_map()
    unet = {"num_classes": class_map.num_classes, **_UNET}
    metadata = ModelMetadata(network=unet, classes=class_map, ignored_class=None, scale=1.0)
    save_weights(path, UNet(**unet).state_dict(), metadata)
    return path


def rows() -> Iterator[Row]:
    """Measure all rows of this group."""
    for name, (size, count) in _IMAGES.items():
        with tempfile.TemporaryDirectory() as folder:
            yield _row(Path(folder), name, size, count)


def _row(folder: Path, name: str, size: dict[str, int], count: int) -> Row:
    images = sample.write_raw(folder, count, min(count, 12), **size) / TRAIN_IMAGES
    predictor = Predictor([save_model(folder / "model.safetensors")])
    sources = find_images([str(images)])
    accelerator = predictor.accelerator
    batches = [
        torch.from_numpy(np.array(read_image(source.path, source.path))).permute(2, 0, 1)[None]
        for source in sources
    ]

    @torch.inference_mode()
    def forward_passes() -> None:
        for batch in batches:
            accelerator.logits(predictor.network, accelerator.images(batch)).argmax(1).cpu()

    def command() -> float:
        shutil.rmtree(folder / "out", ignore_errors=True)
        started = time.perf_counter()
        predict_files(predictor, sources, folder / "out")
        return time.perf_counter() - started

    seconds = time_alternately(command, forward_passes)
    return Row(
        name=f"predict {count} images of {name}'s size: read, predict, write three files each",
        sides="roadseg predict / forward passes alone",
        seconds=seconds,
        ratio=seconds[0] / seconds[1],
        at_most=1.15,
    )
