"""A trained model and all that turns a picture of any size into classes of that size.

Shapes: N pictures, K classes, H and W pixels of a picture, h and w those at the model's scale.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from roadseg.inference.tiling import fit_tile
from roadseg.inference.tta import IDENTITY, View, mean_logits
from roadseg.models.model_file import load_model
from roadseg.prepare.resize import MIN_IMAGE_SIDE, resize_image
from roadseg.runtime.accelerator import select_accelerator
from roadseg.runtime.determinism import make_deterministic
from roadseg.system.errors import InputError
from roadseg.system.memory import keep_freed_memory, out_of_memory_as

TTA_VIEWS = (IDENTITY, View(1.0, flip=True))
"""The looks of test-time augmentation. Other scales were measured as well: they cost more mIoU on
the sample (0.758 to 0.715) than they brought on photographs."""


class Predictor:
    """Predicts with the model of one file.

    Args:
        path: a .safetensors file that train has written.
        device, precision: as `train.device` and `train.precision` name them.
        scale: at which pictures pass the network, as a share of their size; None: as in training.
        tta: take the mean of the probabilities of TTA_VIEWS.
        tile: side in pixels of the parts that pass one by one; None: only where memory is short.

    Raises:
        InputError: no such model, or no such device or precision on this computer.
    """

    def __init__(
        self,
        path: Path,
        device: str = "auto",
        precision: str = "auto",
        *,
        scale: float | None = None,
        tta: bool = False,
        tile: int | None = None,
    ) -> None:
        self.accelerator = select_accelerator(device, precision, prefix="--")
        make_deterministic()
        keep_freed_memory()
        self.network, self.metadata = load_model(path)
        self.accelerator.to_device(self.network)
        self.class_map = self.metadata.classes
        self.scale = scale or self.metadata.scale
        self.views = TTA_VIEWS if tta else (IDENTITY,)
        self.tile = tile
        self._fitting: dict[torch.Size, int | None] = {}  # once a shape, so that like stays like

    @torch.inference_mode()
    def logits(self, pictures: Sequence[np.ndarray]) -> Tensor:
        """(N, K, H, W) on the device, of N pictures (H, W, 3) uint8, RGB, of one size.

        Raises:
            InputError: more than fits in memory, or logits that are no finite numbers.
        """
        with _in_memory(pictures):
            return _enlarged(self._logits(*self._seen(pictures)), pictures[0].shape[:2])

    @torch.inference_mode()
    def class_ids(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """(N, H, W) uint8, of N pictures (H, W, 3) uint8, RGB, of one size. Raises as `logits`."""
        with _in_memory(pictures):
            return self.logits(pictures).argmax(1).to(torch.uint8).cpu().numpy()

    @torch.inference_mode()
    def class_ids_and_probabilities(
        self, pictures: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """(N, H, W) uint8 and (N, K, H, W) float16, 0..1. Raises as `logits`."""
        with _in_memory(pictures):
            logits = self.logits(pictures)
            chances = logits.float().softmax(1).half()
            return logits.argmax(1).to(torch.uint8).cpu().numpy(), chances.cpu().numpy()

    def _seen(self, pictures: Sequence[np.ndarray]) -> tuple[Tensor, tuple[int, int]]:
        """What passes the network, (N, 3, ..) float32 on the device, and how much of it, (h, w)."""
        scaled = [_at_scale(picture, self.scale) for picture in pictures]
        images = torch.from_numpy(np.stack(scaled)).permute(0, 3, 1, 2)  # (N, 3, h, w)
        seen = _padded(self.accelerator.images(images), MIN_IMAGE_SIDE)
        seen = seen.contiguous(memory_format=self.accelerator.memory_format)
        return seen, (images.shape[2], images.shape[3])

    def _logits(self, seen: Tensor, passing: tuple[int, int]) -> Tensor:
        """(N, K, h, w)"""
        tile = self._tile(seen)
        logits = mean_logits(self.network, seen, self.accelerator, self.views, tile)
        return _finite(logits[:, :, : passing[0], : passing[1]])

    def _tile(self, seen: Tensor) -> int | None:
        if self.tile is None and seen.shape not in self._fitting:
            self._fitting[seen.shape] = fit_tile(self.network, self.accelerator, seen.shape)
        return self.tile or self._fitting[seen.shape]


def _in_memory(images: Sequence[np.ndarray]) -> contextlib.AbstractContextManager[None]:
    """Turn an out-of-memory error into an InputError that says which options to lower."""
    height, width = images[0].shape[:2]
    less = "--tile or --scale" if len(images) == 1 else "--batch-size"
    return out_of_memory_as(f"{height}x{width} pixels: out of memory; try a smaller {less}")


def _finite(logits: Tensor) -> Tensor:
    """`logits`, (N, K, H, W); NaN would be taken for a class."""
    if not torch.stack(logits.aminmax()).isfinite().all():
        raise InputError("the model gives no finite numbers; its weights are too large")
    return logits


def _enlarged(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Logits (N, K, h, w) in `size`, (H, W), in float32 where that is another."""
    if logits.shape[2:] == size:
        return logits
    return F.interpolate(logits.float(), size, mode="bilinear")


def _at_scale(picture: np.ndarray, scale: float) -> np.ndarray:
    """(h, w, 3) uint8, resized as remap does."""
    return np.asarray(resize_image(Image.fromarray(picture), scale)) if scale != 1 else picture


def _padded(images: Tensor, side: int) -> Tensor:
    """With the border repeated at the right and the bottom, until no side is smaller."""
    rows, columns = (max(0, side - length) for length in images.shape[2:])
    return F.pad(images, (0, columns, 0, rows), mode="replicate") if rows or columns else images
