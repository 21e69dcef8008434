"""Files of named tensors: safetensors, and state dicts of others, whose code is never executed."""

import contextlib
import pickle
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from roadseg.provenance.model_metadata import explain_read_errors
from roadseg.system.errors import InputError, one_line
from roadseg.system.files import atomic_file
from roadseg.system.memory import out_of_memory_as

_NAMES = {torch.float32: "F32", torch.int64: "I64", torch.int32: "I32", torch.bool: "BOOL"}
"""safetensors names of the dtypes of parameters and buffers."""
_WRAPPERS = re.compile(r"^(module\.|_orig_mod\.|model\.)+")
"""Prefixes that DataParallel, torch.compile and Lightning modules add to the names."""
_NUM_NAMES = 3
"""Number of tensors that a message lists."""
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Accepted dtypes; 8-bit weights are quantized and need scales that the file may lack."""


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write tensors and metadata as safetensors.

    Args:
        metadata: at most one key, because safetensors writes several in random order.

    Raises:
        InputError: the file cannot be written.
    """
    state = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    try:
        with atomic_file(path) as temporary:
            temporary.touch()
            default_mode = temporary.stat().st_mode
            save_file(state, temporary, metadata=metadata)
            temporary.chmod(default_mode)  # safetensors makes it unreadable for other users
    except SafetensorError as error:  # for example if the disk is full
        raise InputError(f"{path}: cannot be written: {error}") from None


def read_tensors(path: Path, template: dict[str, Tensor]) -> dict[str, Tensor]:
    """Read the tensors in `path`; require the names, shapes and dtypes of `template`."""
    expected = {name: (list(t.shape), _NAMES[t.dtype]) for name, t in template.items()}
    with explain_read_errors(path), safe_open(path, framework="pt") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        found = {name: (s.get_shape(), s.get_dtype()) for name, s in slices.items()}
        if found != expected:
            name = min(n for n in found | expected if found.get(n) != expected.get(n))
            raise InputError(
                f"{path}: the weights do not fit the network: {name} is "
                f"{found.get(name, 'missing')}, expected {expected.get(name, 'no such tensor')}"
            )
        state = {name: file.get_tensor(name) for name in expected}
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise InputError(f"{path}: {name} contains values that are not finite")
    return state


def read_state_dict(path: Path, key: str) -> tuple[str, dict[str, Tensor]]:
    """Read the state dict in `path`, or in an entry of the dictionary there.

    Args:
        path: a safetensors file or a state dict written by torch.save.
        key: the parameter that names the file, for error messages.

    Returns:
        The name of the entry, for messages, and the tensors by name, without the prefixes of
        wrappers, in the order of the file.

    Raises:
        InputError: no such file, no weights in it, or several state dicts of the same size.
    """
    entry, tensors = _read_entry(path, key)
    short = {_WRAPPERS.sub("", name): tensor for name, tensor in tensors.items()}
    return entry, short if len(short) == len(tensors) else tensors


def _read_entry(path: Path, key: str) -> tuple[str, dict[str, Tensor]]:
    with _explain_errors(path, key):
        if path.suffix == ".safetensors":
            return "", load_file(path)
        with warnings.catch_warnings(action="ignore"):  # about the format and the pickle protocol
            saved = torch.load(path, map_location="cpu", weights_only=True)
    entries = [("", _select_tensors(saved))]
    if isinstance(saved, dict):
        entries += [
            (f" ({one_line(str(name)[:80])})", _select_tensors(value))
            for name, value in saved.items()
        ]
    most = max(len(tensors) for _, tensors in entries)
    if not most:
        raise InputError(f"{path}: contains no weights; expected a state dict")
    largest = [entry for entry in entries if len(entry[1]) == most]
    if len(largest) > 1:  # for example weights and their moving average
        names = " and".join(name or " the file itself" for name, _ in largest)
        raise InputError(
            f"{path}: contains {len(largest)} state dicts of {most} tensors,{names}; save only the "
            "one to load"
        )
    return largest[0]


@contextlib.contextmanager
def _explain_errors(path: Path, key: str) -> Iterator[None]:
    """Convert errors of reading `path` to InputError; those of torch.load are undocumented."""
    try:
        with out_of_memory_as(f"{path}: out of memory while reading it; close other programs"):
            yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{key}: {path}: no such file") from None
    except pickle.UnpicklingError:  # its message suggests weights_only=False
        raise InputError(
            f"{path}: not a file of weights, or it contains other objects, which are not loaded "
            "because they could execute code; save only the state_dict() of the network"
        ) from None
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"{path}: not a file of weights ({reason}); if it is incomplete, download it again"
        ) from None


def _select_tensors(value: Any) -> dict[str, Tensor]:
    if not isinstance(value, dict):
        return {}
    return {str(name): item for name, item in value.items() if isinstance(item, Tensor)}


def convert_tensor(path: Path, name: str, tensor: Tensor, wanted: Tensor, advice: str) -> Tensor:
    """Convert the tensor `name` of the file `path` to float32.

    Raises:
        InputError: it has another shape than `wanted`, is not dense, or has values that are not
            finite; `advice` says what to do about another shape.
    """
    if tensor.dtype not in _DTYPES or tensor.layout is not torch.strided or tensor.is_meta:
        expected = ", ".join(str(dtype).removeprefix("torch.") for dtype in _DTYPES)
        raise InputError(
            f"{path}: {name} is {tensor.dtype} ({tensor.layout}); expected a dense tensor of one "
            f"of {expected}"
        )
    if tensor.shape != wanted.shape:
        found, expected = ("x".join(map(str, t.shape)) for t in (tensor, wanted))
        raise InputError(
            f"{path}: {name} has shape {found}, but {expected} in this network; {advice}"
        )
    tensor = tensor.detach().to(torch.float32)
    if not tensor.isfinite().all():  # 1e300 is finite in float64 only
        raise InputError(f"{path}: {name} contains values that are not finite in float32")
    return tensor


def list_names(names: Sequence[str]) -> str:
    """Format the first names of tensors, which may be those of a hostile file."""
    more = ", .." if len(names) > _NUM_NAMES else ""
    return ", ".join(one_line(name[:80]) for name in names[:_NUM_NAMES]) + more
