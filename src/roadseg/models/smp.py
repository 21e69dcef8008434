"""Networks of segmentation_models_pytorch (smp), an optional package that `make models` installs.

Shapes: N images, K classes, H and W pixels.
"""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from roadseg.models.layers.convolution import use_conv3x3
from roadseg.models.layers.norm import use_sync_batch_norm
from roadseg.models.layers.pooling import use_adaptive_avg_pool
from roadseg.models.network import Network, NetworkOptions, Window
from roadseg.system.errors import InputError, missing_package

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Normalization of the pretrained encoders: RGB, for pixels in 0..1 (of torchvision's models)."""
SMP_PACKAGES = ("segmentation-models-pytorch", "timm", "torchvision")
"""Distributions whose code computes the networks."""
TESTED_ENCODERS = ("resnet18", "resnet34", "resnet50", "mobilenet_v2", "efficientnet-b0")
_DECODERS = (
    "Unet",
    "UnetPlusPlus",
    "Linknet",
    "MAnet",
    "FPN",
    "DeepLabV3Plus",
    "UPerNet",
    "Segformer",
)
_ENCODER_RADIUS = {"resnet18": 217, "resnet34": 449, "resnet50": 213, "mobilenet_v2": 245}
"""Distance in pixels of the farthest pixels that the deepest features of an encoder depend on: the
sum of (kernel - 1) / 2 times the stride of its input over the convolutions and poolings."""
_DECODER_RADIUS = {"Unet": 94, "UnetPlusPlus": 94, "Linknet": 62}
"""Distance that a decoder adds. Others pool all of the image, or upsample at positions that depend
on its size."""


class SmpOptions(NetworkOptions):
    """The keyword arguments of SmpNetwork."""

    encoder: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    kernels: Literal["auto", "torch"] = "auto"


class SmpNetwork(Network):
    """An encoder and a decoder of smp, for images of any size.

    Images are padded at the right and bottom to multiples of the stride by repeating the border,
    and the logits are cropped. The submodules have smp's names, so the state dict has them as well.

    Args:
        num_classes: K.
        encoder: name of an encoder of smp; its weights are random.
        kernels: `auto` or `torch`; see `Conv3x3`.

    Raises:
        InputError: smp is not installed, has no such encoder, or the encoder does not suit the
            decoder.
    """

    Options = SmpOptions
    stride = 32
    min_side = 1
    last_layer = "segmentation_head."
    decoder_name: ClassVar[str]
    """Name of the class in smp."""
    mean: Tensor
    std: Tensor

    def __init__(self, *, num_classes: int, encoder: str, kernels: str) -> None:
        super().__init__()
        radii = _ENCODER_RADIUS.get(encoder), _DECODER_RADIUS.get(self.decoder_name)
        self.receptive_radius = None if None in radii else sum(filter(None, radii))
        model = _build(self.decoder_name, encoder, num_classes)
        self.encoder: nn.Module = model.encoder
        self.decoder: nn.Module = model.decoder
        self.segmentation_head: nn.Module = model.segmentation_head
        use_sync_batch_norm(self)
        use_conv3x3(self, kernels)
        use_adaptive_avg_pool(self)
        for name, values in (("mean", MEAN), ("std", STD)):
            self.register_buffer(name, torch.tensor(values).reshape(1, 3, 1, 1))

    def forward(self, images: Tensor, window: Window | None = None) -> Tensor:
        """(N, 3, H, W) float in 0..1 -> logits (N, K, H, W); `window` is not needed."""
        height, width = images.shape[2:]
        # at least 2x2 values in the smallest feature map, for the statistics of its norms
        rows, columns = (_padding(side, self.stride) for side in (height, width))
        x = F.pad((images - self.mean) / self.std, (0, columns, 0, rows), mode="replicate")
        logits: Tensor = self.segmentation_head(self.decoder(self.encoder(x)))
        return logits[:, :, :height, :width]

    def encoder_modules(self) -> list[nn.Module]:
        """The encoder of smp."""
        return [self.encoder]


def _padding(side: int, stride: int) -> int:
    """Return the number of pixels that make `side` a multiple of `stride`, at least two of them."""
    return max((side + stride - 1) // stride, 2) * stride - side


def import_smp() -> Any:
    """Import segmentation_models_pytorch, which takes seconds.

    Raises:
        InputError: it is not installed, or torchvision does not fit torch.
    """
    try:
        import segmentation_models_pytorch
    except ImportError as error:
        raise missing_package(error.name or "segmentation_models_pytorch", extra="models") from None
    except RuntimeError as error:  # operator torchvision::nms does not exist
        raise InputError(
            f"torchvision does not fit torch {torch.__version__} ({error}); install both from one "
            "package index (docs/networks.md)"
        ) from None
    return segmentation_models_pytorch


@contextlib.contextmanager
def explain_encoder_errors(problem: str) -> Iterator[None]:
    """Convert the errors of building an encoder of smp to an InputError with `problem`."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of deprecated names of encoders
            yield
    except (KeyError, RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        reason = str(error.args[0] if error.args else error).split(", supported encoders")[0]
        raise InputError(
            f"model.encoder: {problem}: {reason}; tested are {', '.join(TESTED_ENCODERS)}"
        ) from None


def _build(decoder: str, encoder: str, num_classes: int) -> Any:
    """Build the network of smp, without pretrained weights."""
    smp = import_smp()
    with explain_encoder_errors(f"{encoder} cannot be used with smp/{decoder}"):
        return getattr(smp, decoder)(encoder, encoder_weights=None, classes=num_classes)


SMP_NETWORKS: dict[str, type[Network]] = {
    f"smp/{name}": type(f"Smp{name}", (SmpNetwork,), {"decoder_name": name}) for name in _DECODERS
}
"""A subclass of SmpNetwork for each decoder, by the name of the architecture."""
