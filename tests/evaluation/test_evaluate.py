"""Evaluation of a network with known logits on small data sets, by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from roadseg.config.class_map import IGNORE_INDEX
from roadseg.evaluation.evaluate import evaluate
from roadseg.inference.tta import IDENTITY, View, mean_logits, predict_mask
from roadseg.system.errors import InputError
from tests.factories import CPU, RED_PAIRS, RedChannelNetwork, make_red_dataset


@pytest.mark.parametrize("batch_size", [1, 8])
def test_cross_entropy_and_confusion_by_hand(tmp_path: Path, batch_size: int):
    prepared = make_red_dataset(tmp_path, RED_PAIRS)
    evaluation = evaluate(RedChannelNetwork(), prepared, ["0", "1"], batch_size, CPU, ignored=None)
    # rows are the true classes: rest, road, sky
    assert evaluation.confusion.tolist() == [[1, 0, 1], [0, 1, 1], [0, 1, 1]]
    hits, misses = -math.log(3 / 5), -math.log(1 / 5)
    assert evaluation.cross_entropy == pytest.approx((3 * hits + 3 * misses) / 6, rel=1e-6)
    metrics = evaluation.metrics()
    assert metrics["cross_entropy"] == evaluation.cross_entropy
    assert metrics["miou"] == pytest.approx((1 / 3 + 1 / 3) / 2)
    assert metrics["pixel_accuracy"] == pytest.approx(2 / 4)


def test_after_batch_gets_logits_class_ids_and_predictions(tmp_path: Path):
    prepared = make_red_dataset(tmp_path, RED_PAIRS)
    seen = []
    evaluate(
        RedChannelNetwork(),
        prepared,
        ["0", "1"],
        8,
        CPU,
        ignored=None,
        after_batch=lambda *batch: seen.append(batch),
    )
    assert [logits.shape for logits, _, _ in seen] == [(1, 3, 1, 3), (1, 3, 2, 2)]
    for (red, mask), (_, class_ids, predicted) in zip(RED_PAIRS, seen, strict=True):
        assert (class_ids[0].tolist(), predicted[0].tolist()) == (mask, red)


def test_cross_entropy_excludes_the_ignored_class(tmp_path: Path):
    prepared = make_red_dataset(tmp_path, RED_PAIRS)
    all_pixels, without_sky = (
        evaluate(RedChannelNetwork(), prepared, ["0", "1"], 8, CPU, ignored=ignored)
        for ignored in (None, 2)
    )
    # one of the two pixels of class 2 is correct
    hits, misses = -math.log(3 / 5), -math.log(1 / 5)
    assert without_sky.cross_entropy == pytest.approx((2 * hits + 2 * misses) / 4, rel=1e-6)
    assert without_sky.confusion.tolist() == all_pixels.confusion.tolist()


class BrighterThanRight(nn.Module):
    """Predicts class 1 for pixels that are brighter than their right neighbors."""

    def forward(self, images: Tensor) -> Tensor:
        gray = images.mean(1, keepdim=True)
        right = torch.cat([gray[..., 1:], gray[..., -1:]], dim=3)
        return torch.cat([right, gray], dim=1) * 10


def test_probabilities_of_views_are_averaged_in_the_original_orientation():
    images, network = torch.rand(2, 3, 20, 24), BrighterThanRight()
    logits, flipped = network(images), network(images.flip(3)).flip(3)
    averaged = mean_logits(network, images, CPU, [IDENTITY, View(1.0, True)])
    expected = (logits.softmax(1) + flipped.softmax(1)) / 2
    torch.testing.assert_close(averaged.softmax(1), expected)
    assert torch.equal(mean_logits(network, images, CPU, [IDENTITY]), logits)


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.25, 2.0])
def test_logits_of_a_scaled_view_have_the_size_of_the_image(scale):
    ramp = torch.linspace(0, 1, 40).expand(1, 3, 32, 40)
    logits = mean_logits(RedChannelNetwork(), ramp * 2 / 255, CPU, [View(scale, False)])
    assert logits.shape == (1, 3, 32, 40)
    expected = RedChannelNetwork()(ramp * 2 / 255).argmax(1)
    assert (logits.argmax(1) == expected).float().mean() > 0.9


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_logits_of_a_scaled_view_are_not_shifted(scale):
    """A ramp stays the same ramp, except near the border."""
    ramp = torch.linspace(-1, 1, 40).expand(1, 2, 32, 40) * torch.tensor([1, -1]).view(1, 2, 1, 1)
    log_probs = mean_logits(nn.Identity(), ramp, CPU, [View(scale, False)])
    differences = (log_probs[:, 0] - log_probs[:, 1]) / 2
    torch.testing.assert_close(differences[..., 3:-3], ramp[:, 0, :, 3:-3], atol=1e-4, rtol=0)


def test_predict_mask_has_the_size_of_the_image(tmp_path: Path):
    prepared = make_red_dataset(tmp_path, RED_PAIRS)
    predicted = predict_mask(RedChannelNetwork(), prepared.image("1"), CPU)
    assert predicted.dtype == np.uint8
    assert predicted.tolist() == RED_PAIRS[1][0]


@pytest.mark.parametrize("class_id", [IGNORE_INDEX, 0])
def test_masks_without_counted_pixels_raise_an_error(tmp_path: Path, class_id: int):
    prepared = make_red_dataset(tmp_path, [([[0, 0]], [[class_id, class_id]])])
    with pytest.raises(InputError, match="all pixels are void or ignored in the masks of 0"):
        evaluate(RedChannelNetwork(), prepared, ["0"], 1, CPU, ignored=None)


class OverflowingNetwork(RedChannelNetwork):
    """Logits overflow, as with finite weights that are too large."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * 1e38 * 1e38


def test_require_finite_raises_an_error_for_infinite_logits(tmp_path: Path):
    prepared = make_red_dataset(tmp_path, RED_PAIRS)
    evaluation = evaluate(OverflowingNetwork(), prepared, ["0", "1"], 8, CPU, ignored=None)
    with pytest.raises(InputError, match=r"a.safetensors: the cross-entropy is nan, not a finite"):
        evaluation.require_finite(Path("a.safetensors"))
    finite = evaluate(RedChannelNetwork(), prepared, ["0", "1"], 8, CPU, ignored=None)
    finite.require_finite(Path("a.safetensors"))
