"""Data-parallel training with torch's DistributedDataParallel (DDP)."""

import torch
from torch import Tensor, nn


def wrap_ddp(network: nn.Module, example: Tensor) -> nn.Module:
    """Wrap `network`, so that its gradients are the sums over all ranks of torch's default group.

    DDP computes means by default, but here each rank has its part of one loss.

    Args:
        example: an input of the network on its device; it is only used to settle DDP's buckets.

    Returns:
        The module to call instead of `network` while training.
    """
    from torch.nn.parallel import DistributedDataParallel

    device = next(network.parameters()).device
    wrapped = DistributedDataParallel(
        network,
        device_ids=[device.index] if device.type == "cuda" else None,
        forward_sync_buffers=False,  # they are sums over all ranks, and so equal everywhere
        gradient_as_bucket_view=True,
    )
    wrapped.register_comm_hook(None, _sum_gradients)
    _settle_buckets(wrapped, example)
    return wrapped


def _sum_gradients(_: None, bucket: torch.distributed.GradBucket) -> torch.futures.Future[Tensor]:
    sent = torch.distributed.all_reduce(bucket.buffer(), async_op=True).get_future()
    return sent.then(lambda found: found.value()[0])


def _settle_buckets(wrapped: nn.Module, example: Tensor) -> None:
    """Let DDP order its buckets, which it does once, after the first backward pass.

    The order of a sum over more than two ranks depends on the buckets, so a resumed training would
    otherwise differ in its last bits from one that was never interrupted.
    """
    wrapped.eval()
    for _ in range(2):
        wrapped(example).sum().backward()
        wrapped.zero_grad()
