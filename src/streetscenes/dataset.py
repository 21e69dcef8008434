"""The made-up data set on disk, in KITTI's layout."""

import os
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from io import BytesIO
from itertools import islice
from multiprocessing import get_context, parent_process
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from streetscenes.scene import street_scene

# KITTI was recorded on several days; the rectified pictures of each have their own size.
# Heights and widths relative to the first, from 375x1242, 370x1224, 374x1238 and 376x1241,
# their distance from it widened threefold so that small pictures differ too.
DAYS = ((1.0, 1.0), (0.96, 0.957), (0.992, 0.99), (1.008, 0.998))
# Testing scenes come from far behind the training ones, so neither number moves the other set.
FIRST_TESTING_SCENE = 1_000_000
_SCENES_PER_PROCESS = 16
"""Smallest number of scenes for which it pays to start one more process."""

Scene = tuple[int, int, tuple[int, int], Path, Path | None]
"""Seed, number, (height, width), and the paths of the image and of its mask."""


def write_dataset(
    root: Path, *, num_train: int, num_test: int, height: int, width: int, seed: int
) -> None:
    """Write labelled training scenes and other, unlabelled test scenes below `root`.

    The files are training/image_2/NNNNNN_10.png (RGB), training/semantic/NNNNNN_10.png (8-bit label
    ids, 0..33) and testing/image_2/NNNNNN_10.png. Each quarter of either set has a size of its own,
    a few per cent from height x width; the first quarter's is exact. The same arguments give the
    same bytes. Existing files of these names are replaced.

    Args:
        root: directory of the data set; created if it does not exist.
        num_train: number of scenes with masks.
        num_test: number of scenes without.
        height, width: of an image, in pixels.
        seed: another seed gives other streets.

    Raises:
        OSError: a file cannot be written; it names the file.
        BrokenProcessPool: a process that draws was killed, for example for want of memory.
    """
    training, semantic = root / "training" / "image_2", root / "training" / "semantic"
    testing = root / "testing" / "image_2"
    for folder in (training, semantic, testing):
        folder.mkdir(parents=True, exist_ok=True)

    def scenes() -> Iterator[Scene]:
        for number in range(num_train):
            size = picture_size(number, num_train, height, width)
            yield seed, number, size, training / _name(number), semantic / _name(number)
        for number in range(num_test):
            size = picture_size(number, num_test, height, width)
            yield seed, FIRST_TESTING_SCENE + number, size, testing / _name(number), None

    count = num_train + num_test
    for _ in tqdm(_draw(scenes(), count), "sample", count, unit="scene", disable=None):
        pass


def _draw(scenes: Iterable[Scene], count: int) -> Iterator[None]:
    """Write the scenes, on up to one process per core: drawing is plain Python."""
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
    """Leave Ctrl-C to the parent process, and exit when it has ended for whatever reason."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def wait() -> None:
        parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _write_scene(scene: Scene) -> None:
    seed, number, size, image_path, mask_path = scene
    image, label_ids = street_scene(seed, number, *size)
    _write(image, image_path)
    if mask_path:
        _write(label_ids, mask_path)


def picture_size(number: int, count: int, height: int, width: int) -> tuple[int, int]:
    """Return (height, width) in pixels of picture `number` of `count`."""
    tall, wide = DAYS[number * len(DAYS) // count]
    return round(height * tall), round(width * wide)


def _name(number: int) -> str:
    return f"{number:06d}_10.png"


def _write(pixels: np.ndarray, path: Path) -> None:
    encoded = BytesIO()
    Image.fromarray(pixels).save(encoded, format="PNG")
    try:
        path.write_bytes(encoded.getbuffer())
    except OSError as error:
        error.filename = str(path)  # a full disk names no file
        raise
