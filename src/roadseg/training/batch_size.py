"""The largest batch size that fits in memory (`batch_size: auto`)."""

from collections.abc import Callable, Sequence
from functools import partial

import torch

from roadseg.data.loader import load_batch
from roadseg.data.sampler import BatchKeys
from roadseg.models.live_tensors import LiveTensors
from roadseg.system.errors import InputError
from roadseg.system.memory import available_bytes, is_out_of_memory
from roadseg.training.encoder import freeze_encoder
from roadseg.training.train_state import TrainState
from roadseg.training.trainer import Trainer

_MEMORY_FRACTION = 0.9
"""Largest fraction of the free memory that a training step may use; the rest is for checkpoints
that are being saved, and for fragmentation."""


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
        share = _largest_by_trial(trainer, shares)
    elif device == "cpu":
        share = _largest_by_estimate(trainer, shares, num_processes)
    else:
        raise InputError(f"{key}: the free memory of {device} is unknown; set a number")
    if not share:
        raise InputError(
            f"{key}: a training step with one image does not fit in memory; lower remap.scale or "
            "choose a smaller network"
        )
    return share * num_processes


def set_step(trainer: Trainer, state: TrainState, *, halved: bool, frozen: bool) -> None:
    """Let the next step of `state` be one on halved images or not, with a frozen encoder or not."""
    state.epoch = 0 if frozen else trainer.recipe.encoder_frozen
    state.step = 0 if halved else trainer.total_steps - 1
    freeze_encoder(state, trainer.recipe)


def _largest_by_trial(trainer: Trainer, shares: Sequence[int]) -> int:
    """Run steps on a CUDA device until one runs out of memory; 0 if the first does."""
    device, fitting = trainer.accelerator.device, 0
    next(trainer.batches(trainer.initial_state()))  # moves the images to the device if they fit
    capacity = trainer.accelerator.free_bytes() + torch.cuda.memory_allocated(device)
    for share in shares:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        # the second step has the optimizer's averages in memory
        if not _succeeds(partial(_run_steps, trainer, [share, share])):
            break
        if torch.cuda.max_memory_reserved(device) > _MEMORY_FRACTION * capacity:
            break
        fitting = share
    torch.cuda.empty_cache()
    return fitting


def _succeeds(run: Callable[[], object]) -> bool:
    """Return False if `run` runs out of memory; its tensors are free when this returns."""
    try:
        run()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True


def _largest_by_estimate(trainer: Trainer, shares: Sequence[int], num_processes: int) -> int:
    """Extrapolate the memory of steps with one and two images on a CPU; 0 if one does not fit.

    A trial could not be caught: the system kills a process, and not necessarily this one.
    """
    state = trainer.initial_state()
    budget = _MEMORY_FRACTION * available_bytes() / num_processes
    first, one, two = _run_steps(trainer, [1, 1, 2], state)
    return max((s for s in shares if first + (s - 1) * (two - one) <= budget), default=0)


def _run_steps(
    trainer: Trainer, shares: Sequence[int], state: TrainState | None = None
) -> list[int]:
    """Run a step with each number of images, padded to the largest height and width of all.

    Returns:
        Peak of the allocations in each step, bytes; on a GPU without those in backward passes. The
        first includes the averages that the optimizer keeps.
    """
    state, peaks = state or trainer.initial_state(), []
    keys = [(1, index) for index in range(len(trainer.dataset))]
    for share in shares:
        set_step(trainer, state, halved=False, frozen=False)
        batch = load_batch(trainer.dataset, BatchKeys(keys, slice(share)))
        with LiveTensors() as live:
            trainer.train_step(state, batch)
            state.fetch_losses()
        peaks.append(live.peak_bytes)
    return peaks
