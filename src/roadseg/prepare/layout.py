"""KITTI's folder layout, and the checks that a data set in it is whole."""

import struct
from dataclasses import dataclass
from pathlib import Path

from roadseg.prepare.decoding import IMAGE_MODES, open_image, orientation, upright_size
from roadseg.system.errors import InputError
from roadseg.system.files import list_names

TRAIN_IMAGES = "training/image_2"
TRAIN_MASKS = "training/semantic"
TEST_IMAGES = "testing/image_2"
ENDINGS = (".png", ".jpg")
MASK_FORMATS = ("PNG",)  # JPEG would invent label ids
MASK_MODES = ("L", "P")  # of a palette, the index is the label id
_START = struct.Struct(">8s4x4s8xB")  # of a PNG: signature, name of its header, bits a value
FOLDERS = (TRAIN_IMAGES, TRAIN_MASKS, TEST_IMAGES)


@dataclass(frozen=True, kw_only=True)
class RawDataset:
    """What is in a data set: ids are file names without their ending, sorted."""

    train_sizes: dict[str, tuple[int, int]]
    """(height, width) in pixels of each picture with a mask."""
    test_sizes: dict[str, tuple[int, int]]
    """Of each picture without."""

    @property
    def train_ids(self) -> list[str]:
        return list(self.train_sizes)

    @property
    def test_ids(self) -> list[str]:
        return list(self.test_sizes)


def image_path(root: Path, folder: str, picture_id: str) -> Path:
    """Where a picture or mask of the data set at `root` lies, .png or .jpg."""
    paths = [root / folder / f"{picture_id}{ending}" for ending in ENDINGS]
    return next((path for path in paths if path.is_file()), paths[0])


def check_dataset(root: Path, max_pixels: int) -> RawDataset:
    """Check that every picture under `root` has its mask, and the other way round, of one size.

    Only headers are read; broken pixels show when the pictures are decoded.

    Args:
        max_pixels: a larger picture or mask is refused.

    Raises:
        InputError: names the first file that is missing, broken, too large, or of a wrong kind or
            size.
    """
    train_endings, mask_endings = _endings(root, TRAIN_IMAGES), _endings(root, TRAIN_MASKS)
    if not train_endings:
        raise InputError(f"{TRAIN_IMAGES}: no pictures")
    if not mask_endings:
        raise InputError(f"{TRAIN_MASKS}: no masks; expected one for each picture")
    for picture_id, ending in train_endings.items():
        if picture_id not in mask_endings:
            name = f"{TRAIN_IMAGES}/{picture_id}{ending}"
            raise InputError(f"{name} has no mask in {TRAIN_MASKS}")
    for mask_id, ending in mask_endings.items():
        if mask_id not in train_endings:
            name = f"{TRAIN_MASKS}/{mask_id}{ending}"
            raise InputError(f"{name} has no picture in {TRAIN_IMAGES}")
    train_sizes, test_sizes = {}, {}
    for picture_id, ending in train_endings.items():
        names = f"{TRAIN_IMAGES}/{picture_id}{ending}", f"{TRAIN_MASKS}/{picture_id}"
        mask_name = f"{names[1]}{mask_endings[picture_id]}"
        train_sizes[picture_id] = _pair_size(root, names[0], mask_name, max_pixels)
    for picture_id, ending in _endings(root, TEST_IMAGES).items():
        name = f"{TEST_IMAGES}/{picture_id}{ending}"
        test_sizes[picture_id] = _image_size(root, name, max_pixels)
    return RawDataset(train_sizes=train_sizes, test_sizes=test_sizes)


def _endings(root: Path, folder: str) -> dict[str, str]:
    """Return the suffix of each file by its id, sorted; fetch has made the ids unique."""
    names = sorted(name for name in list_names(root / folder) if name.endswith(ENDINGS))
    return {name[:-4]: name[-4:] for name in names if name[:-4]}


def _pair_size(root: Path, image_name: str, mask_name: str, max_pixels: int) -> tuple[int, int]:
    """(height, width) that a picture and its mask share."""
    size = _image_size(root, image_name, max_pixels)
    mask_size = _mask_size(root, mask_name, max_pixels)
    if mask_size != size:
        raise InputError(
            f"{mask_name}: {'x'.join(map(str, mask_size))} pixels, but {image_name} has "
            f"{'x'.join(map(str, size))}"
        )
    return size


def _image_size(root: Path, name: str, max_pixels: int) -> tuple[int, int]:
    """(height, width) of a picture that turns into RGB, as it is to be looked at."""
    with open_image(root / name, name, max_pixels) as picture:
        if picture.mode not in IMAGE_MODES:
            raise InputError(
                f"{name}: mode {picture.mode}; a picture is RGB, grey or palette, of 8 bits"
            )
        return upright_size(picture)


def _mask_size(root: Path, name: str, max_pixels: int) -> tuple[int, int]:
    """(height, width) of a mask of label ids."""
    with open_image(root / name, name, max_pixels, MASK_FORMATS) as mask:
        if mask.mode not in MASK_MODES:
            raise InputError(
                f"{name}: mode {mask.mode}; a mask holds label ids in one 8-bit channel (modes L "
                "and P), as KITTI's semantic/ does (semantic_rgb/ and instance/ are other things)"
            )
        if orientation(mask) != 1:
            raise InputError(f"{name}: its EXIF data turn it; save the mask as it is to be seen")
        with (root / name).open("rb") as file:
            *_, header, depth = _START.unpack(file.read(_START.size))
        if mask.mode == "L" and (header, depth) != (b"IHDR", 8):  # else Pillow stretches to 0..255
            raise InputError(f"{name}: grey of {depth} bits; save its label ids with 8 bits")
        return mask.height, mask.width
