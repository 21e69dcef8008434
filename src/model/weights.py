"""A model on disk: a safetensors file that also says what network its weights belong to."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from src.files import InputError, replaced_file
from src.labels import ClassMap
from src.model.description import KEY, read_description, readable
from src.model.unet import UNet


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
        with replaced_file(path) as temporary:
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
            fit the network it describes.
    """
    with readable(path):
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        description = read_description(path)
        _require_whole(description)
        network = UNet(**description["unet"])
        network.load_state_dict(state)
    return network.eval(), description


def _require_whole(description: dict[str, Any]) -> None:
    """Raise KeyError, TypeError or ValueError where `description` is not of this project."""
    scale, classes = description["scale"], description["classes"]["classes"]
    _ = description["ignored_class"]
    if not 0 < scale <= 1:
        raise ValueError(f"scale {scale} is not above 0, at most 1")
    if len(classes) != description["unet"]["num_classes"]:
        raise ValueError(f"{len(classes)} classes for a network of another number")
