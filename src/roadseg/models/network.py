"""The interface of the networks; docs/architecture.md shows how to add one.

Shapes: N images, K classes, H and W pixels.
"""

from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from roadseg.config.schema import StrictModel


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
    last_layer: ClassVar[str]
    """Prefix of the names of the last layer, the only one whose shape depends on the classes."""
    receptive_radius: int | None = None
    """Distance in pixels from which on the rest of an image does not change the logits of a pixel;
    None if all of the image does, so that tiles are only approximate."""

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

    def values_per_pixel(self) -> float:
        """Estimate the largest number of activations in memory at once, per pixel of the image."""
        raise NotImplementedError
