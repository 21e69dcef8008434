"""A model as ONNX files for devices, in three precisions, measured on the validation images.

Shapes: K classes, H and W pixels.
"""

import contextlib
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from roadseg.config.json_files import write_model
from roadseg.config.params import Export
from roadseg.data.prepared import PreparedDataset
from roadseg.data.split_file import Split
from roadseg.evaluation.evaluate import evaluation_batch
from roadseg.evaluation.metric_files import ExportedFormat, ExportReport
from roadseg.evaluation.metrics import confusion_matrix, segmentation_metrics
from roadseg.inference.image_files import select_evenly
from roadseg.models.export import file_metadata, write_checked
from roadseg.models.model_file import load_network
from roadseg.models.onnx_file import Logits, load_onnx, quantize_onnx, require_onnx
from roadseg.runtime.accelerator import select_accelerator
from roadseg.system.errors import InputError
from roadseg.system.files import atomic_file, file_sha256
from roadseg.system.tables import round_significant

TIMED_RUNS = 30
"""Number of predictions of each format that are timed, at least."""


@dataclass
class Measurement:
    """Predictions of one format, compared with the masks and with the first format."""

    confusion: np.ndarray
    """(K, K) int64; rows are the true classes."""
    equal_pixels: int = 0
    pixels: int = 0
    seconds: list[float] = field(default_factory=list)
    """Durations of single predictions."""


def export_for_devices(
    model: Path,
    folder: Path,
    metrics: Path,
    prepared: PreparedDataset,
    split: Split,
    options: Export,
) -> ExportReport:
    """Write fp32.onnx, fp16.onnx and int8.onnx into `folder`, and their measurements to `metrics`.

    int8 is calibrated on training images; all are evaluated on the validation images.

    Raises:
        InputError: onnx is not installed, the model does not fit the data, its exported logits
            differ, or its mIoU is lower than `options` permit. Then no file is written.
        OSError: a file cannot be written; without `metrics`, the others are not either.
    """
    require_onnx()
    network, metadata = load_network(model, prepared.class_map())
    contents = file_metadata(metadata, network.min_side, model)
    calibration = select_evenly(split.train, options.calibration_images)
    with contextlib.ExitStack() as stack:
        fp32, fp16, int8 = (
            stack.enter_context(atomic_file(folder / f"{name}.onnx"))
            for name in ("fp32", "fp16", "int8")
        )
        write_checked(network, contents, fp32, ".onnx", "fp32")
        write_checked(network, contents, fp16, ".onnx", "fp16")
        quantize_onnx(fp32, int8, _images(prepared, calibration))
        files = {"torch": model, "fp32": fp32, "fp16": fp16, "int8": int8}
        report = _report(files, prepared, split.val)
        require_small_loss(report, options, model)
        write_model(metrics, report)
    return report


def _images(prepared: PreparedDataset, ids: Sequence[str]) -> Iterator[Tensor]:
    """Yield the images `ids`, each (1, 3, H, W) uint8."""
    return (evaluation_batch(prepared, [name]).images.contiguous() for name in ids)


def _report(
    files: Mapping[str, Path], prepared: PreparedDataset, ids: Sequence[str]
) -> ExportReport:
    """Measure the model file "torch" and the ONNX files, with equal numbers of threads."""
    accelerator = select_accelerator("cpu", "fp32")
    network = accelerator.to_device(load_network(files["torch"], prepared.class_map())[0])
    threads = torch.get_num_threads()
    engines: dict[str, Logits] = {"torch": lambda images: network(accelerator.images(images))}
    engines |= {name: load_onnx(path, threads) for name, path in files.items() if name != "torch"}
    void_id = prepared.class_map().void_id
    formats = []
    for name, measurement in measure(engines, prepared, ids).items():
        miou = segmentation_metrics(measurement.confusion, void_id)["miou"]
        if math.isnan(miou):
            raise InputError(f"{prepared.root}: all pixels of the validation masks are void")
        values = {
            "miou": miou,
            "agreement": measurement.equal_pixels / measurement.pixels,
            "megabytes": files[name].stat().st_size / 1e6,
            "latency_ms": 1e3 * float(np.median(measurement.seconds)),
            "latency_p95_ms": 1e3 * float(np.percentile(measurement.seconds, 95)),
        }
        rounded = {key: round_significant(value) for key, value in values.items()}
        formats.append(ExportedFormat.model_validate({"name": name, **rounded}))
    (height, width), _ = Counter(map(prepared.size, ids)).most_common(1)[0]
    return ExportReport(
        model_sha256=file_sha256(files["torch"]),
        processor=str(accelerator.description()["processor"]),
        threads=threads,
        images=len(ids),
        image_size=f"{height}x{width}",
        formats=formats,
    )


@torch.inference_mode()
def measure(
    engines: Mapping[str, Logits], prepared: PreparedDataset, ids: Sequence[str]
) -> dict[str, Measurement]:
    """Evaluate and time each engine on the images `ids`, one image at a time.

    The engines take turns, so that another load of the computer slows down all of them. The first
    prediction of an image is not timed, because it allocates memory for its size.

    Args:
        engines: functions that predict, by name. The others are compared with the first one.
    """
    num_classes = prepared.class_map().num_classes
    shape = (num_classes, num_classes)
    results = {name: Measurement(np.zeros(shape, np.int64)) for name in engines}
    timed = set(select_evenly(ids, TIMED_RUNS))
    repeats = math.ceil(TIMED_RUNS / len(timed))
    for image_id in tqdm(ids, desc="measure", unit="img", leave=False, disable=None):
        batch = evaluation_batch(prepared, [image_id])
        images = batch.images.contiguous()
        classes = {name: logits(images).argmax(1) for name, logits in engines.items()}  # (1, H, W)
        first = next(iter(classes.values()))
        for name, predicted in classes.items():
            result = results[name]
            result.confusion += confusion_matrix(batch.masks, predicted, num_classes).numpy()
            result.equal_pixels += int((predicted == first).sum())
            result.pixels += first.numel()
        for _ in range(repeats if image_id in timed else 0):
            for name, logits in engines.items():
                start = time.perf_counter()
                logits(images)
                results[name].seconds.append(time.perf_counter() - start)
    return results


def require_small_loss(report: ExportReport, options: Export, model: Path) -> None:
    """Raise InputError if a format loses more mIoU than `options.max_miou_loss` permits."""
    mious: dict[str, float] = {entry.name: entry.miou for entry in report.formats}
    for name, limit in options.max_miou_loss.model_dump().items():
        loss = mious["torch"] - mious[name]
        if loss > limit:
            raise InputError(
                f"{model}: in {name} its mIoU is {mious[name]:.4f}, {loss:.4f} less than the "
                f"{mious['torch']:.4f} of torch; export.max_miou_loss.{name} permits {limit:g}, so "
                "nothing was written; raise that limit in params.yaml to accept the loss"
            )
