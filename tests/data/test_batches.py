from pathlib import Path

import numpy as np
import pytest
import torch

from src.data.augment import augmented
from src.data.batches import (
    TrainingPictures,
    epoch_order,
    evaluation_batches,
    padded_batch,
    training_batches,
)
from src.data.cache import Cache
from src.data.remap import remap_dataset
from src.files import InputError
from src.labels import IGNORE_INDEX, read_class_map
from tests.conftest import ROOT

OFF = {"flip": False, "jitter": 0.0}
ALL = {"flip": True, "jitter": 0.3}


@pytest.fixture
def cache(pictures: Path, tmp_path: Path) -> Cache:
    class_map = read_class_map(ROOT / "classes/kitti12.yaml")
    remap_dataset(pictures, tmp_path / "cache", class_map, 1.0)
    return Cache(tmp_path / "cache")


def batches(cache: Cache, epoch: int = 1, size: int = 3, workers: int = 0, **changes) -> list:
    pictures = TrainingPictures(cache, cache.train_ids(), seed=5, **{**ALL, **changes})
    return list(training_batches(pictures, epoch, size, workers))


def test_padding_by_hand():
    small = (np.full((1, 2, 3), 7, np.uint8), np.array([[1, 2]], np.uint8))
    large = (np.full((2, 3, 3), 9, np.uint8), np.array([[3, 4, 5], [6, 7, 8]], np.uint8))
    batch = padded_batch([small, large])
    x = IGNORE_INDEX
    assert batch.masks.tolist() == [[[1, 2, x], [x, x, x]], [[3, 4, 5], [6, 7, 8]]]
    assert batch.images.shape == (2, 3, 2, 3)
    assert (batch.images[0] == 7).all()  # the border repeated
    assert (batch.images[1] == 9).all()
    assert batch.images.is_contiguous(memory_format=torch.channels_last)


def test_an_epoch_sees_each_picture_once(cache: Cache):
    found = batches(cache, **OFF)
    assert [len(batch.masks) for batch in found] == [3, 3, 2]
    seen = sorted(int(mask[0, 0]) for batch in found for mask in batch.masks)
    assert seen == sorted(int(cache.mask(name)[0, 0]) for name in cache.train_ids())


def test_the_order_is_a_function_of_seed_and_epoch():
    assert sorted(epoch_order(3, 1, 50)) == list(range(50))
    assert np.array_equal(epoch_order(3, 1, 50), epoch_order(3, 1, 50))
    assert not np.array_equal(epoch_order(3, 1, 50), epoch_order(3, 2, 50))
    assert not np.array_equal(epoch_order(3, 1, 50), epoch_order(4, 1, 50))


def test_workers_and_earlier_epochs_change_nothing(cache: Cache):
    batches(cache, epoch=1)
    alone = batches(cache, epoch=2)
    by_workers = batches(cache, epoch=2, workers=2)
    for one, other in zip(alone, by_workers, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.masks, other.masks)
    first = batches(cache, epoch=1)
    assert not torch.equal(alone[0].images, first[0].images)


def test_loading_draws_nothing_from_torchs_generator(cache: Cache):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    batches(cache)
    assert torch.equal(torch.get_rng_state(), before)


def coded_picture(height: int = 24, width: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """A picture in which each class has a colour of its own, in smooth blocks."""
    mask = np.arange(height)[:, None] // 8 * 5 + np.arange(width)[None] // 8
    image = np.stack([mask * 12, 255 - mask * 12, mask * 0 + 128], axis=2)
    return image.astype(np.uint8), mask.astype(np.uint8)


def test_off_is_off_and_flip_is_an_exact_mirror():
    image, mask = coded_picture()
    same = augmented(image, mask, np.random.default_rng(0), **OFF)
    assert np.array_equal(same[0], image)
    assert np.array_equal(same[1], mask)
    seen = set()
    for index in range(20):
        flipped = augmented(image, mask, np.random.default_rng(index), **{**OFF, "flip": True})
        mirrored = np.array_equal(flipped[1], mask[:, ::-1])
        assert np.array_equal(flipped[0], image[:, ::-1] if mirrored else image)
        seen.add(mirrored)
    assert seen == {True, False}


def test_jitter_leaves_the_mask_and_stays_in_range():
    image, mask = coded_picture()
    means = set()
    for index in range(10):
        rng = np.random.default_rng(index)
        changed, same = augmented(image, mask, rng, **{**OFF, "jitter": 0.5})
        assert np.array_equal(same, mask)
        means.add(int(changed.mean()))
    assert len(means) > 5
    assert min(means) < image.mean() < max(means)


def test_evaluation_groups_pictures_of_one_size_and_keeps_their_pixels(cache: Cache):
    ids = cache.train_ids()
    found = list(evaluation_batches(cache, sorted(ids, key=cache.size), 3))
    assert [tuple(b.masks.shape) for b in found] == [
        (3, 32, 48),
        (1, 32, 48),
        (3, 34, 50),
        (1, 34, 50),
    ]
    assert not any((batch.masks == IGNORE_INDEX).any() for batch in found)
    assert sum(len(batch.masks) for batch in evaluation_batches(cache, ids, 3)) == 8


@pytest.mark.parametrize("spoil", [b"", b"\x93NUMPY", b"not an array at all"])
def test_a_damaged_cache_is_named(cache: Cache, spoil: bytes):
    (cache.root / "masks/000000_10.npy").write_bytes(spoil)
    with pytest.raises(InputError, match=r"masks/000000_10\.npy: cannot be read"):
        cache.mask("000000_10")


def test_class_pixels_counts_the_named_masks(cache: Cache):
    counts = cache.class_pixels(["000000_10", "000001_10"])
    assert counts.sum() == 32 * 48 + 34 * 50
    assert counts[0] == (cache.mask("000000_10") == 0).sum() + (cache.mask("000001_10") == 0).sum()
