"""Write the synthetic data set in KITTI's directory layout."""

import os
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from io import BytesIO
from itertools import islice, product
from multiprocessing import get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from streetscenes.scene import street_scene

# KITTI was recorded on several days; the rectified images of each day have a size of their own.
# Heights and widths relative to the first, from 375x1242, 370x1224, 374x1238 and 376x1241, with
# the differences tripled so that small images differ too.
DAYS = ((1.0, 1.0), (0.96, 0.957), (0.992, 0.99), (1.008, 0.998))
# Test scenes start at a high index, so the number of training scenes does not change them.
FIRST_TESTING_SCENE = 1_000_000
_SCENES_PER_PROCESS = 16
"""Number of scenes for which one more process is worth its start-up time."""

Scene = tuple[int, int, tuple[int, int], Path, Path]
"""Seed, index, (height, width), path of the image, path of its mask."""


def write_dataset(
    root: Path, *, num_train: int, num_test: int, height: int, width: int, seed: int
) -> None:
    """Write training and test scenes with masks below `root`.

    The files are training/image_2/NNNNNN_10.png (RGB), training/semantic/NNNNNN_10.png (8-bit label
    ids, 0..33), and the same below testing/. The first quarter of each set has exactly
    height x width pixels; the sizes of the other quarters differ by a few per cent. The same
    arguments give the same bytes. Existing files with these names are replaced.

    Args:
        root: directory of the data set; created if it does not exist.
        num_train: number of training scenes.
        num_test: number of test scenes.
        height, width: size of an image, in pixels.
        seed: a different seed gives different streets.

    Raises:
        OSError: a file cannot be written; its `filename` is set.
        BrokenProcessPool: a worker process was killed, for example because memory ran out.
    """
    for part, kind in product(("training", "testing"), ("image_2", "semantic")):
        (root / part / kind).mkdir(parents=True, exist_ok=True)

    def scenes() -> Iterator[Scene]:
        for number in range(num_train):
            size = image_size(number, num_train, height, width)
            yield seed, number, size, *_paths(root / "training", number)
        for number in range(num_test):
            size = image_size(number, num_test, height, width)
            yield seed, FIRST_TESTING_SCENE + number, size, *_paths(root / "testing", number)

    count = num_train + num_test
    for _ in tqdm(_draw(scenes(), count), "sample", count, unit="scene", disable=None):
        pass


def _draw(scenes: Iterable[Scene], count: int) -> Iterator[None]:
    """Write the scenes in up to one process per core; drawing holds the GIL, so no threads."""
    processes = min(count // _SCENES_PER_PROCESS, os.cpu_count() or 1)
    if processes < 2:
        yield from map(_write_scene, scenes)
        return
    with ProcessPoolExecutor(processes, get_context("spawn"), _end_with_parent) as pool:
        waiting = iter(scenes)
        try:
            while chunk := list(islice(waiting, 64 * processes)):
                yield from pool.map(_write_scene, chunk)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _end_with_parent() -> None:
    """Ignore Ctrl-C, which the parent process handles, and exit when the parent has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def wait(parent: BaseProcess) -> None:
        parent.join()
        os._exit(1)

    if parent := parent_process():
        threading.Thread(target=wait, args=(parent,), daemon=True).start()


def _write_scene(scene: Scene) -> None:
    seed, number, size, image_path, mask_path = scene
    image, label_ids = street_scene(seed, number, *size)
    _write(image, image_path)
    _write(label_ids, mask_path)


def image_size(number: int, count: int, height: int, width: int) -> tuple[int, int]:
    """Return (height, width) in pixels of image `number` of `count`."""
    tall, wide = DAYS[number * len(DAYS) // count]
    return round(height * tall), round(width * wide)


def _paths(folder: Path, number: int) -> tuple[Path, Path]:
    """Return the paths of an image and its mask."""
    name = f"{number:06d}_10.png"
    return folder / "image_2" / name, folder / "semantic" / name


def _write(pixels: np.ndarray, path: Path) -> None:
    encoded = BytesIO()
    Image.fromarray(pixels).save(encoded, format="PNG")
    try:
        path.write_bytes(encoded.getbuffer())
    except OSError as error:
        error.filename = str(path)  # "No space left on device" comes without a file name
        raise
