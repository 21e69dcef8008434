"""The metrics equal those of torchmetrics.

Where ours are NaN, torchmetrics returns 0 for an absent class, and 0 or NaN for a mean or an
accuracy over nothing; there NaN is replaced by 0. torchmetrics computes in float32, so values are
compared to 6 digits.
"""

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassF1Score,
    MulticlassJaccardIndex,
)
from torchmetrics.functional.segmentation import dice_score

from roadseg.config.class_map import IGNORE_INDEX
from roadseg.evaluation.calibration import calibration_counts, calibration_error
from roadseg.evaluation.metrics import (
    class_accuracy,
    confusion_matrix,
    dice,
    iou,
    pixel_accuracy,
    segmentation_metrics,
)

NUM_CLASSES = 5
ROUNDING = {"rtol": 1e-6, "atol": 0}
BY_CLASS = {"average": "none", "ignore_index": IGNORE_INDEX}


def make_pair(seed: int, shape: tuple[int, ...] = (3, 8, 11)) -> tuple[Tensor, Tensor]:
    """Truth with ignored pixels, and a prediction that is correct for half of the pixels."""
    rng = np.random.default_rng(seed)
    truth, other = rng.integers(0, NUM_CLASSES, (2, *shape))
    predicted = np.where(rng.random(shape) < 0.5, truth, other)
    truth[rng.random(shape) < 0.1] = IGNORE_INDEX
    return torch.from_numpy(truth), torch.from_numpy(predicted)


def replace_class(ids: Tensor, class_id: int) -> Tensor:
    return ids.where(ids != class_id, 0)


TRUTH, PREDICTED = make_pair(0)
CASES = {
    **{f"random {seed}": make_pair(seed) for seed in range(5)},
    "absent in truth": (replace_class(TRUTH, 3), PREDICTED),
    "absent in prediction": (TRUTH, replace_class(PREDICTED, 3)),
    "absent in both": (replace_class(TRUTH, 3), replace_class(PREDICTED, 3)),
    "everything ignored": (torch.full_like(TRUTH, IGNORE_INDEX), PREDICTED),
    "one class, correct": (torch.full_like(TRUTH, 2), torch.full_like(TRUTH, 2)),
    "one class, wrong": (torch.full_like(TRUTH, 2), torch.full_like(TRUTH, 4)),
    "one pixel, correct": (torch.tensor([[[1]]]), torch.tensor([[[1]]])),
    "one pixel, wrong": (torch.tensor([[[1]]]), torch.tensor([[[3]]])),
    "one pixel, ignored": (torch.tensor([[[IGNORE_INDEX]]]), torch.tensor([[[3]]])),
}
every_case = pytest.mark.parametrize(("truth", "predicted"), CASES.values(), ids=CASES)


def make_confusion(truth: Tensor, predicted: Tensor) -> np.ndarray:
    return confusion_matrix(truth, predicted, NUM_CLASSES).numpy()


@every_case
@pytest.mark.parametrize(
    ("metric", "theirs"),
    [
        (iou, MulticlassJaccardIndex),
        (class_accuracy, MulticlassAccuracy),
        (dice, MulticlassF1Score),  # the same formula
    ],
)
def test_metrics_of_each_class(truth, predicted, metric, theirs):
    own = metric(make_confusion(truth, predicted))
    expected = theirs(NUM_CLASSES, **BY_CLASS)(predicted, truth).numpy()
    np.testing.assert_allclose(expected, np.nan_to_num(own, nan=0), **ROUNDING)


@every_case
def test_pixel_accuracy(truth, predicted):
    theirs = MulticlassAccuracy(NUM_CLASSES, average="micro", ignore_index=IGNORE_INDEX)
    own = pixel_accuracy(make_confusion(truth, predicted))
    np.testing.assert_allclose(theirs(predicted, truth), np.nan_to_num(own, nan=0), **ROUNDING)


@every_case
def test_means_over_the_classes_that_occur(truth, predicted):
    """Both exclude absent classes; without any, torchmetrics returns NaN or 0."""
    confusion = make_confusion(truth, predicted)
    metrics = segmentation_metrics(confusion, None)
    macro = {"average": "macro", "ignore_index": IGNORE_INDEX}
    for name, theirs in (("miou", MulticlassJaccardIndex), ("mean_dice", MulticlassF1Score)):
        expected = theirs(NUM_CLASSES, **macro)(predicted, truth).nan_to_num(0)
        np.testing.assert_allclose(expected, np.nan_to_num(metrics[name], nan=0), **ROUNDING)


@every_case
def test_mean_class_accuracy(truth, predicted):
    """Torchmetrics counts a class that is only predicted as 0; ours excludes it."""
    confusion = make_confusion(truth, predicted)
    own = segmentation_metrics(confusion, None)["mean_class_accuracy"]
    found = MulticlassAccuracy(NUM_CLASSES, average="macro", ignore_index=IGNORE_INDEX)
    true, only_predicted = confusion.any(1).sum(), (confusion.any(0) & ~confusion.any(1)).sum()
    expected = np.nan_to_num(own, nan=0) * true / max(1, true + only_predicted)
    np.testing.assert_allclose(found(predicted, truth), expected, **ROUNDING)


@pytest.mark.parametrize("seed", range(5))
def test_excluding_void_equals_ignore_index(seed):
    truth, predicted = make_pair(seed)
    truth = replace_class(truth, IGNORE_INDEX)
    own = segmentation_metrics(make_confusion(truth, predicted), 0)
    options = {"num_classes": NUM_CLASSES, "ignore_index": 0}
    miou = MulticlassJaccardIndex(average="macro", **options)(predicted, truth)
    np.testing.assert_allclose(miou, own["miou"], **ROUNDING)
    accuracy = MulticlassAccuracy(average="micro", **options)(predicted, truth)
    np.testing.assert_allclose(accuracy, own["pixel_accuracy"], **ROUNDING)


@every_case
def test_dice_equals_dice_score_of_torchmetrics_segmentation(truth, predicted):
    """It has no ignore_index; absent classes are NaN there, too."""
    truth = replace_class(truth, IGNORE_INDEX)
    options = {"average": "none", "input_format": "index", "aggregation_level": "global"}
    expected = dice_score(predicted, truth, NUM_CLASSES, **options)[0]
    np.testing.assert_allclose(expected, dice(make_confusion(truth, predicted)), **ROUNDING)


@pytest.mark.parametrize("scale", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("ignored", [0.0, 0.3, 1.0])
def test_calibration_error(scale, ignored):
    """Bins of torchmetrics include the lower edge; no random confidence is on an edge."""
    generator = torch.Generator().manual_seed(0)
    logits = scale * torch.randn(2, NUM_CLASSES, 30, 40, generator=generator)
    truth = torch.randint(0, NUM_CLASSES, (2, 30, 40), generator=generator)
    truth[torch.rand(truth.shape, generator=generator) < ignored] = IGNORE_INDEX
    assert logits.softmax(1).amax() < 1
    theirs = MulticlassCalibrationError(
        NUM_CLASSES, n_bins=15, norm="l1", ignore_index=IGNORE_INDEX
    )
    counts = calibration_counts(logits, truth, logits.argmax(1), truth != IGNORE_INDEX)
    own = calibration_error(counts.numpy())
    # rounding error of their float32 sums of 2,400 numbers: up to 2400 * 2**-24
    np.testing.assert_allclose(theirs(logits, truth), own, rtol=0, atol=1.5e-4)
