"""One network that several processes train, each on its share of a batch."""

import torch
from torch import Tensor, nn

from roadseg.models.norm import SyncBatchNorm
from roadseg.models.unet import SMALLEST_SIDE, UNet
from roadseg.runtime.distributed import ProcessGroup


def wrap_ddp(network: UNet, process_group: ProcessGroup) -> nn.Module:
    """What to call in place of `network` to train it in several processes.

    Its gradients are those of the whole batch: sums over the processes, not means, for each has
    its part of the loss. Batch norm looks at all pictures.
    """
    from torch.nn.parallel import DistributedDataParallel

    device = next(network.parameters()).device
    wrapped = DistributedDataParallel(
        network,
        device_ids=[device.index] if device.type == "cuda" else None,
        forward_sync_buffers=False,  # equal everywhere, being sums over all
        gradient_as_bucket_view=True,
    )
    wrapped.register_comm_hook(None, _summed)
    _settle(wrapped, device)
    for module in network.modules():
        if isinstance(module, SyncBatchNorm):
            module.process_group = process_group
    return wrapped


def _summed(_: None, bucket: torch.distributed.GradBucket) -> torch.futures.Future[Tensor]:
    sent = torch.distributed.all_reduce(bucket.buffer(), async_op=True).get_future()
    return sent.then(lambda found: found.value()[0])


def _settle(wrapped: nn.Module, device: torch.device) -> None:
    """Let DDP order its buckets, as it does once, after the first gradients.

    The order of a sum over more than two processes depends on it; so a training that goes on
    would differ in its last bits from one that was never stopped.
    """
    wrapped.eval()
    for _ in range(2):
        black = torch.zeros(1, 3, 2 * SMALLEST_SIDE, 2 * SMALLEST_SIDE, device=device)
        wrapped(black).sum().backward()
        wrapped.zero_grad()
