"""Convert a model for other programs. The suffix of --out chooses the format: .onnx for ONNX
Runtime and others, .pt2 for torch.export.load. Both formats take 8-bit images of any size and
contain the class map. The file is compared with the network before it is kept.
"""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        type=Path,
        nargs="?",
        default=Path("models/best.safetensors"),
        help="a .safetensors file that train has written (default: %(default)s)",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="a name that ends in .onnx or .pt2"
    )


def run(args: argparse.Namespace) -> None:
    from roadseg.models.export import export_model

    print("\n".join(export_model(args.model, args.out)))
