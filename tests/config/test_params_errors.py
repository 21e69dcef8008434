"""Errors for every key of params.yaml with every wrong type and with values out of range."""

import copy
import re

import pytest

from roadseg.config.params import Params
from roadseg.config.schema import read_yaml, validate
from roadseg.system.errors import InputError
from tests.factories import ROOT

SMALL = read_yaml(ROOT / "params.yaml")
SMALL["render"]["epochs"] = ["last"]
PARAMS = copy.deepcopy(SMALL)
PARAMS["recipes"] = {"modern": SMALL["recipes"]["modern"]}
OPTIONAL = {
    "data.sha256", "data.test_images", "data.test_masks", "data.test_ids",
    "split.val_ids", "split.group_by", "train.start", "train.minutes",
    "model.encoder", "model.weights_sha256",
}  # fmt: skip
TEXTS = {
    "data.sha256",
    "data.test_masks",
    "data.test_ids",
    "split.group_by",
    "split.val_ids",
    "model.encoder",
    "model.weights_sha256",
    "train.start",
}
"""Keys that are null in params.yaml and otherwise text."""


def flatten(value: object, prefix: str = "") -> dict[str, object]:
    """Map the dotted key of each value that is not a section to the value."""
    if not isinstance(value, dict):
        return {prefix: value}
    return {
        k: v for n, e in value.items() for k, v in flatten(e, f"{prefix}.{n}".strip(".")).items()
    }


KEYS = flatten(PARAMS)
WRONG_TYPES = {
    "null": None,
    "true": True,
    "text": "seven",
    "whole number": 3,
    "fraction": 0.5,
    "list": [[1]],
    "mapping": {"a": 1},
    "nan": float("nan"),
    "infinity": float("-inf"),
}


FLOATS = {
    *(
        "train.minutes",
        "resume.minutes",
        "data.max_gigabytes",
        "data.max_ratio",
        "data.max_megapixels",
    ),
    "data.max_downloads_gigabytes",
}
"""Numbers with fractions that are integers or null in params.yaml."""


def accepts(key: str, kind: str) -> bool:
    """True if a value of this kind can be valid for `key`."""
    value = KEYS[key]
    if kind == "null":
        return key in OPTIONAL
    is_text = isinstance(value, str) or key in TEXTS
    accepted = {
        "true": isinstance(value, bool),
        "text": is_text,
        "whole number": (isinstance(value, int | float) and not isinstance(value, bool))
        or key in FLOATS,
        "fraction": isinstance(value, float),
    }
    return accepted.get(kind, False)


TYPE_CASES = [
    (key, kind)
    for key in KEYS
    for kind in WRONG_TYPES
    if not accepts(key, kind) and not (key in FLOATS and kind == "fraction")
]

RANGES = {
    "data.source": ["", "  "],
    "data.sha256": ["", "g" * 64, "A" * 64, "0" * 63],
    "data.images": ["", "{id}", "a/../{id}.png", "/{id}.png", "{id}.pdf", "a//{id}.png", "a.png"],
    "data.masks": ["", "{id}.jpg", "**/{id}.png", "a.png", "{id}/{part}.png", "{id}.exr"],
    "data.test_images": ["", "./{id}.png", "{id}{id}.jpg", "t/{id}.json"],
    "data.test_masks": ["", "{id}.jpg", "{id}/{part}.png"],
    "data.test_ids": [[], "", "(", "["],
    "data.unmasked": ["Skip", ""],
    "data.mask_values": ["hues", ""],
    "data.color_tolerance": [-1, 129, 1],  # 1 needs mask_values: colors
    "data.max_files": [0, -1, 2, 10**10],
    "data.max_gigabytes": [0, -1.0, 1e7],
    "data.max_ratio": [0, -3, 1e6],
    "data.max_megapixels": [0, -1, 1e6],
    "data.max_downloads_gigabytes": [0, -1, 1e7],
    "sample.num_train": [0, 1, -5, 10**6],
    "sample.num_test": [-1, 10**6],
    "sample.height": [0, 35, 4097],
    "sample.width": [35, 8193],
    "sample.seed": [-1],
    "remap.classes": ["", " "],
    "remap.scale": [0, -0.5, 1.001],
    "split.val_fraction": [0, 1, -0.1, 1.5],
    "split.val_ids": [[], "", "(", "["],
    "split.group_by": ["", "(", "a", "(a)(b)", "[", "(?P<a>", "a{99999999999}(b)"],
    "split.stratify_by": ["Size", ""],
    "split.seed": [-1],
    "split.fold": [-1],
    "model.unet.base_channels": [0, -64, 1025],
    "model.unet.norm": ["layer", ""],
    "model.kernels": ["cuda", "Torch"],
    "model.architecture": ["", "a/b/c", "smp/Unet x"],
    "model.encoder": ["", "a/b", "hub:x"],
    "model.weights": [""],
    "model.weights_sha256": ["abc", "A" * 64],
    "model.unet.dropout": [1, -0.1],
    "train.recipe": ["Modern", ""],
    "train.epochs": [0, -1, 1000, 10**30],
    "train.minutes": [0, -1, 0.0, 43_201, 1e30, "10"],
    "train.seed": [-1, 2**32],
    "train.start": [""],
    "train.device": ["gpu", "cuda:", "cuda:-1", "CPU", "cpu:0", "", "cuda:x"],
    "train.precision": ["fp16", "float32", ""],
    "train.processes": [0, -1, 65],
    "train.num_workers": [-1, 65],
    "recipes.modern.optimizer": ["adam", ""],
    "recipes.modern.learning_rate": [0, -1e-3, 10.5],
    "recipes.modern.rest_learning_rate": [0, -1, 11],
    "recipes.modern.momentum": [1, -0.1],
    "recipes.modern.weight_decay": [1, -1e-9],
    "recipes.modern.batch_size": [0, -2, 1025, 2.0, "Auto", ""],
    "recipes.modern.clip": ["global", ""],
    "recipes.modern.clip_limit": [0, -1],
    "recipes.modern.schedule": ["cosine", ""],
    "recipes.modern.patience": [-1],
    "recipes.modern.warmup": [1, -0.1],
    "recipes.modern.validations_per_epoch": [0, 101],
    "recipes.modern.class_weights": ["inverse", ""],
    "recipes.modern.lovasz": [-1, 101],
    "recipes.modern.void": ["keep", ""],
    "recipes.modern.ema": [1, -0.5],
    "recipes.modern.halved": [1.1, -0.1],
    "recipes.modern.class_uniform": [1.1, -0.1],
    "recipes.modern.augmentation.scale_min": [0.05, 1.1, 11],
    "recipes.modern.augmentation.scale_max": [0.05, 11],
    "recipes.modern.augmentation.crop": [0, 1.1],
    "recipes.modern.augmentation.rotation": [-1, 181],
    "recipes.modern.augmentation.perspective": [-0.1, 0.9],
    "recipes.modern.augmentation.jitter": [1, -0.1],
    "recipes.modern.augmentation.hue": [-0.1, 0.6],
    "recipes.modern.augmentation.gamma": [-0.1, 5],
    "recipes.modern.augmentation.gray": [-0.1, 1.1],
    "recipes.modern.augmentation.blur": [-0.1, 3.1],
    "recipes.modern.augmentation.noise": [-0.1, 1.1],
    "recipes.modern.augmentation.cutout": [-0.1, 1.1],
    "recipes.modern.augmentation.plain": [-0.1, 1.1],
    "recipes.modern.encoder_rate": [0, -0.1, 1.5],
    "recipes.modern.encoder_frozen": [-1, 1000],
    "recipes.modern.encoder_norm": ["eval", ""],
    "resume.minutes": [-1, 1441],
    "resume.states": [0, 101],
    "resume.trainings": [0, 10_001],
    "evaluate.batch_size": [0, 1025],
    "evaluate.scales": [[], [0.05], [1.0, 5.0], [-1.0]],
    "render.epochs": [[], [0], [-1], [11], ["first"], [1, 1.5]],
    "render.num_pictures": [0, 51],
    "export.calibration_images": [0, 10_001],
    "export.max_miou_loss.fp16": [-0.1, 1.1],
    "export.max_miou_loss.int8": [-0.1, 1.1],
}
OUT_OF_RANGE = [(key, value) for key, values in RANGES.items() for value in values]
WITHOUT_RANGE = {
    "model.unet.bilinear",
    "recipes.modern.augmentation.flip",
    "evaluate.flip",
}  # true or false


def find_section(params: dict, key: str) -> tuple[dict, str]:
    """Return the section that contains `key`, and the last part of `key`."""
    *parents, name = key.split(".")
    for parent in parents:
        params = params[parent]
    return params, name


def error_message(key: str, value: object) -> str:
    """Validate params.yaml with `key` changed to `value`; return the message of the error."""
    params = copy.deepcopy(SMALL)
    section, name = find_section(params, key)
    section[name] = value
    with pytest.raises(InputError) as caught:
        validate(Params, params)
    message = str(caught.value)
    assert message.startswith(key)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(("key", "kind"), TYPE_CASES)
def test_error_of_a_wrong_type_has_key_and_expected_type(key: str, kind: str):
    assert re.search("should be|unknown key|no recipe", error_message(key, WRONG_TYPES[kind]))


@pytest.mark.parametrize(("key", "value"), OUT_OF_RANGE)
def test_error_of_a_value_out_of_range_has_the_key(key: str, value: object):
    error_message(key, value)


def test_unchanged_values_are_valid():
    validate(Params, SMALL)


def test_every_key_has_out_of_range_values():
    assert RANGES.keys() | WITHOUT_RANGE == KEYS.keys()


@pytest.mark.parametrize("key", KEYS)
def test_error_of_a_missing_key_has_the_key(key: str):
    params = copy.deepcopy(SMALL)
    section, name = find_section(params, key)
    del section[name]
    with pytest.raises(InputError, match=rf"{re.escape(key)}: missing$"):
        validate(Params, params)
