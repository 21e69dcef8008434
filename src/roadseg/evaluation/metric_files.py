"""Schemas of metrics/train.json and metrics/evaluate.json; this module does not import torch."""

from roadseg.config.schema import StrictModel


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
