"""A model on disk: a safetensors file that also says what network its weights belong to."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from roadseg.config.class_map import ClassMap
from roadseg.models.unet import UNet
from roadseg.provenance.model_metadata import KEY, read_description, readable
from roadseg.system.errors import InputError
from roadseg.system.files import atomic_file


def epoch_file(folder: Path, epoch: int) -> Path:
    """The checkpoint of `epoch` (1, 2, ..)."""
    return folder / f"epoch_{epoch:03d}.safetensors"


def save_weights(path: Path, weights: dict[str, Tensor], description: dict[str, Any]) -> None:
    """Write weights and buffers of a network in float32, with `description` as JSON beside them.

    `weights` are its state_dict; `description` must hold `unet`, the keyword arguments that build
    the network, `classes`, the class map as JSON, `ignored_class`, the id of a class that was not
    trained or None, and `scale`, the share of their size at which pictures pass the network.
    Raises InputError where the file cannot be written.
    """
    state = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    metadata = {KEY: json.dumps(description, sort_keys=True)}
    try:
        with atomic_file(path) as temporary:
            temporary.touch()
            usual = temporary.stat().st_mode
            save_file(state, temporary, metadata=metadata)
            temporary.chmod(usual)  # safetensors lets nobody else read it
    except SafetensorError as error:  # a full disk among them
        raise InputError(f"{path}: cannot be written: {error}") from None


def load_network(path: Path, class_map: ClassMap) -> tuple[UNet, dict[str, Any]]:
    """The network in `path`, as `load_model` gives it, where its classes are those of `class_map`.

    Raises:
        InputError: as `load_model`, and a network of other classes than `class_map`.
    """
    network, description = load_model(path)
    if description["classes"] != class_map.to_json():
        raise InputError(f"{path}: was trained on other classes than the cached masks have")
    return network, description


def load_model(path: Path) -> tuple[UNet, dict[str, Any]]:
    """The network in `path`, on the CPU in evaluation mode, and its description.

    Raises:
        InputError: no such file, not a safetensors file of this project, or weights that do not
            fit the network it describes or are no finite numbers.
    """
    description = read_description(path)
    with torch.device("meta"):  # takes no memory, whatever size the file claims
        network = UNet(**description["unet"])
    state = _fitting_tensors(path, network.state_dict())
    network.to_empty(device="cpu").load_state_dict(state)
    return network.eval(), description


def _fitting_tensors(path: Path, wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors in `path`, which have the names, shapes and types of `wanted`."""
    with readable(path), safe_open(path, framework="pt") as file:
        found = set(file.keys())
        if others := found ^ wanted.keys():
            has = "has no" if min(others) in wanted else "has a"
            raise InputError(f"{path}: the weights do not fit the network: it {has} {min(others)}")
        for name, tensor in wanted.items():  # before any is loaded
            shape = list(tensor.shape)
            if file.get_slice(name).get_shape() != shape:
                raise InputError(
                    f"{path}: the weights do not fit the network: {name} would be "
                    f"{file.get_slice(name).get_shape()}, its description says {shape}"
                )
        state = {name: file.get_tensor(name) for name in wanted}
    for name, tensor in state.items():
        if tensor.dtype != wanted[name].dtype:
            raise InputError(f"{path}: {name} is {tensor.dtype}, expected {wanted[name].dtype}")
        if wrong := describe_invalid_values(name, tensor):
            raise InputError(f"{path}: {name} holds values that are {wrong}; train again")
    return state


def describe_invalid_values(name: str, tensor: Tensor) -> str | None:
    """What the values of the weight or buffer `name` are that they cannot be, None if all can."""
    if not tensor.isfinite().all():
        return "not finite numbers"
    if name.endswith(".running_var") and (tensor < 0).any():
        return "no variances, for some are negative"
    return None
