"""Hostile models, for evaluate, predict and export."""

import json
import random
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import load

from roadseg.config.class_map import read_class_map
from roadseg.models.model_file import save_weights
from roadseg.models.unet import UNet
from roadseg.provenance.model_metadata import ModelMetadata
from tests.factories import LABEL_IDS
from tests.fuzz.case import Case, Make
from tests.fuzz.mutation import cut_bytes, mutated_bytes, mutated_text, mutated_value
from tests.fuzz.oracles import require_counted
from tests.fuzz.tensors import (
    as_json,
    assembled,
    described,
    is_finite,
    taken_apart,
    with_odd_header,
    with_odd_tensors,
)
from tests.fuzz.workspace import (
    CACHE,
    CLASSES,
    DESCRIPTION,
    EVALUATE,
    EXPORT,
    MODEL,
    PREDICT,
    SPLIT_FILE,
    UNET,
    bring,
    old_out,
    whole,
)


def original() -> bytes:
    return (whole() / MODEL).read_bytes()


def case_of(rng: random.Random, work: Path, data: bytes, fits: bool | None = None) -> Case:
    """evaluate, then predict, seldom export.

    Args:
        fits: whether it is a right model of these classes; None: that shows in its bytes alone.
    """
    (work / MODEL).write_bytes(data)
    bring(work, "params.yaml", CACHE, SPLIT_FILE, "pictures/testing")
    old_out(work, "out/evaluate.json", "out/confusion.csv", "predicted/")
    steps = [EVALUATE, PREDICT, *([EXPORT] if rng.random() < 0.02 else [])]

    def check() -> None:
        assert fits is not False, "another model is accepted"
        require_counted(work)
        _require_predicted(work, same=data == original())
        if fits is None:
            _require_right(data)

    return Case(steps, (MODEL,), check)


def _require_right(data: bytes) -> None:
    """Raise AssertionError where a model is accepted that is not whole."""
    found, expected = load(data), load(original())
    shapes = {name: (tensor.dtype, tensor.shape) for name, tensor in expected.items()}
    assert {name: (t.dtype, t.shape) for name, t in found.items()} == shapes
    assert is_finite(found)
    description = json.loads(taken_apart(data)[0]["__metadata__"]["model"])
    assert description["classes"] == DESCRIPTION["classes"]
    assert {**description["unet"], "dropout": 0.0} == UNET


def _require_predicted(work: Path, same: bool) -> None:
    """Raise AssertionError where a prediction is no mask, or not what the same model gives."""
    name = "predicted/label_ids/image_2/000000_10.png"
    with Image.open(work / name) as mask:
        assert np.isin(np.asarray(mask), LABEL_IDS).all()
        with Image.open(work / "pictures/testing/image_2/000000_10.png") as picture:
            assert mask.size == picture.size
    if same:
        assert (work / name).read_bytes() == (whole() / name).read_bytes()
        for path in (whole() / "out").iterdir():
            assert (work / "out" / path.name).read_bytes() == path.read_bytes(), path.name


def mutated(rng: random.Random, work: Path) -> Case:
    data = original()
    if rng.random() < 0.5:  # the header, which is small
        length = len(data) - len(taken_apart(data)[1])
        return case_of(rng, work, mutated_bytes(rng, data[:length]) + data[length:])
    return case_of(rng, work, mutated_bytes(rng, data))


def cut(rng: random.Random, work: Path) -> Case:
    return case_of(rng, work, cut_bytes(rng, original()))


def headers(rng: random.Random, work: Path) -> Case:
    return case_of(rng, work, with_odd_header(rng, original()))


def weights(rng: random.Random, work: Path) -> Case:
    tensors = with_odd_tensors(rng, load(original()))
    return case_of(rng, work, described(tensors, json.dumps(DESCRIPTION)))


def descriptions(rng: random.Random, work: Path) -> Case:
    texts = ("", "null", "1", "[]", "{}", '"classes"', "NaN", "9" * 5000, "\ud800", "\x1b[31m")
    texts += ("[" * 10_000, '{"a":' * 5000, "[" * 900 + "]" * 900, '{"unet": {}, "classes": {}}')
    kind = rng.randrange(4)
    if kind == 0:
        text = rng.choice((*texts, None))
        text = None if text is None else text.encode("utf-8", "replace").decode()
    elif kind == 1:
        text = mutated_text(rng, json.dumps(DESCRIPTION, indent=1)).decode("utf-8", "replace")
    elif kind == 2:
        text = as_json(mutated_value(rng, DESCRIPTION)).decode("utf-8", "replace")
    else:  # the network alone: what allocates
        odd = (0, -1, 1, 2, 1.0, True, None, "1", 3000, 40_000, 2**31, 2**63, 10**30, "batch", [])
        unet = {**UNET, rng.choice(list(UNET)): rng.choice(odd)}
        text = json.dumps({**DESCRIPTION, "unet": unet})
    return case_of(rng, work, described(load(original()), text))


def others(rng: random.Random, work: Path) -> Case:
    """A whole model of another network, or of other classes."""
    name = rng.choice(("kitti12", "kitti12", "kitti11", "cityscapes19"))
    class_map = read_class_map(CLASSES / f"{name}.yaml")
    if rng.random() < 0.2:
        class_map = class_map.model_copy(update={"classes": class_map.classes[::-1]})
    unet = {
        **{"num_classes": class_map.num_classes, "base_channels": rng.choice((1, 2, 4))},
        **{"bilinear": rng.random() < 0.5, "norm": rng.choice(("batch", "group"))},
        "dropout": rng.choice((0.0, 0.5)),
    }
    torch.manual_seed(rng.randrange(1000))
    network, classes = UNet(**unet), class_map.model_dump()
    ignored = rng.choice((None, 0, class_map.num_classes - 1))
    facts = {"classes": classes, "ignored_class": ignored, "scale": rng.choice((1.0, 0.5))}
    save_weights(work / MODEL, network.state_dict(), ModelMetadata(**facts, unet=unet))
    data = (work / MODEL).read_bytes()
    return case_of(rng, work, data, fits=classes == DESCRIPTION["classes"])


def of_other_programs(rng: random.Random, work: Path) -> Case:
    """Files of other kinds under the model's name."""
    png = (whole() / "pictures/testing/image_2/000000_10.png").read_bytes()
    header = as_json({"__metadata__": {"format": "pt"}})
    kinds = (b"PK\x03\x04", png, b"\x80\x04.", b"\x93NUMPY", header, b"{}", bytes(8), bytes(5000))
    data = rng.choice((*kinds, assembled(header, b""), assembled(b"{}", b""), assembled(b"", b"")))
    return case_of(rng, work, data, fits=False)


KINDS: dict[str, Make] = {
    "model mutated": mutated,
    "model cut": cut,
    "model headers": headers,
    "model weights": weights,
    "model descriptions": descriptions,
    "model others": others,
    "model of other kinds": of_other_programs,
}
