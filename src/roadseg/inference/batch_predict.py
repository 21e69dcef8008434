"""Predict image files and write the results.

Shapes: K classes, H and W pixels.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from roadseg.inference.image_files import Source, is_inside, read_image
from roadseg.inference.predictor import Predictor
from roadseg.inference.writers import remove_prediction, write_prediction
from roadseg.system.errors import InputError

Image = tuple[Source, np.ndarray]
"""A source and its pixels, (H, W, 3) uint8."""


def predict_files(
    predictor: Predictor,
    sources: Sequence[Source],
    out: Path,
    batch_size: int = 1,
    with_probabilities: bool = False,
) -> tuple[np.ndarray, int]:
    """Predict `sources` and write the results below `out`.

    An image that fails is reported on standard error and skipped; results of an earlier run for it
    are removed.

    Returns:
        (K,) int64, the number of pixels written as each class, and the number of failed images.
    """
    pixels = np.zeros(256, dtype=np.int64)
    failed: list[Source] = []

    def report(error: InputError, *of: Source) -> None:
        tqdm.write(f"error: {error}", file=sys.stderr)
        failed.extend(of)
        for source in of:
            if not is_inside(source.path, out):  # else it may be the file to remove
                remove_prediction(out, source.name)

    def read_images() -> Iterator[Image]:
        for source in tqdm(sources, "predict", unit="img", leave=False, disable=None):
            try:
                yield source, read_image(source.path, source.path)
            except InputError as error:
                report(error, source)

    for batch in _batches(read_images(), batch_size):
        try:
            predictions = _predict(predictor, [image for _, image in batch], with_probabilities)
        except InputError as error:
            names = ", ".join(str(source.path) for source, _ in batch)
            report(InputError(f"{names}: {error}"), *(source for source, _ in batch))
            continue
        for (source, image), (class_ids, probabilities) in zip(batch, predictions, strict=True):
            files = (out, source.name, image, predictor.class_map, class_ids, probabilities)
            try:
                write_prediction(*files)
                pixels += np.bincount(class_ids.reshape(-1), minlength=256)
            except InputError as error:
                report(error, source)
    return pixels[: predictor.class_map.num_classes], len(failed)


def _predict(
    predictor: Predictor, images: list[np.ndarray], with_probabilities: bool
) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Return (H, W) uint8 class ids and, if wanted, (K, H, W) float16 probabilities per image."""
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
