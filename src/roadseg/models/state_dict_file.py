"""Reading of state dicts: safetensors files and files written by torch.save."""

import contextlib
import pickle
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from roadseg.system.errors import InputError
from roadseg.system.memory import out_of_memory_as

_WRAPPERS = re.compile(r"^(module\.|_orig_mod\.|model\.)+")
"""Prefixes that DataParallel, torch.compile and Lightning modules add to the names."""


def read_state_dict(path: Path) -> tuple[str, dict[str, Tensor]]:
    """Read the state dict in `path`, or in an entry of the dictionary there.

    No code in the file is executed.

    Returns:
        The name of the entry, for messages, and the tensors by name, without the prefixes of
        wrappers, in the order of the file.

    Raises:
        InputError: no such file, no weights in it, or several state dicts.
    """
    entry, tensors = _read_entry(path)
    short = {_WRAPPERS.sub("", name): tensor for name, tensor in tensors.items()}
    return entry, short if len(short) == len(tensors) else tensors


def _read_entry(path: Path) -> tuple[str, dict[str, Tensor]]:
    with _explain_errors(path):
        if path.suffix == ".safetensors":
            return "", load_file(path)
        with warnings.catch_warnings(action="ignore"):  # about the format and the pickle protocol
            saved = torch.load(path, map_location="cpu", weights_only=True)
    entries = [("", _select_tensors(saved))]
    if isinstance(saved, dict):
        entries += [(f" ({name})", _select_tensors(value)) for name, value in saved.items()]
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
def _explain_errors(path: Path) -> Iterator[None]:
    """Convert errors of reading `path` to InputError; those of torch.load are undocumented."""
    try:
        with out_of_memory_as(f"{path}: out of memory while reading it; close other programs"):
            yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"train.start: {path}: no such file") from None
    except pickle.UnpicklingError:  # its message suggests weights_only=False
        raise InputError(
            f"{path}: not a file of weights, or it contains other objects, which are not loaded "
            "because they could execute code; save only the state_dict() of the network"
        ) from None
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path}: not a file of weights ({reason})") from None


def _select_tensors(value: Any) -> dict[str, Tensor]:
    if not isinstance(value, dict):
        return {}
    return {str(name): item for name, item in value.items() if isinstance(item, Tensor)}
