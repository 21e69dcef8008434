"""Weights of another U-Net of this layout, as a start for training.

By name where the file has this network's names; by position where it has others, such as a model
of the well-known implementations from which this layout comes.
"""

import pickle
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from src.files import InputError
from src.labels import ClassMap
from src.model.description import described_classes
from src.model.unet import UNet
from src.model.weights import impossible

_LAST = "out."
_UNREADABLE = (
    # what torch's and safetensors' readers raise on files of other kinds
    *(SafetensorError, OSError, EOFError, RuntimeError, ValueError, KeyError),
    *(IndexError, AttributeError, TypeError, AssertionError, NotImplementedError),
    *(OverflowError, MemoryError, struct.error),
)
_TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_WRAPPERS = ("module.", "_orig_mod.")  # of DataParallel and torch.compile


def load_start(path: Path, network: UNet, class_map: ClassMap) -> str:
    """Copy the weights in `path` into `network`.

    The last layer stays as it was drawn where the file's is of other classes. Convolutions without
    biases, as some implementations have them before a norm, get zeros.

    Args:
        path: a safetensors file, or what torch.save wrote of a state dict; nothing in it is run.

    Returns:
        What was loaded and how, for the user.

    Raises:
        InputError: no such file, no weights in it, or those of another network; says what differs.
    """
    found = _without_counts({_plain(name): tensor for name, tensor in _tensors(path).items()})
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
        how, pairs = "by position", _by_position(path, wanted, list(found.values()))
    other_classes = described_classes(path) not in (None, class_map.to_json())
    left = [name for name in wanted if name.startswith(_LAST)]
    if other_classes or any(pairs[name].shape != wanted[name].shape for name in left):
        how += "; the last layer starts anew, for the classes are others"
        pairs = {name: tensor for name, tensor in pairs.items() if name not in left}
    for name, tensor in pairs.items():
        _require_fits(path, name, tensor, wanted[name])
    network.load_state_dict(pairs, strict=False)
    return f"{len(pairs)} of {len(wanted)} tensors of {path}, {how}"


def _require_fits(path: Path, name: str, tensor: Tensor, wanted: Tensor) -> None:
    if tensor.shape != wanted.shape:
        raise InputError(
            f"{path}: {name} would be {_shape(tensor)}, this network has {_shape(wanted)}; set the "
            "parameters in model to those of the file"
        )
    plain = tensor.layout is torch.strided and tensor.dtype in _TYPES
    if not plain or tensor.device.type != "cpu":
        raise InputError(f"{path}: {name} holds no plain numbers ({tensor.dtype})")
    if wrong := impossible(name, tensor.to(wanted.dtype)):
        raise InputError(f"{path}: {name} holds values that are {wrong}")


def _by_position(path: Path, wanted: dict[str, Tensor], found: list[Tensor]) -> dict[str, Tensor]:
    """Name -> the tensor of `found` that stands where it does."""
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


def _tensors(path: Path) -> dict[str, Tensor]:
    """The state dict in `path`, also one level down, beside other things."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():  # what it thinks of the file; we say what matters of it
            warnings.simplefilter("ignore")
            saved = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"train.start: {path}: no such file") from None
    except pickle.UnpicklingError:
        if not _is_pickled(path):
            raise InputError(f"{path}: no file of weights") from None
        raise InputError(
            f"{path}: holds more than weights, which is not loaded, for it could run code; save "
            "the network's state_dict() alone"
        ) from None
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path}: no file of weights that can be read ({reason})") from None
    below = saved.values() if isinstance(saved, dict) else []
    found = max(map(_only_tensors, [saved, *below]), key=len)
    if not found:
        raise InputError(f"{path}: holds no weights; expected a state dict")
    return found


def _is_pickled(path: Path) -> bool:
    """Whether torch.save, of any age, may have written it."""
    with path.open("rb") as file:
        return zipfile.is_zipfile(path) or file.read(1) == b"\x80"


def _only_tensors(value: Any) -> dict[str, Tensor]:
    if not isinstance(value, dict):
        return {}
    return {str(name): tensor for name, tensor in value.items() if isinstance(tensor, Tensor)}


def _plain(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.removeprefix(wrapper)
    return name


def _without_counts(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the numbers of batches that norms have seen, which nothing reads."""
    return {name: tensor for name, tensor in tensors.items() if tensor.dim()}


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape))
