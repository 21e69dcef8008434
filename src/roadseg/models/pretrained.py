"""Initial weights from another U-Net with the same layout.

Tensors are matched by name if the file has this network's names, else by position, as for models
of the well-known implementations that share this layout.
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
from roadseg.models.network import Network
from roadseg.provenance.model_metadata import read_classes
from roadseg.system.errors import InputError
from roadseg.system.memory import out_of_memory_as

_LAST = "out."
_WRAPPERS = ("module.", "_orig_mod.")  # of DataParallel and torch.compile
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Accepted dtypes; 8-bit weights are quantized and need scales that the file may lack."""


def load_pretrained(path: Path, network: Network, class_map: ClassMap) -> str:
    """Copy the weights in `path` into `network`.

    The last layer keeps its initial weights if the file has other classes. If convolutions before a
    norm have no bias in the file, their biases are set to 0.

    Args:
        path: a safetensors file or a state dict written by torch.save; no code in it is executed.

    Returns:
        A summary for the user: how many tensors were loaded, and how they were matched.

    Raises:
        InputError: no such file, no weights in it, or weights that do not fit the network.
    """
    entry, tensors = _read_state_dict(path)
    found = _drop_scalars({_remove_wrappers(name): t for name, t in tensors.items()})
    wanted = _drop_scalars(network.state_dict())
    if wanted.keys() <= found.keys():
        if unknown := found.keys() - wanted.keys():
            raise InputError(
                f"{path}: has {min(unknown)}, but this network does not; check the section `model` "
                "of params.yaml"
            )
        how, pairs = "by name", {name: found[name] for name in wanted}
    elif path.suffix == ".safetensors":
        missing = next(name for name in wanted if name not in found)
        raise InputError(
            f"{path}: has no tensor named {missing}; safetensors does not keep the order of "
            "tensors, so other names can be matched only in a file written by torch.save"
        )
    else:
        how, pairs = "by position", _match_by_position(path, wanted, list(found.values()))
    other_classes = read_classes(path) not in (None, class_map)
    last = [name for name in wanted if name.startswith(_LAST)]
    if other_classes or any(pairs[name].shape != wanted[name].shape for name in last):
        how += "; the last layer keeps its random weights, because the classes differ"
        pairs = {name: tensor for name, tensor in pairs.items() if name not in last}
    state = {name: _convert(path, name, pairs[name], wanted[name]) for name in pairs}
    network.load_state_dict(state, strict=False)
    return f"{len(state)} of {len(wanted)} tensors of {path}{entry}, {how}"


def _convert(path: Path, name: str, tensor: Tensor, wanted: Tensor) -> Tensor:
    """Convert `tensor` to float32; require the shape of `wanted` and finite values."""
    if tensor.dtype not in _DTYPES or tensor.layout is not torch.strided or tensor.is_meta:
        expected = ", ".join(str(dtype).removeprefix("torch.") for dtype in _DTYPES)
        raise InputError(
            f"{path}: {name} is {tensor.dtype} ({tensor.layout}); expected a dense tensor of one "
            f"of {expected}"
        )
    if tensor.shape != wanted.shape:
        raise InputError(
            f"{path}: {name} has shape {_shape(tensor)}, but {_shape(wanted)} in this network; set "
            "the section `model` of params.yaml to the values of that network"
        )
    tensor = tensor.detach().to(torch.float32)
    if not tensor.isfinite().all():  # 1e300 is finite in float64 only
        raise InputError(f"{path}: {name} contains values that are not finite in float32")
    return tensor


def _match_by_position(
    path: Path, wanted: dict[str, Tensor], found: list[Tensor]
) -> dict[str, Tensor]:
    """Assign the tensors `found`, in order, to the names of `wanted`."""
    weights = [name for name, tensor in wanted.items() if tensor.shape[2:] == (3, 3)]
    biases = [name.replace(".weight", ".bias") for name in weights]  # a norm follows each
    without_biases = [name for name in wanted if name not in biases]
    if len(found) == len(wanted):
        return dict(zip(wanted, found, strict=True))
    if len(found) == len(without_biases):
        zeros = {name: torch.zeros_like(wanted[name]) for name in biases}
        return {**dict(zip(without_biases, found, strict=True)), **zeros}
    raise InputError(
        f"{path}: contains {len(found)} tensors, but this U-Net has {len(wanted)} (or "
        f"{len(without_biases)} without biases before norms); check model.unet.bilinear and "
        "model.unet.norm"
    )


def _read_state_dict(path: Path) -> tuple[str, dict[str, Tensor]]:
    """Read the state dict in `path`, or in an entry of the dictionary there.

    Returns:
        The name of the entry, for messages, and the tensors by name.
    """
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


def _remove_wrappers(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.removeprefix(wrapper)
    return name


def _drop_scalars(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Leave out `num_batches_tracked` of the norms, which is not used."""
    return {name: tensor for name, tensor in tensors.items() if tensor.dim()}


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape))
