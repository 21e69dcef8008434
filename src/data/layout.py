"""KITTI's folder layout, and the checks that a data set in it is whole."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from src.files import InputError

TRAIN_IMAGES = "training/image_2"
TRAIN_MASKS = "training/semantic"
TEST_IMAGES = "testing/image_2"
FOLDERS = (TRAIN_IMAGES, TRAIN_MASKS, TEST_IMAGES)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """What is in a data set: ids are file names without their ending, sorted."""

    train_ids: list[str]
    test_ids: list[str]
    sizes: dict[str, int]
    """Number of training pictures of each size, keyed HxW (pixels)."""


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
    sizes: Counter[str] = Counter()
    for picture_id in train_ids:
        width, height = _pair_size(root, picture_id)
        sizes[f"{height}x{width}"] += 1
    test_ids = _ids(root / TEST_IMAGES)
    for picture_id in test_ids:
        _header(root, f"{TEST_IMAGES}/{picture_id}.png")
    return Dataset(
        train_ids=list(train_ids), test_ids=list(test_ids), sizes=dict(sorted(sizes.items()))
    )


def _ids(folder: Path) -> dict[str, None]:
    """Sorted ids as a dict, so that looking one up does not walk a list."""
    return dict.fromkeys(sorted(path.stem for path in folder.glob("*.png")))


def _pair_size(root: Path, picture_id: str) -> tuple[int, int]:
    """(width, height) that picture and mask of `picture_id` share."""
    image_name = f"{TRAIN_IMAGES}/{picture_id}.png"
    mask_name = f"{TRAIN_MASKS}/{picture_id}.png"
    size, _ = _header(root, image_name)
    mask_size, mask_mode = _header(root, mask_name)
    if mask_mode != "L":
        raise InputError(
            f"{mask_name}: mode {mask_mode}; a mask holds label ids in one 8-bit channel (mode L), "
            "as KITTI's semantic/ does (semantic_rgb/ and instance/ are other things)"
        )
    if mask_size != size:
        raise InputError(
            f"{mask_name}: {_text(mask_size)} pixels, but {image_name} has {_text(size)}"
        )
    return size


def _header(root: Path, name: str) -> tuple[tuple[int, int], str]:
    """(width, height) and Pillow's mode of the picture `name`."""
    try:
        with Image.open(root / name) as picture:
            return picture.size, picture.mode
    except UnidentifiedImageError:
        raise InputError(f"{name}: not a picture that can be read; expected a PNG") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{name}: broken or too large a picture ({error})") from None


def _text(size: tuple[int, int]) -> str:
    return f"{size[1]}x{size[0]}"
