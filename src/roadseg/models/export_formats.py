"""A network as a graph that other programs run, with the division by 255 in it.

Shapes: N pictures, K classes, H and W pixels.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.fx.experimental._config as symbolic
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from roadseg.models.unet import SMALLEST_SIDE, UNet

INPUT = (
    f"images: (N, 3, H, W) uint8, RGB, 0..255, which the graph itself divides by 255; H and W are "
    f"at least {SMALLEST_SIDE}, of pictures at the share `scale` of their own size"
)
OUTPUT = (
    "logits: (N, K, H, W) float32; a pixel's class is the place in `classes` of the largest; "
    "the class that `ignored_class` gives, if any, was not trained"
)

_AXES = {0: "batch", 2: "height", 3: "width"}

Logits = Callable[[Tensor], Tensor]


class _OfBytes(nn.Module):
    """A network for pictures as files hold them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) uint8, 0..255 -> logits (N, K, H, W) float32."""
        return self.network(images.to(torch.float32) / 255)


def export_program(network: UNet) -> ExportedProgram:
    """The graph from `images` (N, 3, H, W) uint8 to logits (N, K, H, W), for any N, H and W.

    H and W are at least 16. The network must be in evaluation mode.
    """
    sides = {axis: Dim(_AXES[axis], min=SMALLEST_SIDE) for axis in (2, 3)}
    example = torch.zeros(2, 3, 37, 50, dtype=torch.uint8)
    # Else a lowest level of one pixel, so sides of 16 to 31, would need a graph of its own.
    # torch.onnx.export sets the same.
    with symbolic.patch(backed_size_oblivious=True):
        program = torch.export.export(
            _OfBytes(network).requires_grad_(False),
            (example,),
            dynamic_shapes={"images": {0: Dim(_AXES[0]), **sides}},
        )
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of this computer
    return program


def write_onnx(program: ExportedProgram, facts: dict[str, str], path: Path) -> str:
    """Write one file without external data; returns its kind."""
    with _without_chatter():
        exported = torch.onnx.export(
            program,
            output_names=["logits"],
            dynamic_shapes={"images": _AXES},  # names
            verbose=False,
        )
    exported.model.metadata_props.update(facts)
    exported.save(path, external_data=False)
    return f"ONNX, opset {exported.model.opset_imports['']}"


def onnx_logits(path: Path) -> Logits:
    """The ONNX file as others run it, on the CPU, once its form is checked."""
    import onnx
    import onnxruntime

    onnx.checker.check_model(path, full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])


def write_pt2(program: ExportedProgram, facts: dict[str, str], path: Path) -> str:
    """Write an archive of torch.export, `facts` as its extra files; returns its kind."""
    archive = io.BytesIO()  # torch takes no path of another ending, and a full disk is its end
    torch.export.save(program, archive, extra_files=facts)
    path.write_bytes(archive.getbuffer())
    return f"torch.export of torch {torch.__version__}"


def pt2_logits(path: Path) -> Logits:
    """The program as it is loaded again."""
    with path.open("rb") as file:
        return torch.export.load(file).module()


FORMATS = {".onnx": (write_onnx, onnx_logits), ".pt2": (write_pt2, pt2_logits)}


@contextlib.contextmanager
def _without_chatter() -> Iterator[None]:
    """Keep back what torch's ONNX exporter says of itself, and nothing else."""
    registry = logging.getLogger("torch.onnx._internal.exporter._registration")

    def of_us(record: logging.LogRecord) -> bool:
        return "torchvision is not installed" not in record.getMessage()  # a line an operator

    registry.addFilter(of_us)
    try:
        with warnings.catch_warnings():
            # torch 2.13 copies tree specifications of the kind that it deprecates
            old = r"`isinstance\(treespec, LeafSpec\)` is deprecated"
            warnings.filterwarnings("ignore", old, FutureWarning)
            yield
    finally:
        registry.removeFilter(of_us)
