"""Segment images or a video.

For each image, write its classes in colors (color/), as a mask of label ids (label_ids/) and as an
overlay on the image (overlay/), in the size of the image. classes.json lists the classes with their
colors and label ids, models.json the models.

If --out is a video (.mp4, .m4v, .mov or .mkv), the frames of one video, or images as its frames,
are written there as overlays. Times are kept, sound is not.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from roadseg.inference.options import (
    add_predictor_options,
    build_predictor,
    model_paths,
    positive_int,
    require_output_folder,
)
from roadseg.system.errors import InputError, escape_unprintable, missing_package

if TYPE_CHECKING:
    import numpy as np

    from roadseg.inference.predictor import Predictor

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts"),
    *(".wmv", ".flv", ".ogv", ".3gp"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the images, the output options and the model options."""
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE|FOLDER|GLOB|VIDEO",
        help="PNG, JPEG, BMP, TIFF, GIF or WebP; of a folder, all images in it and its subfolders; "
        "or one video",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR|VIDEO", help="output folder or video"
    )
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
    parser.add_argument(
        "--draw",
        choices=("overlay", "color"),
        help="what the frames of a video show (default: overlay)",
    )
    parser.add_argument(
        "--fps",
        type=_rate,
        metavar="N",
        help="frames per second of a video made of images (default: 10, as in KITTI)",
    )


def run(args: argparse.Namespace) -> None:
    """Segment the images or the video, and print a summary."""
    if args.out.suffix.lower() in VIDEO_SUFFIXES:
        _predict_video(args)
    else:
        _predict_images(args)


def _predict_images(args: argparse.Namespace) -> None:
    from roadseg.inference.batch_predict import predict_files
    from roadseg.inference.ensemble import write_model_records
    from roadseg.inference.image_files import count_skipped_types, find_images
    from roadseg.inference.writers import MODELS, write_classes

    for path in map(Path, args.images):
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
            raise InputError(f"{path}: is a video; name a video as --out too, such as out.mp4")
    if args.draw or args.fps:
        raise InputError(f"--draw, --fps: {args.out} is a folder; name a video, such as out.mp4")
    require_output_folder(args.out)
    sources, models = find_images(args.images, args.out), model_paths(args)
    predictor = build_predictor(args)
    args.out.mkdir(parents=True, exist_ok=True)
    write_classes(args.out, predictor.class_map)
    write_model_records(args.out / MODELS, models, predictor.metadata)
    pixels, failed = predict_files(
        predictor, sources, args.out, args.batch_size, args.probabilities
    )
    lines = _summary(args, predictor, f"{len(sources) - failed} images", pixels)
    skipped = count_skipped_types(args.images, args.out)
    _print_lines([*lines, *_counts("skipped files of unsupported type", skipped)])
    if failed:
        raise InputError(f"{failed} of {len(sources)} images could not be predicted; see above")


def _predict_video(args: argparse.Namespace) -> None:
    """Write a video, and print a summary."""
    try:
        from roadseg.inference.video_predict import open_frames, predict_video
        from roadseg.inference.video_writer import MUXERS
    except ModuleNotFoundError as error:
        raise missing_package(str(error.name), extra="video") from None
    from roadseg.inference.image_files import count_skipped_types

    if args.out.suffix.lower() not in MUXERS:
        raise InputError(f"--out: {args.out}: videos are written as {', '.join(MUXERS)}")
    if args.probabilities:
        raise InputError("--probabilities: not for a video; predict its frames as images")
    if args.out.is_dir():
        raise InputError(f"--out: {args.out} is a directory")
    if args.out.exists() and any(
        Path(name).resolve() == args.out.resolve() for name in args.images
    ):
        raise InputError(f"--out: {args.out} is the video to read; choose another name")
    skipped = count_skipped_types(args.images)
    with open_frames(args.images, args.fps) as stream:
        predictor = build_predictor(args)
        num_frames, pixels = predict_video(
            predictor, stream, args.out, args.batch_size, args.draw or "overlay"
        )
    lines = _summary(args, predictor, f"{num_frames} frames", pixels)
    lines += _counts("skipped files of unsupported type", skipped)
    _print_lines([*lines, *_counts("streams that were not copied", stream.left_out)])


def _summary(
    args: argparse.Namespace, predictor: "Predictor", inputs: str, pixels: "np.ndarray"
) -> list[str]:
    """Describe the run, and the classes that cover at least 0.1% of `pixels`, (K,) int64."""
    from roadseg.inference.ensemble import join_names

    fractions = pixels / max(1, pixels.sum())
    names, device = predictor.class_map.names, predictor.accelerator.device
    largest = [i for i in (-fractions).argsort() if fractions[i] >= 0.001]
    return [
        f"predict: {inputs} by {join_names(model_paths(args))} on {device}, in {args.out}",
        "  " + ", ".join(f"{names[i]} {fractions[i]:.1%}" for i in largest),
    ]


def _counts(title: str, counts: Counter[str]) -> list[str]:
    """Return a line such as `  title: 3 .txt, 1 .heic`; none without counts."""
    counted = [f"{count} {escape_unprintable(kind)}" for kind, count in counts.most_common()]
    return [f"  {title}: {', '.join(counted)}"] if counted else []


def _rate(text: str) -> Fraction:
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0.01 <= rate <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0.01 to 1000")
    return rate.limit_denominator(1001)


def _print_lines(lines: Sequence[str]) -> None:
    """Print `lines`, ignoring a closed pipe (`| head`): all files are written already."""
    try:
        print(*lines, sep="\n", flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes at exit
