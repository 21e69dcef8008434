"""`roadseg export --all`: the files, their measurements, and the limits of params.yaml."""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from roadseg.commands.main import main
from roadseg.config.json_files import read_model
from roadseg.data.prepared import PreparedDataset
from roadseg.evaluation import exported_models
from roadseg.evaluation.evaluate import evaluate
from roadseg.evaluation.exported_models import Measurement, measure
from roadseg.evaluation.metric_files import ExportReport
from roadseg.evaluation.metrics import segmentation_metrics
from roadseg.models import export
from roadseg.models.export import write_checked
from roadseg.models.model_file import load_model
from roadseg.models.onnx_file import load_onnx, quantize_onnx
from roadseg.system.errors import InputError
from roadseg.system.files import file_sha256
from tests.factories import (
    CPU,
    RED_PAIRS,
    make_prepared,
    make_red_dataset,
    make_striped_pair,
    save_model,
    write_params,
)

PRECISIONS = ("fp32", "fp16", "int8")
VALIDATION = 2
"""Number of validation images; the other 6 are for training."""


class TinyNetwork(nn.Sequential):
    """Three convolutions, because exporting a U-Net takes seconds."""

    min_side = 1

    def __init__(self) -> None:
        torch.manual_seed(0)
        first, second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
        norm = nn.BatchNorm2d(4)
        super().__init__(first, norm, nn.ReLU(), second, nn.ReLU(), nn.Conv2d(8, 12, 1))
        for convolution in (first, second, self[-1]):
            nn.init.kaiming_normal_(convolution.weight)
        self(torch.rand(2, 3, 32, 48))  # updates the statistics of the norm
        self.eval()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with fp32.onnx, fp16.onnx and int8.onnx of TinyNetwork."""
    folder = tmp_path_factory.mktemp("files")
    for name in ("fp32", "fp16"):
        path = folder / f"{name}.onnx"
        write_checked(TinyNetwork(), {"scale": "1.0"}, path, ".onnx", name)
    quantize_onnx(folder / "fp32.onnx", folder / "int8.onnx", [as_tensor(0), as_tensor(5)])
    return folder


def as_tensor(shift: int) -> Tensor:
    """An image, (1, 3, 32, 48) uint8, with the colors of the training images."""
    image, _ = make_striped_pair(32, 48, shift)
    return torch.from_numpy(image).permute(2, 0, 1)[None].contiguous()


@pytest.fixture
def project(tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with data and a model, for which TinyNetwork is loaded and `files` are written."""
    folder = tmp_path / "project"
    ids = make_prepared(folder).train_ids()
    split = {"train": ids[VALIDATION:], "val": ids[:VALIDATION], "test": []}
    (folder / "split.json").write_text(json.dumps(split))
    _, metadata = load_model(save_model(folder / "a.safetensors"))

    def copy_exported(*args: object) -> None:
        shutil.copy(files / f"{args[-1]}.onnx", args[2])

    monkeypatch.setattr(exported_models, "load_network", lambda *_: (TinyNetwork(), metadata))
    monkeypatch.setattr(exported_models, "write_checked", copy_exported)
    return folder


def export_all(project: Path, out: Path, **limits: float) -> ExportReport:
    """Run the command and return its report."""
    changes = {f"export__max_miou_loss__{name}": limit for name, limit in limits.items()}
    params = write_params(project / "params.yaml", export__calibration_images=4, **changes)
    paths = {"params": params, "prepared": project / "prepared", "split": project / "split.json"}
    paths |= {"folder": out / "files", "metrics": out / "export.json"}
    words = [word for name, path in paths.items() for word in (f"--{name}", str(path))]
    main(["export", str(project / "a.safetensors"), "--all", *words])
    return read_model(ExportReport, out / "export.json")


def weight_elements(path: Path) -> Counter[int]:
    """Number of elements of the weights of convolutions in the file, by type."""
    counts: Counter[int] = Counter()
    for tensor in onnx.load(path).graph.initializer:
        if len(tensor.dims) == 4:
            counts[tensor.data_type] += numpy_helper.to_array(tensor).size
    return counts


def test_weights_have_half_and_a_quarter_of_the_bytes(files: Path):
    fp32, fp16, int8 = (weight_elements(files / f"{name}.onnx") for name in PRECISIONS)
    first, second, last = 3 * 4 * 9, 4 * 8 * 9, 8 * 12
    assert fp32 == {TensorProto.FLOAT: first + second + last}
    assert fp16 == {TensorProto.FLOAT16: first + second + last}
    assert int8 == {TensorProto.FLOAT: first + last, TensorProto.INT8: second}


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("fp32", 1e-5), ("fp16", 2e-3), ("int8", 4e-2)]
)
def test_files_take_images_of_any_size(files: Path, precision: str, tolerance: float):
    """The tolerance, relative to the deviation of the logits, is that of 24, 11 and 8 bits.

    On an x86 CPU without VNNI, sums of 8-bit products saturate, and the error of int8 is 0.025.
    """
    images = torch.cat([as_tensor(2), as_tensor(3)])[:, :, :31, :45].contiguous()
    with torch.no_grad():
        expected = TinyNetwork()(images / 255)
    logits = load_onnx(files / f"{precision}.onnx")(images)
    assert logits.dtype == torch.float32
    assert logits.shape == (2, 12, 31, 45)
    assert (logits - expected).std() < tolerance * expected.std()


def test_all_precisions_have_the_metadata(files: Path):
    for name in PRECISIONS:
        entries = onnx.load(files / f"{name}.onnx").metadata_props
        assert ("scale", "1.0") in [(entry.key, entry.value) for entry in entries]


@pytest.mark.parametrize(
    ("precision", "accepted", "refused"),
    [("fp32", 9e-5, 1.1e-4), ("fp16", 0.016, 0.017), ("fp16", 0.001, float("inf"))],
)
def test_rounding_errors_of_fp16_are_8192_times_those_of_fp32(
    monkeypatch: pytest.MonkeyPatch, precision: str, accepted: float, refused: float
):
    """Twice the error of 1e-6 is accepted, which are 2e-6 (below the tolerance) and 0.01638."""
    network = TinyNetwork()
    error = accepted
    formats = {".x": (lambda *_: "x", lambda _: lambda images: network(images / 255) + error)}
    monkeypatch.setattr(export, "FORMATS", formats)
    monkeypatch.setattr(export, "export_program", lambda _: None)
    monkeypatch.setattr(export, "rounding_error", lambda _: 1e-6)
    assert write_checked(network, {}, Path("a"), ".x", precision)[0] == "x"
    error = refused
    with pytest.raises(InputError, match=r"^a: not written; its logits differ"):
        write_checked(network, {}, Path("a"), ".x", precision)


def test_quantization_is_deterministic(files: Path, tmp_path: Path):
    quantize_onnx(files / "fp32.onnx", tmp_path / "a.onnx", [as_tensor(0), as_tensor(5)])
    assert (tmp_path / "a.onnx").read_bytes() == (files / "int8.onnx").read_bytes()


def test_report_has_the_metrics_of_evaluate(project: Path, tmp_path: Path):
    report = export_all(project, tmp_path, fp16=1.0, int8=1.0)  # random weights have any mIoU
    prepared = PreparedDataset(project / "prepared")
    ids = prepared.train_ids()[:VALIDATION]
    expected = evaluate(TinyNetwork(), prepared, ids, 1, CPU, ignored=None).metrics()["miou"]
    assert [entry.name for entry in report.formats] == ["torch", *PRECISIONS]
    assert [entry.miou for entry in report.formats[:2]] == [pytest.approx(expected, abs=1e-6)] * 2
    assert [entry.agreement for entry in report.formats[:2]] == [1, 1]
    assert report.formats[2].agreement > 0.999
    assert 0.99 < report.formats[3].agreement < 1
    assert report.model_sha256 == file_sha256(project / "a.safetensors")
    assert (report.images, report.image_size) == (VALIDATION, "32x48")
    for entry in report.formats:
        assert 0 < entry.latency_ms <= entry.latency_p95_ms
    for entry in report.formats[1:]:
        size = (tmp_path / f"files/{entry.name}.onnx").stat().st_size
        assert entry.megabytes == pytest.approx(size / 1e6, rel=1e-5)


def test_loss_above_the_limit_is_an_error_and_nothing_is_written(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def measure_fixed(engines: dict[str, object], *_: object) -> dict[str, Measurement]:
        right, worse = np.eye(12, dtype=int), np.eye(12, dtype=int)
        worse[1, 2] = 1  # IoU 1/2 of two classes of 11, because void is excluded: mIoU 10/11
        confusions = {"torch": right, "fp32": right, "fp16": right, "int8": worse}
        return {name: Measurement(confusions[name], 1, 1, [0.1]) for name in engines}

    monkeypatch.setattr(exported_models, "measure", measure_fixed)
    (tmp_path / "files").mkdir()
    (tmp_path / "files/int8.onnx").write_bytes(b"older")
    with pytest.raises(InputError) as caught:
        export_all(project, tmp_path, fp16=0.0, int8=0.09)
    assert str(caught.value) == (
        f"{project}/a.safetensors: in int8 its mIoU is 0.9091, 0.0909 less than the 1.0000 of "
        "torch; export.max_miou_loss.int8 permits 0.09, so nothing was written; raise that limit "
        "in params.yaml to accept the loss"
    )
    assert [path.name for path in (tmp_path / "files").iterdir()] == ["int8.onnx"]
    assert (tmp_path / "files/int8.onnx").read_bytes() == b"older"
    assert not (tmp_path / "export.json").exists()
    report = export_all(project, tmp_path, fp16=0.0, int8=0.091)
    assert [entry.miou for entry in report.formats] == [1, 1, 1, pytest.approx(10 / 11, abs=1e-6)]
    assert {(entry.latency_ms, entry.latency_p95_ms) for entry in report.formats} == {(100, 100)}


def test_report_that_cannot_be_written_keeps_the_older_files(project: Path, tmp_path: Path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files/int8.onnx").write_bytes(b"older")
    (tmp_path / "export.json").mkdir()
    with pytest.raises(IsADirectoryError, match=r"export\.json"):
        export_all(project, tmp_path)
    assert [path.read_bytes() for path in (tmp_path / "files").iterdir()] == [b"older"]


def test_precision_is_an_option_of_single_files():
    with pytest.raises(InputError, match=r"^--precision: --all writes all precisions"):
        main(["export", "--all", "--precision", "fp16"])


def test_measurements_of_a_hand_computed_case(tmp_path: Path):
    """Two images with 7 pixels, of which the network predicts 3 as sky, as `sky` does with all."""

    def network(images: Tensor) -> Tensor:
        return functional.one_hot(images[:, 0].long(), 3).permute(0, 3, 1, 2).float()

    def sky(images: Tensor) -> Tensor:
        return network(torch.full_like(images, 2))

    prepared = make_red_dataset(tmp_path, RED_PAIRS)
    results = measure({"torch": network, "sky": sky}, prepared, ["0", "1"])
    assert [result.equal_pixels for result in results.values()] == [7, 3]
    assert [result.pixels for result in results.values()] == [7, 7]
    assert [len(result.seconds) for result in results.values()] == [30, 30]
    mious = [segmentation_metrics(result.confusion, 0)["miou"] for result in results.values()]
    # road and sky: 1 of 3 pixels each; road 0, sky 2 of 4
    assert mious == [pytest.approx(1 / 3), pytest.approx(1 / 4)]
