"""Schemas of the JSON files in metrics/; this module does not import torch."""

from typing import Annotated, Literal

from pydantic import Field

from roadseg.config.schema import StrictModel

_Fraction = Annotated[float, Field(ge=0, le=1)]
_Amount = Annotated[float, Field(ge=0, le=1e9)]


class EvaluationMetrics(StrictModel):
    """metrics/evaluate.json: metrics of the best model on the validation images.

    0..1, except `cross_entropy`. The void class is excluded, except from `miou_with_void`.
    """

    miou: float
    miou_low: float
    """Lower end of the 95 % interval of `miou` by bootstrap over images."""
    miou_high: float
    miou_with_void: float
    pixel_accuracy: float
    mean_class_accuracy: float
    mean_dice: float
    boundary_f: float | None = None
    """Mean over the classes that have a boundary; None if no class has one."""
    ece: float
    """Expected calibration error."""
    cross_entropy: float
    """Nats per pixel."""


class TrainingMetrics(StrictModel):
    """metrics/train.json: metrics of the best and the last epoch."""

    best_epoch: int
    """The first epoch with the highest validation mIoU; 1, 2, .."""
    best_epoch_share: float
    """Fraction of bootstrap draws of the validation images in which it has the highest mIoU."""
    best_val_miou: float
    train_ce: float
    """Training cross-entropy of the last epoch, nats per pixel; `val_ce` for validation."""
    val_ce: float
    val_miou: float
    """Validation mIoU of the last epoch."""


class ExportedFormat(StrictModel):
    """The model in one format, on the validation images."""

    name: Literal["torch", "fp32", "fp16", "int8"]
    """torch: the model itself, in float32; the others: ONNX."""
    miou: _Fraction
    agreement: _Fraction
    """Fraction of the pixels that have the same class as with torch."""
    megabytes: _Amount
    """Size of the file, 1e6 bytes."""
    latency_ms: _Amount
    """Median duration of the prediction of one image."""
    latency_p95_ms: _Amount
    """95th percentile of this duration."""


class ExportReport(StrictModel):
    """metrics/export.json: the files that `roadseg export --all` wrote, on the CPU."""

    model_sha256: str
    processor: str
    threads: int
    images: int
    """Number of validation images."""
    image_size: str
    """Height x width of most validation images, pixels."""
    formats: Annotated[list[ExportedFormat], Field(min_length=1, max_length=4)]
