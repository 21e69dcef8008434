"""One pass over a data set, by hand: a network whose logits are given."""

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
    # rows are the truth: rest, road, sky
    assert evaluation.confusion.tolist() == [[1, 0, 1], [0, 1, 1], [0, 1, 1]]
    hits, misses = -math.log(3 / 5), -math.log(1 / 5)
    assert evaluation.cross_entropy == pytest.approx((3 * hits + 3 * misses) / 6, rel=1e-6)
    figures = evaluation.metrics()
    assert figures["cross_entropy"] == evaluation.cross_entropy
    assert figures["miou"] == pytest.approx((1 / 3 + 1 / 3) / 2)
    assert figures["pixel_accuracy"] == pytest.approx(2 / 4)


def test_each_batch_is_shown_after_it(tmp_path: Path):
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


def test_an_ignored_class_is_not_in_the_cross_entropy(tmp_path: Path):
    prepared = make_red_dataset(tmp_path, RED_PAIRS)
    all_pixels, some = (
        evaluate(RedChannelNetwork(), prepared, ["0", "1"], 8, CPU, ignored=ignored)
        for ignored in (None, 2)
    )
    # of the pixels of class 2 one is right, one wrong
    hits, misses = -math.log(3 / 5), -math.log(1 / 5)
    assert some.cross_entropy == pytest.approx((2 * hits + 2 * misses) / 4, rel=1e-6)
    assert some.confusion.tolist() == all_pixels.confusion.tolist()


class LeftIsBright(nn.Module):
    """Class 1 where a pixel is brighter than its right neighbour, in the logits' scale."""

    def forward(self, images: Tensor) -> Tensor:
        grey = images.mean(1, keepdim=True)
        right = torch.cat([grey[..., 1:], grey[..., -1:]], dim=3)
        return torch.cat([right, grey], dim=1) * 10


def test_views_are_averaged_where_the_picture_lies():
    images = torch.rand(2, 3, 20, 24)
    network, plain = LeftIsBright(), machine_logits(images)
    mirrored = machine_logits(images.flip(3)).flip(3)
    found = mean_logits(network, images, CPU, [IDENTITY, View(1.0, True)])
    expected = (plain.softmax(1) + mirrored.softmax(1)) / 2
    torch.testing.assert_close(found.softmax(1), expected)
    assert torch.equal(mean_logits(network, images, CPU, [IDENTITY]), plain)


def machine_logits(images: Tensor) -> Tensor:
    return LeftIsBright()(images)


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.25, 2.0])
def test_a_scaled_view_has_the_pictures_size(scale):
    ramp = torch.linspace(0, 1, 40).expand(1, 3, 32, 40)
    found = mean_logits(RedChannelNetwork(), ramp * 2 / 255, CPU, [View(scale, False)])
    assert found.shape == (1, 3, 32, 40)
    expected = RedChannelNetwork()(ramp * 2 / 255).argmax(1)
    assert (found.argmax(1) == expected).float().mean() > 0.9


def test_a_mask_is_predicted_at_the_pictures_size(tmp_path: Path):
    prepared = make_red_dataset(tmp_path, RED_PAIRS)
    predicted = predict_mask(RedChannelNetwork(), prepared.image("1"), CPU)
    assert predicted.dtype == np.uint8
    assert predicted.tolist() == RED_PAIRS[1][0]


@pytest.mark.parametrize("nothing", [IGNORE_INDEX, 0])
def test_masks_in_which_nothing_counts_are_named(tmp_path: Path, nothing: int):
    red = [[0, 0]]
    prepared = make_red_dataset(tmp_path, [(red, [[nothing, nothing]])])
    with pytest.raises(InputError, match="no pixel counts in the masks of 0"):
        evaluate(RedChannelNetwork(), prepared, ["0"], 1, CPU, ignored=None)


class Overflows(RedChannelNetwork):
    """As weights do that are finite, but too large."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) * 1e38 * 1e38


def test_logits_that_are_no_numbers_are_no_result(tmp_path: Path):
    prepared = make_red_dataset(tmp_path, RED_PAIRS)
    evaluation = evaluate(Overflows(), prepared, ["0", "1"], 8, CPU, ignored=None)
    with pytest.raises(InputError, match=r"a.safetensors: its cross-entropy is nan, no finite"):
        evaluation.require_finite(Path("a.safetensors"))
    right = evaluate(RedChannelNetwork(), prepared, ["0", "1"], 8, CPU, ignored=None)
    right.require_finite(Path("a.safetensors"))
