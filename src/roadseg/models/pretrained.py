"""Initial weights from another U-Net with the same layout.

Tensors are matched by name if the file has this network's names, else by position, as for models
of the well-known implementations that share this layout.
"""

from pathlib import Path

import torch
from torch import Tensor

from roadseg.config.class_map import ClassMap
from roadseg.models.network import Network
from roadseg.models.tensor_files import (
    format_shape,
    read_state_dict,
    remove_wrappers,
    to_float32,
)
from roadseg.provenance.model_metadata import read_classes
from roadseg.system.errors import InputError

_LAST = "out."


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
    entry, tensors = read_state_dict(path, "train.start")
    found = _drop_scalars({remove_wrappers(name): t for name, t in tensors.items()})
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
    if tensor.shape != wanted.shape:
        raise InputError(
            f"{path}: {name} has shape {format_shape(tensor)}, but {format_shape(wanted)} in this "
            "network; set the section `model` of params.yaml to the values of that network"
        )
    return to_float32(path, name, tensor)


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


def _drop_scalars(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Leave out `num_batches_tracked` of the norms, which is not used."""
    return {name: tensor for name, tensor in tensors.items() if tensor.dim()}
