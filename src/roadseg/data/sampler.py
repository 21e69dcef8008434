"""A batch sampler that can resume in the middle of an epoch.

torch.utils.data.RandomSampler and BatchSampler are the well-known counterparts. This one also knows
which samples of a batch belong to which rank.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

from roadseg.runtime.distributed import SINGLE_PROCESS, ProcessGroup

_ORDER = 1  # part of the generator's seed, so that shuffling has a stream of its own


class BatchKeys(NamedTuple):
    """The samples of one batch."""

    keys: list[tuple[int, int]]
    """(epoch, index) of each sample of the whole batch."""
    shard: slice
    """The samples of this rank; may be empty in a small batch."""


def epoch_order(seed: int, epoch: int, num_samples: int) -> np.ndarray:
    """Return the permutation of the samples in `epoch`, (num_samples,) int64; a pure function."""
    return np.random.default_rng([_ORDER, seed, epoch]).permutation(num_samples)


class EpochSampler(Sampler[BatchKeys]):
    """Yields the keys of one batch for each training step; an epoch has each sample once.

    The last batch of an epoch may be smaller than the others.

    Args:
        steps: training steps, counted from 0 over all epochs; a training run is resumed by
            `range(state.step, total_steps)`.
        process_group: the ranks that share each batch.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        seed: int,
        steps: range,
        process_group: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        self.num_samples, self.batch_size, self.seed = num_samples, batch_size, seed
        self.steps, self.process_group = steps, process_group

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[BatchKeys]:
        steps_per_epoch, drawn = math.ceil(self.num_samples / self.batch_size), 0
        for step in self.steps:
            epoch, number = step // steps_per_epoch + 1, step % steps_per_epoch
            if epoch != drawn:
                drawn, order = epoch, epoch_order(self.seed, epoch, self.num_samples).tolist()
            indices = order[number * self.batch_size : (number + 1) * self.batch_size]
            keys = [(epoch, index) for index in indices]
            yield BatchKeys(keys, self.process_group.shard(len(keys)))
