"""Random augmentation: drawn for each sample, applied to whole batches on the training device.

torchvision.transforms.v2 and Albumentations are the well-known counterparts. Here each (seed,
epoch, index) has a generator of its own, and one resampling applies all geometric changes.
Shapes: N images, H and W pixels of the padded batch, h and w pixels of the augmented batch.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from roadseg.config.class_map import IGNORE_INDEX
from roadseg.config.recipe import Augmentation

_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
"""RGB to luma and the plane of colors, which a change of hue rotates (NTSC's YIQ)."""
_BLUR_RADIUS = 3  # pixels; the kernel ends at two standard deviations of the strongest blur
_HORIZON = 0.1
"""Smallest divisor of the perspective; where it would be 0, points are infinitely far away."""
_MIN_SIDE = 16  # of a crop, pixels; any network accepts it (Network.min_side)
_FILL = 127.0  # gray of a rectangle that is cut out


class Transform(NamedTuple):
    """The random changes of one sample."""

    homography: np.ndarray
    """(3, 3): maps (x, y, 1) in the output to the source, in pixels from the top left corner."""
    color: np.ndarray
    """(3, 4): linear map of (r, g, b, 1), with values of 0..255."""
    gamma: float
    """Exponent of the values, as fractions of 255."""
    blur: float
    """Standard deviation of a Gaussian, pixels; 0 is off."""
    noise: float
    """Standard deviation of Gaussian noise, of values 0..255."""
    noise_seed: int
    cutout: tuple[float, float, float, float]
    """Left, top, right and bottom of a gray rectangle in the output, pixels; empty if off."""


class Transforms(NamedTuple):
    """The transforms of a batch, as float32 arrays that `augment` copies to its device."""

    homography: np.ndarray  # (N, 3, 3)
    color: np.ndarray  # (N, 3, 4)
    gamma: np.ndarray  # (N,)
    blur: np.ndarray  # (N,)
    noise: np.ndarray  # (N,)
    noise_seed: np.ndarray  # (N,) int64
    cutout: np.ndarray  # (N, 4)
    size: tuple[int, int]  # (h, w)


def output_size(augmentation: Augmentation, size: tuple[int, int]) -> tuple[int, int]:
    """Return (h, w) of the augmented image of an image of `size`."""
    height, width = (min(side, max(_MIN_SIDE, round(augmentation.crop * side))) for side in size)
    return height, width


def draw_transform(
    rng: np.random.Generator,
    augmentation: Augmentation,
    size: tuple[int, int],
    mean: float,
    center: tuple[int, int] | None = None,
) -> Transform:
    """Draw the changes of one sample. Each kind has its own random number, whichever are off.

    Args:
        size: (H, W) of the image.
        mean: mean over all values of the image, 0..255, about which the contrast changes.
        center: row and column of a pixel of the image to show in the middle, as far as the window
            stays in the image; None: anywhere.
    """
    unit = iter(rng.random(32).tolist())  # some to spare, for kinds that come later
    return Transform(
        homography=_draw_homography(unit, augmentation, size, center),
        color=_draw_color(unit, augmentation, mean),
        gamma=(1 + augmentation.gamma) ** _signed(unit),
        blur=augmentation.blur * max(0.0, _signed(unit)),  # every second image stays sharp
        noise=255 * augmentation.noise * next(unit),
        noise_seed=int(next(unit) * 2**53),
        cutout=_draw_cutout(unit, augmentation, size),
    )


def stack_transforms(transforms: Sequence[Transform], size: tuple[int, int]) -> Transforms:
    """Stack the transforms of a batch whose augmented images have the `size` (h, w)."""
    columns = [np.stack(values) for values in zip(*transforms, strict=True)]
    arrays = [c if c.dtype == np.int64 else c.astype(np.float32) for c in columns]
    return Transforms(**dict(zip(Transform._fields, arrays, strict=True)), size=size)


def augment(images: Tensor, masks: Tensor, transforms: Transforms) -> tuple[Tensor, Tensor]:
    """Apply `transforms` on the device of the images.

    Images are resampled bilinearly, masks by the nearest pixel. Pixels outside of the source repeat
    its border in the image, and are ignored in the mask.

    Args:
        images: (N, 3, H, W) float32, 0..255.
        masks: (N, H, W) uint8 class ids, or IGNORE_INDEX.

    Returns:
        (N, 3, h, w) float32, 0..255, and (N, h, w) uint8.
    """
    images, masks = _resample(images, masks, transforms)
    images = _recolor(images, transforms.color)
    if (transforms.gamma != 1).any():
        images.div_(255).pow_(_per_image(transforms.gamma, images)).mul_(255)
    if transforms.blur.any():
        images = _blur(images, transforms.blur)
    if transforms.noise.any():
        _add_noise(images, transforms)
    if (transforms.cutout[:, 2:] > transforms.cutout[:, :2]).any():
        images.masked_fill_(_rectangles(transforms.cutout, images), _FILL)
    return images, masks


def _signed(unit: Iterator[float]) -> float:
    """Return the next random number, scaled to -1..1."""
    return 2 * next(unit) - 1


def _draw_homography(
    unit: Iterator[float],
    augmentation: Augmentation,
    size: tuple[int, int],
    center: tuple[int, int] | None,
) -> np.ndarray:
    output = output_size(augmentation, size)
    low, high = augmentation.scale_min, augmentation.scale_max
    scale = low * (high / low) ** next(unit)
    mirror = -1 if next(unit) < 0.5 and augmentation.flip else 1
    angle = math.radians(augmentation.rotation) * _signed(unit)
    tilt = [augmentation.perspective * _signed(unit) / side for side in output]
    middle = []  # of the window, in the source
    for axis in range(2):
        margin = output[axis] / scale / 2
        ends = sorted((margin, size[axis] - margin))
        place = ends[0] + (ends[1] - ends[0]) * next(unit)
        middle.append(place if center is None else min(max(center[axis] + 0.5, ends[0]), ends[1]))
    cosine, sine = math.cos(angle) / scale, math.sin(angle) / scale
    to_middle = np.array([[1, 0, -output[1] / 2], [0, 1, -output[0] / 2], [0, 0, 1]])
    change = np.array(
        [[mirror * cosine, -sine, 0], [mirror * sine, cosine, 0], [tilt[1], tilt[0], 1]]
    )
    to_place = np.array([[1, 0, middle[1]], [0, 1, middle[0]], [0, 0, 1]])
    homography: np.ndarray = to_place @ change @ to_middle
    return homography


def _draw_color(unit: Iterator[float], augmentation: Augmentation, mean: float) -> np.ndarray:
    """Combine hue, saturation, contrast about the mean and brightness in one map, see Transform."""
    brightness, contrast, saturation = (1 + augmentation.jitter * _signed(unit) for _ in range(3))
    angle = 2 * math.pi * augmentation.hue * _signed(unit)
    if next(unit) < augmentation.gray:
        saturation = 0.0
    cosine, sine = math.cos(angle), math.sin(angle)
    turn = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    hue = np.linalg.inv(_YIQ) @ turn @ _YIQ
    mix = saturation * np.eye(3) + (1 - saturation) / 3  # with the mean of the three channels
    offset = np.full((3, 1), brightness * (1 - contrast) * mean)
    return np.hstack([brightness * contrast * mix @ hue, offset])


def _draw_cutout(
    unit: Iterator[float], augmentation: Augmentation, size: tuple[int, int]
) -> tuple[float, float, float, float]:
    used = next(unit) < 0.5  # in every second image
    start, end = [], []
    for side in output_size(augmentation, size):
        length = used * augmentation.cutout * next(unit) * side
        start.append((side - length) * next(unit))
        end.append(start[-1] + length)
    return start[1], start[0], end[1], end[0]


def _resample(images: Tensor, masks: Tensor, transforms: Transforms) -> tuple[Tensor, Tensor]:
    device, (height, width) = images.device, transforms.size
    rows = torch.arange(height, device=device)[:, None] + 0.5  # centers of the pixels
    columns = torch.arange(width, device=device) + 0.5
    homography = _to_device(transforms.homography[..., None, None], device)
    by_column, by_row, constant = homography.unbind(2)  # (N, 3, 1, 1) each
    points = by_column * columns + by_row * rows + constant  # (N, 3, h, w)
    x, y, divisor = points.unbind(1)
    divisor = divisor.clamp(min=_HORIZON)
    # -1 and 1 are the outer edges of the source
    sides = [2 / images.shape[3] * x / divisor - 1, 2 / images.shape[2] * y / divisor - 1]
    grid = torch.stack(sides, dim=3)  # (N, h, w, 2)
    images = F.grid_sample(images, grid, "bilinear", "border", align_corners=False)
    shifted = masks[:, None].float() + 1  # 0 is outside of the source
    shifted = F.grid_sample(shifted, grid, "nearest", "zeros", align_corners=False)[:, 0]
    return images, torch.where(shifted > 0, shifted - 1, IGNORE_INDEX).to(torch.uint8)


def _recolor(images: Tensor, colors: np.ndarray) -> Tensor:
    color = _to_device(colors, images.device)
    values = images.flatten(2)  # (N, 3, h * w)
    return torch.baddbmm(color[:, :, 3:], color[:, :, :3], values).clamp_(0, 255).view(images.shape)


def _blur(images: Tensor, deviations: np.ndarray) -> Tensor:
    """Blur each image with a Gaussian; where the deviation is 0, nothing changes."""
    offsets = np.arange(-_BLUR_RADIUS, _BLUR_RADIUS + 1, dtype=np.float32)
    kernels = np.exp(-0.5 * (offsets / np.maximum(deviations, 1e-3)[:, None]) ** 2)  # (N, offsets)
    weights = (kernels / kernels.sum(1, keepdims=True)).T
    border = (_BLUR_RADIUS, _BLUR_RADIUS)
    for axis, around in ((2, (0, 0, *border)), (3, (*border, 0, 0))):
        padded = F.pad(images, around, "replicate")
        shifted = (padded.narrow(axis, k, images.shape[axis]) for k in range(len(weights)))
        parts = [_per_image(w, images) * s for w, s in zip(weights, shifted, strict=True)]
        images = torch.stack(parts).sum(0)
    return images


def _add_noise(images: Tensor, transforms: Transforms) -> None:
    """Add noise in place; each image has a generator of its own."""
    seeds = transforms.noise_seed.tolist()
    for image, deviation, seed in zip(images, transforms.noise.tolist(), seeds, strict=True):
        generator = torch.Generator(image.device).manual_seed(seed)
        noise = torch.randn(image.shape, generator=generator, device=image.device)
        image.add_(noise, alpha=deviation).clamp_(0, 255)


def _rectangles(corners: np.ndarray, images: Tensor) -> Tensor:
    """Return (N, 1, h, w) bool: the pixels whose centers are in the rectangle of their image."""
    left, top, right, bottom = (_per_image(side, images) for side in corners.T)
    rows = torch.arange(images.shape[2], device=images.device)[:, None] + 0.5
    columns = torch.arange(images.shape[3], device=images.device) + 0.5
    return (columns >= left) & (columns < right) & (rows >= top) & (rows < bottom)


def _per_image(values: np.ndarray, images: Tensor) -> Tensor:
    """(N,) -> (N, 1, 1, 1) on the device of `images`."""
    return _to_device(values[:, None, None, None], images.device)


def _to_device(array: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device, non_blocking=True)
