"""KITTI's folder layout, and the checks that a data set in it is whole."""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from src.files import InputError

TRAIN_IMAGES = "training/image_2"
TRAIN_MASKS = "training/semantic"
TEST_IMAGES = "testing/image_2"
ENDINGS = (".png", ".jpg")
IMAGE_MODES = ("RGB", "RGBA", "L", "LA", "P")  # Pillow's names
FORMATS = ("PNG", "JPEG")  # the only ones that are read, whatever a file is called
MASK_MODES = ("L", "P")  # of a palette, the index is the label id
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
    """Where a picture or mask of the data set at `root` lies, .png or .jpg."""
    paths = [root / folder / f"{picture_id}{ending}" for ending in ENDINGS]
    return next((path for path in paths if path.is_file()), paths[0])


def check_dataset(root: Path) -> Dataset:
    """Check that every picture under `root` has its mask, and the other way round, of one size.

    Only headers are read; broken pixels show when the pictures are decoded.

    Raises:
        InputError: names the first file that is missing, broken, or of a wrong kind or size.
    """
    train_ids, mask_ids = _ids(root, TRAIN_IMAGES), _ids(root, TRAIN_MASKS)
    if not train_ids:
        raise InputError(f"{TRAIN_IMAGES}: no pictures")
    if not mask_ids:
        raise InputError(f"{TRAIN_MASKS}: no masks; expected one for each picture")
    for picture_id, name in train_ids.items():
        if picture_id not in mask_ids:
            raise InputError(f"{name} has no mask in {TRAIN_MASKS}")
    for mask_id, name in mask_ids.items():
        if mask_id not in train_ids:
            raise InputError(f"{name} has no picture in {TRAIN_IMAGES}")
    test_ids = _ids(root, TEST_IMAGES)
    for name in test_ids.values():
        _image_size(root, name)
    return Dataset(
        train_sizes={
            picture_id: _pair_size(root, name, mask_ids[picture_id])
            for picture_id, name in train_ids.items()
        },
        test_ids=list(test_ids),
    )


def _ids(root: Path, folder: str) -> dict[str, str]:
    """Sorted ids, and the name of each one's file below `root`."""
    names = [path.name for path in (root / folder).glob("*") if path.suffix in ENDINGS]
    return {Path(name).stem: f"{folder}/{name}" for name in sorted(names)}


def _pair_size(root: Path, image_name: str, mask_name: str) -> tuple[int, int]:
    """(height, width) that a picture and its mask share."""
    size = _image_size(root, image_name)
    mask_size, mask_mode = _header(root, mask_name)
    if mask_mode not in MASK_MODES:
        raise InputError(
            f"{mask_name}: mode {mask_mode}; a mask holds label ids in one 8-bit channel (modes L "
            "and P), as KITTI's semantic/ does (semantic_rgb/ and instance/ are other things)"
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
        with Image.open(root / name, formats=FORMATS) as picture:
            return (picture.height, picture.width), picture.mode
    except UnidentifiedImageError:
        raise InputError(f"{name}: not a picture that can be read; expected PNG or JPEG") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{name}: broken or too large a picture ({error})") from None
