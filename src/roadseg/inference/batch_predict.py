"""Predicting many pictures' files: read ahead and written behind, while the network computes.

Shapes: K classes, H and W pixels.
"""

import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from roadseg.config.class_map import ClassMap
from roadseg.inference.image_files import Source, is_inside, read_image
from roadseg.inference.predictor import Predictor
from roadseg.inference.writers import remove_prediction, write_prediction
from roadseg.system.errors import InputError
from roadseg.system.memory import out_of_memory_as

_THREADS = 2  # that decode and encode beside the network
_WAITING = 8
"""Pictures that are read ahead, and that may wait to be written."""

Read = tuple[Source, np.ndarray]


def predict_files(
    predictor: Predictor,
    sources: Sequence[Source],
    out: Path,
    batch_size: int = 1,
    with_probabilities: bool = False,
) -> tuple[np.ndarray, int]:
    """Predict `sources`; what cannot be is named on standard error and left out, and so is what an
    older run wrote of it.

    Threads read the next pictures and write the last ones while the network computes.

    Returns:
        (K,) int64, pixels written as each class, and how many pictures were left out.
    """
    pixels = np.zeros(predictor.class_map.num_classes, dtype=np.int64)
    with (
        ThreadPoolExecutor(_THREADS) as pool,
        tqdm(total=len(sources), desc="predict", unit="img", leave=False, disable=None) as bar,
    ):
        failed = _Failed(out, bar)
        writing: deque[tuple[Source, Future[np.ndarray]]] = deque()
        for batch in _batches(_read_ahead(sources, pool, failed), batch_size):
            try:
                found = _predicted(predictor, [read[1] for read in batch], with_probabilities)
            except InputError as error:
                names = ", ".join(str(source.path) for source, _ in batch)
                failed.add(InputError(f"{names}: {error}"), *(source for source, _ in batch))
                continue
            for (source, picture), classes in zip(batch, found, strict=True):
                work = (out, source, picture, predictor.class_map, classes)
                writing.append((source, pool.submit(_written, *work)))
            pixels += _finished(writing, _WAITING, failed, bar)[: len(pixels)]
        pixels += _finished(writing, 0, failed, bar)[: len(pixels)]
    return pixels, failed.count


class _Failed:
    """Says at once what could not be predicted, counts it, and leaves nothing of it."""

    def __init__(self, out: Path, bar: tqdm) -> None:
        self.count, self._out, self._bar = 0, out, bar

    def add(self, error: InputError, *sources: Source) -> None:
        self.count += len(sources)
        tqdm.write(f"error: {error}", file=sys.stderr)
        self._bar.update(len(sources))
        for source in sources:
            if not is_inside(source.path, self._out):  # it may be what would be removed
                remove_prediction(self._out, source.name)


def _predicted(
    predictor: Predictor, pictures: list[np.ndarray], with_probabilities: bool
) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Of each picture: class ids (H, W) uint8, and probabilities (K, H, W) float16, if wanted."""
    if with_probabilities:
        return list(zip(*predictor.class_ids_and_probabilities(pictures), strict=True))
    return [(class_ids, None) for class_ids in predictor.class_ids(pictures)]


def _written(
    folder: Path,
    source: Source,
    picture: np.ndarray,
    class_map: ClassMap,
    found: tuple[np.ndarray, np.ndarray | None],
) -> np.ndarray:
    """(256,) int64, pixels of each class in what was written, as `write_prediction` does."""
    class_ids, chances = found
    with out_of_memory_as(f"{source.path}: out of memory where its classes are drawn"):
        write_prediction(folder, source.name, picture, class_map, class_ids, chances)
        return np.array(Image.fromarray(class_ids).histogram())


def _finished(
    writing: deque[tuple[Source, Future[np.ndarray]]], most: int, failed: _Failed, bar: tqdm
) -> np.ndarray:
    """(256,) int64, pixels of each class, once at most so many pictures are being written."""
    pixels = np.zeros(256, dtype=np.int64)
    while len(writing) > most:
        source, written = writing.popleft()
        try:
            pixels += written.result()
            bar.update()
        except InputError as error:
            failed.add(error, source)
    return pixels


def _read_ahead(
    sources: Sequence[Source], pool: ThreadPoolExecutor, failed: _Failed
) -> Iterator[Read]:
    """The pictures in order, without those that cannot be read."""
    left = iter(sources)
    reading: deque[tuple[Source, Future[np.ndarray]]] = deque()
    while True:
        for source in islice(left, _WAITING - len(reading)):
            reading.append((source, pool.submit(read_image, source.path, source.path)))
        if not reading:
            return
        source, picture = reading.popleft()
        try:
            read = picture.result()
        except InputError as error:
            failed.add(error, source)
        else:
            yield source, read


def _batches(pictures: Iterable[Read], size: int) -> Iterator[list[Read]]:
    """Up to `size` neighbours of one height and width together."""
    batch: list[Read] = []
    for read in pictures:
        if batch and (len(batch) == size or read[1].shape != batch[0][1].shape):
            yield batch
            batch = []
        batch.append(read)
    if batch:
        yield batch
