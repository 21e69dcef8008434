"""Process group for training and evaluating one network in several processes.

torchrun starts the processes. Each has a rank, 0 to size - 1, and only rank 0 writes files. With a
single process, every operation of the group returns its argument and torch.distributed is not used.
"""

import contextlib
import inspect
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from roadseg.runtime.torchrun import is_distributed
from roadseg.system.errors import InputError

PEER_LOST = 75
"""Exit code of a process that exits because a peer did; the peer reports the reason."""
_PEER_ERRORS = re.compile(
    r"gloo|NCCL|ncclRemote|Connection (closed|reset)|Broken pipe|Socket (Timeout|Error)"
)
"""Found in the errors of torch's collectives, most of which have no class of their own."""
_EXIT_DELAY_S = 5.0

T = TypeVar("T")


class PeerLostError(Exception):
    """A peer process exited; the pending collective cannot complete."""


@dataclass(frozen=True)
class ProcessGroup:
    """The ranks that share one network, seen from one of them."""

    rank: int = 0
    size: int = 1
    control: Any = None
    """torch.distributed group for CPU tensors and objects; None in a single process."""

    @property
    def is_first(self) -> bool:
        """Return True on rank 0."""
        return self.rank == 0

    def bar(self, **options: Any) -> "tqdm[NoReturn]":
        """Return a tqdm bar that only rank 0 shows."""
        return tqdm(**options, disable=None if self.is_first else True)

    def shard(self, count: int) -> slice:
        """Return this rank's slice of `count` items; slices differ in size by at most 1."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum a contiguous tensor on the device over all ranks, in place, and return it."""
        if self.size > 1:
            torch.distributed.all_reduce(tensor)
        return tensor

    def any(self, value: bool) -> bool:
        """Return True if `value` is True on any rank. Does not wait for the device."""
        if self.size == 1:
            return value
        votes = torch.tensor([value], dtype=torch.uint8)
        torch.distributed.all_reduce(votes, torch.distributed.ReduceOp.MAX, self.control)
        return bool(votes)

    def broadcast_object(self, make: Callable[[], T]) -> T:
        """Call `make` on rank 0 only, and return its result on all ranks."""
        if self.size == 1:
            return make()
        objects: list[Any] = [make() if self.is_first else None]
        torch.distributed.broadcast_object_list(objects, 0, self.control)
        received: T = objects[0]
        return received

    def all_gather(self, value: T) -> list[T]:
        """Return the `value` of each rank, in the order of the ranks."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(values, value, self.control)
        return values

    def wait_for_first(self) -> None:
        """Wait until rank 0, which may still be saving, has exited."""
        with contextlib.suppress(PeerLostError), detect_lost_peers():
            while True:
                self.any(False)


SINGLE_PROCESS = ProcessGroup()


@contextlib.contextmanager
def init_process_group(device: torch.device) -> Iterator[ProcessGroup]:
    """Join the process group if torchrun started this process; otherwise yield SINGLE_PROCESS.

    The standard output of ranks other than 0 is discarded. If a peer exits early, this process
    exits too, with the code PEER_LOST.
    """
    if not is_distributed():
        yield SINGLE_PROCESS
        return
    import torch.distributed  # takes 1 s

    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    try:
        with detect_lost_peers():
            torch.distributed.init_process_group("nccl" if on_gpu else "gloo")
            control: Any = torch.distributed.new_group(backend="gloo") if on_gpu else None
            rank, size = torch.distributed.get_rank(), torch.distributed.get_world_size()
            if rank:
                _discard_stdout()
            try:
                yield ProcessGroup(rank, size, control or torch.distributed.group.WORLD)
                torch.distributed.barrier(control)  # no rank exits while a peer still needs it
            except InputError:
                if rank:  # rank 0 meets the same error and reports it
                    _wait_for_sigterm()
                raise
    except PeerLostError:
        _wait_for_sigterm()  # otherwise torchrun would report this process as the first to fail
        os._exit(PEER_LOST)  # a normal exit would wait forever for torch's threads
    finally:
        if torch.distributed.is_initialized():  # it is not if it could not start
            torch.distributed.destroy_process_group()


def _discard_stdout() -> None:
    """Redirect the standard output of this process, also of its C code, to the null device."""
    sys.stdout.flush()
    with open(os.devnull, "wb") as null:
        os.dup2(null.fileno(), 1)


def _wait_for_sigterm() -> None:
    """Give torchrun time to notice the exit of a peer and to terminate this process."""
    sys.stderr.flush()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(_EXIT_DELAY_S)


@contextlib.contextmanager
def detect_lost_peers() -> Iterator[None]:
    """Turn torch's errors about exited peers into PeerLostError."""
    try:
        yield
    except RuntimeError as error:
        if not _PEER_ERRORS.search(str(error)):
            raise
        raise PeerLostError from None


def wrap_ddp(network: nn.Module, example: Tensor) -> nn.Module:
    """Wrap `network` in DistributedDataParallel with gradients summed over all ranks.

    DDP averages gradients by default, but here the losses of the ranks add up to the loss of the
    batch. Parameters that no output depends on need no gradient from now on, because DDP would wait
    for theirs.

    Args:
        example: an input of the network on its device, for fixing the order of DDP's buckets.

    Returns:
        The module to call instead of `network` while training.
    """
    from torch.nn.parallel import DistributedDataParallel

    device = next(network.parameters()).device
    known = inspect.signature(DistributedDataParallel).parameters
    new, old = "forward_sync_buffers", "broadcast_buffers"  # torch 2.14 renamed this option
    # buffers are sums over all ranks, and so equal everywhere
    options: dict[str, Any] = {new if new in known else old: False}
    network.eval()
    network(example).sum().backward()
    for parameter in network.parameters():
        parameter.requires_grad_(parameter.grad is not None)
    network.zero_grad()
    wrapped = DistributedDataParallel(
        network,
        device_ids=[device.index] if device.type == "cuda" else None,
        gradient_as_bucket_view=True,
        **options,
    )
    wrapped.register_comm_hook(None, lambda _, bucket: _sum_async(bucket.buffer()))
    _fix_bucket_order(wrapped, example)
    return wrapped


def _sum_async(gradients: Tensor) -> "torch.futures.Future[Tensor]":
    summed = torch.distributed.all_reduce(gradients, async_op=True).get_future()
    return summed.then(lambda future: future.value()[0])


def _fix_bucket_order(wrapped: nn.Module, example: Tensor) -> None:
    """Run two backward passes; DDP reorders its buckets once, after the first one.

    The order of a sum over more than two ranks depends on the buckets, so without this a resumed
    training would differ in its last bits from an uninterrupted one.
    """
    wrapped.eval()
    for _ in range(2):
        wrapped(example).sum().backward()
        wrapped.zero_grad()
