"""A batch computed in parts, whose gradients are added in one order whoever computes them.

With the norms of each picture its own (group norm) a part's gradients do not depend on the others;
added in pairs, pairs of pairs and so on, they have the same bits on 1, 2, 4.. processes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from src.processes import Processes
from src.training.optimizer import in_memory_order


class Part(NamedTuple):
    """Some of a batch's pictures."""

    ours: slice
    """Where they lie in our share of it."""
    place: slice
    """Where in the whole."""


WHOLE = Part(slice(None), slice(None))


def our_parts(count: int, num_parts: int, processes: Processes) -> list[Part]:
    """Those parts that are ours of a batch of `count` pictures; of a small one some are empty.

    Args:
        num_parts: of the batch, a multiple of the processes.
    """
    begin = processes.share(count).start
    owned = range(num_parts)[processes.share(num_parts)]
    places = [slice(count * k // num_parts, count * (k + 1) // num_parts) for k in owned]
    return [Part(slice(p.start - begin, p.stop - begin), p) for p in places]


def backward_in_pairs(network: nn.Module, losses: Sequence[Tensor], processes: Processes) -> None:
    """Leave the gradients of the sum of all losses, those of all processes, in the parameters."""
    parameters = list(network.parameters())
    waiting: list[list[Tensor] | None] = [None] * len(losses).bit_length()  # of 1, 2, 4.. losses
    for loss in losses:
        network.zero_grad()
        loss.backward()
        sums = [in_memory_order(p.grad, p) for p in parameters]
        level = 0
        while (older := waiting[level]) is not None:
            torch._foreach_add_(older, sums)
            sums, waiting[level] = older, None
            level += 1
        waiting[level] = sums
    (sums,) = (found for found in waiting if found is not None)
    for parameter, total in zip(parameters, sums, strict=True):
        processes.sum(total)
        parameter.grad = total if parameter.is_contiguous() else total.permute(0, 3, 1, 2)
