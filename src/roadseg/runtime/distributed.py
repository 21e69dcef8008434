"""The processes that train or judge one network together, and what they tell each other.

torchrun starts them; each has a rank, 0 to size - 1, and the first one writes. One process alone
needs none of this: for it everything here hands back what it was given.
"""

import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from tqdm import tqdm

from roadseg.system.errors import InputError

PEER_LOST = 75
"""Exit code of a process that ends because another one has; it says nothing, the other one did."""
_LOST = re.compile(
    r"gloo|NCCL|ncclRemote|Connection (closed|reset)|Broken pipe|Socket (Timeout|Error)"
)
"""In errors of torch's collectives, most of which have no class of their own."""
_END_S = 5.0

T = TypeVar("T")


class PeerLostError(Exception):
    """Another process has ended, and what was to be added up will never come."""


@dataclass(frozen=True)
class ProcessGroup:
    """One of `size` processes."""

    rank: int = 0
    size: int = 1
    control: Any = None
    """The torch group in which the CPUs talk; None where there is one process only."""

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def bar(self, **options: Any) -> tqdm:
        """A progress bar, of the first process alone."""
        return tqdm(**options, disable=None if self.is_first else True)

    def shard(self, count: int) -> slice:
        """Which of `count` things are ours: neighbours, as many as any other's or one more."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def sum(self, tensor: Tensor) -> Tensor:
        """`tensor`, to which those of all the others are added in place; on any device.

        It is contiguous, here and there.
        """
        if self.size > 1:
            torch.distributed.all_reduce(tensor)
        return tensor

    def any(self, said: bool) -> bool:
        """Whether any process says so. All must ask; it waits for no device."""
        if self.size == 1:
            return said
        votes = torch.tensor([said], dtype=torch.uint8)
        torch.distributed.all_reduce(votes, torch.distributed.ReduceOp.MAX, self.control)
        return bool(votes)

    def broadcast_object(self, made: Callable[[], T]) -> T:
        """What the first process makes; the others only get it."""
        if self.size == 1:
            return made()
        told = [made() if self.is_first else None]
        torch.distributed.broadcast_object_list(told, 0, self.control)
        return told[0]

    def all_gather(self, value: T) -> list[T]:
        """What each process has given for `value`, by rank."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(found, value, self.control)
        return found

    def wait_for_first(self) -> None:
        """Until the first process has ended, which may have to save."""
        with contextlib.suppress(PeerLostError), detect_lost_peers():
            while True:
                self.any(False)


SINGLE_PROCESS = ProcessGroup()


def is_distributed() -> bool:
    """Whether torchrun has started this process, and others beside it.

    Schedulers set WORLD_SIZE, too.
    """
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ["WORLD_SIZE"]) > 1


@contextlib.contextmanager
def init_process_group(device: torch.device) -> Iterator[ProcessGroup]:
    """Meet the others that torchrun has started, and take part in all that they add up.

    What any but the first one prints is not seen. Where another one ends, so does this process,
    with LOST.
    """
    if not is_distributed():
        yield SINGLE_PROCESS
        return
    import torch.distributed  # 1 s

    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    try:
        with detect_lost_peers():
            torch.distributed.init_process_group("nccl" if on_gpu else "gloo")
            control = torch.distributed.new_group(backend="gloo") if on_gpu else None
            rank, size = torch.distributed.get_rank(), torch.distributed.get_world_size()
            if rank:
                _discard_stdout()
            try:
                yield ProcessGroup(rank, size, control or torch.distributed.group.WORLD)
                torch.distributed.barrier(control)  # none leaves while another one needs it
            except InputError:
                if rank:  # what all of them meet, the first one tells
                    _be_ended()
                raise
    except PeerLostError:
        _be_ended()  # else torchrun would take us for the one that began it
        os._exit(PEER_LOST)  # torch's threads would wait for the others, for ever
    finally:
        torch.distributed.destroy_process_group()


def _discard_stdout() -> None:
    """Send what this process prints, also from C code, to the null device."""
    sys.stdout.flush()
    with open(os.devnull, "wb") as null:
        os.dup2(null.fileno(), 1)


def _be_ended() -> None:
    """Give torchrun the time to see another process's end, after which it ends this one."""
    sys.stderr.flush()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    time.sleep(_END_S)


@contextlib.contextmanager
def detect_lost_peers() -> Iterator[None]:
    """Turn torch's errors about others that have ended into LostError."""
    try:
        yield
    except RuntimeError as error:
        if not _LOST.search(str(error)):
            raise
        raise PeerLostError from None


def wrap_ddp(network: nn.Module, example: Tensor) -> nn.Module:
    """Wrap `network`, so that its gradients are the sums over all ranks of torch's default group.

    DDP computes means by default, but here each rank has its part of one loss.

    Args:
        example: an input of the network on its device; it is only used to settle DDP's buckets.

    Returns:
        The module to call instead of `network` while training.
    """
    from torch.nn.parallel import DistributedDataParallel

    # DDP checks these annotations, which not every build of torch has
    def sum_gradients(
        _: None, bucket: torch.distributed.GradBucket
    ) -> torch.futures.Future[Tensor]:
        sent = torch.distributed.all_reduce(bucket.buffer(), async_op=True).get_future()
        return sent.then(lambda found: found.value()[0])

    device = next(network.parameters()).device
    wrapped = DistributedDataParallel(
        network,
        device_ids=[device.index] if device.type == "cuda" else None,
        forward_sync_buffers=False,  # they are sums over all ranks, and so equal everywhere
        gradient_as_bucket_view=True,
    )
    wrapped.register_comm_hook(None, sum_gradients)
    _settle_buckets(wrapped, example)
    return wrapped


def _settle_buckets(wrapped: nn.Module, example: Tensor) -> None:
    """Let DDP order its buckets, which it does once, after the first backward pass.

    The order of a sum over more than two ranks depends on the buckets, so a resumed training would
    otherwise differ in its last bits from one that was never interrupted.
    """
    wrapped.eval()
    for _ in range(2):
        wrapped(example).sum().backward()
        wrapped.zero_grad()
