"""A DataLoader for training batches whose worker failures become one-line errors."""

import errno
import signal
import sys
import traceback
from collections.abc import Iterator
from multiprocessing import active_children
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from roadseg.data.augmentation import output_size, stack_transforms
from roadseg.data.collate import Batch, largest_size, pad_collate
from roadseg.data.dataset import SegmentationDataset
from roadseg.data.sampler import BatchKeys, EpochSampler
from roadseg.runtime.signals import SIGNALS
from roadseg.system.errors import InputError
from roadseg.system.memory import resource_limit


def training_batches(
    dataset: SegmentationDataset, sampler: EpochSampler, num_workers: int, *, pin: bool = False
) -> Iterator[Batch]:
    """Return an iterator over this rank's shard of each batch of `sampler`.

    Args:
        num_workers: worker processes, which start once; 0 loads in this process.
        pin: load into pinned memory, from which copies to a GPU are asynchronous.

    Raises:
        InputError: the limit on open files is too low for the workers.
    """
    if dataset.resident is not None:
        return (load_batch(dataset, batch) for batch in sampler)
    if num_workers:
        _require_open_files(64 + 16 * num_workers + 4 * sampler.batch_size)
    loader = DataLoader(
        _BatchDataset(dataset),
        sampler=sampler,
        batch_size=None,  # the sampler yields whole batches
        collate_fn=_keep,
        num_workers=num_workers,
        pin_memory=pin,
        worker_init_fn=_ignore_signals,
        generator=torch.Generator(),  # otherwise the loader draws from the generator of dropout
    )
    return _iterate(loader)


def _keep(batch: Any) -> Any:
    """Return `batch`; torch would convert its arrays to tensors, which `augment` does itself."""
    return batch


def load_batch(dataset: SegmentationDataset, batch: BatchKeys) -> Batch:
    """Load this rank's shard, padded to the size of the whole batch."""
    size = largest_size([dataset.size(key) for key in batch.keys])
    augmentation = dataset.augmentation_in(batch.keys[0][0])
    augmented_size = size if augmentation is None else output_size(augmentation, size)
    samples = [dataset[key] for key in batch.keys[batch.shard]]
    if not samples:  # other ranks have some, and need the same height and width
        return pad_collate([], augmented_size)
    collated = pad_collate(samples, size)
    if augmentation is None:
        return collated
    transforms = [sample.transform for sample in samples if sample.transform is not None]
    return collated._replace(transforms=stack_transforms(transforms, augmented_size))


class _BatchDataset(Dataset[Batch | Exception]):
    """Dataset of whole batches; if loading fails, the exception is returned instead of raised.

    An exception raised in a worker would reach the trainer as a traceback in another error's text.
    """

    def __init__(self, dataset: SegmentationDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, keys: BatchKeys) -> Batch | Exception:
        try:
            batch = load_batch(self.dataset, keys)
        except (InputError, OSError, MemoryError) as error:
            return error
        if get_worker_info() is not None:
            for tensor in (batch.images, batch.masks):
                # torch would do this later, in a thread where an error hangs the trainer
                tensor.share_memory_()  # type: ignore[no-untyped-call] # torch lacks its type
        return batch


def _require_open_files(count: int) -> None:
    """Raise InputError if the limit is lower: a worker would lose batches without an error."""
    limit = resource_limit("RLIMIT_NOFILE")
    if limit is not None and limit < count:
        raise InputError(
            f"train.num_workers: loader workers need {count} open files, but the limit is {limit}; "
            "raise it (ulimit -n) or set num_workers to 0"
        )


def _iterate(loader: DataLoader[Batch | Exception]) -> Iterator[Batch]:
    """Yield the batches of `loader`; shut down its workers at the end, also after an error."""
    batches = _start_workers(loader)
    try:
        for batch in batches:
            if isinstance(batch, Exception):
                raise batch
            yield batch
    finally:
        # torch would keep the workers until no traceback refers to this iterator
        if isinstance(batches, _MultiProcessingDataLoaderIter):
            batches._shutdown_workers()


def _start_workers(loader: DataLoader[Batch | Exception]) -> Iterator[Batch | Exception]:
    """Return the iterator of `loader`, which starts its workers; on failure, kill all of them."""
    others = set(active_children())
    try:
        return iter(loader)
    except OSError as error:  # no room for its queues, too many open files, no more processes
        for process in set(active_children()) - others:
            process.kill()  # it ignores other signals, and Python would wait for it at exit
        # torch's destructor reads attributes that were never set and would print a traceback
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        traceback.clear_frames(error.__traceback__)
        sys.unraisablehook = hook
        if error.errno == errno.ENOSPC:
            error.filename = "/dev/shm"  # noqa: S108 - only named
        raise


def _ignore_signals(_worker: int) -> None:
    """Ignore stop signals in a worker: the trainer needs it to finish the current step."""
    signal.set_wakeup_fd(-1)  # inherited from the trainer
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
