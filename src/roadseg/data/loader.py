"""A DataLoader for training batches whose worker failures reach the user as one clear error."""

import errno
import resource
import signal
import sys
import traceback
from collections.abc import Iterator
from multiprocessing import active_children

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from roadseg.data.collate import Batch, largest_size, pad_collate
from roadseg.data.dataset import SegmentationDataset
from roadseg.data.sampler import BatchKeys, EpochSampler
from roadseg.system.errors import InputError


def training_batches(
    dataset: SegmentationDataset, sampler: EpochSampler, num_workers: int, *, pin: bool = False
) -> Iterator[Batch]:
    """Return an iterator over this rank's shard of each batch of `sampler`.

    Args:
        num_workers: worker processes, which start once; 0 loads in this process.
        pin: load into pinned memory, which a GPU copies from asynchronously.

    Raises:
        InputError: the limit of open files is too low for the workers.
    """
    if dataset.resident is not None:
        return (load_batch(dataset, batch) for batch in sampler)
    if num_workers:
        _require_open_files(64 + 16 * num_workers + 4 * sampler.batch_size)
    loader = DataLoader(
        _BatchDataset(dataset),
        sampler=sampler,
        batch_size=None,  # the sampler yields whole batches
        num_workers=num_workers,
        pin_memory=pin,
        worker_init_fn=_ignore_signals,
        generator=torch.Generator(),  # otherwise the loader draws from the generator of dropout
    )
    return _iterate(loader)


def load_batch(dataset: SegmentationDataset, batch: BatchKeys) -> Batch:
    """Load this rank's shard, padded to the size of the whole batch."""
    size = largest_size([dataset.size(index) for _, index in batch.keys])
    return pad_collate([dataset[key] for key in batch.keys[batch.shard]], size)


class _BatchDataset(Dataset):
    """Batches by their keys; if loading fails, the exception is returned instead of raised.

    A worker that raises hands its traceback on inside the text of another error.
    """

    def __init__(self, dataset: SegmentationDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, keys: BatchKeys) -> Batch | Exception:
        try:
            batch = load_batch(self.dataset, keys)
        except (InputError, OSError, MemoryError) as error:
            return error
        if get_worker_info() is not None:
            for tensor in batch:
                if tensor is not None:
                    # torch does the same later, where an error is lost and the trainer would wait
                    tensor.share_memory_()
        return batch


def _require_open_files(count: int) -> None:
    """Raise InputError if a worker may open fewer files: it would lose batches without an error."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and limit < count:
        raise InputError(
            f"train.num_workers: loader processes need {count} open files, the limit is {limit}; "
            "raise it (ulimit -n), or set num_workers to 0"
        )


def _iterate(loader: DataLoader) -> Iterator[Batch]:
    """Yield the batches of `loader`; its workers end with this iterator, also after an error."""
    batches = _start_workers(loader)
    try:
        for batch in batches:
            if isinstance(batch, Exception):
                raise batch
            yield batch
    finally:
        if loader.num_workers:  # torch would wait until no error refers to them any more
            batches._shutdown_workers()


def _start_workers(loader: DataLoader) -> Iterator[Batch | Exception]:
    """Return the iterator of `loader` with its workers started; on failure, none stays behind."""
    others = set(active_children())
    try:
        return iter(loader)
    except OSError as error:  # no room for its queues, too many open files, no more processes
        for process in set(active_children()) - others:
            process.kill()  # it ignores other signals, and this process would wait for it at exit
        # torch's destructor reads attributes that were never set, and would print a traceback
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
        traceback.clear_frames(error.__traceback__)
        sys.unraisablehook = hook
        if error.errno == errno.ENOSPC:
            error.filename = "/dev/shm"  # noqa: S108 - only named
        raise


def _ignore_signals(_worker: int) -> None:
    """Ignore Ctrl-C in a worker: the trainer, which gets it too, needs it to finish its step."""
    signal.set_wakeup_fd(-1)  # the trainer's own, inherited
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
