"""KITTI's directory layout, and checks that a dataset in this layout is complete and valid."""

import struct
from dataclasses import dataclass
from pathlib import Path

from roadseg.prepare.decoding import IMAGE_MODES, open_image, read_orientation, upright_size
from roadseg.system.errors import InputError
from roadseg.system.files import list_names

TRAIN_IMAGES = "training/image_2"
TRAIN_MASKS = "training/semantic"
TEST_IMAGES = "testing/image_2"
ENDINGS = (".png", ".jpg")
MASK_FORMATS = ("PNG",)  # JPEG is lossy and would change label ids
MASK_MODES = ("L", "P")  # in a palette image, the index is the label id
_PNG_START = struct.Struct(">8s4x4s8xB")  # signature, name of the first chunk, bits per channel
FOLDERS = (TRAIN_IMAGES, TRAIN_MASKS, TEST_IMAGES)


@dataclass(frozen=True, kw_only=True)
class RawDataset:
    """The images of a dataset by id, which is the file name without suffix; sorted."""

    train_sizes: dict[str, tuple[int, int]]
    """(height, width) in pixels of each image with a mask."""
    test_sizes: dict[str, tuple[int, int]]
    """(height, width) in pixels of each image without a mask."""

    @property
    def train_ids(self) -> list[str]:
        """Ids of the images with masks."""
        return list(self.train_sizes)

    @property
    def test_ids(self) -> list[str]:
        """Ids of the images without masks."""
        return list(self.test_sizes)


def image_path(root: Path, folder: str, image_id: str) -> Path:
    """Return the path of an image or mask, .png or .jpg, in the dataset at `root`."""
    paths = [root / folder / f"{image_id}{ending}" for ending in ENDINGS]
    return next((path for path in paths if path.is_file()), paths[0])


def check_dataset(root: Path, max_pixels: int) -> RawDataset:
    """Check that every image has a mask of the same size, and every mask has an image.

    Only headers are read; damaged pixels are found when the images are decoded.

    Args:
        max_pixels: a larger image or mask is refused.

    Raises:
        InputError: names the first file that is missing, damaged, or of a wrong format or size.
    """
    train_endings, mask_endings = _endings(root, TRAIN_IMAGES), _endings(root, TRAIN_MASKS)
    if not train_endings:
        raise InputError(f"{TRAIN_IMAGES}: no images")
    if not mask_endings:
        raise InputError(f"{TRAIN_MASKS}: no masks; every image needs one")
    for image_id, ending in train_endings.items():
        if image_id not in mask_endings:
            name = f"{TRAIN_IMAGES}/{image_id}{ending}"
            raise InputError(f"{name} has no mask in {TRAIN_MASKS}")
    for mask_id, ending in mask_endings.items():
        if mask_id not in train_endings:
            name = f"{TRAIN_MASKS}/{mask_id}{ending}"
            raise InputError(f"{name} has no image in {TRAIN_IMAGES}")
    train_sizes, test_sizes = {}, {}
    for image_id, ending in train_endings.items():
        names = f"{TRAIN_IMAGES}/{image_id}{ending}", f"{TRAIN_MASKS}/{image_id}"
        mask_name = f"{names[1]}{mask_endings[image_id]}"
        train_sizes[image_id] = _pair_size(root, names[0], mask_name, max_pixels)
    for image_id, ending in _endings(root, TEST_IMAGES).items():
        name = f"{TEST_IMAGES}/{image_id}{ending}"
        test_sizes[image_id] = _image_size(root, name, max_pixels)
    return RawDataset(train_sizes=train_sizes, test_sizes=test_sizes)


def _endings(root: Path, folder: str) -> dict[str, str]:
    """Return the suffix of each file by id, sorted; fetch has made the ids unique."""
    names = sorted(name for name in list_names(root / folder) if name.endswith(ENDINGS))
    return {name[:-4]: name[-4:] for name in names if name[:-4]}


def _pair_size(root: Path, image_name: str, mask_name: str, max_pixels: int) -> tuple[int, int]:
    """Return (height, width) of an image and its mask; raise InputError if they differ."""
    size = _image_size(root, image_name, max_pixels)
    mask_size = _mask_size(root, mask_name, max_pixels)
    if mask_size != size:
        raise InputError(
            f"{mask_name}: {'x'.join(map(str, mask_size))} pixels, but {image_name} has "
            f"{'x'.join(map(str, size))}"
        )
    return size


def _image_size(root: Path, name: str, max_pixels: int) -> tuple[int, int]:
    """Return (height, width) of an image after its EXIF orientation is applied."""
    with open_image(root / name, name, max_pixels) as image:
        if image.mode not in IMAGE_MODES:
            raise InputError(
                f"{name}: unsupported mode {image.mode}; save the image as 8-bit RGB, grayscale or "
                "palette"
            )
        return upright_size(image)


def _mask_size(root: Path, name: str, max_pixels: int) -> tuple[int, int]:
    """Return (height, width) of a mask of label ids."""
    with open_image(root / name, name, max_pixels, MASK_FORMATS) as mask:
        if mask.mode not in MASK_MODES:
            raise InputError(
                f"{name}: unsupported mode {mask.mode}; a mask has one 8-bit channel of label ids "
                "(mode L or P), as in KITTI's semantic/, not as in semantic_rgb/ or instance/"
            )
        if read_orientation(mask) not in (1, None):
            raise InputError(f"{name}: rotated by its EXIF orientation; save it without EXIF data")
        with (root / name).open("rb") as file:
            *_, header, depth = _PNG_START.unpack(file.read(_PNG_START.size))
        if mask.mode == "L" and (header, depth) != (b"IHDR", 8):  # Pillow would scale to 0..255
            raise InputError(f"{name}: {depth}-bit grayscale; save the label ids with 8 bits")
        return mask.height, mask.width
