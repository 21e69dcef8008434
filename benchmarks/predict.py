"""What `roadseg predict` takes beyond the forward passes of its pictures."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks import sample
from benchmarks.table import Row, in_turn
from roadseg.inference.batch_predict import predict_files
from roadseg.inference.image_files import find_images, read_image
from roadseg.inference.predictor import Predictor
from roadseg.models.model_file import save_weights
from roadseg.models.unet import UNet
from roadseg.prepare.layout import TRAIN_IMAGES
from roadseg.provenance.model_metadata import ModelMetadata

_UNET = {"base_channels": 64, "bilinear": True, "norm": "batch", "dropout": 0.0}
_PICTURES = {"KITTI": (sample.KITTI, 12), "the sample": (sample.SMALL, 60)}


def saved_model(path: Path) -> Path:
    """The default network, untrained: what it predicts costs the same."""
    class_map = sample.class_map()
    unet = {"num_classes": class_map.num_classes, **_UNET}
    metadata = ModelMetadata(unet=unet, classes=class_map, ignored_class=None, scale=1.0)
    save_weights(path, UNet(**unet).state_dict(), metadata)
    return path


def rows() -> Iterator[Row]:
    for name, (size, count) in _PICTURES.items():
        with tempfile.TemporaryDirectory() as folder:
            yield _row(Path(folder), name, size, count)


def _row(folder: Path, name: str, size: dict[str, int], count: int) -> Row:
    pictures = sample.raw(folder, count, min(count, 12), **size) / TRAIN_IMAGES
    predictor = Predictor(saved_model(folder / "model.safetensors"))
    sources = find_images([str(pictures)])
    accelerator = predictor.accelerator
    batches = [
        torch.from_numpy(np.array(read_image(source.path, source.path))).permute(2, 0, 1)[None]
        for source in sources
    ]

    @torch.inference_mode()
    def bare() -> None:
        for batch in batches:
            accelerator.logits(predictor.network, accelerator.images(batch)).argmax(1).cpu()

    def whole() -> float:
        shutil.rmtree(folder / "out", ignore_errors=True)
        started = time.perf_counter()
        predict_files(predictor, sources, folder / "out")
        return time.perf_counter() - started

    found = in_turn(whole, bare)
    return Row(
        name=f"predict {count} pictures of {name}'s size: read, predict, write three files each",
        sides="roadseg predict / bare forward passes",
        seconds=found,
        ratio=found[0] / found[1],
        at_most=1.15,
    )
