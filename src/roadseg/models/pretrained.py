"""Weights of another U-Net of this layout, as a start for training.

By name where the file has this network's names; by position where it has others, such as a model
of the well-known implementations from which this layout comes.
"""

import contextlib
import pickle
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from roadseg.config.class_map import ClassMap
from roadseg.models.model_file import describe_invalid_values
from roadseg.models.unet import UNet
from roadseg.provenance.model_metadata import read_classes
from roadseg.system.errors import InputError
from roadseg.system.memory import out_of_memory_as

_LAST = "out."
_WRAPPERS = ("module.", "_orig_mod.")  # of DataParallel and torch.compile
_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Of weights: what all of torch computes with; 8 bits are codes beside scales of their own."""


def load_pretrained(path: Path, network: UNet, class_map: ClassMap) -> str:
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
    entry, tensors = _tensors(path)
    found = _without_counts(_unwrapped(path, tensors))
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
    other_classes = read_classes(path) not in (None, class_map)
    for name, tensor in pairs.items():  # before anything else of them is asked
        _require_plain(path, name, tensor)
    left = [name for name in wanted if name.startswith(_LAST)]
    if other_classes or any(pairs[name].shape != wanted[name].shape for name in left):
        how += "; the last layer starts anew, for the classes are others"
        pairs = {name: tensor for name, tensor in pairs.items() if name not in left}
    fitting = {name: _fitting(path, name, pairs[name], wanted[name]) for name in pairs}
    network.load_state_dict(fitting, strict=False)
    return f"{len(fitting)} of {len(wanted)} tensors of {path}{entry}, {how}"


def _require_plain(path: Path, name: str, tensor: Tensor) -> None:
    is_plain = type(tensor) in (Tensor, torch.nn.Parameter) and not tensor.is_nested
    if not is_plain or tensor.layout is not torch.strided or tensor.device.type != "cpu":
        raise InputError(f"{path}: {name} holds no plain numbers")
    if tensor.dtype not in _TYPES:
        expected = ", ".join(str(dtype).removeprefix("torch.") for dtype in _TYPES)
        raise InputError(
            f"{path}: {name} holds no plain numbers, but {tensor.dtype}; expected one of {expected}"
        )


def _fitting(path: Path, name: str, tensor: Tensor, wanted: Tensor) -> Tensor:
    """`tensor` in float32, as the network will hold it: 1e300 is finite only before."""
    if tensor.shape != wanted.shape:
        raise InputError(
            f"{path}: {name} would be {_shape(tensor)}, this network has {_shape(wanted)}; set the "
            "parameters in model to those of the file"
        )
    tensor = tensor.detach().to(torch.float32)
    if wrong := describe_invalid_values(name, tensor):
        raise InputError(f"{path}: {name} holds values that are {wrong}, in float32")
    return tensor


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


def _tensors(path: Path) -> tuple[str, dict[str | int, Tensor]]:
    """The state dict in `path`, also one level down, and in words under which name it stands."""
    with _foreign(path):
        if path.suffix == ".safetensors":
            return "", load_file(path)
        with warnings.catch_warnings():  # what it thinks of the file; we say what matters of it
            warnings.simplefilter("ignore")
            saved = torch.load(path, map_location="cpu", weights_only=True)
    held = [("", _only_tensors(saved))]
    held += [(f" ({name})", _only_tensors(below)) for name, below in _named(saved).items()]
    most = max(len(tensors) for _, tensors in held)
    if not most:
        raise InputError(f"{path}: holds no weights; expected a state dict")
    largest = [entry for entry in held if len(entry[1]) == most]
    if len(largest) > 1:  # such as weights and their moving average
        names = " and".join(name or " the file itself" for name, _ in largest)
        raise InputError(
            f"{path}: holds {len(largest)} state dicts of {most} tensors,{names}; save the one "
            "that is meant alone"
        )
    return largest[0]


@contextlib.contextmanager
def _foreign(path: Path) -> Iterator[None]:
    """Turn every error of reading the foreign file `path` into an InputError.

    Which errors torch.load raises on a file of any content is documented nowhere.
    """
    try:
        with out_of_memory_as(f"{path}: out of memory while reading it; close other programs"):
            yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"train.start: {path}: no such file") from None
    except pickle.UnpicklingError:
        if not _is_pickled(path):
            raise InputError(f"{path}: no file of weights") from None
        raise InputError(
            f"{path}: holds more than weights, which is not loaded, for it could run code; save "
            "the network's state_dict() alone"
        ) from None
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path}: no file of weights that can be read ({reason})") from None


def _is_pickled(path: Path) -> bool:
    """Whether torch.save, of any age, may have written it."""
    with path.open("rb") as file:
        return zipfile.is_zipfile(path) or file.read(1) == b"\x80"


def _named(value: Any) -> dict[str | int, Any]:
    """What `value` holds by name, where it is a dictionary."""
    if not isinstance(value, dict):
        return {}
    return {name: held for name, held in value.items() if isinstance(name, str | int)}


def _only_tensors(value: Any) -> dict[str | int, Tensor]:
    return {name: held for name, held in _named(value).items() if isinstance(held, Tensor)}


def _unwrapped(path: Path, tensors: dict[str | int, Tensor]) -> dict[str, Tensor]:
    """By their names without those of wrappers; raises InputError where two would share one."""
    found: dict[str, str | int] = {}
    for name in tensors:
        other = found.setdefault(_plain(str(name)), name)
        if other is not name:
            raise InputError(f"{path}: holds both {other} and {name}; save the ones meant alone")
    return {plain: tensors[name] for plain, name in found.items()}


def _plain(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.removeprefix(wrapper)
    return name


def _without_counts(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the numbers of batches that norms have seen, which nothing reads."""
    return {name: tensor for name, tensor in tensors.items() if tensor.dim()}


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape))
