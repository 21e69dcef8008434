"""Segment images.

For each image, write its classes in colours (color/), as a mask of label ids (label_ids/) and as an
overlay on the image (overlay/), in the size of the image. models.json lists the models.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from roadseg.inference.options import (
    add_predictor_options,
    build_predictor,
    model_paths,
    positive_int,
)
from roadseg.system.errors import InputError, escape_unprintable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the images, the output options and the model options."""
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE|FOLDER|GLOB",
        help="PNG, JPEG, BMP, TIFF, GIF or WebP; of a folder, all images in it and its subfolders",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="output folder")
    add_predictor_options(parser)
    parser.add_argument(
        "--batch-size",
        type=positive_int,
        default=1,
        metavar="N",
        help="images per batch, if consecutive images have one size; faster on a GPU only "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--probabilities",
        action="store_true",
        help="also write the probability of each class and pixel as float16 (probabilities/)",
    )


def run(args: argparse.Namespace) -> None:
    """Segment the images, and print a summary."""
    import numpy as np

    from roadseg.inference.batch_predict import predict_files
    from roadseg.inference.ensemble import join_names, write_model_records
    from roadseg.inference.image_files import count_skipped_types, find_images
    from roadseg.inference.writers import MODELS, write_classes

    sources, models = find_images(args.images, args.out), model_paths(args)
    predictor = build_predictor(args)
    args.out.mkdir(parents=True, exist_ok=True)
    write_classes(args.out, predictor.class_map)
    write_model_records(args.out / MODELS, models, predictor.metadata)
    pixels, failed = predict_files(
        predictor, sources, args.out, args.batch_size, args.probabilities
    )
    num_predicted, device = len(sources) - failed, predictor.accelerator.device
    fractions = pixels / max(1, pixels.sum())
    largest = [i for i in np.argsort(-fractions) if fractions[i] >= 0.001]
    lines = [
        f"predict: {num_predicted} images by {join_names(models)} on {device}, in {args.out}",
        "  " + ", ".join(f"{predictor.class_map.names[i]} {fractions[i]:.1%}" for i in largest),
    ]
    if skipped := count_skipped_types(args.images, args.out):
        types = ", ".join(
            f"{count} {escape_unprintable(suffix)}" for suffix, count in skipped.most_common()
        )
        lines.append(f"  skipped files of unsupported type: {types}")
    _print_lines(lines)
    if failed:
        raise InputError(f"{failed} of {len(sources)} images could not be predicted; see above")


def _print_lines(lines: Sequence[str]) -> None:
    """Print `lines`, ignoring a closed pipe (`| head`): all files are written already."""
    try:
        print(*lines, sep="\n", flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes at exit
