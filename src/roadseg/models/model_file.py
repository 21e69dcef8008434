"""Model files: safetensors with the weights of a network and its metadata."""

from pathlib import Path

import torch
from torch import Tensor

from roadseg.config.class_map import ClassMap
from roadseg.models.network import Network
from roadseg.models.registry import build_network
from roadseg.models.tensor_files import read_tensors, write_tensors
from roadseg.provenance.model_metadata import (
    KEY,
    ModelMetadata,
    read_metadata,
)
from roadseg.system.errors import InputError


def epoch_file(folder: Path, epoch: int) -> Path:
    """Path of the weights of `epoch` (1, 2, ..)."""
    return folder / f"epoch_{epoch:03d}.safetensors"


def save_weights(path: Path, weights: dict[str, Tensor], metadata: ModelMetadata) -> None:
    """Write the state dict of a network with its metadata.

    Args:
        weights: parameters and buffers, in float32.

    Raises:
        InputError: the file cannot be written.
    """
    write_tensors(path, weights, {KEY: metadata.to_json()})


def load_network(path: Path, class_map: ClassMap) -> tuple[Network, ModelMetadata]:
    """Load a model that was trained on the classes of `class_map`.

    Raises:
        InputError: as `load_model`, and if the classes differ.
    """
    network, metadata = load_model(path)
    if metadata.classes != class_map:
        raise InputError(f"{path}: was trained on other classes than those of the prepared masks")
    return network, metadata


def load_model(path: Path) -> tuple[Network, ModelMetadata]:
    """Load the network in `path`, on the CPU and in evaluation mode, and its metadata.

    Raises:
        InputError: no such file, not a model of this project, or weights that are not finite or
            do not fit the network that the metadata describe.
    """
    metadata = read_metadata(path, ModelMetadata)
    try:
        with torch.device("meta"):  # allocates nothing, whatever size the metadata claim
            network = _build(path, metadata)
    except InputError:  # some encoders, such as mit_b0, read numbers from tensors when built
        network = _build(path, metadata)
    state = read_tensors(path, network.state_dict())
    if state.keys() >= dict(network.named_buffers()).keys():
        network.to_empty(device="cpu")
    else:  # buffers that are not saved, such as tables of positions
        network = _build(path, metadata)
    network.load_state_dict(state)
    return network.eval(), metadata


def _build(path: Path, metadata: ModelMetadata) -> Network:
    try:
        return build_network(metadata.architecture, metadata.network)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
