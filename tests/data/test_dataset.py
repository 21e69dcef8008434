import math
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from roadseg.config.class_map import IGNORE_INDEX, read_class_map
from roadseg.data.augmentation import Augmentation, color_terms, recolor
from roadseg.data.collate import Sample, pad_collate
from roadseg.data.dataset import SegmentationDataset
from roadseg.data.loader import training_batches
from roadseg.data.prepared import PreparedDataset
from roadseg.data.sampler import EpochSampler, epoch_order
from roadseg.evaluation.evaluate import evaluation_batch, evaluation_groups
from roadseg.prepare.remap import remap_dataset
from roadseg.runtime.distributed import ProcessGroup
from roadseg.system.errors import InputError
from tests.factories import ROOT

OFF = {"flip": False, "jitter": 0.0}
ALL = {"flip": True, "jitter": 0.3}


@pytest.fixture
def prepared(raw_images: Path, tmp_path: Path) -> PreparedDataset:
    class_map = read_class_map(ROOT / "classes/kitti12.yaml")
    remap_dataset(raw_images, tmp_path / "prepared", class_map, 1.0)
    return PreparedDataset(tmp_path / "prepared")


def batches(
    prepared: PreparedDataset, epoch: int = 1, size: int = 3, workers: int = 0, **changes
) -> list:
    dataset = SegmentationDataset(prepared, prepared.train_ids(), seed=5, **{**ALL, **changes})
    return list(training_batches(dataset, epochs(dataset, size, epoch, epoch), workers))


def epochs(dataset: SegmentationDataset, size: int, first: int, last: int) -> EpochSampler:
    count = math.ceil(len(dataset) / size)
    return EpochSampler(len(dataset), size, dataset.seed, range((first - 1) * count, last * count))


def test_padded_batch_computed_by_hand():
    small = Sample(np.full((1, 2, 3), 7, np.uint8), np.array([[1, 2]], np.uint8))
    large = Sample(np.full((2, 3, 3), 9, np.uint8), np.array([[3, 4, 5], [6, 7, 8]], np.uint8))
    batch = pad_collate([small, large])
    x = IGNORE_INDEX
    assert batch.masks.tolist() == [[[1, 2, x], [x, x, x]], [[3, 4, 5], [6, 7, 8]]]
    assert batch.images.shape == (2, 3, 2, 3)
    assert (batch.images[0] == 7).all()  # padding repeats the border
    assert (batch.images[1] == 9).all()
    assert batch.images.is_contiguous(memory_format=torch.channels_last)


def test_epoch_has_each_image_once(prepared: PreparedDataset):
    found = batches(prepared, **OFF)
    assert [len(batch.masks) for batch in found] == [3, 3, 2]
    seen = sorted(int(mask[0, 0]) for batch in found for mask in batch.masks)
    assert seen == sorted(int(prepared.mask(name)[0, 0]) for name in prepared.train_ids())


def test_epoch_order_depends_only_on_seed_and_epoch():
    assert sorted(epoch_order(3, 1, 50)) == list(range(50))
    assert np.array_equal(epoch_order(3, 1, 50), epoch_order(3, 1, 50))
    assert not np.array_equal(epoch_order(3, 1, 50), epoch_order(3, 2, 50))
    assert not np.array_equal(epoch_order(3, 1, 50), epoch_order(4, 1, 50))


def test_samples_do_not_depend_on_workers_or_earlier_epochs(prepared: PreparedDataset):
    batches(prepared, epoch=1)
    alone = batches(prepared, epoch=2)
    by_workers = batches(prepared, epoch=2, workers=2)
    for one, other in zip(alone, by_workers, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.masks, other.masks)
    first = batches(prepared, epoch=1)
    assert not torch.equal(alone[0].images, first[0].images)


def test_one_loader_for_all_epochs_gives_the_batches_of_one_per_epoch(prepared: PreparedDataset):
    dataset = SegmentationDataset(prepared, prepared.train_ids(), seed=5, **ALL)
    together = list(training_batches(dataset, EpochSampler(8, 3, 5, range(1, 9)), 0))
    per_epoch = [batch for epoch in (1, 2, 3) for batch in batches(prepared, epoch=epoch)][1:]
    for one, other in zip(together, per_epoch, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.colors, other.colors)


def test_sampler_resumes_within_an_epoch_and_gives_each_rank_its_shard():
    whole = list(EpochSampler(8, 3, 5, range(6)))
    assert [len(batch.keys) for batch in whole] == [3, 3, 2, 3, 3, 2]
    assert [batch.keys[0][0] for batch in whole] == [1, 1, 1, 2, 2, 2]
    order = [key for batch in whole[3:] for key in batch.keys]
    assert order == [(2, index) for index in epoch_order(5, 2, 8)]
    assert list(EpochSampler(8, 3, 5, range(2, 6))) == whole[2:]
    ranks = [EpochSampler(8, 3, 5, range(6), ProcessGroup(rank, size=2)) for rank in range(2)]
    for first, second, batch in zip(*ranks, whole, strict=True):
        assert first.keys == second.keys == batch.keys
        assert first.keys[first.shard] + second.keys[second.shard] == batch.keys


class ProcessIdDataset(SegmentationDataset):
    """Returns the id of the worker process as a colour term."""

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        return Sample(*super().__getitem__(key)[:2], (float(os.getpid()), 0.0, 0.0))


def test_workers_start_once_for_all_epochs(prepared: PreparedDataset):
    dataset = ProcessIdDataset(prepared, prepared.train_ids(), seed=5, **ALL)
    found = training_batches(dataset, epochs(dataset, 1, 1, 4), num_workers=2)
    assert len({float(batch.colors[0, 0].double()) for batch in found}) == 2


def test_resident_dataset_gives_the_same_batches(prepared: PreparedDataset):
    moved = SegmentationDataset(prepared, prepared.train_ids(), seed=5, **ALL)
    moved.move_to(torch.device("cpu"), max_bytes=1_000)
    assert moved.resident is None  # max_bytes is too small
    moved.move_to(torch.device("cpu"), max_bytes=1_000_000)
    found = list(training_batches(moved, epochs(moved, 3, 2, 2), 0))
    for one, other in zip(batches(prepared, epoch=2), found, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.masks, other.masks)
        assert torch.equal(one.colors, other.colors)


def test_loading_does_not_advance_torchs_generator(prepared: PreparedDataset):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    batches(prepared)
    assert torch.equal(torch.get_rng_state(), before)


def make_block_image(height: int = 24, width: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """An image of 8x8 blocks whose colours encode the class, and its mask."""
    mask = np.arange(height)[:, None] // 8 * 5 + np.arange(width)[None] // 8
    image = np.stack([mask * 12, 255 - mask * 12, mask * 0 + 128], axis=2)
    return image.astype(np.uint8), mask.astype(np.uint8)


def augmented_samples(
    image: np.ndarray, mask: np.ndarray, *, flip: bool, jitter: float
) -> list[tuple[np.ndarray, np.ndarray, torch.Tensor | None]]:
    """Image, mask and colour terms of one image in 20 epochs."""
    prepared = SimpleNamespace(pair=lambda _: (image, mask), image=lambda _: image)
    dataset = SegmentationDataset(prepared, ["any"], seed=0, flip=flip, jitter=jitter)
    found = [pad_collate([dataset[epoch, 0]]) for epoch in range(20)]
    return [(b.images[0].permute(1, 2, 0).numpy(), b.masks[0].numpy(), b.colors) for b in found]


def test_no_augmentation_changes_nothing_and_flip_mirrors_exactly():
    image, mask = make_block_image()
    for same_image, same_mask, colors in augmented_samples(image, mask, **OFF):
        assert np.array_equal(same_image, image)
        assert np.array_equal(same_mask, mask)
        assert colors is None
    seen = set()
    for flipped_image, flipped_mask, _ in augmented_samples(image, mask, **{**OFF, "flip": True}):
        mirrored = np.array_equal(flipped_mask, mask[:, ::-1])
        assert np.array_equal(flipped_image, image[:, ::-1] if mirrored else image)
        seen.add(mirrored)
    assert seen == {True, False}


def apply_colors(image: np.ndarray, terms: torch.Tensor) -> np.ndarray:
    """Apply `recolor` to an image, (H, W, 3) uint8."""
    batch = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    recolor(batch, terms)
    return batch[0].permute(1, 2, 0).byte().numpy()


def test_jitter_changes_the_colours_and_not_the_mask():
    image, mask = make_block_image()
    means = set()
    for _, same, colors in augmented_samples(image, mask, **{**OFF, "jitter": 0.5}):
        assert np.array_equal(same, mask)
        means.add(int(apply_colors(image, colors).mean()))
    assert len(means) > 5
    assert min(means) < image.mean() < max(means)


def test_color_terms_agree_with_the_three_steps_one_by_one():
    image, _ = make_block_image()
    brightness, contrast, saturation = 1.15, 0.8, 1.3
    grey = image.mean(axis=2, keepdims=True)
    saturated = grey + saturation * (image - grey)
    mean = saturated.mean()
    expected = brightness * (mean + contrast * (saturated - mean))
    terms = color_terms(Augmentation(False, (brightness, contrast, saturation)), image.mean())
    found = apply_colors(image, torch.tensor([terms]))
    assert np.abs(found - np.clip(expected, 0, 255)).max() <= 0.5001


def test_evaluation_batches_hold_images_of_one_size_without_padding(prepared: PreparedDataset):
    ids = prepared.train_ids()
    groups = evaluation_groups(prepared, sorted(ids, key=prepared.size), 3)
    found = [evaluation_batch(prepared, names) for names in groups]
    assert [tuple(b.masks.shape) for b in found] == [
        (3, 32, 48),
        (1, 32, 48),
        (3, 34, 50),
        (1, 34, 50),
    ]
    assert not any((batch.masks == IGNORE_INDEX).any() for batch in found)
    assert [name for names in evaluation_groups(prepared, ids, 3) for name in names] == ids


@pytest.mark.parametrize("spoil", [b"", b"\x93NUMPY", b"not an array at all"])
def test_damaged_array_is_refused_with_its_name(prepared: PreparedDataset, spoil: bytes):
    (prepared.root / "masks/000000_10.npy").write_bytes(spoil)
    with pytest.raises(
        InputError, match=r"masks/000000_10\.npy: was modified after remap .*dvc repro"
    ):
        prepared.mask("000000_10")


def test_class_pixels_counts_only_the_given_masks(prepared: PreparedDataset):
    counts = prepared.class_pixels(["000000_10", "000001_10"])
    assert counts.sum() == 32 * 48 + 34 * 50
    assert (
        counts[0]
        == (prepared.mask("000000_10") == 0).sum() + (prepared.mask("000001_10") == 0).sum()
    )
