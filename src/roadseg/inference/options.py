"""Options that every command with a model has."""

import argparse
from pathlib import Path

from roadseg.inference.predictor import Predictor

DEFAULT_MODEL = Path("models/best.safetensors")


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add --model, --device, --precision, --scale, --tta and --tile."""
    parser.add_argument(
        "--model",
        type=Path,
        default=DEFAULT_MODEL,
        metavar="FILE",
        help="a .safetensors file that train has written (%(default)s)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, mps, cuda, cuda:N")
    parser.add_argument("--precision", default="auto", choices=("auto", "fp32", "bf16"))
    parser.add_argument(
        "--scale",
        type=_share,
        metavar="SHARE",
        help="of the pictures' size, at which they pass the network (as in training)",
    )
    parser.add_argument(
        "--tta",
        action="store_true",
        help="mean of two looks, one of them mirrored",
    )
    parser.add_argument(
        "--tile",
        type=_tile,
        metavar="PIXELS",
        help="side of the parts that pass one by one (only where memory is short)",
    )


def build_predictor(args: argparse.Namespace) -> Predictor:
    """The predictor that the options ask for. Raises InputError as it does."""
    return Predictor(
        args.model, args.device, args.precision, scale=args.scale, tta=args.tta, tile=args.tile
    )


def positive_int(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def _tile(text: str) -> int:
    number = positive_int(text)
    if number % 16 or number < 64:
        raise argparse.ArgumentTypeError(f"{text!r} is no multiple of 16 from 64 on")
    return number


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0.01 <= share <= 4:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0.01 to 4")
    return share
