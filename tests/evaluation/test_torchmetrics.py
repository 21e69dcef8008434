"""Our figures equal those of torchmetrics, a library that shares no code with this project.

It divides by zero as follows, where we say NaN: a class that is not there has 0, and a mean or an
accuracy over nothing is 0 or NaN. Such entries are compared with that 0, all others with ours. It
computes in float32, so equal means to 6 digits.
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


def random_pair(seed: int, shape: tuple[int, ...] = (3, 8, 11)) -> tuple[Tensor, Tensor]:
    """Truth with ignored pixels and a prediction that is right in half of the pixels."""
    rng = np.random.default_rng(seed)
    truth, other = rng.integers(0, NUM_CLASSES, (2, *shape))
    predicted = np.where(rng.random(shape) < 0.5, truth, other)
    truth[rng.random(shape) < 0.1] = IGNORE_INDEX
    return torch.from_numpy(truth), torch.from_numpy(predicted)


def without(ids: Tensor, class_id: int) -> Tensor:
    return ids.where(ids != class_id, 0)


TRUTH, PREDICTED = random_pair(0)
CASES = {
    **{f"random {seed}": random_pair(seed) for seed in range(5)},
    "absent in truth": (without(TRUTH, 3), PREDICTED),
    "absent in prediction": (TRUTH, without(PREDICTED, 3)),
    "absent in both": (without(TRUTH, 3), without(PREDICTED, 3)),
    "everything ignored": (torch.full_like(TRUTH, IGNORE_INDEX), PREDICTED),
    "one class, right": (torch.full_like(TRUTH, 2), torch.full_like(TRUTH, 2)),
    "one class, wrong": (torch.full_like(TRUTH, 2), torch.full_like(TRUTH, 4)),
    "one pixel, right": (torch.tensor([[[1]]]), torch.tensor([[[1]]])),
    "one pixel, wrong": (torch.tensor([[[1]]]), torch.tensor([[[3]]])),
    "one pixel, ignored": (torch.tensor([[[IGNORE_INDEX]]]), torch.tensor([[[3]]])),
}
every_case = pytest.mark.parametrize(("truth", "predicted"), CASES.values(), ids=CASES)


def ours(truth: Tensor, predicted: Tensor) -> np.ndarray:
    return confusion_matrix(truth, predicted, NUM_CLASSES).numpy()


@every_case
@pytest.mark.parametrize(
    ("figure", "theirs"),
    [
        (iou, MulticlassJaccardIndex),
        (class_accuracy, MulticlassAccuracy),
        (dice, MulticlassF1Score),  # the same formula
    ],
)
def test_each_class(truth, predicted, figure, theirs):
    own = figure(ours(truth, predicted))
    found = theirs(NUM_CLASSES, **BY_CLASS)(predicted, truth).numpy()
    np.testing.assert_allclose(found, np.nan_to_num(own, nan=0), **ROUNDING)


@every_case
def test_pixel_accuracy(truth, predicted):
    theirs = MulticlassAccuracy(NUM_CLASSES, average="micro", ignore_index=IGNORE_INDEX)
    own = pixel_accuracy(ours(truth, predicted))
    np.testing.assert_allclose(theirs(predicted, truth), np.nan_to_num(own, nan=0), **ROUNDING)


@every_case
def test_means_over_the_classes_that_occur(truth, predicted):
    """IoU and Dice; both leave out a class that is in neither. Of nothing, theirs is NaN or 0."""
    confusion = ours(truth, predicted)
    figures = segmentation_metrics(confusion, None)
    macro = {"average": "macro", "ignore_index": IGNORE_INDEX}
    for name, theirs in (("miou", MulticlassJaccardIndex), ("mean_dice", MulticlassF1Score)):
        found = theirs(NUM_CLASSES, **macro)(predicted, truth).nan_to_num(0)
        np.testing.assert_allclose(found, np.nan_to_num(figures[name], nan=0), **ROUNDING)


@every_case
def test_mean_class_accuracy(truth, predicted):
    """Theirs counts a class that is predicted but not there as 0; ours is over the true ones."""
    confusion = ours(truth, predicted)
    own = segmentation_metrics(confusion, None)["mean_class_accuracy"]
    found = MulticlassAccuracy(NUM_CLASSES, average="macro", ignore_index=IGNORE_INDEX)
    true, only_predicted = confusion.any(1).sum(), (confusion.any(0) & ~confusion.any(1)).sum()
    expected = np.nan_to_num(own, nan=0) * true / max(1, true + only_predicted)
    np.testing.assert_allclose(found(predicted, truth), expected, **ROUNDING)


@pytest.mark.parametrize("seed", range(5))
def test_void_left_out_is_their_ignore_index(seed):
    """Class 0 as void: not counted where it is true, and in no mean; wrong where predicted."""
    truth, predicted = random_pair(seed)
    truth = without(truth, IGNORE_INDEX)
    own = segmentation_metrics(ours(truth, predicted), 0)
    options = {"num_classes": NUM_CLASSES, "ignore_index": 0}
    miou = MulticlassJaccardIndex(average="macro", **options)(predicted, truth)
    np.testing.assert_allclose(miou, own["miou"], **ROUNDING)
    accuracy = MulticlassAccuracy(average="micro", **options)(predicted, truth)
    np.testing.assert_allclose(accuracy, own["pixel_accuracy"], **ROUNDING)


@every_case
def test_dice_of_their_segmentation(truth, predicted):
    """It knows no ignored pixels; a class in neither is NaN there too."""
    truth = without(truth, IGNORE_INDEX)
    options = {"average": "none", "input_format": "index", "aggregation_level": "global"}
    found = dice_score(predicted, truth, NUM_CLASSES, **options)[0]
    np.testing.assert_allclose(found, dice(ours(truth, predicted)), **ROUNDING)


@pytest.mark.parametrize("scale", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("ignored", [0.0, 0.3, 1.0])
def test_calibration_error(scale, ignored):
    """Their bins hold their lower edge and a confidence of just 1 has a bin of its own; ours hold
    the upper edge. Random confidences below 1 lie on no edge, so the bins are the same.
    """
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
    # their sums of 2,400 numbers in float32 are off by up to 2400 * 2**-24 of a share
    np.testing.assert_allclose(theirs(logits, truth), own, rtol=0, atol=1.5e-4)
