"""Initial weights from a state dict (`train.start`).

Tensors are matched by name. For a U-Net, they are matched by position if the file has other names,
as for models of the well-known implementations that share its layout.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from roadseg.config.class_map import ClassMap
from roadseg.models.network import Network
from roadseg.models.tensor_files import convert_tensor, list_names, read_state_dict
from roadseg.models.unet import UNet
from roadseg.provenance.model_metadata import read_classes
from roadseg.system.errors import InputError

_ADVICE = "set the section `model` of params.yaml to the values of that network"
_PREFIXES = ("", "encoder.", "encoder.model.")
"""Prefixes that turn names in a file into those of a network: of a whole network, of a
classification model or an encoder of torchvision, and of one of timm."""


class _Match(NamedTuple):
    pairs: dict[str, Tensor]
    """Tensors of the file by their name in the network."""
    how: str
    unused: Iterable[str] = ()
    """Names of the tensors of the file that the network does not have."""


def load_pretrained(path: Path, network: Network, class_map: ClassMap) -> str:
    """Copy the weights in `path` into `network`.

    The last layer keeps its initial weights if the file has other classes. If convolutions of a
    U-Net before a norm have no bias in the file, their biases are set to 0. Other networks need all
    tensors of their encoder; the others, such as those of the decoder, keep their initial weights
    if the file does not have them.

    Args:
        path: a safetensors file or a state dict written by torch.save; no code in it is executed.

    Returns:
        A summary for the user: how many tensors were loaded, how they were matched, which tensors
        keep their initial weights, and which ones of the file are not used.

    Raises:
        InputError: no such file, no weights in it, or weights that do not fit the network.
    """
    entry, tensors = read_state_dict(path, "train.start")
    found, wanted = _drop_scalars(tensors), _drop_scalars(network.state_dict())
    match = _match_unet if isinstance(network, UNet) else _match_by_name
    pairs, how, unused = match(path, network, wanted, found)
    last = [name for name in pairs if name.startswith(network.last_layer)]
    if read_classes(path) not in (None, class_map) or any(
        pairs[name].shape != wanted[name].shape for name in last
    ):
        how += "; the last layer keeps its random weights, because the classes differ"
        pairs = {name: tensor for name, tensor in pairs.items() if name not in last}
    else:
        last = []
    state = {n: convert_tensor(path, n, pairs[n], wanted[n], _ADVICE) for n in pairs}
    network.load_state_dict(state, strict=False)
    constants = dict(network.named_buffers(recurse=False))  # such as the mean of the pixels
    random = [name for name in wanted if name not in {*pairs, *last, *constants}]
    if random:
        how += f"; {len(random)} tensors keep their random weights ({list_names(random)})"
    if unused := list(unused):
        how += f"; {len(unused)} tensors of the file are not used ({list_names(unused)})"
    count = len(wanted.keys() - (constants.keys() - pairs.keys()))
    return f"{len(state)} of {count} tensors of {path}{entry}, {how}"


def _match_by_name(
    path: Path, network: Network, wanted: dict[str, Tensor], found: dict[str, Tensor]
) -> _Match:
    """Assign tensors to the names of `wanted`; require those of the encoder."""
    candidates = [{prefix + name: name for name in found} for prefix in _PREFIXES]
    names = max(candidates, key=lambda names: len(names.keys() & wanted.keys()))
    pairs = {name: found[names[name]] for name in wanted if name in names}
    missing = [name for name in _encoder_names(network, wanted) if name not in pairs]
    if missing:
        raise InputError(
            f"{path}: {len(missing)} tensors of the encoder are missing ({list_names(missing)}); "
            f"it has {list_names(sorted(found))}; set model.architecture and model.encoder to "
            "those of the file"
        )
    return _Match(pairs, "by name", [names[name] for name in names if name not in pairs])


def _encoder_names(network: Network, wanted: Iterable[str]) -> list[str]:
    """Return the names of the tensors of the encoder."""
    encoder = network.encoder_modules()
    prefixes = tuple(
        f"{name}." for name, module in network.named_modules() if any(module is m for m in encoder)
    )
    return [name for name in wanted if name.startswith(prefixes)]


def _match_unet(
    path: Path, network: Network, wanted: dict[str, Tensor], found: dict[str, Tensor]
) -> _Match:
    """Assign tensors to all names of `wanted`, by name or by position."""
    if wanted.keys() <= found.keys():
        if unknown := found.keys() - wanted.keys():
            raise InputError(
                f"{path}: has {min(unknown)}, but this network does not; check the section `model` "
                "of params.yaml"
            )
        return _Match({name: found[name] for name in wanted}, "by name")
    if path.suffix == ".safetensors":
        missing = next(name for name in wanted if name not in found)
        raise InputError(
            f"{path}: has no tensor named {missing}; safetensors does not keep the order of "
            "tensors, so other names can be matched only in a file written by torch.save"
        )
    return _Match(_match_by_position(path, wanted, list(found.values())), "by position")


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
