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
    sources = found_pictures(args.pictures)
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
        raise InputError(f"{failed} of {len(sources)} pictures could not be read; see above")


def predict_files(
    predictor: Predictor,
    sources: Sequence[Source],
    out: Path,
    batch_size: int = 1,
    with_probabilities: bool = False,
) -> tuple[np.ndarray, int]:
    """Predict `sources`; a broken one is named on standard error and left out.

    Threads read the next pictures and write the last ones while the network computes.

    Returns:
        (K,) int64, pixels predicted as each class, and how many pictures could not be read.
    """
    pixels = np.zeros(predictor.class_map.num_classes, dtype=np.int64)
    failures: list[InputError] = []
    with (
        ThreadPoolExecutor(_THREADS) as pool,
        tqdm(total=len(sources), desc="predict", unit="img", leave=False, disable=None) as bar,
    ):
        writing: deque[Future[None]] = deque()
        for batch in _batches(_read_ahead(sources, pool, failures, bar), batch_size):
            logits = predictor.logits([picture for _, picture in batch])
            class_ids = logits.argmax(1).to(torch.uint8).cpu().numpy()  # (N, H, W)
            pixels += np.bincount(class_ids.reshape(-1), minlength=len(pixels))
            chances = _probabilities(logits) if with_probabilities else [None] * len(batch)
            for (source, picture), *found in zip(batch, class_ids, chances, strict=True):
                work = (out, source.name, picture, predictor.class_map, *found)
                writing.append(pool.submit(write_prediction, *work))
            while len(writing) > _WAITING:
                writing.popleft().result()
            bar.update(len(batch))
        for written in writing:
            written.result()
    return pixels, len(failures)


def _probabilities(logits: torch.Tensor) -> np.ndarray:
    """(N, K, H, W) float16, 0..1, of logits of that shape."""
    return logits.float().softmax(1).half().cpu().numpy()


def _read_ahead(
    sources: Sequence[Source],
    pool: ThreadPoolExecutor,
    failures: list[InputError],
    bar: tqdm,
) -> Iterator[Read]:
    """The pictures in order; what cannot be read goes to `failures` and is said at once."""
    left = iter(sources)
    reading: deque[tuple[Source, Future[np.ndarray]]] = deque()
    while True:
        for source in islice(left, _WAITING - len(reading)):
            reading.append((source, pool.submit(read_picture, source.path, source.path)))
        if not reading:
            return
        source, picture = reading.popleft()
        try:
            yield source, picture.result()
        except InputError as error:
            failures.append(error)
            tqdm.write(f"error: {error}", file=sys.stderr)
            bar.update()


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
    run(main)
