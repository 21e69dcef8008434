"""KITTI's directory layout, and checks that a dataset in this layout is complete and valid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import NamedTuple

from roadseg.prepare.images.decoding import (
    IMAGE_MODES,
    is_quarter_turn,
    open_image,
    read_orientation,
    upright_size,
)
from roadseg.prepare.images.masks import LABEL_IDS, MaskEncoding, read_mask_size
from roadseg.system.errors import InputError
from roadseg.system.files import list_names

TRAIN_IMAGES = "training/image_2"
TRAIN_MASKS = "training/semantic"
TEST_IMAGES = "testing/image_2"
TEST_MASKS = "testing/semantic"
IMAGE_SUFFIXES = (".png", ".jpg", ".bmp", ".tif", ".gif", ".webp")
MASK_SUFFIXES = (*IMAGE_SUFFIXES, ".json")
FOLDERS = (TRAIN_IMAGES, TRAIN_MASKS, TEST_IMAGES, TEST_MASKS)


class RawImage(NamedTuple):
    """An image without a mask."""

    image: str
    """Path relative to the dataset."""
    size: tuple[int, int]
    """(height, width) in pixels, after its EXIF orientation is applied."""


class RawPair(NamedTuple):
    """An image and its mask."""

    image: str
    mask: str
    size: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class RawDataset:
    """The images of a dataset by id, which is the file name without suffix; sorted."""

    train: dict[str, RawPair]
    test: dict[str, RawImage]
    test_pairs: dict[str, RawPair] = field(default_factory=dict)
    """Those images of `test` that have a mask, which only the stage test reads."""


def check_dataset(root: Path, max_pixels: int, encoding: MaskEncoding = LABEL_IDS) -> RawDataset:
    """Check that every image has a mask of the same size, and every mask has an image.

    Test images need no mask. Only headers are read; damaged pixels are found when the images are
    decoded.

    Args:
        max_pixels: a larger image or mask is refused.

    Raises:
        InputError: names the first file that is missing, damaged, or of a wrong format or size.
    """
    images = _files(root, TRAIN_IMAGES, IMAGE_SUFFIXES)
    masks = _files(root, TRAIN_MASKS, MASK_SUFFIXES)
    if not images:
        raise InputError(f"{TRAIN_IMAGES}: no images")
    if not masks:
        raise InputError(f"{TRAIN_MASKS}: no masks; every image needs one")
    for image_id, name in images.items():
        if image_id not in masks:
            raise InputError(f"{name} has no mask in {TRAIN_MASKS}")
    train = _pairs(root, images, masks, TRAIN_IMAGES, max_pixels, encoding)
    test_images = _files(root, TEST_IMAGES, IMAGE_SUFFIXES)
    test = {
        image_id: RawImage(image, _image_size(root, image, max_pixels)[0])
        for image_id, image in test_images.items()
    }
    test_masks = _files(root, TEST_MASKS, MASK_SUFFIXES)
    test_pairs = _pairs(root, test_images, test_masks, TEST_IMAGES, max_pixels, encoding)
    return RawDataset(train=train, test=test, test_pairs=test_pairs)


def _pairs(
    root: Path,
    images: Mapping[str, str],
    masks: Mapping[str, str],
    folder: str,
    max_pixels: int,
    encoding: MaskEncoding,
) -> dict[str, RawPair]:
    """Pair each mask with its image, which must be in `images`; `folder` is theirs."""
    for mask_id, name in masks.items():
        if mask_id not in images:
            raise InputError(f"{name} has no image in {folder}")
    return {
        image_id: RawPair(
            image,
            masks[image_id],
            _pair_size(root, image, masks[image_id], max_pixels, encoding),
        )
        for image_id, image in images.items()
        if image_id in masks
    }


def _files(root: Path, folder: str, suffixes: Sequence[str]) -> dict[str, str]:
    """Return the path of each file below `root` by id, sorted; fetch has made the ids unique."""
    paths = (PurePath(folder, name) for name in sorted(list_names(root / folder)))
    return {path.stem: str(path) for path in paths if path.suffix in suffixes}


def _pair_size(
    root: Path, image_name: str, mask_name: str, max_pixels: int, encoding: MaskEncoding
) -> tuple[int, int]:
    """Return (height, width) of an image and its mask; raise InputError if they differ."""
    size, orientation = _image_size(root, image_name, max_pixels)
    mask_size = read_mask_size(root / mask_name, mask_name, max_pixels, encoding)
    if mask_size == size:
        return size
    shown, image_shown = ("x".join(map(str, pixels)) for pixels in (mask_size, size))
    if mask_size == size[::-1] and is_quarter_turn(orientation):
        raise InputError(
            f"{mask_name}: {shown} pixels, but {image_name} has {image_shown} after its EXIF "
            f"orientation {orientation} (a rotation) is applied; rotate the mask as well, or "
            "remove the EXIF data of the image if the mask fits it without rotation"
        )
    raise InputError(f"{mask_name}: {shown} pixels, but {image_name} has {image_shown}")


def _image_size(root: Path, name: str, max_pixels: int) -> tuple[tuple[int, int], int | None]:
    """Return (height, width) of an image after its EXIF orientation is applied, and that."""
    with open_image(root / name, name, max_pixels) as image:
        if image.mode not in IMAGE_MODES:
            raise InputError(
                f"{name}: unsupported mode {image.mode}; save the image as 8-bit RGB, grayscale or "
                "palette"
            )
        return upright_size(image), read_orientation(image)
