"""One pass over a data set, by hand: a network whose logits are given."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from src.data.cache import CLASSES, IMAGES, MASKS, Cache, save_array
from src.evaluation.prediction import evaluated, predicted_mask
from src.files import InputError, write_json
from src.labels import IGNORE_INDEX, ClassMap, LabelClass
from src.model.machine import Machine

CPU = Machine(torch.device("cpu"), "fp32")
THREE = ClassMap(
    void="rest",
    ignored_label_ids=[],
    unknown_label_ids="ignore",
    classes=[
        LabelClass(name=name, color=[0, 0, 0], label_ids=[]) for name in ("rest", "road", "sky")
    ],
)


class RedIsTheClass(nn.Module):
    """Predicts the class that the red channel tells, with probability 3/5 and 1/5 for the rest."""

    def forward(self, images: Tensor) -> Tensor:
        told = (images[:, 0] * 255).round().long()  # (N, H, W)
        return math.log(3) * nn.functional.one_hot(told, 3).permute(0, 3, 1, 2).float()


def made_cache(root: Path, pairs: list[tuple[list, list]]) -> Cache:
    """A cache of pictures whose red channel is given beside the mask."""
    for folder in (IMAGES, MASKS):
        (root / folder).mkdir()
    write_json(root / CLASSES, THREE.to_json())
    for i, (red, mask) in enumerate(pairs):
        image = np.zeros((*np.shape(red), 3), dtype=np.uint8)
        image[..., 0] = red
        save_array(root / IMAGES / f"{i}.npy", image)
        save_array(root / MASKS / f"{i}.npy", np.array(mask, dtype=np.uint8))
    return Cache(root)


PAIRS = [
    ([[1, 2, 1]], [[1, 1, IGNORE_INDEX]]),  # right, road as sky, ignored
    ([[0, 2], [2, 1]], [[0, 2], [0, 2]]),  # right, right, void as sky, sky as road
]


@pytest.mark.parametrize("batch_size", [1, 8])
def test_cross_entropy_and_confusion_by_hand(tmp_path: Path, batch_size: int):
    cache = made_cache(tmp_path, PAIRS)
    evaluation = evaluated(RedIsTheClass(), cache, ["0", "1"], batch_size, CPU)
    # rows are the truth: rest, road, sky
    assert evaluation.confusion.tolist() == [[1, 0, 1], [0, 1, 1], [0, 1, 1]]
    hits, misses = -math.log(3 / 5), -math.log(1 / 5)
    assert evaluation.cross_entropy == pytest.approx((3 * hits + 3 * misses) / 6, rel=1e-6)
    figures = evaluation.figures()
    assert figures["cross_entropy"] == evaluation.cross_entropy
    assert figures["miou"] == pytest.approx((1 / 3 + 1 / 3) / 2)
    assert figures["pixel_accuracy"] == pytest.approx(2 / 4)


def test_a_mask_is_predicted_at_the_pictures_size(tmp_path: Path):
    cache = made_cache(tmp_path, PAIRS)
    predicted = predicted_mask(RedIsTheClass(), cache.image("1"), CPU)
    assert predicted.dtype == np.uint8
    assert predicted.tolist() == PAIRS[1][0]


@pytest.mark.parametrize("nothing", [IGNORE_INDEX, 0])
def test_masks_in_which_nothing_counts_are_named(tmp_path: Path, nothing: int):
    red = [[0, 0]]
    cache = made_cache(tmp_path, [(red, [[nothing, nothing]])])
    with pytest.raises(InputError, match="no pixel counts in the masks of 0"):
        evaluated(RedIsTheClass(), cache, ["0"], 1, CPU)
