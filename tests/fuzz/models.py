"""Hostile model files, for evaluate, predict and export."""

import json
import random
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import load

from roadseg.config.class_map import ClassMap, read_class_map
from roadseg.models.model_file import save_weights
from roadseg.models.unet import UNet
from roadseg.provenance.model_metadata import ModelMetadata
from tests.factories import LABEL_IDS
from tests.fuzz.case import Case, CaseBuilder
from tests.fuzz.checks import check_evaluation_tables
from tests.fuzz.mutation import mutate_bytes, mutate_text, mutate_value, truncate_bytes
from tests.fuzz.tensors import (
    all_finite,
    change_header,
    change_tensors,
    encode_json,
    join_file,
    save_model,
    split_file,
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
    copy_in,
    valid_workspace,
    write_old_outputs,
)


def original() -> bytes:
    return (valid_workspace() / MODEL).read_bytes()


def make_case(rng: random.Random, work: Path, data: bytes, fits: bool | None = None) -> Case:
    """Run evaluate, predict and, rarely, export; `fits`: whether it is valid (None: unknown)."""
    (work / MODEL).write_bytes(data)
    copy_in(work, "params.yaml", CACHE, SPLIT_FILE, "pictures/testing")
    write_old_outputs(work, "out/evaluate.json", "out/confusion.csv", "predicted/")
    steps = [EVALUATE, PREDICT, *([EXPORT] if rng.random() < 0.02 else [])]

    def check() -> None:
        assert fits is not False, "a model that does not fit was accepted"
        check_evaluation_tables(work)
        _check_prediction(work, same=data == original())
        if fits is None:
            _check_model_is_valid(data)

    return Case(steps, (MODEL,), check)


def _check_model_is_valid(data: bytes) -> None:
    """Check that an accepted model is complete: tensors, finite values, metadata."""
    found, expected = load(data), load(original())
    shapes = {name: (tensor.dtype, tensor.shape) for name, tensor in expected.items()}
    assert {name: (t.dtype, t.shape) for name, t in found.items()} == shapes
    assert all_finite(found)
    description = json.loads(split_file(data)[0]["__metadata__"]["model"])
    classes, expected_classes = (facts["classes"] for facts in (description, DESCRIPTION))
    # a key that is missing has its default
    assert ClassMap.model_validate(classes) == ClassMap.model_validate(expected_classes)
    assert {**description["network"], "dropout": 0.0} == UNET


def _check_prediction(work: Path, same: bool) -> None:
    """Check that the prediction is a valid mask; that of the unchanged model is known."""
    name = "predicted/label_ids/image_2/000000_10.png"
    with Image.open(work / name) as mask:
        assert np.isin(np.asarray(mask), LABEL_IDS).all()
        with Image.open(work / "pictures/testing/image_2/000000_10.png") as image:
            assert mask.size == image.size
    if same:
        assert (work / name).read_bytes() == (valid_workspace() / name).read_bytes()
        for path in (valid_workspace() / "out").iterdir():
            assert (work / "out" / path.name).read_bytes() == path.read_bytes(), path.name


def mutate_model(rng: random.Random, work: Path) -> Case:
    data = original()
    if rng.random() < 0.5:  # only the header, which is small
        length = len(data) - len(split_file(data)[1])
        return make_case(rng, work, mutate_bytes(rng, data[:length]) + data[length:])
    return make_case(rng, work, mutate_bytes(rng, data))


def truncate_model(rng: random.Random, work: Path) -> Case:
    return make_case(rng, work, truncate_bytes(rng, original()))


def change_model_header(rng: random.Random, work: Path) -> Case:
    return make_case(rng, work, change_header(rng, original()))


def change_model_weights(rng: random.Random, work: Path) -> Case:
    tensors = change_tensors(rng, load(original()))
    return make_case(rng, work, save_model(tensors, json.dumps(DESCRIPTION)))


def change_model_description(rng: random.Random, work: Path) -> Case:
    texts = ("", "null", "1", "[]", "{}", '"classes"', "NaN", "9" * 5000, "\ud800", "\x1b[31m")
    texts += ("[" * 10_000, '{"a":' * 5000, "[" * 900 + "]" * 900, '{"unet": {}, "classes": {}}')
    kind = rng.randrange(4)
    if kind == 0:
        text = rng.choice((*texts, None))
        text = None if text is None else text.encode("utf-8", "replace").decode()
    elif kind == 1:
        text = mutate_text(rng, json.dumps(DESCRIPTION, indent=1)).decode("utf-8", "replace")
    elif kind == 2:
        text = encode_json(mutate_value(rng, DESCRIPTION)).decode("utf-8", "replace")
    elif rng.random() < 0.4:
        return make_case(rng, work, save_model(load(original()), _describe_smp(rng)), fits=False)
    else:  # only the network's options, which decide how much is allocated
        odd = (0, -1, 1, 2, 1.0, True, None, "1", 3000, 40_000, 2**31, 2**63, 10**30, "batch", [])
        unet = {**UNET, rng.choice(list(UNET)): rng.choice(odd)}
        text = json.dumps({**DESCRIPTION, "network": unet})
    return make_case(rng, work, save_model(load(original()), text))


def _describe_smp(rng: random.Random) -> str:
    """Return metadata of a network of smp, mostly with an encoder that does not exist.

    No encoder may be downloaded.
    """
    architecture = rng.choice(("smp/Unet", "smp/Segformer", "smp/unet", "smp/", "smp/Unet/x"))
    strange = ("", "x" * 5000, "resnet18\n", "hub:x", "tu-hf-hub:a/b", "tu-local-dir:.", "../a", 18)
    unknown = ("resnet19", "tu-", "tu-resnet19", "tu-hf_hub.a", "timm-x", "mit_b9", "__class__")
    encoder = rng.choice((*strange, None, True, [], *unknown, "resnet18", "tu-resnet18", "mit_b0"))
    options = {"num_classes": UNET["num_classes"], "encoder": encoder, "kernels": "auto"}
    if rng.random() < 0.3:
        options[rng.choice((*options, "depth"))] = rng.choice((0, -1, 2**63, None, "auto", [], {}))
    return json.dumps({**DESCRIPTION, "architecture": architecture, "network": options})


def use_other_model(rng: random.Random, work: Path) -> Case:
    """Write a valid model of another network or of other classes."""
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
    save_weights(work / MODEL, network.state_dict(), ModelMetadata(**facts, network=unet))
    data = (work / MODEL).read_bytes()
    return make_case(rng, work, data, fits=classes == DESCRIPTION["classes"])


def use_other_format(rng: random.Random, work: Path) -> Case:
    """Write a file of another format under the model's name."""
    png = (valid_workspace() / "pictures/testing/image_2/000000_10.png").read_bytes()
    header = encode_json({"__metadata__": {"format": "pt"}})
    kinds = (b"PK\x03\x04", png, b"\x80\x04.", b"\x93NUMPY", header, b"{}", bytes(8), bytes(5000))
    data = rng.choice((*kinds, join_file(header, b""), join_file(b"{}", b""), join_file(b"", b"")))
    return make_case(rng, work, data, fits=False)


KINDS: dict[str, CaseBuilder] = {
    "model mutated": mutate_model,
    "model cut": truncate_model,
    "model headers": change_model_header,
    "model weights": change_model_weights,
    "model descriptions": change_model_description,
    "model others": use_other_model,
    "model other formats": use_other_format,
}
