"""Command-line options of a predictor. Only `build_predictor` imports torch."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from roadseg.system.errors import InputError

if TYPE_CHECKING:
    from roadseg.inference.predictor import Predictor

DEFAULT_MODEL = Path("models/best.safetensors")


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add --model, --device, --precision and --tta."""
    parser.add_argument(
        "--model",
        dest="models",
        action="append",
        type=Path,
        metavar="FILE",
        help="model file written by the stage train; repeat the option to average the "
        f"probabilities of several models (default: {DEFAULT_MODEL})",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, mps, cuda, cuda:N")
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"))
    parser.add_argument(
        "--tta",
        action="store_true",
        help="test-time augmentation: average the probabilities of the image and its mirror image",
    )


def add_path_options(parser: argparse.ArgumentParser, paths: Mapping[str, tuple[str, str]]) -> None:
    """Add options for files or folders: by name, the default and the help text."""
    for name, (default, text) in paths.items():
        parser.add_argument(
            f"--{name}",
            type=Path,
            default=Path(default),
            metavar="PATH",
            help=f"{text} (default: %(default)s)",
        )


def model_paths(args: argparse.Namespace) -> list[Path]:
    """Return the model files of the parsed options."""
    return args.models or [DEFAULT_MODEL]


def add_predictor_options(parser: argparse.ArgumentParser) -> None:
    """Add the model options, --scale and --tile."""
    add_model_options(parser)
    parser.add_argument(
        "--scale",
        type=_scale,
        metavar="SCALE",
        help="resize images by this factor for the network (default: as in training)",
    )
    parser.add_argument(
        "--tile",
        type=_tile,
        metavar="PIXELS",
        help="predict in square tiles of this side (default: only if memory is short)",
    )


def build_predictor(args: argparse.Namespace) -> "Predictor":
    """Create the predictor from parsed options; raises InputError as `Predictor` does."""
    from roadseg.inference.predictor import Predictor

    return Predictor(
        model_paths(args),
        args.device,
        args.precision,
        scale=args.scale,
        tta=args.tta,
        tile=args.tile,
    )


def positive_int(text: str) -> int:
    """Parse an integer of at least 1, as an argparse type."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer of at least 1")
    return int(text)


def require_output_folder(path: Path | None) -> None:
    """Raise InputError if --out is a file, before a command spends time on what it would write."""
    if path is not None and path.exists() and not path.is_dir():
        raise InputError(f"--out: {path} is not a directory")


def _tile(text: str) -> int:
    number = positive_int(text)
    if number % 16 or number < 64:
        raise argparse.ArgumentTypeError(f"{text!r} is not a multiple of 16 of at least 64")
    return number


def _scale(text: str) -> float:
    try:
        scale = float(text)
    except ValueError:
        scale = 0.0
    if not 0.01 <= scale <= 4:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0.01 to 4")
    return scale
