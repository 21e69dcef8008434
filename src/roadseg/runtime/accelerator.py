"""Device and precision of the computation.

Shapes: N images, K classes, H and W pixels.
"""

import contextlib
import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from roadseg.runtime.distributed import SINGLE_PROCESS, ProcessGroup, init_process_group
from roadseg.runtime.torchrun import is_distributed
from roadseg.system.errors import InputError

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Accelerator:
    """A device and the precision of its convolutions (`fp32` or `bf16`)."""

    device: torch.device
    precision: str
    process_group: ProcessGroup = SINGLE_PROCESS
    """The ranks that work together, each on a device of its own."""

    @property
    def memory_format(self) -> torch.memory_format:
        """bf16 convolutions are fastest in channels_last; fp32 keeps the NCHW of the report."""
        return torch.channels_last if self.precision == "bf16" else torch.contiguous_format

    def name(self) -> str:
        """Return `cpu`, or `2 processes, cuda each`."""
        count = self.process_group.size
        return str(self.device) if count == 1 else f"{count} processes, {self.device.type} each"

    def free_bytes(self) -> int:
        """Return the free memory of a CUDA device; 0 if the device shares the computer's memory."""
        if self.device.type != "cuda":
            return 0
        reserved = torch.cuda.memory_reserved(self.device)  # by torch's caching allocator
        unused = reserved - torch.cuda.memory_allocated(self.device)
        return torch.cuda.mem_get_info(self.device)[0] + unused

    def to_device(self, network: Network) -> Network:
        """Move `network` to the device in place, convert it to the memory format, and return it."""
        return network.to(self.device).to(memory_format=self.memory_format)

    def description(self) -> dict[str, str | int]:
        """Return what decides the last bits of a result: processor, threads, number of ranks."""
        many = {"processes": self.process_group.size} if self.process_group.size > 1 else {}
        if self.device.type == "cuda":
            return {"processor": torch.cuda.get_device_name(self.device), **many}
        name = torch.cpu.get_capabilities().get("cpu_name") or platform.processor()
        instructions = torch.backends.cpu.get_cpu_capability()
        threads = torch.get_num_threads()
        return {"processor": f"{name} ({instructions})", "threads": threads, **many}

    def images(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) uint8 -> float32 on the device, 0..1, in the memory format."""
        return self.pixels(images).div_(255)

    def pixels(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) uint8 -> float32 on the device, 0..255, in the memory format."""
        moved = images.to(self.device, non_blocking=True)
        return moved.to(torch.float32, memory_format=self.memory_format)

    def class_ids(self, masks: Tensor) -> Tensor:
        """(N, H, W) uint8 -> int64 on the device."""
        return masks.to(self.device, non_blocking=True).long()

    def logits(self, network: nn.Module, images: Tensor, *args: object) -> Tensor:
        """(N, 3, H, W) float32 -> (N, K, H, W) logits, bfloat16 if that is the precision.

        `args` are passed to the network after the images.
        """
        enabled = self.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=enabled):
            logits: Tensor = network(images, *args)
        return logits


def select_accelerator(device: str, precision: str, prefix: str = "train.") -> Accelerator:
    """Select the device and precision named by `train.device` and `train.precision`.

    Args:
        prefix: put before `device` and `precision` in errors; `--` for command-line options.

    Raises:
        InputError: this computer does not have the device or precision.
    """
    try:
        found = _find_device(device)
        native = _has_native_bf16(found)
        if precision == "bf16" and not native:
            raise InputError(f"precision: {found} has no native bf16; use fp32 or auto")
        if precision == "auto":
            precision = "bf16" if native else "fp32"
        return Accelerator(found, precision)
    except InputError as error:
        raise InputError(f"{prefix}{error}") from None


@contextlib.contextmanager
def join_process_group(accelerator: Accelerator) -> Iterator[Accelerator]:
    """Join the process group that torchrun started, if any, and add it to `accelerator`."""
    with init_process_group(accelerator.device) as process_group:
        yield replace(accelerator, process_group=process_group)


def require_device_per_process(count: int, device: str) -> None:
    """Require that `count` processes of this computer can each have a device of their own.

    Raises:
        InputError: there are too few devices, or `device` is one particular device, or mps.
    """
    found = _find_device(device)
    if found.index is not None or found.type == "mps":
        raise InputError(
            f"train.processes: {count} processes cannot share train.device {device}; use auto, "
            "cuda or cpu"
        )
    if found.type == "cuda" and count > torch.cuda.device_count():
        raise InputError(
            f"train.processes: {count} is more than the {torch.cuda.device_count()} CUDA devices "
            "of this computer; each process needs its own"
        )


def _find_device(name: str) -> torch.device:
    local_rank = os.environ.get("LOCAL_RANK") if is_distributed() else None
    if name in ("auto", "cuda") and torch.cuda.is_available():
        name = "cuda" if local_rank is None else f"cuda:{local_rank}"
    elif name == "auto":
        name = "mps" if torch.backends.mps.is_available() else "cpu"
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", name):
        raise InputError(f"device: unknown device {name!r}; use auto, cpu, mps, cuda or cuda:N")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise InputError(f"device: {name}: this computer has {count} CUDA devices; use auto")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("device: mps: this computer has no Apple GPU; use auto")
    return device


def _has_native_bf16(device: torch.device) -> bool:
    """Return True if `device` multiplies bf16 natively; emulation would be slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere and later
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
    return False
