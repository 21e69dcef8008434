"""The interface of the networks; docs/architecture.md shows how to add one.

Shapes: N images, K classes, H and W pixels.
"""

from collections.abc import MutableMapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, UntypedStorage, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from roadseg.config.schema import StrictModel

_WORKSPACE = 1.6
"""Peak memory of a forward pass as a factor of its activations, measured (docs/networks.md)."""


class NetworkOptions(StrictModel):
    """The keyword arguments of a network; subclasses add their own."""

    num_classes: int


class Window(NamedTuple):
    """Position (top, left) of a crop, and size (height, width) of the full image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def halve(self) -> "Window":
        """Return the position at half the resolution."""
        return Window(*(pixels // 2 for pixels in self))


class Network(nn.Module):
    """A segmentation network that computes logits at the resolution of the image.

    The parameters of `encoder_modules` come first in `parameters()`.
    """

    Options: ClassVar[type[NetworkOptions]] = NetworkOptions
    """The keyword arguments of the constructor; a model file stores them."""
    stride: int
    """Factor between the sizes of the image and of the smallest feature map; the corners of tiles
    are multiples of it."""
    min_side: int
    """Smallest height and width of an image, in pixels."""
    receptive_radius: int | None = None
    """Distance in pixels from which on the rest of an image does not change the logits of a pixel;
    None if all of the image does, so that tiles are only approximate."""

    _values_per_pixel: float | None = None

    def forward(self, images: Tensor, window: Window | None = None) -> Tensor:
        """Compute the logits of images, or of the same crop of larger images.

        Args:
            images: (N, 3, H, W) float in 0..1.
            window: position of the crop, for layers whose result depends on it.

        Returns:
            (N, K, H, W).
        """
        raise NotImplementedError

    def encoder_modules(self) -> list[nn.Module]:
        """The modules that fine-tuning can freeze or train at a lower rate."""
        raise NotImplementedError

    def encoder_parameters(self) -> list[nn.Parameter]:
        """The parameters of `encoder_modules`."""
        return [p for module in self.encoder_modules() for p in module.parameters()]

    @torch.inference_mode()
    def values_per_pixel(self) -> float:
        """Estimate the largest number of activations in memory at once, per pixel of the image.

        It is counted for a small image. Convolutions need memory of their own in addition, which
        adds 30 to 60 % to the peak of most networks on a CPU in fp32, and less in bf16.
        """
        if self._values_per_pixel is not None:
            return self._values_per_pixel
        side = max(2 * self.stride, self.min_side)
        image = torch.zeros(1, 3, side, side, device=next(self.parameters()).device)
        training = self.training
        try:
            with _LiveTensors() as live:
                self.eval()(image)
        finally:
            self.train(training)
        self._values_per_pixel = _WORKSPACE * live.peak_bytes / image.element_size() / side**2
        return self._values_per_pixel


class _LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch
    """Records the largest total size of the results of operations that exist at one time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch
        self.peak_bytes = 0
        self._bytes: MutableMapping[UntypedStorage, int] = WeakIdKeyDictionary()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                storage = leaf.untyped_storage()
                self._bytes[storage] = storage.nbytes()
        self.peak_bytes = max(self.peak_bytes, sum(self._bytes.values()))
        return result
