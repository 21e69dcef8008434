"""Model files: safetensors with the weights of a network and its metadata."""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from roadseg.config.class_map import ClassMap
from roadseg.models.network import Network
from roadseg.models.registry import build_network
from roadseg.provenance.model_metadata import (
    KEY,
    ModelMetadata,
    explain_read_errors,
    read_metadata,
)
from roadseg.system.errors import InputError
from roadseg.system.files import atomic_file

_DTYPES = {torch.float32: "F32", torch.int64: "I64"}
"""safetensors names of the dtypes in a state dict."""


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
    state = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    try:
        with atomic_file(path) as temporary:
            temporary.touch()
            default_mode = temporary.stat().st_mode
            save_file(state, temporary, metadata={KEY: metadata.to_json()})
            temporary.chmod(default_mode)  # safetensors makes it unreadable for other users
    except SafetensorError as error:  # for example if the disk is full
        raise InputError(f"{path}: cannot be written: {error}") from None


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
    with torch.device("meta"):  # allocates nothing, whatever size the metadata claim
        network = _build(path, metadata)
    state = _read_tensors(path, network.state_dict())
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


def _read_tensors(path: Path, template: dict[str, Tensor]) -> dict[str, Tensor]:
    """Read the tensors in `path`; require the names, shapes and dtypes of `template`."""
    expected = {name: (list(t.shape), _DTYPES[t.dtype]) for name, t in template.items()}
    with explain_read_errors(path), safe_open(path, framework="pt") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        found = {name: (s.get_shape(), s.get_dtype()) for name, s in slices.items()}
        if found != expected:
            name = min(n for n in found | expected if found.get(n) != expected.get(n))
            raise InputError(
                f"{path}: the weights do not fit the network: {name} is "
                f"{found.get(name, 'missing')}, expected {expected.get(name, 'no such tensor')}"
            )
        state = {name: file.get_tensor(name) for name in expected}
    for name, tensor in state.items():
        if not tensor.isfinite().all():
            raise InputError(f"{path}: {name} contains values that are not finite; train again")
    return state
