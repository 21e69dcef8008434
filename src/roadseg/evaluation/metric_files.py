"""The metrics files: metrics/train.json and metrics/evaluate.json; readable without torch."""

from roadseg.config.schema import StrictModel


class EvaluationMetrics(StrictModel):
    """metrics/evaluate.json: the best model on the validation images.

    0 to 1, except `cross_entropy`. The void class is left out, except in `miou_with_void`.
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
    """Mean over the classes that have a boundary; None if there is none."""
    ece: float
    """Expected calibration error."""
    cross_entropy: float
    """Nats per pixel."""


class TrainingMetrics(StrictModel):
    """metrics/train.json: the epoch that was chosen, and the last one."""

    best_epoch: int
    """The first epoch with the highest validation mIoU; 1, 2, .."""
    best_epoch_share: float
    """Fraction of bootstrap draws of the validation images in which it has the highest mIoU."""
    best_val_miou: float
    train_ce: float
    """Cross-entropy of the last epoch, nats per pixel; `val_ce` too."""
    val_ce: float
    val_miou: float
    """Of the last epoch."""
