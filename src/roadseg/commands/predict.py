"""Segment pictures: roadseg predict IMAGE|FOLDER|GLOB... --out DIR

Writes, for each picture, its classes in colours (color/), as a mask of label ids (label_ids/) and
laid over it (overlay/), in the picture's own size.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from roadseg.inference.batch_predict import predict_files
from roadseg.inference.image_files import count_skipped_types, find_images
from roadseg.inference.options import add_model_options, build_predictor, positive_int
from roadseg.inference.writers import write_classes
from roadseg.system.cli import run_main
from roadseg.system.errors import InputError, printable


def main(argv: list[str] | None = None) -> None:
    args = _parser().parse_args(argv)
    sources = find_images(args.pictures, args.out)
    predictor = build_predictor(args)
    args.out.mkdir(parents=True, exist_ok=True)
    write_classes(args.out, predictor.class_map)
    pixels, failed = predict_files(
        predictor, sources, args.out, args.batch_size, args.probabilities
    )
    done, device = len(sources) - failed, predictor.accelerator.device
    shares = pixels / max(1, pixels.sum())
    most = [i for i in np.argsort(-shares) if shares[i] >= 0.001]
    lines = [
        f"predict: {done} pictures by {args.model} on {device}, in {args.out}",
        "  " + ", ".join(f"{predictor.class_map.names[i]} {shares[i]:.1%}" for i in most),
    ]
    if others := count_skipped_types(args.pictures, args.out):
        kinds = ", ".join(f"{count} {printable(kind)}" for kind, count in others.most_common())
        lines.append(f"  left out of the folders, for no pictures that are read: {kinds}")
    _say(lines)
    if failed:
        raise InputError(f"{failed} of {len(sources)} pictures could not be predicted; see above")


def _say(lines: Sequence[str]) -> None:
    """Print; who reads it may have seen enough (`| head`), and all is written already."""
    try:
        print(*lines, sep="\n", flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python's flush at its end


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="roadseg predict",
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
        type=positive_int,
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
    run_main(main, less_memory="try a smaller --tile or --batch-size")
