"""The interface of the networks; docs/architecture.md shows how to add one.

Shapes: N images, K classes, H and W pixels.
"""

from typing import ClassVar, NamedTuple, Self

import torch
from torch import Tensor, nn

from roadseg.config.schema import StrictModel
from roadseg.models.live_tensors import LiveTensors

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
    """Smallest height and width of an image, in pixels; at most 16."""
    last_layer: ClassVar[str]
    """Prefix of the names of the last layer, the only one whose shape depends on the classes."""
    receptive_radius: int | None = None
    """Largest distance in pixels of a pixel that changes the logits of another; None if all of the
    image does, so that tiles are only approximate."""
    frozen_modules: tuple[nn.Module, ...] = ()
    """Modules that stay in evaluation mode while the others are trained."""

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

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode, except for `frozen_modules`."""
        super().train(mode)
        for module in self.frozen_modules:
            module.eval()
        return self

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
            with LiveTensors() as live:
                self.eval()(image)
        finally:
            self.train(training)
        self._values_per_pixel = _WORKSPACE * live.peak_bytes / image.element_size() / side**2
        return self._values_per_pixel
