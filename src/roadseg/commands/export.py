"""Convert a model for other programs and devices.

The suffix of --out selects the format: .onnx for ONNX Runtime and others, .pt2 for
torch.export.load. Both formats take 8-bit images of any size and contain the class map. The file is
only written if its logits match those of the network.

--all writes the model as ONNX in fp32, fp16 and int8, and reports mIoU, size, latency and the
agreement with torch of each on the validation images. int8 is calibrated on training images. The
files are only written if no mIoU is lower than export.max_miou_loss in params.yaml permits.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from roadseg.inference.options import DEFAULT_MODEL, add_path_options
from roadseg.system.errors import InputError

if TYPE_CHECKING:
    from roadseg.evaluation.metric_files import ExportReport


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model file, --out with its --precision, and --all with its paths."""
    parser.add_argument(
        "model",
        type=Path,
        nargs="?",
        default=DEFAULT_MODEL,
        help="a .safetensors file written by train (default: %(default)s)",
    )
    outputs = parser.add_mutually_exclusive_group(required=True)
    outputs.add_argument("--out", type=Path, metavar="FILE", help="output file, .onnx or .pt2")
    outputs.add_argument("--all", action="store_true", help="write and measure all precisions")
    parser.add_argument(
        "--precision", choices=("fp32", "fp16"), help="weights and activations of --out"
    )
    add_path_options(
        parser,
        {
            "params": ("params.yaml", "--all: parameters, of which the section export is used"),
            "prepared": ("data/prepared", "--all: prepared images and masks"),
            "split": ("data/split.json", "--all: file that lists the images"),
            "folder": ("models/export", "--all: folder of fp32.onnx, fp16.onnx and int8.onnx"),
            "metrics": ("metrics/export.json", "--all: file of the report"),
        },
    )


def run(args: argparse.Namespace) -> None:
    """Convert the model, and print what was written and checked."""
    if args.all:
        if args.precision:
            raise InputError("--precision: --all writes all precisions; use it with --out")
        _export_all(args)
        return
    from roadseg.models.export import export_model

    print("\n".join(export_model(args.model, args.out, args.precision or "fp32")))


def _export_all(args: argparse.Namespace) -> None:
    from roadseg.config.params import load_params
    from roadseg.data.prepared import PreparedDataset
    from roadseg.data.split_file import read_split
    from roadseg.evaluation.exported_models import export_for_devices
    from roadseg.runtime.determinism import make_deterministic
    from roadseg.system.memory import keep_freed_memory

    options = load_params(args.params).export
    prepared, split = PreparedDataset(args.prepared), read_split(args.split)
    make_deterministic()
    keep_freed_memory()
    report = export_for_devices(args.model, args.folder, args.metrics, prepared, split, options)
    print(f"export: {args.model} as ONNX in {args.folder}; report in {args.metrics}")
    print(_format(report))


def _format(report: "ExportReport") -> str:
    """Format the report as a table for a terminal."""
    row = "{:6} {:>7} {:>10} {:>9} {:>11} {:>16}".format
    lines = [row("", "mIoU", "agreement", "MB", "median, ms", "95th perc., ms")]
    for entry in report.formats:
        values = (f"{entry.miou:.4f}", f"{entry.agreement:.5f}", f"{entry.megabytes:.1f}")
        latency = (f"{entry.latency_ms:.1f}", f"{entry.latency_p95_ms:.1f}")
        lines.append(row(entry.name, *values, *latency))
    lines.append(
        f"{report.images} validation images, most of them {report.image_size}, one at a time; "
        f"{report.processor}, threads: {report.threads}"
    )
    return "\n".join(lines)
