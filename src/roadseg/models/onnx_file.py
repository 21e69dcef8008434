"""ONNX files: writing, loading in ONNX Runtime, and quantization to 8 bits.

Shapes: N images, K classes, H and W pixels.
"""

import logging
import tempfile
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.export import ExportedProgram

from roadseg.system.errors import missing_package

AXES = {0: "batch", 2: "height", 3: "width"}
"""The dynamic axes of the images."""

Logits = Callable[[Tensor], Tensor]
"""(N, 3, H, W) uint8, 0..255 -> logits (N, K, H, W) float32."""


def require_onnx() -> None:
    """Raise InputError with the command that installs a missing package, if one is missing."""
    for name in ("onnx", "onnxruntime", "onnxscript"):
        if not find_spec(name):
            raise missing_package(name, extra="export")


def write_onnx(program: ExportedProgram, metadata: dict[str, str], path: Path) -> str:
    """Write one file without external data and return a description of its format."""
    # The exporter warns about each operator of torchvision, which is not installed.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    exported = torch.onnx.export(
        program, output_names=["logits"], dynamic_shapes={"images": AXES}, verbose=False
    )
    exported = cast(torch.onnx.ONNXProgram, exported)
    exported.model.metadata_props.update(metadata)
    exported.save(path, external_data=False)
    return f"ONNX, opset {exported.model.opset_imports['']}"


def load_onnx(path: Path, threads: int = 0) -> Logits:
    """Check the ONNX file and load it in ONNX Runtime, on the CPU.

    Args:
        threads: number of threads of an operator; 0: ONNX Runtime's default.
    """
    import onnx
    import onnxruntime

    onnx.checker.check_model(path, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])


class _CalibrationReader:
    """onnxruntime.quantization.CalibrationDataReader over images."""

    def __init__(self, images: Iterable[Tensor]) -> None:
        self._images = iter(images)

    def get_next(self) -> dict[str, object] | None:
        images = next(self._images, None)
        return None if images is None else {"images": images.numpy()}


def quantize_onnx(source: Path, out: Path, images: Iterable[Tensor]) -> None:
    """Write the float32 ONNX file `source` with 8-bit weights and activations (QDQ format).

    This is the static quantization of ONNX Runtime: int8 weights with one scale per output channel,
    and uint8 activations between their extremes on `images`. Its percentile and entropy methods
    are not better for the default model, and refuse images of several sizes
    (github.com/microsoft/onnxruntime/issues/18792). The first and the last convolution remain
    float32: they have few weights, and 40 % fewer pixels change their class (default model).

    Args:
        images: (N, 3, H, W) uint8 each, of any sizes; at least one.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        # torch's exporter has optimized the graph already, and has inferred symbolic shapes.
        quant_pre_process(source, prepared, skip_optimization=True, skip_symbolic_shape=True)
        nodes = onnx.load(prepared).graph.node
        convolutions = [node.name for node in nodes if node.op_type == "Conv"]
        quantize_static(
            prepared,
            out,
            _CalibrationReader(images),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[*convolutions[:1], *convolutions[-1:]],
        )
