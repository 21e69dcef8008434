"""Pretrained weights of the encoders of segmentation_models_pytorch (smp), an optional package."""

import difflib
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from roadseg.models.smp import explain_encoder_errors, import_smp
from roadseg.models.tensor_files import (
    convert_tensor,
    list_names,
    read_state_dict,
    read_tensors,
    write_tensors,
)
from roadseg.provenance.encoder_weights import ENCODER
from roadseg.system.errors import InputError

_PREFIX = "encoder."
_CLASSIFIERS = ("fc.", "_fc.", "classifier.", "head.", "last_linear.", "linear.")
"""Beginnings of names that only networks for classification have."""
_ADVICE = "set model.encoder to the encoder of these weights"


class HubFile(NamedTuple):
    """A file on the Hugging Face Hub, in a fixed version."""

    url: str
    repository: str
    revision: str


def find_imagenet_weights(encoder: str) -> HubFile:
    """Find the imagenet weights of `encoder` in the catalog of smp.

    Raises:
        InputError: there are none; the message has those that exist.
    """
    catalog = import_smp().encoders.encoders
    if encoder.startswith("tu-"):
        raise InputError(
            f"model.weights: {encoder} is an encoder of timm, whose weights have no fixed version; "
            "use an encoder of segmentation_models_pytorch, such as resnet34, or set train.start "
            "to a file of timm"
        )
    if encoder not in catalog:
        close = difflib.get_close_matches(encoder, catalog) or ["resnet34", "efficientnet-b0"]
        raise InputError(
            f"model.weights: there are no imagenet weights of an encoder {encoder}; "
            f"segmentation_models_pytorch has {', '.join(close)} and others"
        )
    published = catalog[encoder]["pretrained_settings"]
    files = {name: _hub_file(**settings) for name, settings in published.items()}
    if "imagenet" not in files:
        others = ", ".join(f"{name}: {file.url}" for name, file in files.items())
        raise InputError(
            f"model.weights: {encoder} has no imagenet weights; use the URL of others ({others})"
        )
    return files["imagenet"]


def _hub_file(repo_id: str, revision: str) -> HubFile:
    from huggingface_hub import hf_hub_url

    return HubFile(hf_hub_url(repo_id, "model.safetensors", revision=revision), repo_id, revision)


def convert_encoder_weights(path: Path, encoder: str, folder: Path) -> str:
    """Write the weights in `path` to `folder`, with the names and shapes of smp's `encoder`.

    The file may have the names of smp, which are torchvision's for resnet, vgg and mobilenet_v2, or
    be a whole network of smp. Tensors of integers, such as the counters of batch norms, are not
    read; they are those of a new encoder.

    Args:
        path: a safetensors file or a state dict written by torch.save; no code in it is executed.

    Returns:
        A summary for the user: how many tensors were read, and which were left out.

    Raises:
        InputError: not a file of weights, or not those of this encoder.
    """
    entry, tensors = read_state_dict(path, "model.weights")
    found = {n.removeprefix(_PREFIX): t for n, t in tensors.items() if n.startswith(_PREFIX)}
    found = found or tensors
    wanted = _new_encoder(encoder).state_dict()
    state = {
        name: _convert(path, encoder, name, found.get(name), tensor)
        for name, tensor in wanted.items()
    }
    for name in sorted(found.keys() - wanted.keys()):
        if not name.startswith(_CLASSIFIERS):
            raise InputError(f"{path}: has {name}, but {encoder} does not; {_ADVICE}")
    write_tensors(folder / ENCODER, state, {"format": "pt"})
    used = {name for name in tensors if name.removeprefix(_PREFIX) in wanted}
    left_out = sorted(tensors.keys() - used)
    names = f" ({list_names(left_out)})" if left_out else ""
    return f"{len(used)} of {len(tensors)} tensors{entry}, left out {len(left_out)}{names}"


def _convert(path: Path, encoder: str, name: str, tensor: Tensor | None, wanted: Tensor) -> Tensor:
    """Return `tensor` in float32 if it has the shape of `wanted`."""
    if not wanted.is_floating_point():
        return wanted
    if tensor is None:
        raise InputError(f"{path}: has no {name}, which {encoder} needs; {_ADVICE}")
    converted = convert_tensor(path, name, tensor, wanted, _ADVICE)
    # safetensors refuses tensors that share memory, which those of torch.save may
    return converted.clone(memory_format=torch.contiguous_format)


def load_encoder_weights(folder: Path, network: nn.Module) -> None:
    """Copy the weights in the output `folder` of the stage weights into `network.encoder`.

    Raises:
        InputError: the file is missing, damaged or has weights of another encoder.
    """
    module = network.get_submodule("encoder")
    # smp's own load_state_dict renames tensors of other files
    nn.Module.load_state_dict(module, read_tensors(folder / ENCODER, module.state_dict()))


def _new_encoder(encoder: str) -> nn.Module:
    """Build an encoder with random weights."""
    encoders = import_smp().encoders
    with explain_encoder_errors(f"{encoder} cannot be used"):
        module: nn.Module = encoders.get_encoder(encoder, weights=None)
    return module
