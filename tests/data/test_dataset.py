import math
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from roadseg.config.class_map import IGNORE_INDEX, read_class_map
from roadseg.config.recipe import Augmentation
from roadseg.data.augmentation import augment, stack_transforms
from roadseg.data.collate import Batch, Sample, pad_collate
from roadseg.data.dataset import SegmentationDataset
from roadseg.data.loader import load_batch, training_batches
from roadseg.data.prepared import PreparedDataset
from roadseg.data.sampler import BatchKeys, EpochSampler, epoch_order
from roadseg.evaluation.evaluate import evaluation_batch, evaluation_groups
from roadseg.prepare.remap import remap_dataset
from roadseg.runtime.distributed import ProcessGroup
from roadseg.system.errors import InputError
from tests.factories import ROOT, make_augmentation

ALL = make_augmentation(flip=True, jitter=0.3, scale_min=0.5, crop=0.75)


@pytest.fixture
def prepared(raw_images: Path, tmp_path: Path) -> PreparedDataset:
    class_map = read_class_map(ROOT / "classes/kitti12.yaml")
    remap_dataset(raw_images, tmp_path / "prepared", class_map, 1.0)
    return PreparedDataset(tmp_path / "prepared")


def batches(
    prepared: PreparedDataset,
    epoch: int = 1,
    workers: int = 0,
    augmentation: Augmentation | None = ALL,
) -> list[Batch]:
    size, dataset = 3, make_dataset(prepared, augmentation)
    return list(training_batches(dataset, epochs(dataset, size, epoch, epoch), workers))


def make_dataset(
    prepared: PreparedDataset, augmentation: Augmentation | None = ALL
) -> SegmentationDataset:
    return SegmentationDataset(prepared, prepared.train_ids(), 5, augmentation)


def require_equal(first: Batch, second: Batch) -> None:
    """Require that all tensors of the batches are equal."""
    one, other = ((*batch[:2], *(batch.transforms or ())) for batch in (first, second))
    assert all(np.array_equal(*pair) for pair in zip(one, other, strict=True))


def epochs(dataset: SegmentationDataset, size: int, first: int, last: int) -> EpochSampler:
    count = math.ceil(len(dataset) / size)
    return EpochSampler(len(dataset), size, dataset.seed, range((first - 1) * count, last * count))


def test_rank_without_images_has_the_size_of_the_augmented_batch(prepared: PreparedDataset):
    dataset = make_dataset(prepared)
    keys = [(1, 0)]
    full, empty = (load_batch(dataset, BatchKeys(keys, slice(end))) for end in (1, 0))
    assert empty.images.shape == (0, 3, *full.transforms.size) != (0, *full.images.shape[1:])
    assert empty.transforms is None


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
    found = batches(prepared, augmentation=None)
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
        require_equal(one, other)
    first = batches(prepared, epoch=1)
    assert not np.array_equal(alone[0].transforms.homography, first[0].transforms.homography)


def test_one_loader_for_all_epochs_gives_the_batches_of_one_per_epoch(prepared: PreparedDataset):
    dataset = make_dataset(prepared)
    together = list(training_batches(dataset, EpochSampler(8, 3, 5, range(1, 9)), 0))
    per_epoch = [batch for epoch in (1, 2, 3) for batch in batches(prepared, epoch=epoch)][1:]
    for one, other in zip(together, per_epoch, strict=True):
        require_equal(one, other)


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
    """Returns the id of the worker process as the seed of the noise."""

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        sample = super().__getitem__(key)
        return sample._replace(transform=sample.transform._replace(noise_seed=os.getpid()))


def test_workers_start_once_for_all_epochs(prepared: PreparedDataset):
    dataset = ProcessIdDataset(prepared, prepared.train_ids(), 5, ALL)
    found = training_batches(dataset, epochs(dataset, 1, 1, 4), num_workers=2)
    assert len({int(batch.transforms.noise_seed[0]) for batch in found}) == 2


def test_resident_dataset_gives_the_same_batches(prepared: PreparedDataset):
    moved = make_dataset(prepared)
    moved.move_to(torch.device("cpu"), max_bytes=1_000)
    assert moved.resident is None  # max_bytes is too small
    moved.move_to(torch.device("cpu"), max_bytes=1_000_000)
    found = list(training_batches(moved, epochs(moved, 3, 2, 2), 0))
    for one, other in zip(batches(prepared, epoch=2), found, strict=True):
        require_equal(one, other)


def test_loading_does_not_advance_torchs_generator(prepared: PreparedDataset):
    torch.manual_seed(0)
    before = torch.get_rng_state()
    batches(prepared)
    assert torch.equal(torch.get_rng_state(), before)


def test_class_uniform_samples_show_each_class_equally_often(prepared: PreparedDataset):
    ids = prepared.train_ids()
    dataset = SegmentationDataset(prepared, ids, 5, ALL, class_uniform=1.0)
    shown: Counter[int] = Counter()
    for key in ((epoch, index) for epoch in range(100) for index in range(len(ids))):
        index, (row, column) = dataset.source(key)
        shown[int(prepared.mask(ids[index])[row, column])] += 1
    void = prepared.class_map().void_id
    occur = np.flatnonzero(prepared.class_pixels(ids))
    assert shown.keys() == set(occur.tolist()) - {void}
    expected = shown.total() / len(shown)
    # 3 standard deviations of a binomial distribution
    assert all(abs(count - expected) < 3.5 * expected**0.5 for count in shown.values())


def test_window_of_a_class_uniform_sample_contains_its_pixel(prepared: PreparedDataset):
    zoom = make_augmentation(scale_min=8.0, scale_max=8.0)
    ids = prepared.train_ids()
    dataset = SegmentationDataset(prepared, ids, 5, zoom, class_uniform=1.0)
    for key in ((epoch, index) for epoch in range(5) for index in range(len(ids))):
        index, (row, column) = dataset.source(key)
        sample = dataset[key]
        image = torch.tensor(sample.image).permute(2, 0, 1)[None].float()
        transforms = stack_transforms([sample.transform], sample.mask.shape)
        _, shown = augment(image, torch.tensor(sample.mask)[None], transforms)
        assert prepared.mask(ids[index])[row, column] in shown.unique()


def test_last_epochs_are_plain(prepared: PreparedDataset):
    ids = prepared.train_ids()
    augmentation = ALL.model_copy(update={"plain": 0.3, "jitter": 0.0})
    dataset = SegmentationDataset(prepared, ids, 5, augmentation, num_epochs=10)
    for epoch in (1, 7, 8, 10):
        (first, *_) = training_batches(dataset, epochs(dataset, 3, epoch, epoch), 0)
        scales = np.abs(np.linalg.det(first.transforms.homography))
        assert (scales == pytest.approx(1)) == (epoch > 7)
        full = tuple(first.masks.shape[1:])
        assert (first.transforms.size == full) == (epoch > 7)


def test_class_uniform_is_a_fraction_of_the_samples(prepared: PreparedDataset):
    dataset = SegmentationDataset(prepared, prepared.train_ids(), 5, ALL, class_uniform=0.25)
    chosen = [dataset.source((epoch, 0))[1] is not None for epoch in range(400)]
    assert 70 < sum(chosen) < 130
    assert make_dataset(prepared).source((1, 3)) == (3, None)


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
