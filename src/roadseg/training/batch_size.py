"""The largest batch size that fits in memory (`batch_size: auto`)."""

from collections.abc import Sequence

import torch

from roadseg.data.loader import load_batch
from roadseg.data.sampler import BatchKeys
from roadseg.system.errors import InputError
from roadseg.system.memory import available_bytes, is_out_of_memory, peak_bytes, resident_bytes
from roadseg.training.timing import StepKind, set_step
from roadseg.training.train_state import TrainState
from roadseg.training.trainer import Trainer

_MEMORY_FRACTION = 0.9
"""Largest fraction of the free memory that training may use; the rest is for checkpoints that are
being saved, and for fragmentation."""
_VISIBLE_GROWTH = 0.1
"""Growth of the peak memory from one batch size to the next, as a fraction of the peak, above which
it is taken as proportional to the number of images; before, other allocations hide it."""


def fit_batch_size(trainer: Trainer, num_processes: int, largest: int) -> int:
    """Return the largest batch size, `num_processes` times a power of two, that fits in memory.

    Args:
        trainer: of a single process, even if several will share a batch.
        num_processes: processes that share a batch, and the memory unless each has its GPU.
        largest: upper limit of the batch size.

    Raises:
        InputError: one image in each process does not fit or is above the limit, or the free memory
            of the device is unknown.
    """
    shares = [2**k for k in range(11) if 2**k * num_processes <= largest]
    key = f"recipes.{trainer.train.recipe}.batch_size: auto"
    if not shares:
        raise InputError(f"{key}: {num_processes} processes cannot share {largest} images")
    device = trainer.accelerator.device.type
    if device == "cuda":
        share = _fit_on_gpu(trainer, shares)
    elif device == "cpu":
        share = _fit_on_cpu(trainer, shares, num_processes)
    else:
        raise InputError(f"{key}: the free memory of {device} is unknown; set a number")
    if not share:
        raise InputError(
            f"{key}: a training step with one image does not fit in memory; lower remap.scale or "
            "choose a smaller network"
        )
    return share * num_processes


def _fit_on_gpu(trainer: Trainer, shares: Sequence[int]) -> int:
    """Run steps with more and more images until memory runs out; 0 if one image is too much."""
    device, fitting = trainer.accelerator.device, 0
    next(trainer.batches(trainer.initial_state()))  # moves the images to the device if they fit
    capacity = trainer.accelerator.free_bytes() + torch.cuda.memory_allocated(device)
    for share in shares:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        succeeded = _try_steps(trainer, share)
        if not succeeded or torch.cuda.max_memory_reserved(device) > _MEMORY_FRACTION * capacity:
            break
        fitting = share
    torch.cuda.empty_cache()
    return fitting


def _try_steps(trainer: Trainer, share: int) -> bool:
    """Run two steps, the second with the optimizer's averages; return False if memory runs out.

    Their tensors are free when this returns.
    """
    try:
        state = trainer.initial_state()
        for _ in range(2):
            _run_step(trainer, state, share)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True


def _fit_on_cpu(trainer: Trainer, shares: Sequence[int], num_processes: int) -> int:
    """Run steps with few images and extrapolate their peak memory; 0 if one image is too much.

    Running out of memory is no error here that could be caught: the system kills a process.
    """
    state = trainer.initial_state()
    budget = _MEMORY_FRACTION * (available_bytes() / num_processes + resident_bytes())
    _run_step(trainer, state, shares[0])  # creates the optimizer's averages
    peak, growth, fitting = peak_bytes(), 0, 0
    for share in shares:
        if growth < _VISIBLE_GROWTH * peak:
            if 2 * peak > budget and fitting:  # the next step might take twice as much
                break
            _run_step(trainer, state, share)
            growth = peak_bytes() - peak
            peak += growth
        else:  # twice as many more images as in the step before
            growth *= 2
            peak += growth
        if peak > budget:
            break
        fitting = share
    return fitting


def _run_step(trainer: Trainer, state: TrainState, share: int) -> None:
    """Run a step on the first `share` images, padded to the largest height and width of all.

    It is a step of the last epoch: if there are plain epochs, it is one, and crops nothing.
    """
    keys = [(trainer.train.epochs, index) for index in range(len(trainer.dataset))]
    set_step(trainer, state, StepKind(halved=False, frozen=False))
    trainer.train_step(state, load_batch(trainer.dataset, BatchKeys(keys, slice(share))))
    state.fetch_losses()  # waits for the device
