"""Write the zip file for KITTI's semantic benchmark.

The file contains semantic/000000_10.png to semantic/000199_10.png: 8-bit masks of label ids in the
size of each test image. The classes of the model must be those of the benchmark.
"""

import argparse
from pathlib import Path

from roadseg.inference.options import add_predictor_options, build_predictor, model_paths


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --images, --out and the model options."""
    parser.add_argument(
        "--images",
        type=Path,
        default=Path("data/raw/testing/image_2"),
        metavar="FOLDER",
        help="folder of the test images in their original size (default: %(default)s)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("submission.zip"),
        metavar="FILE",
        help="default: %(default)s",
    )
    add_predictor_options(parser)
    parser.epilog = (
        "The benchmark does not accept re-implementations by students; evaluate those on a split "
        "of the training set, as this pipeline does."
    )


def run(args: argparse.Namespace) -> None:
    """Predict the test images and write the zip file."""
    from roadseg.inference.ensemble import join_names
    from roadseg.inference.submission import NAMES, require_benchmark_classes, write_submission

    predictor, models = build_predictor(args), model_paths(args)
    require_benchmark_classes(predictor.class_map, models[0])
    write_submission(predictor, args.images, args.out)
    size = args.out.stat().st_size / 1e6
    print(
        f"submission: {len(NAMES)} masks of label ids by {join_names(models)} in {args.out}, "
        f"{size:.1f} MB"
    )
