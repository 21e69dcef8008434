"""Where and in what precision a network computes.

Shapes: N pictures, K classes, H and W pixels.
"""

import contextlib
import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from roadseg.runtime.distributed import (
    SINGLE_PROCESS,
    ProcessGroup,
    init_process_group,
    is_distributed,
)
from roadseg.system.errors import InputError


@dataclass(frozen=True)
class Accelerator:
    """A device and the precision of its convolutions (`fp32` or `bf16`)."""

    device: torch.device
    precision: str
    process_group: ProcessGroup = SINGLE_PROCESS
    """This one and those beside it, each with a machine of its own."""

    @property
    def memory_format(self) -> torch.memory_format:
        """bf16 convolutions run fastest in channels_last; fp32 keeps the report's own NCHW."""
        return torch.channels_last if self.precision == "bf16" else torch.contiguous_format

    def name(self) -> str:
        """`cpu`, or `2 processes, cuda each`."""
        count = self.process_group.size
        return str(self.device) if count == 1 else f"{count} processes, {self.device.type} each"

    def free_bytes(self) -> int:
        """Room for data in the device's own memory; none where that is the computer's memory."""
        if self.device.type != "cuda":
            return 0
        reserved = torch.cuda.memory_reserved(self.device)  # by torch, for what it will allocate
        unused = reserved - torch.cuda.memory_allocated(self.device)
        return torch.cuda.mem_get_info(self.device)[0] + unused

    def to_device(self, network: nn.Module) -> nn.Module:
        """`network` on the device, in that memory format."""
        return network.to(self.device, memory_format=self.memory_format)

    def description(self) -> dict[str, str | int]:
        """What else decides the last bits of a result: processor, processes, a CPU's threads."""
        many = {"processes": self.process_group.size} if self.process_group.size > 1 else {}
        if self.device.type == "cuda":
            return {"processor": torch.cuda.get_device_name(self.device), **many}
        name = torch.cpu.get_capabilities().get("cpu_name") or platform.processor()
        instructions = torch.backends.cpu.get_cpu_capability()
        threads = torch.get_num_threads()
        return {"processor": f"{name} ({instructions})", "threads": threads, **many}

    def images(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) uint8 -> float32 on the device, 0..1, in that memory format."""
        return self.pixels(images).div_(255)

    def pixels(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) uint8 -> float32 on the device, 0..255, in that memory format."""
        moved = images.to(self.device, non_blocking=True)
        return moved.to(torch.float32, memory_format=self.memory_format)

    def class_ids(self, masks: Tensor) -> Tensor:
        """(N, H, W) uint8 -> int64 on the device."""
        return masks.to(self.device, non_blocking=True).long()

    def logits(self, network: nn.Module, images: Tensor, *more: Any) -> Tensor:
        """(N, 3, H, W) float32 -> (N, K, H, W), in bfloat16 where that is the precision.

        `more` goes to the network as it is.
        """
        enabled = self.precision == "bf16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=enabled):
            return network(images, *more)


def select_accelerator(device: str, precision: str, said_as: str = "train.") -> Accelerator:
    """The machine that the parameters `train.device` and `train.precision` name.

    Args:
        said_as: what stands before `device` and `precision` in errors; of options, `--`.

    Raises:
        InputError: a device or precision that this computer does not have.
    """
    try:
        found = _device(device)
        native = _multiplies_bf16(found)
        if precision == "bf16" and not native:
            raise InputError(f"precision: {found} has no native bf16; use fp32 or auto")
        if precision == "auto":
            precision = "bf16" if native else "fp32"
        return Accelerator(found, precision)
    except InputError as error:
        raise InputError(f"{said_as}{error}") from None


@contextlib.contextmanager
def join_process_group(accelerator: Accelerator) -> Iterator[Accelerator]:
    """`machine` beside those of the other processes that torchrun has started, if it has."""
    with init_process_group(accelerator.device) as process_group:
        yield replace(accelerator, process_group=process_group)


def require_device_each(count: int, device: str) -> None:
    """`count` processes of this computer must each have a device that they can meet on.

    Raises:
        InputError: too few of them, or one that is named or stands alone.
    """
    found = _device(device)
    if found.index is not None or found.type == "mps":
        raise InputError(
            f"train.processes: {count} cannot share train.device {device}; use auto, cuda or cpu"
        )
    if found.type == "cuda" and count > torch.cuda.device_count():
        raise InputError(
            f"train.processes: {count} is more than the {torch.cuda.device_count()} CUDA devices "
            "of this computer; each takes one"
        )


def _device(name: str) -> torch.device:
    own = os.environ.get("LOCAL_RANK") if is_distributed() else None
    if name in ("auto", "cuda") and torch.cuda.is_available():
        name = "cuda" if own is None else f"cuda:{own}"
    elif name == "auto":
        name = "mps" if torch.backends.mps.is_available() else "cpu"
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", name):
        raise InputError(f"device: {name!r} names no device; use auto, cpu, mps, cuda, cuda:N")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise InputError(f"device: {name}: this computer has {count} CUDA devices")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise InputError("device: mps: this computer has no Apple GPU")
    return device


def _multiplies_bf16(device: torch.device) -> bool:
    """Whether `device` has instructions for bf16 products; emulation would be slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)  # from Ampere on
    if device.type == "cpu":
        abilities = torch.cpu.get_capabilities()
        return any(abilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))
    return False
