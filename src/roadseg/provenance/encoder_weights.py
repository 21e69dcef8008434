"""data/weights/weights.json: origin, hash and license of the initial weights of the encoder."""

from pathlib import Path

from roadseg.config.json_files import read_model, write_model
from roadseg.config.schema import StrictModel

RECORD = "weights.json"
ENCODER = "encoder.safetensors"
"""The weights, next to RECORD, with the names that segmentation_models_pytorch (smp) gives them."""

RESEARCH_ONLY = "NVIDIA Source Code License for SegFormer, research only, not commercial"
_TORCHVISION = "BSD-3-Clause (torchvision)"
_IMAGENET_LICENSES = {
    **dict.fromkeys(("resnet18", "resnet34", "resnet50", "mobilenet_v2"), _TORCHVISION),
    "efficientnet-b0": "Apache-2.0 (EfficientNet-PyTorch)",
    **{f"mit_b{size}": RESEARCH_ONLY for size in range(6)},
}
"""Licenses by encoder; the repositories of smp state none themselves."""


class WeightsRecord(StrictModel):
    """Origin of the initial weights of the encoder; unset fields do not exist for that source."""

    source: str
    """`model.weights` of params.yaml, of a URL without user name, password and query."""
    encoder: str | None = None
    """`model.encoder` of params.yaml."""
    sha256: str | None = None
    """SHA-256 of the file from which the weights were read."""
    license: str | None = None
    repository: str | None = None
    """imagenet only: the repository on the Hugging Face Hub."""
    revision: str | None = None
    """imagenet only: its commit."""


def imagenet_license(encoder: str, repository: str) -> str:
    """Return the license of the imagenet weights that smp publishes in `repository`."""
    return _IMAGENET_LICENSES.get(encoder, f"unknown, see {repository}")


def read_weights_record(folder: Path) -> WeightsRecord:
    """Read the record in the output `folder` of the stage weights.

    Raises:
        InputError: the file is missing or invalid.
    """
    return read_model(WeightsRecord, folder / RECORD)


def write_weights_record(folder: Path, record: WeightsRecord) -> None:
    """Write the record of the weights in `folder`."""
    write_model(folder / RECORD, record)
