"""A trained model and all that turns a picture of any size into classes of that size.

Shapes: N pictures, K classes, H and W pixels of a picture, h and w those at the model's scale.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from src.data.remap import SMALLEST_PICTURE, resized
from src.files import InputError
from src.inference.tiling import fitting_tile
from src.inference.views import AS_IT_IS, View, mean_logits
from src.labels import ClassMap
from src.memory import is_out_of_memory, keep_freed_memory
from src.model.machine import chosen_machine, make_deterministic
from src.model.weights import load_model

TTA_VIEWS = (AS_IT_IS, View(1.0, flip=True))
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
        self.machine = chosen_machine(device, precision, said_as="--")
        make_deterministic()
        keep_freed_memory()
        self.network, self.description = load_model(path)
        self.machine.placed(self.network)
        self.class_map = ClassMap.from_json(self.description["classes"], path)
        self.scale = scale or self.description["scale"]
        self.views = TTA_VIEWS if tta else (AS_IT_IS,)
        self.tile = tile
        self._fitting: dict[torch.Size, int | None] = {}  # once a shape, so that like stays like

    @torch.inference_mode()
    def logits(self, pictures: Sequence[np.ndarray]) -> Tensor:
        """(N, K, H, W) on the device, of N pictures (H, W, 3) uint8, RGB, of one size.

        Raises:
            InputError: more than fits in memory, or logits that are no finite numbers.
        """
        try:
            logits = self._logits(pictures)
        except Exception as error:
            if is_out_of_memory(error):
                size = "x".join(map(str, pictures[0].shape[:2]))
                raise InputError(f"{size} pixels: out of memory; try a smaller --tile") from None
            raise
        if not torch.stack(logits.aminmax()).isfinite().all():  # NaN would be taken for a class
            raise InputError("the model gives no finite numbers; its weights are too large")
        return logits

    def _logits(self, pictures: Sequence[np.ndarray]) -> Tensor:
        height, width = pictures[0].shape[:2]
        scaled = [_at_scale(picture, self.scale) for picture in pictures]
        images = torch.from_numpy(np.stack(scaled)).permute(0, 3, 1, 2)  # (N, 3, h, w)
        seen = _padded(self.machine.images(images), SMALLEST_PICTURE)
        seen = seen.contiguous(memory_format=self.machine.memory_format)
        tile = self.tile or self._fitting_tile(seen)
        logits = mean_logits(self.network, seen, self.machine, self.views, tile)
        logits = logits[:, :, : images.shape[2], : images.shape[3]]
        if images.shape[2:] != (height, width):
            logits = F.interpolate(logits.float(), (height, width), mode="bilinear")
        return logits

    def _fitting_tile(self, seen: Tensor) -> int | None:
        if seen.shape not in self._fitting:
            self._fitting[seen.shape] = fitting_tile(self.network, self.machine, seen.shape)
        return self._fitting[seen.shape]

    def class_ids(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """(N, H, W) uint8, of N pictures (H, W, 3) uint8, RGB, of one size. Raises as `logits`."""
        return self.logits(pictures).argmax(1).to(torch.uint8).cpu().numpy()


def _at_scale(picture: np.ndarray, scale: float) -> np.ndarray:
    """(h, w, 3) uint8, resized as remap does."""
    return np.asarray(resized(Image.fromarray(picture), scale)) if scale != 1 else picture


def _padded(images: Tensor, side: int) -> Tensor:
    """With the border repeated at the right and the bottom, until no side is smaller."""
    rows, columns = (max(0, side - length) for length in images.shape[2:])
    return F.pad(images, (0, columns, 0, rows), mode="replicate") if rows or columns else images
