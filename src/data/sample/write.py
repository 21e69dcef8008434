"""The made-up data set on disk, in KITTI's layout."""

from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from src.data.sample.scene import street_scene

# KITTI was recorded on several days; the rectified pictures of each have their own size.
# Heights and widths relative to the first, from 375x1242, 370x1224, 374x1238 and 376x1241,
# their distance from it widened threefold so that small pictures differ too.
DAYS = ((1.0, 1.0), (0.96, 0.957), (0.992, 0.99), (1.008, 0.998))
# Testing scenes come from far behind the training ones, so neither number moves the other set.
FIRST_TESTING_SCENE = 1_000_000


def write_sample(
    root: Path, *, num_train: int, num_test: int, height: int, width: int, seed: int
) -> None:
    """Write labelled training scenes and other, unlabelled testing scenes below `root`.

    training/image_2/NNNNNN_10.png (RGB), training/semantic/NNNNNN_10.png (8-bit label ids, 0..33)
    and testing/image_2/NNNNNN_10.png. Each quarter of either set has a size of its own, a few
    per cent from height x width; the first quarter's is exact. The same arguments give the
    same bytes. Existing files of these names are replaced.
    """
    training, semantic = root / "training" / "image_2", root / "training" / "semantic"
    testing = root / "testing" / "image_2"
    for folder in (training, semantic, testing):
        folder.mkdir(parents=True, exist_ok=True)
    with tqdm(total=num_train + num_test, desc="sample", unit="scene", disable=None) as bar:
        for number in range(num_train):
            size = picture_size(number, num_train, height, width)
            image, label_ids = street_scene(seed, number, *size)
            _write(image, training / _name(number))
            _write(label_ids, semantic / _name(number))
            bar.update()
        for number in range(num_test):
            size = picture_size(number, num_test, height, width)
            image, _ = street_scene(seed, FIRST_TESTING_SCENE + number, *size)
            _write(image, testing / _name(number))
            bar.update()


def picture_size(number: int, count: int, height: int, width: int) -> tuple[int, int]:
    """Return (height, width) in pixels of picture `number` of `count`."""
    tall, wide = DAYS[number * len(DAYS) // count]
    return round(height * tall), round(width * wide)


def _name(number: int) -> str:
    return f"{number:06d}_10.png"


def _write(pixels: np.ndarray, path: Path) -> None:
    Image.fromarray(pixels).save(path, format="PNG")
