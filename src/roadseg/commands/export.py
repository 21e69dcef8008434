"""Write a model for other programs: roadseg export models/best.safetensors --out unet.onnx

The ending of --out decides: .onnx is for ONNX Runtime and its like, .pt2 for torch.export.load.
Both take pictures of any size as files hold them, and carry the classes with them.

Shapes: N pictures, K classes, H and W pixels.
"""

import argparse
import json
import math
from importlib.util import find_spec
from pathlib import Path

import torch

from roadseg.models.export_formats import FORMATS, INPUT, OUTPUT, Logits, export_program
from roadseg.models.model_file import load_model
from roadseg.models.unet import UNet
from roadseg.provenance.model_metadata import ModelMetadata
from roadseg.runtime.accelerator import Accelerator
from roadseg.system.cli import run_main
from roadseg.system.errors import InputError
from roadseg.system.files import atomic_file, file_sha256

LIMIT = 1e-4
"""Largest difference of a logit from the network's own; what float32 rounds off is less."""

CHECKED_SIZES = ((1, 32, 48), (2, 37, 51), (2, 33, 64), (2, 16, 31))
"""N, H and W of the pictures on which a file is compared with the network."""

_FOR_ONNX = ("onnx", "onnxruntime", "onnxscript")  # requirements-export.txt


def facts_inside(metadata: ModelMetadata, source: Path) -> dict[str, str]:
    """Return the metadata of the exported file: sentences, the digest of `source`, and JSON.

    The JSON is all of the model's metadata, such as `provenance`, `ignored_class` and `classes`,
    here a list of name, color and label_ids in the order of class ids.
    """
    held = metadata.model_dump(exclude_unset=True)
    held["classes"] = held["classes"]["classes"]
    return {
        **{key: json.dumps(value, sort_keys=True) for key, value in held.items()},
        "input": INPUT,
        "output": OUTPUT,
        "source_sha256": file_sha256(source),
    }


@torch.inference_mode()
def largest_difference(network: UNet, logits: Logits) -> float:
    """Between what `logits` gives and the network in float32, over noise of CHECKED_SIZES."""
    accelerator = Accelerator(torch.device("cpu"), "fp32")
    generator = torch.Generator().manual_seed(0)
    largest = []
    for count, height, width in CHECKED_SIZES:
        shape = (count, 3, height, width)
        images = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
        expected, found = network(accelerator.images(images)), logits(images)  # (N, K, H, W)
        same = found.shape == expected.shape
        largest.append((found - expected).abs().max() if same else torch.tensor(math.inf))
    return torch.stack(largest).max().item()  # NaN, if one is


def export_model(model: Path, out: Path) -> list[str]:
    """Write `out`, once it is found to agree with the network; returns lines that tell of it.

    Raises:
        InputError: another ending, packages that are missing, what `load_model` raises, or logits
            that differ by more than LIMIT. Then `out` is as it was.
    """
    if out.suffix not in FORMATS:
        raise InputError(f"--out {out}: expected a name that ends in {' or '.join(FORMATS)}")
    if out.suffix == ".onnx" and not all(find_spec(name) for name in _FOR_ONNX):
        raise InputError(
            "export to ONNX needs more packages: "
            "pip install -r requirements-export.txt -c constraints.txt"
        )
    write, logits_of = FORMATS[out.suffix]
    network, metadata = load_model(model)
    facts = facts_inside(metadata, model)
    with atomic_file(out) as temporary:
        kind = write(export_program(network), facts, temporary)
        difference = largest_difference(network, logits_of(temporary))
        if not difference <= LIMIT:  # nor if it is NaN
            raise InputError(
                f"{out}: not written; its logits differ from those of {model} by {difference:.2g}, "
                f"more than {LIMIT:g}"
            )
    return [
        f"{out}: {model} as {kind}, {out.stat().st_size / 1e6:.1f} MB",
        f"  inside: {', '.join(sorted(facts))}",
        f"  checked on {len(CHECKED_SIZES)} sizes: logits differ by at most {difference:.2g}",
    ]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="roadseg export", description=__doc__.split("\n\n")[1])
    parser.add_argument(
        "model",
        type=Path,
        nargs="?",
        default=Path("models/best.safetensors"),
        help="a .safetensors file that train has written (%(default)s)",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="ends in .onnx or .pt2"
    )
    args = parser.parse_args(argv)
    print("\n".join(export_model(args.model, args.out)))


if __name__ == "__main__":
    run_main(main)
