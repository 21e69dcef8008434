"""Export of a model to ONNX or torch.export, with a check of the exported logits.

Shapes: N images, K classes, H and W pixels.
"""

import contextlib
import copy
import io
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.fx.experimental._config as symbolic
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from roadseg.models.model_file import load_model
from roadseg.models.network import Network
from roadseg.models.onnx_file import AXES, Logits, load_onnx, require_onnx, write_onnx
from roadseg.provenance.model_metadata import ModelMetadata
from roadseg.system.errors import InputError
from roadseg.system.files import atomic_file, file_sha256

TOLERANCE = 1e-4
"""Largest accepted absolute difference of a logit. If the rounding errors of the network itself are
larger, as in fp16, and in fp32 with smp/MAnet, twice these are accepted. Those of fp16 are
estimated from those of fp32, because torch is slow with fp16 on CPUs."""

CHECKED_SIZES = ((1, 32, 48), (2, 37, 51), (2, 100, 200), (2, 16, 31))
"""N, H and W of the images on which an exported file is compared with the network; no sides below
`min_side` of any network, and some that are no multiples of its stride."""

INPUT = (
    "images: (N, 3, H, W) uint8, RGB, 0..255, which the graph itself divides by 255; H and W are "
    "at least {min_side}, of images resized by the factor `scale`"
)
OUTPUT = (
    "logits: (N, K, H, W) float32; the class of a pixel is the index in `classes` of its largest "
    "logit; `ignored_class`, if any, was not trained"
)

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16}
"""Types of the weights and activations of an exported file."""


class _UInt8Input(nn.Module):
    """A network of any precision, from images to logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.dtype = next(network.parameters()).dtype

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) uint8, 0..255 -> logits (N, K, H, W) float32."""
        scaled = images.to(torch.float32) / 255
        logits: Tensor = self.network(scaled.to(self.dtype))
        return logits.to(torch.float32)


def export_program(network: Network) -> ExportedProgram:
    """Trace `network`, in evaluation mode, from images (N, 3, H, W) uint8 to float32 logits.

    N is dynamic, and so are H and W (at least `min_side` of the network). The weights may have any
    float type.
    """
    sides = {axis: Dim(AXES[axis], min=network.min_side) for axis in (2, 3)}
    example = torch.zeros(2, 3, 37, 50, dtype=torch.uint8)
    # Otherwise small sides, whose smallest feature map has one pixel, would need a separate graph.
    # torch.onnx.export sets the same option.
    oblivious = symbolic.patch(backed_size_oblivious=True)  # type: ignore[attr-defined]  # set at import
    with oblivious, _contiguous_layers(network):
        program = torch.export.export(
            _UInt8Input(network).requires_grad_(False),
            (example,),
            dynamic_shapes={"images": {0: Dim(AXES[0]), **sides}},
        )
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # contains paths of this computer
    return program


@contextlib.contextmanager
def _contiguous_layers(network: Network) -> Iterator[None]:
    """Make the outputs of layers contiguous; others would need a separate graph for one image."""

    def contiguous(_: nn.Module, inputs: Any, output: Any) -> Any:
        return output.contiguous() if isinstance(output, Tensor) else output

    hooks = [m.register_forward_hook(contiguous) for m in network.modules() if m is not network]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _write_pt2(program: ExportedProgram, metadata: dict[str, str], path: Path) -> str:
    """Write a torch.export archive with `metadata` as extra files; return its description."""
    archive = io.BytesIO()  # torch requires a suffix of .pt2, and a full disk aborts the process
    torch.export.save(program, archive, extra_files=metadata)
    path.write_bytes(archive.getbuffer())
    return f"torch.export of torch {torch.__version__}"


def _load_pt2(path: Path) -> Logits:
    with path.open("rb") as file:
        return torch.export.load(file).module()


FORMATS = {".onnx": (write_onnx, load_onnx), ".pt2": (_write_pt2, _load_pt2)}


def file_metadata(model_metadata: ModelMetadata, min_side: int, source: Path) -> dict[str, str]:
    """Build the metadata of an exported file: INPUT, OUTPUT, `source_sha256`, and JSON.

    JSON are the values of the model's metadata, such as `provenance`, `ignored_class` and
    `classes` (name, color and label_ids, in the order of class ids).
    """
    values = model_metadata.model_dump(exclude_unset=True)
    values["classes"] = values["classes"]["classes"]
    return {
        **{key: json.dumps(value, sort_keys=True) for key, value in values.items()},
        "input": INPUT.format(min_side=min_side),
        "output": OUTPUT,
        "source_sha256": file_sha256(source),
    }


@torch.inference_mode()
def largest_difference(
    network: Network, logits: Logits, sizes: Sequence[tuple[int, int, int]] = CHECKED_SIZES
) -> float:
    """Compare `logits` with the float32 network on random images.

    Args:
        sizes: N, H and W of the images.

    Returns:
        The largest absolute difference; infinity for a wrong shape, NaN if any logit is NaN.
    """
    generator = torch.Generator().manual_seed(0)
    differences = []
    for count, height, width in sizes:
        shape = (count, 3, height, width)
        images = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
        expected, actual = network(images / 255), logits(images)  # (N, K, H, W)
        same_shape = actual.shape == expected.shape
        difference = (actual - expected).abs().max() if same_shape else torch.tensor(math.inf)
        differences.append(difference)
    return torch.stack(differences).max().item()


def rounding_error(
    network: Network, sizes: Sequence[tuple[int, int, int]] = CHECKED_SIZES
) -> float:
    """Compare the float32 network with the same network in float64, as `largest_difference`."""
    exact = copy.deepcopy(network).double()
    return largest_difference(network, lambda images: exact(images.double() / 255).float(), sizes)


def export_model(model: Path, out: Path, precision: str = "fp32") -> list[str]:
    """Write `out` if its logits agree with those of the network; return a summary to print.

    Args:
        precision: of the weights and activations, see PRECISIONS.

    Raises:
        InputError: unknown suffix, a package is missing, the model cannot be loaded, or logits
            differ by more than rounding; see TOLERANCE. An existing `out` is kept.
    """
    if out.suffix not in FORMATS:
        raise InputError(f"--out {out}: expected a file name that ends in {' or '.join(FORMATS)}")
    if out.suffix == ".onnx":
        require_onnx()
    network, model_metadata = load_model(model)
    metadata = file_metadata(model_metadata, network.min_side, model)
    with atomic_file(out) as temporary:
        kind, difference = write_checked(network, metadata, temporary, out.suffix, precision)
    return [
        f"{out}: {model} as {kind}, {precision}, {out.stat().st_size / 1e6:.1f} MB",
        f"  metadata: {', '.join(sorted(metadata))}",
        f"  checked on {len(CHECKED_SIZES)} image sizes: logits differ by at most {difference:.2g}",
    ]


def write_checked(
    network: Network, metadata: dict[str, str], path: Path, suffix: str, precision: str
) -> tuple[str, float]:
    """Write `path` in the format of `suffix`, and compare its logits with those of `network`.

    Returns:
        Description of the format, and the largest difference of a logit.

    Raises:
        InputError: the logits differ by more than rounding; see TOLERANCE.
    """
    write, load = FORMATS[suffix]
    dtype = PRECISIONS[precision]
    kind = write(export_program(copy.deepcopy(network).to(dtype)), metadata, path)
    difference = largest_difference(network, load(path))
    limit = TOLERANCE
    if not difference <= TOLERANCE:  # also for NaN
        coarser = torch.finfo(dtype).eps / torch.finfo(torch.float32).eps  # 8192 for float16
        limit = max(TOLERANCE, 2 * coarser * rounding_error(network))
    if not difference <= limit:
        raise InputError(
            f"{path}: not written; its logits differ from those of the network by "
            f"{difference:.2g}, more than {limit:.2g}"
        )
    return kind, difference
