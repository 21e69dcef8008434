"""U-Net (Ronneberger, Fischer and Brox 2015) in the variant that the course report trained.

Shapes: N images, C channels, H and W pixels, K classes, B base channels.
Four downsampling and four upsampling levels, each with two 3x3 convolutions that keep the size.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roadseg.config.params import UNetParams
from roadseg.models.layers.convolution import Conv3x3
from roadseg.models.layers.norm import build_norm
from roadseg.models.network import Network, NetworkOptions, Window

SMALLEST_SIDE = 16
"""Smallest height and width of an input, in pixels; four halvings leave one pixel."""

RECEPTIVE_RADIUS = 141
"""Radius of the receptive field, in pixels: the sum over the convolutions, poolings and upsamplings
of all levels. A network with group norm sees the whole image."""


class UNetOptions(NetworkOptions, UNetParams):
    """The keyword arguments of UNet."""

    kernels: Literal["auto", "torch"] = "auto"


class DoubleConv(nn.Sequential):
    """(convolution 3x3, norm, ReLU) twice: (N, C, H, W) -> (N, out_channels, H, W)."""

    def __init__(self, in_channels: int, mid_channels: int, out_channels: int, norm: str) -> None:
        super().__init__(
            Conv3x3(in_channels, mid_channels),
            build_norm(norm, mid_channels),
            nn.ReLU(inplace=True),
            Conv3x3(mid_channels, out_channels),
            build_norm(norm, out_channels),
            nn.ReLU(inplace=True),
        )


class Down(nn.Sequential):
    """Max pooling, then DoubleConv: (N, C, H, W) -> (N, out_channels, H // 2, W // 2)."""

    def __init__(self, in_channels: int, out_channels: int, norm: str) -> None:
        super().__init__(nn.MaxPool2d(2), DoubleConv(in_channels, out_channels, out_channels, norm))


class Up(nn.Module):
    """Upsample, concatenate the skip connection, then DoubleConv."""

    def __init__(self, in_channels: int, out_channels: int, bilinear: bool, norm: str) -> None:
        super().__init__()
        if bilinear:
            self.up: nn.Module = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
            self.conv = DoubleConv(in_channels, in_channels // 2, out_channels, norm)
        else:
            self.up = nn.ConvTranspose2d(in_channels, in_channels // 2, 2, stride=2)
            self.conv = DoubleConv(in_channels, out_channels, out_channels, norm)

    def forward(self, x: Tensor, skip: Tensor, window: Window | None = None) -> Tensor:
        """(N, C, h, w) -> (N, out_channels, H, W); `window`: position of `x`, if it is a crop."""
        if window is not None and isinstance(self.up, nn.Upsample):
            x = _upsample_crop(x, window)
        else:
            x = self.up(x)
        # (N, C, 2h, 2w); one pixel smaller than the skip connection where that has an odd side
        rows, columns = skip.shape[2] - x.shape[2], skip.shape[3] - x.shape[3]
        # An exported graph serves all sizes, so it always pads, by 0 pixels for even sides.
        if torch.compiler.is_exporting() or rows or columns:
            pad = (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)
            x = F.pad(x, pad)  # (N, C, H, W)
        y: Tensor = self.conv(torch.cat([skip, x], dim=1))
        return y


def _upsample_crop(x: Tensor, window: Window) -> Tensor:
    """Upsample a crop to (N, C, 2h, 2w), with the values that the full image would get there.

    With align_corners=True, sampling positions depend on the image size; the full size is used.
    """
    for dim, start, whole in ((2, window.top, window.height), (3, window.left, window.width)):
        size = x.shape[dim]
        positions = torch.arange(2 * start, 2 * (start + size), dtype=torch.float64)
        positions = positions * (whole - 1) / (2 * whole - 1) - start
        lower = positions.floor()
        weight = (positions - lower).to(x.device, torch.float32)
        weight = weight.reshape([-1 if d == dim else 1 for d in range(4)])
        lower = lower.long().to(x.device)
        low, high = (x.index_select(dim, (lower + k).clamp(0, size - 1)).float() for k in (0, 1))
        x = torch.lerp(low, high, weight).to(x.dtype)
    return x


class UNet(Network):
    """U-Net that returns the logits of each pixel at the resolution of the image.

    Args:
        num_classes: K.
        base_channels: B, channels of the first level; the next ones have 2B, 4B and 8B, and the
            lowest 8B (bilinear) or 16B.
        bilinear: upsample by interpolation (align_corners=True), else by transposed convolution.
        norm: `batch` or `group`.
        dropout: probability of dropping a channel of the lowest level during training.
        kernels: `auto` or `torch`; see `Conv3x3`.

    With K = 12, B = 64 and bilinear it has 17,268,108 parameters, like the report's network.
    """

    Options = UNetOptions
    stride = 16
    min_side = SMALLEST_SIDE
    last_layer = "out."

    def __init__(
        self,
        *,
        num_classes: int,
        base_channels: int,
        bilinear: bool,
        norm: str,
        dropout: float,
        kernels: str = "auto",
    ) -> None:
        super().__init__()
        # a group norm has the statistics of the whole image
        self.receptive_radius = RECEPTIVE_RADIUS if norm == "batch" else None
        b = base_channels
        half = 2 if bilinear else 1  # interpolation keeps the channels; the convolutions halve them
        self.inc = DoubleConv(3, b, b, norm)
        self.down1 = Down(b, 2 * b, norm)
        self.down2 = Down(2 * b, 4 * b, norm)
        self.down3 = Down(4 * b, 8 * b, norm)
        self.down4 = Down(8 * b, 16 * b // half, norm)
        self.dropout = nn.Dropout2d(dropout)
        self.up1 = Up(16 * b, 8 * b // half, bilinear, norm)
        self.up2 = Up(8 * b, 4 * b // half, bilinear, norm)
        self.up3 = Up(4 * b, 2 * b // half, bilinear, norm)
        self.up4 = Up(2 * b, b, bilinear, norm)
        self.out = nn.Conv2d(b, num_classes, 1)
        for module in self.modules():
            if isinstance(module, Conv3x3):
                module.kernels = kernels

    def forward(self, images: Tensor, window: Window | None = None) -> Tensor:
        """Compute the logits of images, or of the same crop of larger images.

        Args:
            images: (N, 3, H, W) float in 0..1; H and W are at least SMALLEST_SIDE.
            window: position of the crop; `top` and `left` are multiples of 16.

        Returns:
            (N, K, H, W). With batch norm, logits of a crop equal those of the full image except
            within RECEPTIVE_RADIUS of the borders where it was cut.
        """
        windows = [window]
        for _ in range(4):
            windows.append(windows[-1].halve() if windows[-1] else None)
        x1 = self.inc(images)  # (N, B, H, W)
        x2 = self.down1(x1)  # (N, 2B, H/2, W/2)
        x3 = self.down2(x2)  # (N, 4B, H/4, W/4)
        x4 = self.down3(x3)  # (N, 8B, H/8, W/8)
        x5 = self.dropout(self.down4(x4))  # (N, 8B, H/16, W/16)
        x = self.up1(x5, x4, windows[4])  # (N, 4B, H/8, W/8)
        x = self.up2(x, x3, windows[3])  # (N, 2B, H/4, W/4)
        x = self.up3(x, x2, windows[2])  # (N, B, H/2, W/2)
        x = self.up4(x, x1, windows[1])  # (N, B, H, W)
        logits: Tensor = self.out(x)
        return logits

    def encoder_modules(self) -> list[nn.Module]:
        """The four levels of the contracting path, and the lowest one."""
        return [self.inc, self.down1, self.down2, self.down3, self.down4]

    def values_per_pixel(self) -> float:
        """At the peak, 10 feature maps of the first level and 3 maps of logits are in memory."""
        return float(10 * self.out.in_channels + 3 * self.out.out_channels)
