"""Prediction of image files, with reading and writing in threads.

Shapes: K classes, H and W pixels.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from roadseg.inference.image_files import Source, read_image
from roadseg.inference.predictor import Predictor
from roadseg.inference.writers import is_result, remove_prediction, write_prediction
from roadseg.system.errors import InputError
from roadseg.system.memory import out_of_memory_as
from roadseg.system.ordered_map import ordered_map

_THREADS = 2
"""Threads that decode and encode images while the network computes."""
_AHEAD = 8
"""Largest number of images read ahead, and of predictions that wait to be written."""

Image = tuple[Source, np.ndarray]
"""A source and its pixels, (H, W, 3) uint8."""
Prediction = tuple[Image, tuple[np.ndarray, np.ndarray | None]]
"""An image, its class ids (H, W) uint8, and optionally probabilities (K, H, W) float16."""


def predict_files(
    predictor: Predictor,
    sources: Sequence[Source],
    out: Path,
    batch_size: int = 1,
    with_probabilities: bool = False,
) -> tuple[np.ndarray, int]:
    """Predict `sources` and write the results to `out`.

    An image that fails is reported on standard error and skipped, and its results of an earlier run
    are removed.

    Returns:
        Number of pixels predicted as each class, (K,) int64, and number of failed images.

    Raises:
        OSError: results cannot be written; those of the image that failed are removed.
    """
    pixels = np.zeros(256, dtype=np.int64)
    failed: list[Source] = []

    def report(error: InputError, *affected: Source) -> None:
        tqdm.write(f"error: {error}", file=sys.stderr)
        failed.extend(affected)
        for source in affected:
            remove_results(source)

    def remove_results(source: Source) -> None:
        if not is_result(source.path, out):  # it could be the file to remove
            remove_prediction(out, source.name)

    def read(source: Source) -> tuple[Source, np.ndarray | InputError]:
        try:
            return source, read_image(source.path, source.path)
        except InputError as error:
            return source, error

    def read_images() -> Iterator[Image]:
        for source, image in ordered_map(pool, read, sources, _AHEAD):
            if isinstance(image, InputError):
                report(image, source)
            else:
                yield source, image

    def predict_images() -> Iterator[Prediction]:
        for batch in _batches(read_images(), batch_size):
            try:
                found = _predict(predictor, [image for _, image in batch], with_probabilities)
            except InputError as error:
                names = ", ".join(str(source.path) for source, _ in batch)
                report(InputError(f"{names}: {error}"), *(source for source, _ in batch))
            else:
                yield from zip(batch, found, strict=True)

    def write(prediction: Prediction) -> tuple[Source, np.ndarray | InputError]:
        (source, image), (class_ids, probabilities) = prediction
        files = (out, source.name, image, predictor.class_map, class_ids, probabilities)
        try:
            with out_of_memory_as(f"{source.path}: out of memory while writing mask and overlay"):
                write_prediction(*files)
                return source, np.bincount(class_ids.reshape(-1), minlength=256)
        except InputError as error:
            return source, error
        except OSError:  # ends the run, such as a full disk
            remove_results(source)
            raise

    with (
        ThreadPoolExecutor(_THREADS) as pool,
        tqdm(total=len(sources), desc="predict", unit="img", leave=False, disable=None) as bar,
    ):
        for source, counts in ordered_map(pool, write, predict_images(), _AHEAD):
            if isinstance(counts, InputError):
                report(counts, source)
            else:
                pixels += counts
            bar.update()
    return pixels[: predictor.class_map.num_classes], len(failed)


def _predict(
    predictor: Predictor, images: list[np.ndarray], with_probabilities: bool
) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Return class ids (H, W) uint8 and optionally probabilities (K, H, W) float16 per image."""
    if with_probabilities:
        return list(zip(*predictor.class_ids_and_probabilities(images), strict=True))
    return [(class_ids, None) for class_ids in predictor.class_ids(images)]


def _batches(images: Iterable[Image], size: int) -> Iterator[list[Image]]:
    """Group up to `size` consecutive images of the same height and width."""
    batch: list[Image] = []
    for image in images:
        if batch and (len(batch) == size or image[1].shape != batch[0][1].shape):
            yield batch
            batch = []
        batch.append(image)
    if batch:
        yield batch
