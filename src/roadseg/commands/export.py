"""Convert a model for other programs.

The suffix of --out selects the format: .onnx for ONNX Runtime and others, .pt2 for
torch.export.load. Both formats take 8-bit images of any size and contain the class map. The file is
only written if its logits match those of the network.
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model file and --out."""
    parser.add_argument(
        "model",
        type=Path,
        nargs="?",
        default=Path("models/best.safetensors"),
        help="a .safetensors file written by train (default: %(default)s)",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="output file, .onnx or .pt2"
    )


def run(args: argparse.Namespace) -> None:
    """Convert the model, and print what was written and checked."""
    from roadseg.models.export import export_model

    print("\n".join(export_model(args.model, args.out)))
