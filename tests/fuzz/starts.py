"""Hostile files of initial weights (train.start), for train."""

import io
import json
import random
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors.numpy import load

from roadseg.models.unet import UNet
from tests.fuzz.case import Case, CaseBuilder
from tests.fuzz.checks import check_training_outputs
from tests.fuzz.mutation import mutate_bytes, truncate_bytes
from tests.fuzz.tensors import change_header, change_tensors, save_model
from tests.fuzz.workspace import (
    CACHE,
    DESCRIPTION,
    MODEL,
    PLAN_FILE,
    SPLIT_FILE,
    TRAIN,
    UNET,
    copy_in,
    valid_workspace,
)

ENDINGS = (".pth", ".pt", ".safetensors", "", ".zip", ".SAFETENSORS")


def make_case(work: Path, data: bytes, ending: str, fits: bool | None = None) -> Case:
    """Train for one epoch from the file; `fits`: whether it must be accepted (None: either)."""
    start = f"start{ending}"
    (work / start).write_bytes(data)
    copy_in(work, "params.yaml", CACHE, SPLIT_FILE, PLAN_FILE)
    (work / "models").mkdir()  # empty, because DVC removes the outs before it runs a stage
    text = (work / "params.yaml").read_text()
    (work / "params.yaml").write_text(text.replace("  start:\n", f"  start: {start}\n"))

    def check() -> None:
        assert fits is not False, "weights that do not fit were accepted"
        check_training_outputs(work)

    # Training diverges if finite weights are too large.
    return Case([TRAIN], ("train: ", "sample" if fits else start), check)


def make_network() -> UNet:
    torch.manual_seed(1)
    return UNet(**UNET)


def save_bytes(value: Any, legacy: bool = False) -> bytes:
    """Return the file that torch.save writes, with numbers instead of addresses of storages."""
    buffer, address = io.BytesIO(), torch.UntypedStorage._cdata
    numbers: dict[int, int] = {}

    def number(storage: torch.UntypedStorage) -> int:
        return numbers.setdefault(address.__get__(storage), len(numbers))

    with mock.patch.object(torch.UntypedStorage, "_cdata", property(number)):
        torch.save(value, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def original(rng: random.Random) -> tuple[bytes, str]:
    """Return the content of a valid file, and its suffix."""
    if rng.random() < 0.3:
        return (valid_workspace() / MODEL).read_bytes(), ".safetensors"
    return save_bytes(make_network().state_dict(), legacy=rng.random() < 0.4), ".pth"


def mutate_start(rng: random.Random, work: Path) -> Case:
    data, ending = original(rng)
    if rng.random() < 0.5:  # only the beginning, which holds the structure
        start = data[:1500]
        return make_case(work, mutate_bytes(rng, start) + data[1500:], ending)
    return make_case(work, mutate_bytes(rng, data), ending)


def truncate_start(rng: random.Random, work: Path) -> Case:
    data, ending = original(rng)
    return make_case(work, truncate_bytes(rng, data), rng.choice((ending, ending, *ENDINGS)))


def change_weights(rng: random.Random, work: Path) -> Case:
    """Change weights, header or metadata of a safetensors file."""
    data = (valid_workspace() / MODEL).read_bytes()
    kind = rng.randrange(3)
    if kind == 0:
        return make_case(work, change_header(rng, data), ".safetensors")
    tensors = load(data)
    if kind == 1:
        tensors = change_tensors(rng, tensors)
    texts = (None, "", "{}", "[" * 5000, json.dumps(DESCRIPTION), '{"classes": 1}', "null")
    return make_case(work, save_model(tensors, rng.choice(texts)), ".safetensors")


def use_other_network(rng: random.Random, work: Path) -> Case:
    """Save a U-Net with the same or other options."""
    changes = {
        **{"num_classes": rng.choice((12, 12, 11, 1)), "base_channels": rng.choice((1, 1, 1, 2))},
        **{"bilinear": rng.random() < 0.7, "norm": rng.choice(("batch", "batch", "group"))},
    }
    torch.manual_seed(rng.randrange(1000))
    state = UNet(**{**UNET, **changes}).state_dict()
    same = {**changes, "num_classes": 12} == {k: UNET[k] for k in changes}
    if rng.random() < 0.4:  # tensor names of another implementation
        state = {f"layer{i}": tensor for i, tensor in enumerate(state.values())}
    fits = same if same or changes["base_channels"] == 2 else None
    return make_case(work, save_bytes(state), ".pth", fits)


KINDS: dict[str, CaseBuilder] = {
    "start mutated": mutate_start,
    "start cut": truncate_start,
    "start weights": change_weights,
    "start other networks": use_other_network,
}
