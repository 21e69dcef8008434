"""Segment pictures: python -m src.predict IMAGE|FOLDER|GLOB... --out DIR

Writes, for each picture, its classes in colours (color/), as a mask of label ids (label_ids/) and
laid over it (overlay/), in the picture's own size.
"""

import argparse
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from src.command import run
from src.files import InputError
from src.inference.options import add_model_options, made_predictor, positive
from src.inference.outputs import write_classes, write_prediction
from src.inference.pictures import Source, found_pictures, read_picture
from src.inference.predictor import Predictor

_THREADS = 2  # that decode and encode beside the network
_WAITING = 8
"""Pictures that are read ahead, and that may wait to be written."""

Read = tuple[Source, np.ndarray]


def main(argv: list[str] | None = None) -> None:
    args = _parser().parse_args(argv)
    sources = found_pictures(args.pictures, args.out)
    predictor = made_predictor(args)
    args.out.mkdir(parents=True, exist_ok=True)
    write_classes(args.out, predictor.class_map)
    pixels, failed = predict_files(
        predictor, sources, args.out, args.batch_size, args.probabilities
    )
    done, device = len(sources) - failed, predictor.machine.device
    print(f"predict: {done} pictures by {args.model} on {device}, in {args.out}")
    shares = pixels / max(1, pixels.sum())
    most = [i for i in np.argsort(-shares) if shares[i] >= 0.001]
    print("  " + ", ".join(f"{predictor.class_map.names[i]} {shares[i]:.1%}" for i in most))
    if failed:
        raise InputError(f"{failed} of {len(sources)} pictures could not be predicted; see above")


def predict_files(
    predictor: Predictor,
    sources: Sequence[Source],
    out: Path,
    batch_size: int = 1,
    with_probabilities: bool = False,
) -> tuple[np.ndarray, int]:
    """Predict `sources`; what cannot be is named on standard error and left out.

    Threads read the next pictures and write the last ones while the network computes.

    Returns:
        (K,) int64, pixels predicted as each class, and how many pictures were left out.
    """
    pixels = np.zeros(predictor.class_map.num_classes, dtype=np.int64)
    with (
        ThreadPoolExecutor(_THREADS) as pool,
        tqdm(total=len(sources), desc="predict", unit="img", leave=False, disable=None) as bar,
    ):
        left_out = _LeftOut(bar)
        writing: deque[Future[None]] = deque()
        for batch in _batches(_read_ahead(sources, pool, left_out), batch_size):
            try:
                found = _predicted(predictor, [read[1] for read in batch], with_probabilities)
            except InputError as error:
                names = ", ".join(str(source.path) for source, _ in batch)
                left_out.add(InputError(f"{names}: {error}"), len(batch))
                continue
            for (source, picture), (class_ids, chances) in zip(batch, found, strict=True):
                pixels += np.bincount(class_ids.reshape(-1), minlength=len(pixels))
                work = (out, source.name, picture, predictor.class_map, class_ids, chances)
                writing.append(pool.submit(write_prediction, *work))
            _wait(writing, _WAITING, left_out, bar)
        _wait(writing, 0, left_out, bar)
    return pixels, left_out.count


class _LeftOut:
    """Says at once what could not be predicted, and counts it."""

    def __init__(self, bar: tqdm) -> None:
        self.count, self._bar = 0, bar

    def add(self, error: InputError, pictures: int = 1) -> None:
        self.count += pictures
        tqdm.write(f"error: {error}", file=sys.stderr)
        self._bar.update(pictures)


def _predicted(
    predictor: Predictor, pictures: list[np.ndarray], with_probabilities: bool
) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Of each picture: class ids (H, W) uint8, and probabilities (K, H, W) float16, if wanted."""
    logits = predictor.logits(pictures)  # (N, K, H, W)
    class_ids = logits.argmax(1).to(torch.uint8).cpu().numpy()
    if not with_probabilities:
        return [(ids, None) for ids in class_ids]
    return list(zip(class_ids, logits.float().softmax(1).half().cpu().numpy(), strict=True))


def _wait(writing: deque[Future[None]], most: int, left_out: _LeftOut, bar: tqdm) -> None:
    """Until at most so many pictures are being written."""
    while len(writing) > most:
        try:
            writing.popleft().result()
            bar.update()
        except InputError as error:
            left_out.add(error)


def _read_ahead(
    sources: Sequence[Source], pool: ThreadPoolExecutor, left_out: _LeftOut
) -> Iterator[Read]:
    """The pictures in order, without those that cannot be read."""
    left = iter(sources)
    reading: deque[tuple[Source, Future[np.ndarray]]] = deque()
    while True:
        for source in islice(left, _WAITING - len(reading)):
            reading.append((source, pool.submit(read_picture, source.path, source.path)))
        if not reading:
            return
        source, picture = reading.popleft()
        try:
            read = picture.result()
        except InputError as error:
            left_out.add(error)
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m src.predict",
        description=__doc__.split("\n\n", 1)[1],
    )
    parser.add_argument(
        "pictures",
        nargs="+",
        metavar="IMAGE|FOLDER|GLOB",
        help="PNG, JPEG or WebP; folders with all that is in them",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    add_model_options(parser)
    parser.add_argument(
        "--batch-size",
        type=positive,
        default=1,
        metavar="N",
        help="neighbours of one size that pass together; more pays on a GPU only (%(default)s)",
    )
    parser.add_argument(
        "--probabilities",
        action="store_true",
        help="also of each class and pixel, float16 (probabilities/)",
    )
    return parser


if __name__ == "__main__":
    run(main, less_memory="try a smaller --tile or --batch-size")
