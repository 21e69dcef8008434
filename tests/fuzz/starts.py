"""Hostile files of weights to start from (train.start), for train."""

import io
import json
import random
from pathlib import Path
from typing import Any

import torch
from safetensors.numpy import load

from roadseg.models.unet import UNet
from tests.fuzz.case import Case, Make
from tests.fuzz.mutation import cut_bytes, mutated_bytes
from tests.fuzz.oracles import require_trained
from tests.fuzz.tensors import described, with_odd_header, with_odd_tensors
from tests.fuzz.workspace import CACHE, DESCRIPTION, MODEL, SPLIT_FILE, TRAIN, UNET, bring, whole

ENDINGS = (".pth", ".pt", ".safetensors", "", ".zip", ".SAFETENSORS")


def case_of(work: Path, data: bytes, ending: str, fits: bool | None = None) -> Case:
    """One epoch of training from the file.

    Args:
        fits: whether it must be taken (or must not); None: either.
    """
    start = f"start{ending}"
    (work / start).write_bytes(data)
    bring(work, "params.yaml", CACHE, SPLIT_FILE)
    (work / "models").mkdir()  # DVC removes the old outs of this stage before it runs
    text = (work / "params.yaml").read_text()
    (work / "params.yaml").write_text(text.replace("  start:\n", f"  start: {start}\n"))

    def check() -> None:
        assert fits is not False, "what is no start is taken for one"
        require_trained(work)

    # the training itself diverges where finite weights are large
    return Case([TRAIN], ("train: ", "sample" if fits else start), check)


def network() -> UNet:
    torch.manual_seed(1)
    return UNet(**UNET)


def saved(value: Any, legacy: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def original(rng: random.Random) -> tuple[bytes, str]:
    """A right file, and the ending that it needs."""
    if rng.random() < 0.3:
        return (whole() / MODEL).read_bytes(), ".safetensors"
    return saved(network().state_dict(), legacy=rng.random() < 0.4), ".pth"


def mutated(rng: random.Random, work: Path) -> Case:
    data, ending = original(rng)
    if rng.random() < 0.5:  # near its beginning, where the structure stands
        start = data[:1500]
        return case_of(work, mutated_bytes(rng, start) + data[1500:], ending)
    return case_of(work, mutated_bytes(rng, data), ending)


def cut(rng: random.Random, work: Path) -> Case:
    data, ending = original(rng)
    return case_of(work, cut_bytes(rng, data), rng.choice((ending, ending, *ENDINGS)))


def weights(rng: random.Random, work: Path) -> Case:
    """safetensors with weights, a header or a description that are not as they should be."""
    data = (whole() / MODEL).read_bytes()
    kind = rng.randrange(3)
    if kind == 0:
        return case_of(work, with_odd_header(rng, data), ".safetensors")
    tensors = load(data)
    if kind == 1:
        tensors = with_odd_tensors(rng, tensors)
    texts = (None, "", "{}", "[" * 5000, json.dumps(DESCRIPTION), '{"classes": 1}', "null")
    return case_of(work, described(tensors, rng.choice(texts)), ".safetensors")


def other_networks(rng: random.Random, work: Path) -> Case:
    """Whole U-Nets, of this width and these options or of others."""
    changes = {
        **{"num_classes": rng.choice((12, 12, 11, 1)), "base_channels": rng.choice((1, 1, 1, 2))},
        **{"bilinear": rng.random() < 0.7, "norm": rng.choice(("batch", "batch", "group"))},
    }
    state = UNet(**{**UNET, **changes}).state_dict()
    same = {**changes, "num_classes": 12} == {k: UNET[k] for k in changes}
    if rng.random() < 0.4:  # names of another implementation
        state = {f"layer{i}": tensor for i, tensor in enumerate(state.values())}
    fits = same if same or changes["base_channels"] == 2 else None
    return case_of(work, saved(state), ".pth", fits)


KINDS: dict[str, Make] = {
    "start mutated": mutated,
    "start cut": cut,
    "start weights": weights,
    "start other networks": other_networks,
}
