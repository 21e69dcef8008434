"""KITTI's folder layout, and the checks that a data set in it is whole."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from src.files import InputError

TRAIN_IMAGES = "training/image_2"
TRAIN_MASKS = "training/semantic"
TEST_IMAGES = "testing/image_2"
IMAGE_MODES = ("RGB", "RGBA", "L", "LA", "P")  # Pillow's names
FOLDERS = (TRAIN_IMAGES, TRAIN_MASKS, TEST_IMAGES)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """What is in a data set: ids are file names without their ending, sorted."""

    train_sizes: dict[str, tuple[int, int]]
    """(height, width) in pixels of each picture with a mask."""
    test_ids: list[str]

    @property
    def train_ids(self) -> list[str]:
        return list(self.train_sizes)


def picture_path(root: Path, folder: str, picture_id: str) -> Path:
    """Where a picture or mask of the data set at `root` lies."""
    return root / folder / f"{picture_id}.png"


def check_dataset(root: Path) -> Dataset:
    """Check that every picture under `root` has its mask, and the other way round, of one size.

    Only headers are read; broken pixels show when the pictures are decoded.

    Raises:
        InputError: names the first file that is missing, broken, or of a wrong kind or size.
    """
    train_ids, mask_ids = _ids(root / TRAIN_IMAGES), _ids(root / TRAIN_MASKS)
    if not train_ids:
        raise InputError(f"{TRAIN_IMAGES}: no .png pictures; expected KITTI's layout")
    if not mask_ids:
        raise InputError(f"{TRAIN_MASKS}: no .png masks; expected one for each picture")
    for picture_id in train_ids:
        if picture_id not in mask_ids:
            raise InputError(f"{TRAIN_IMAGES}/{picture_id}.png has no mask in {TRAIN_MASKS}")
    for mask_id in mask_ids:
        if mask_id not in train_ids:
            raise InputError(f"{TRAIN_MASKS}/{mask_id}.png has no picture in {TRAIN_IMAGES}")
    test_ids = list(_ids(root / TEST_IMAGES))
    for picture_id in test_ids:
        _image_size(root, f"{TEST_IMAGES}/{picture_id}.png")
    return Dataset(
        train_sizes={picture_id: _pair_size(root, picture_id) for picture_id in train_ids},
        test_ids=test_ids,
    )


def _ids(folder: Path) -> dict[str, None]:
    """Sorted ids as a dict, so that looking one up does not walk a list."""
    return dict.fromkeys(sorted(path.stem for path in folder.glob("*.png")))


def _pair_size(root: Path, picture_id: str) -> tuple[int, int]:
    """(height, width) that picture and mask of `picture_id` share."""
    image_name = f"{TRAIN_IMAGES}/{picture_id}.png"
    mask_name = f"{TRAIN_MASKS}/{picture_id}.png"
    size = _image_size(root, image_name)
    mask_size, mask_mode = _header(root, mask_name)
    if mask_mode != "L":
        raise InputError(
            f"{mask_name}: mode {mask_mode}; a mask holds label ids in one 8-bit channel (mode L), "
            "as KITTI's semantic/ does (semantic_rgb/ and instance/ are other things)"
        )
    if mask_size != size:
        raise InputError(
            f"{mask_name}: {'x'.join(map(str, mask_size))} pixels, but {image_name} has "
            f"{'x'.join(map(str, size))}"
        )
    return size


def _image_size(root: Path, name: str) -> tuple[int, int]:
    """(height, width) of a picture that turns into RGB without loss."""
    size, mode = _header(root, name)
    if mode not in IMAGE_MODES:
        raise InputError(f"{name}: mode {mode}; a picture is RGB, grey or palette, of 8 bits")
    return size


def _header(root: Path, name: str) -> tuple[tuple[int, int], str]:
    """(height, width) and Pillow's mode of the picture `name`."""
    try:
        with Image.open(root / name) as picture:
            return (picture.height, picture.width), picture.mode
    except UnidentifiedImageError:
        raise InputError(f"{name}: not a picture that can be read; expected a PNG") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{name}: broken or too large a picture ({error})") from None
