"""Weights of another U-Net of this layout, as a start for training.

By name where the file has this network's names; by position where it has others, such as a model
of the well-known implementations from which this layout comes.
"""

import contextlib
import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from roadseg.config.class_map import ClassMap
from roadseg.models.unet import UNet
from roadseg.provenance.model_metadata import read_classes
from roadseg.system.errors import InputError
from roadseg.system.memory import out_of_memory_as

_LAST = "out."
_WRAPPERS = ("module.", "_orig_mod.")  # of DataParallel and torch.compile
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Accepted dtypes; weights of 8 bits are codes that need scales of their own."""


def load_pretrained(path: Path, network: UNet, class_map: ClassMap) -> str:
    """Copy the weights in `path` into `network`.

    The last layer keeps its initial weights if the file has other classes. Convolutions without
    biases, which some implementations have before a norm, get zeros.

    Args:
        path: a safetensors file, or a state dict that torch.save wrote; nothing in it is executed.

    Returns:
        A line for the user that says what was loaded and how.

    Raises:
        InputError: no such file, no weights in it, or those of another network; says what differs.
    """
    entry, tensors = _read_state_dict(path)
    found = _without_counts({_remove_wrappers(name): t for name, t in tensors.items()})
    wanted = _without_counts(network.state_dict())
    if wanted.keys() <= found.keys():
        if others := found.keys() - wanted.keys():
            raise InputError(
                f"{path}: has {min(others)}, which this network has not; check the section model"
            )
        how, pairs = "by name", {name: found[name] for name in wanted}
    elif path.suffix == ".safetensors":
        missing = next(name for name in wanted if name not in found)
        raise InputError(
            f"{path}: has no weight named {missing}; safetensors files keep no order, so other "
            "names than this network's need a file that torch.save wrote"
        )
    else:
        how, pairs = "by position", _match_by_position(path, wanted, list(found.values()))
    other_classes = read_classes(path) not in (None, class_map)
    last = [name for name in wanted if name.startswith(_LAST)]
    if other_classes or any(pairs[name].shape != wanted[name].shape for name in last):
        how += "; the last layer starts anew, for the classes are others"
        pairs = {name: tensor for name, tensor in pairs.items() if name not in last}
    state = {name: _convert(path, name, pairs[name], wanted[name]) for name in pairs}
    network.load_state_dict(state, strict=False)
    return f"{len(state)} of {len(wanted)} tensors of {path}{entry}, {how}"


def _convert(path: Path, name: str, tensor: Tensor, wanted: Tensor) -> Tensor:
    """Return `tensor` in float32, if it has the shape of `wanted` and finite values."""
    if tensor.dtype not in _DTYPES or tensor.layout is not torch.strided or tensor.is_meta:
        expected = ", ".join(str(dtype).removeprefix("torch.") for dtype in _DTYPES)
        raise InputError(
            f"{path}: {name} is {tensor.dtype} ({tensor.layout}); expected a dense tensor of one "
            f"of {expected}"
        )
    if tensor.shape != wanted.shape:
        raise InputError(
            f"{path}: {name} would be {_shape(tensor)}, this network has {_shape(wanted)}; set the "
            "parameters in model to those of the file"
        )
    tensor = tensor.detach().to(torch.float32)
    if not tensor.isfinite().all():  # 1e300 is finite in float64 only
        raise InputError(f"{path}: {name} holds values that are not finite in float32")
    return tensor


def _match_by_position(
    path: Path, wanted: dict[str, Tensor], found: list[Tensor]
) -> dict[str, Tensor]:
    """Return the tensors of `found` under the names that have their positions in `wanted`."""
    weights = [name for name, tensor in wanted.items() if tensor.shape[2:] == (3, 3)]
    biases = [name.replace(".weight", ".bias") for name in weights]  # a norm follows each
    without = [name for name in wanted if name not in biases]
    if len(found) == len(wanted):
        return dict(zip(wanted, found, strict=True))
    if len(found) == len(without):
        zeros = {name: torch.zeros_like(wanted[name]) for name in biases}
        return {**dict(zip(without, found, strict=True)), **zeros}
    raise InputError(
        f"{path}: holds {len(found)} tensors, a U-Net of this layout {len(wanted)} (or "
        f"{len(without)}, without biases before norms); check model.bilinear and model.norm"
    )


def _read_state_dict(path: Path) -> tuple[str, dict[str, Tensor]]:
    """Read the state dict in `path`, or in an entry of the dictionary there.

    Returns:
        The name of that entry for a message, and the tensors by name.
    """
    with _explain_errors(path):
        if path.suffix == ".safetensors":
            return "", load_file(path)
        with warnings.catch_warnings(action="ignore"):  # about the age and protocol of the file
            saved = torch.load(path, map_location="cpu", weights_only=True)
    entries = [("", _only_tensors(saved))]
    if isinstance(saved, dict):
        entries += [(f" ({name})", _only_tensors(value)) for name, value in saved.items()]
    most = max(len(tensors) for _, tensors in entries)
    if not most:
        raise InputError(f"{path}: holds no weights; expected a state dict")
    largest = [entry for entry in entries if len(entry[1]) == most]
    if len(largest) > 1:  # such as weights and their moving average
        names = " and".join(name or " the file itself" for name, _ in largest)
        raise InputError(
            f"{path}: holds {len(largest)} state dicts of {most} tensors,{names}; save the one "
            "that is meant alone"
        )
    return largest[0]


@contextlib.contextmanager
def _explain_errors(path: Path) -> Iterator[None]:
    """Turn errors of reading `path` into InputErrors; those of torch.load are not documented."""
    try:
        with out_of_memory_as(f"{path}: out of memory while reading it; close other programs"):
            yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"train.start: {path}: no such file") from None
    except pickle.UnpicklingError:  # its message advises to load the file without protection
        raise InputError(
            f"{path}: not a file of weights, or it holds more than weights, which is not loaded "
            "because it could run code; save the network's state_dict() alone"
        ) from None
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path}: not a file of weights ({reason})") from None


def _only_tensors(value: Any) -> dict[str, Tensor]:
    if not isinstance(value, dict):
        return {}
    return {str(name): held for name, held in value.items() if isinstance(held, Tensor)}


def _remove_wrappers(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.removeprefix(wrapper)
    return name


def _without_counts(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Leave out the number of batches that each norm has seen, which nothing reads."""
    return {name: tensor for name, tensor in tensors.items() if tensor.dim()}


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape))
