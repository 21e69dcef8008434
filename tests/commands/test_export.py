"""`roadseg export` on networks with random weights, checked with ONNX Runtime and torch."""

import copy
import io
import json
import math
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from roadseg.commands.main import main
from roadseg.config.class_map import read_class_map
from roadseg.models import export
from roadseg.models.model_file import load_model, save_weights
from roadseg.models.unet import UNet
from roadseg.provenance.model_metadata import ModelMetadata
from roadseg.system.errors import InputError
from roadseg.system.files import file_sha256
from tests.factories import ROOT

TWELVE = read_class_map(ROOT / "classes/kitti12.yaml")
KINDS = [("batch", True), ("group", False)]
SIZES = [(1, 32, 48), (2, 37, 51), (2, 33, 64), (1, 50, 17), (2, 16, 16)]
_IMAGES = {"pictures": 8, "sha256": "1" * 64}
PROVENANCE = {
    "train": {"seed": 3},
    "code": {"src/roadseg/models/unet.py": "0" * 40},
    "data": {"train": _IMAGES, "val": _IMAGES},
    "model": {"base_channels": 4},
    "recipe": {"name": "modern"},
    "machine": {"device": "cpu"},
    "versions": {"torch": "2"},
}


def save_random(path: Path, norm: str, bilinear: bool) -> Path:
    """Save a model with non-trivial norms and logits, and with all optional metadata."""
    torch.manual_seed(1)
    unet = {"base_channels": 4, "bilinear": bilinear, "norm": norm, "dropout": 0.2}
    network = UNet(num_classes=12, **unet)
    for _ in range(3):
        network(torch.rand(2, 3, 32, 48))  # updates the running mean and variance
    network.out.weight.data.mul_(3)
    metadata = ModelMetadata(
        network={"num_classes": 12, **unet},
        classes=TWELVE,
        ignored_class=11,
        provenance=PROVENANCE,
        scale=0.5,
    )
    save_weights(path, network.state_dict(), metadata)
    return path


def hide_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make imports fail as if requirements-export.txt were not installed."""
    for name in ("onnx", "onnxruntime", "onnxscript"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, bool], Path]:
    """One model of each kind, in separate folders."""
    return {
        kind: save_random(tmp_path_factory.mktemp("model") / "a.safetensors", *kind)
        for kind in KINDS
    }


@pytest.fixture(scope="module")
def onnx_file(models) -> Path:
    return export_to(models["batch", True], ".onnx")


@pytest.fixture(scope="module")
def output(models) -> str:
    """Output of the command that writes the .pt2 file."""
    model = models["batch", True]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        hide_packages(patch)  # .pt2 needs none of them
        main(["export", str(model), "--out", str(model.with_suffix(".pt2"))])
    return printed.getvalue()


@pytest.fixture(scope="module")
def pt2_file(models, output) -> Path:
    return models["batch", True].with_suffix(".pt2")


def export_to(model: Path, suffix: str) -> Path:
    out = model.with_suffix(suffix)
    export.export_model(model, out)
    return out


def load_onnx(path: Path) -> Callable[[Tensor], Tensor]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def assert_same_logits(model: Path, logits: Callable[[Tensor], Tensor]) -> None:
    network, _ = load_model(model)
    torch.manual_seed(2)
    for count, height, width in SIZES:
        images = torch.randint(256, (count, 3, height, width), dtype=torch.uint8)
        with torch.no_grad():
            expected, found = network(images.float() / 255), logits(images)
        assert expected.std() > 0.3  # much larger than the tolerance
        assert found.dtype == torch.float32
        # float32 with sums in another order, through 19 convolutions
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("norm", "bilinear"), KINDS)
def test_onnx_runtime_computes_the_same_logits(models, onnx_file, norm, bilinear):
    model = models[norm, bilinear]
    path = onnx_file if model.parent == onnx_file.parent else export_to(model, ".onnx")
    assert_same_logits(model, load_onnx(path))


def test_exported_program_computes_the_same_logits(models, pt2_file):
    assert_same_logits(models["batch", True], torch.export.load(pt2_file).module())
    other = models["group", False]
    assert_same_logits(other, torch.export.load(export_to(other, ".pt2")).module())


def test_exported_program_refuses_images_below_16_pixels(pt2_file):
    with pytest.raises(AssertionError, match="16"):
        torch.export.load(pt2_file).module()(torch.zeros(1, 3, 15, 32, dtype=torch.uint8))


def test_onnx_graph_has_named_inputs_and_outputs_with_dynamic_sizes(onnx_file):
    graph = onnx.load(onnx_file).graph
    (images,), (logits,) = graph.input, graph.output
    sides = [
        [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in (images, logits)
    ]
    assert (images.name, logits.name) == ("images", "logits")
    assert sides == [["batch", 3, "height", "width"], ["batch", 12, "height", "width"]]
    assert images.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert logits.type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_metadata_is_stored_in_both_formats(models, onnx_file, pt2_file):
    inside = {entry.key: entry.value for entry in onnx.load(onnx_file).metadata_props}
    stored = {"classes": ""}  # torch fills this dictionary, and skips missing keys
    torch.export.load(pt2_file, extra_files=stored)
    assert inside == stored
    assert "uint8, RGB, 0..255" in inside["input"]
    assert inside["source_sha256"] == file_sha256(models["batch", True])
    read = {key: json.loads(inside[key]) for key in ("classes", "ignored_class", "scale")}
    assert read["ignored_class"] == 11
    assert read["scale"] == 0.5
    assert [entry["name"] for entry in read["classes"]] == TWELVE.names
    assert read["classes"][1] == {"name": "road", "color": [128, 64, 128], "label_ids": [7]}
    assert json.loads(inside["provenance"]) == PROVENANCE


def test_export_is_one_file_without_local_paths(onnx_file, pt2_file):
    names = sorted(path.name for path in onnx_file.parent.iterdir())
    assert names == ["a.onnx", "a.pt2", "a.safetensors"]
    for path in (onnx_file, pt2_file):
        assert str(ROOT).encode() not in path.read_bytes()


@pytest.mark.parametrize(("ending", "before"), [(".onnx", b"older"), (".pt2", None)])
def test_file_is_kept_if_logits_differ(models, tmp_path, monkeypatch, capfd, ending, before):
    original = export.export_program

    def export_changed(network: UNet) -> torch.export.ExportedProgram:
        other = copy.deepcopy(network)
        other.out.bias.data[3] += 2e-4
        return original(other)

    monkeypatch.setattr(export, "export_program", export_changed)
    out = tmp_path / f"a{ending}"
    if before is not None:
        out.write_bytes(before)
    with pytest.raises(InputError, match=rf"a{ending}: not written; .* by 0.0002\d*, more than"):
        export.export_model(models["batch", True], out)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == ([before] if before else [])
    assert capfd.readouterr() == ("", "")  # the exporter prints nothing either


def test_nan_and_other_shapes_count_as_differences():
    network = UNet(num_classes=2, base_channels=1, bilinear=True, norm="batch", dropout=0.0).eval()
    exact = lambda images: network(images.float() / 255)  # noqa: E731
    assert export.largest_difference(network, exact) == 0
    assert export.largest_difference(network, lambda x: exact(x)[:, :1]) == math.inf
    nan_at_first = lambda x: exact(x) * (math.nan if len(x) == 1 else 1)  # noqa: E731
    assert math.isnan(export.largest_difference(network, nan_at_first))


def test_missing_packages_are_an_error_with_the_install_command(models, tmp_path, monkeypatch):
    hide_packages(monkeypatch)
    with pytest.raises(InputError) as caught:
        main(["export", str(models["batch", True]), "--out", str(tmp_path / "a.onnx")])
    assert str(caught.value) == (
        'the package onnx is not installed; run: pip install "roadseg[export]", or in the '
        "repository: pip install -r requirements-export.txt -c constraints.txt"
    )
    assert not list(tmp_path.iterdir())


def test_output_lists_format_size_contents_and_check(models, pt2_file, output):
    written, contents, checked = output.splitlines()
    kind, size = f"torch.export of torch {torch.__version__}", pt2_file.stat().st_size / 1e6
    assert written == f"{pt2_file}: {models['batch', True]} as {kind}, fp32, {size:.1f} MB"
    names = "classes, ignored_class, input, network, output, provenance, scale, source_sha256"
    assert contents == f"  metadata: {names}"
    assert checked.startswith("  checked on 4 image sizes: logits differ by at most ")


def test_unknown_suffix_is_an_error_of_one_line(tmp_path: Path):
    with pytest.raises(InputError) as caught:
        main(["export", "--out", str(tmp_path / "a.pth")])
    expected = f"--out {tmp_path}/a.pth: expected a file name that ends in .onnx or .pt2"
    assert str(caught.value) == expected
