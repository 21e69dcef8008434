"""Prediction of images of any size with one or several model files.

Shapes: N images, K classes, H and W pixels; h and w pixels at the scale of the model.
"""

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from roadseg.inference.ensemble import combine, load_models
from roadseg.inference.tiling import Tiles, fit_tiles, make_tiles
from roadseg.inference.tta import IDENTITY, View, mean_logits
from roadseg.prepare.images.resize import MIN_IMAGE_SIDE, resize_image
from roadseg.runtime.accelerator import select_accelerator
from roadseg.runtime.determinism import make_deterministic
from roadseg.system.errors import InputError
from roadseg.system.memory import keep_freed_memory, out_of_memory_as

TTA_VIEWS = (IDENTITY, View(1.0, flip=True))
"""Views of test-time augmentation. Other scales were tried: on the sample they lowered the mIoU
(0.758 to 0.715) by more than they raised it on photographs."""


_APPROXIMATE = (
    "warning: {}x{} pixels are predicted in blended tiles of {} pixels, which is approximate: the "
    "network sees more of the image than a tile"
)


class Predictor:
    """Predicts class ids, logits and probabilities of images.

    Args:
        paths: model files (safetensors) written by the stage train; the probabilities of several
            are averaged at the scale of the models, like those of the views.
        device: as `train.device` in params.yaml.
        precision: as `train.precision` in params.yaml.
        scale: factor by which images are resized for the network; None: as in training.
        tta: test-time augmentation: average the probabilities over TTA_VIEWS.
        tile: side of the tiles, in pixels; None: tiles only if an image does not fit in memory.

    Raises:
        InputError: as `load_models`, or this computer lacks the device or precision.
    """

    def __init__(
        self,
        paths: Sequence[Path],
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
        networks, self.metadata = load_models(paths)
        self.network = self.accelerator.to_device(combine(networks))
        self._networks = networks
        self.class_map = self.metadata[0].classes
        self.scale = scale or self.metadata[0].scale
        self.views = TTA_VIEWS if tta else (IDENTITY,)
        self.tile = tile
        self._tiles: dict[torch.Size, list[Tiles | None]] = {}  # equal shapes get equal tiles

    @torch.inference_mode()
    def logits(self, images: Sequence[np.ndarray]) -> Tensor:
        """Logits (N, K, H, W), on the device, of N images (H, W, 3) uint8, RGB, of one size.

        Raises:
            InputError: memory is exhausted, or logits are not finite.
        """
        with _explain_out_of_memory(images):
            padded, (height, width) = self._preprocess(images)
            tiles = self._choose_tiles(padded.shape)
            logits = mean_logits(self.network, padded, self.accelerator, self.views, tiles)
            logits = _require_finite(logits[:, :, :height, :width])  # (N, K, h, w)
            return _upsample(logits, images[0].shape[:2])

    @torch.inference_mode()
    def class_ids(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Most probable classes, (N, H, W) uint8; arguments and errors as for `logits`."""
        with _explain_out_of_memory(images):
            return self.logits(images).argmax(1).to(torch.uint8).cpu().numpy()

    @torch.inference_mode()
    def class_ids_and_probabilities(
        self, images: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """`class_ids`, and the probabilities of the classes, (N, K, H, W) float16, 0..1."""
        with _explain_out_of_memory(images):
            logits = self.logits(images)
            probabilities = logits.float().softmax(1).half()
            return logits.argmax(1).to(torch.uint8).cpu().numpy(), probabilities.cpu().numpy()

    def _preprocess(self, images: Sequence[np.ndarray]) -> tuple[Tensor, tuple[int, int]]:
        """Resize, convert and pad: (N, 3, ..) float32 on the device, and (h, w) before padding."""
        scaled = [_resize(image, self.scale) for image in images]
        batch = torch.from_numpy(np.stack(scaled)).permute(0, 3, 1, 2)  # (N, 3, h, w)
        padded = _pad(self.accelerator.images(batch), MIN_IMAGE_SIDE)
        padded = padded.contiguous(memory_format=self.accelerator.memory_format)
        return padded, (batch.shape[2], batch.shape[3])

    def _choose_tiles(self, shape: torch.Size) -> list[Tiles | None]:
        """Tiles of each network for images of `shape`; print a warning if they are approximate."""
        if shape not in self._tiles:
            self._tiles[shape] = [
                make_tiles(network, self.tile)
                if self.tile
                else fit_tiles(network, self.accelerator, shape)
                for network in self._networks
            ]
            for tiles in filter(None, self._tiles[shape]):
                if not tiles.exact and not tiles.cover(shape[2:]):
                    tqdm.write(_APPROXIMATE.format(shape[2], shape[3], tiles.side), file=sys.stderr)
        return self._tiles[shape]


def _explain_out_of_memory(images: Sequence[np.ndarray]) -> contextlib.AbstractContextManager[None]:
    """Convert an out-of-memory error to an InputError that names the options to lower."""
    height, width = images[0].shape[:2]
    less = "--tile or --scale" if len(images) == 1 else "--batch-size"
    return out_of_memory_as(f"{height}x{width} pixels: out of memory; try a smaller {less}")


def _require_finite(logits: Tensor) -> Tensor:
    """Return `logits`, or raise InputError if any is not finite (argmax of NaN is a class)."""
    if not torch.stack(logits.aminmax()).isfinite().all():
        raise InputError("the logits are not finite, because the weights of a model are too large")
    return logits


def _upsample(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """(N, K, h, w) -> (N, K, H, W), in float32 if `size` (H, W) differs from (h, w)."""
    if logits.shape[2:] == size:
        return logits
    return F.interpolate(logits.float(), size, mode="bilinear")


def _resize(image: np.ndarray, scale: float) -> np.ndarray:
    """(H, W, 3) -> (h, w, 3) uint8, as the stage remap does."""
    return np.asarray(resize_image(Image.fromarray(image), scale)) if scale != 1 else image


def _pad(images: Tensor, side: int) -> Tensor:
    """Replicate the right and bottom border, so that height and width are at least `side`."""
    rows, columns = (max(0, side - length) for length in images.shape[2:])
    return F.pad(images, (0, columns, 0, rows), mode="replicate") if rows or columns else images
