"""Export a model to ONNX or torch.export, and compare the file with the network.

Shapes: N images, K classes, H and W pixels.
"""

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
from roadseg.system.errors import InputError, missing_package
from roadseg.system.files import atomic_file, file_sha256

LIMIT = 1e-4
"""Largest accepted difference of a logit from the network's; float32 rounding stays below it."""

CHECKED_SIZES = ((1, 32, 48), (2, 37, 51), (2, 33, 64), (2, 16, 31))
"""N, H and W of the images on which a file is compared with the network."""

_ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")


def file_metadata(model_metadata: ModelMetadata, source: Path) -> dict[str, str]:
    """Build the metadata of an exported file: sentences, the SHA-256 of `source`, and JSON.

    The JSON values are those of the model's metadata, such as `provenance`, `ignored_class` and
    `classes`, here a list of name, color and label_ids in the order of class ids.
    """
    values = model_metadata.model_dump(exclude_unset=True)
    values["classes"] = values["classes"]["classes"]
    return {
        **{key: json.dumps(value, sort_keys=True) for key, value in values.items()},
        "input": INPUT,
        "output": OUTPUT,
        "source_sha256": file_sha256(source),
    }


@torch.inference_mode()
def largest_difference(network: UNet, logits: Logits) -> float:
    """Compare `logits` with the float32 network on random images of CHECKED_SIZES.

    Returns:
        The largest absolute difference of a logit; infinite for a wrong shape, NaN if one is NaN.
    """
    accelerator = Accelerator(torch.device("cpu"), "fp32")
    generator = torch.Generator().manual_seed(0)
    differences = []
    for count, height, width in CHECKED_SIZES:
        shape = (count, 3, height, width)
        images = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
        expected, found = network(accelerator.images(images)), logits(images)  # (N, K, H, W)
        same_shape = found.shape == expected.shape
        differences.append((found - expected).abs().max() if same_shape else torch.tensor(math.inf))
    return torch.stack(differences).max().item()


def export_model(model: Path, out: Path) -> list[str]:
    """Write `out` if its logits agree with those of the network, and return lines to print.

    Raises:
        InputError: unknown suffix, a package is missing, the model cannot be loaded, or logits
            differ by more than LIMIT. An existing `out` is kept.
    """
    if out.suffix not in FORMATS:
        raise InputError(f"--out {out}: expected a name that ends in {' or '.join(FORMATS)}")
    if out.suffix == ".onnx":
        for name in _ONNX_PACKAGES:
            if not find_spec(name):
                raise missing_package(name, extra="export")
    write, logits_of = FORMATS[out.suffix]
    network, model_metadata = load_model(model)
    metadata = file_metadata(model_metadata, model)
    with atomic_file(out) as temporary:
        kind = write(export_program(network), metadata, temporary)
        difference = largest_difference(network, logits_of(temporary))
        if not difference <= LIMIT:  # also for NaN
            raise InputError(
                f"{out}: not written; its logits differ from those of {model} by {difference:.2g}, "
                f"more than {LIMIT:g}"
            )
    return [
        f"{out}: {model} as {kind}, {out.stat().st_size / 1e6:.1f} MB",
        f"  inside: {', '.join(sorted(metadata))}",
        f"  checked on {len(CHECKED_SIZES)} sizes: logits differ by at most {difference:.2g}",
    ]
