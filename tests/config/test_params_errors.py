"""Every key of params.yaml with every wrong type, and with values beyond its range."""

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
PARAMS["recipes"].pop("report")
OPTIONAL = {
    "data.sha256", "data.test_images", "split.val_ids", "split.group_by", "train.start"
}  # fmt: skip
TEXTS = {"data.sha256", "split.group_by", "split.val_ids", "train.start"}
"""Null in the file, else text."""


def keys(value: object, prefix: str = "") -> dict[str, object]:
    """Dotted key -> value, of everything that is no section."""
    if not isinstance(value, dict):
        return {prefix: value}
    return {k: v for n, e in value.items() for k, v in keys(e, f"{prefix}.{n}".strip(".")).items()}


KEYS = keys(PARAMS)
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


def takes(key: str, kind: str) -> bool:
    """Whether a value of this kind may be right for the key."""
    value = KEYS[key]
    if kind == "null":
        return key in OPTIONAL
    is_text = isinstance(value, str) or key in TEXTS
    taken = {
        "true": isinstance(value, bool),
        "text": is_text,
        "whole number": isinstance(value, int | float) and not isinstance(value, bool),
        "fraction": isinstance(value, float),
    }
    return taken.get(kind, False)


# keys that hold a float, but are written as whole numbers
FLOATS = {
    *("resume.minutes", "data.max_gigabytes", "data.max_ratio", "data.max_megapixels"),
    "data.max_downloads_gigabytes",
}
TYPES = [
    (key, kind)
    for key in KEYS
    for kind in WRONG_TYPES
    if not takes(key, kind) and not (key in FLOATS and kind == "fraction")
]

RANGES = {
    "data.source": ["", "  "],
    "data.sha256": ["", "g" * 64, "A" * 64, "0" * 63],
    "data.images": ["", "{id}", "a/../{id}.png", "/{id}.png", "{id}.gif", "a//{id}.png"],
    "data.masks": ["", "{id}.jpg", "**/{id}.png", "a.png"],
    "data.test_images": ["", "./{id}.png", "{id}{id}.jpg"],
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
    "model.base_channels": [0, -64, 1025],
    "model.norm": ["layer", ""],
    "model.kernels": ["cuda", "Torch"],
    "model.dropout": [1, -0.1],
    "train.recipe": ["Modern", ""],
    "train.epochs": [0, -1, 1000, 10**30],
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
    "recipes.modern.batch_size": [0, -2, 1025],
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
    "recipes.modern.jitter": [1, -0.1],
    "resume.minutes": [-1, 1441],
    "resume.states": [0, 101],
    "resume.trainings": [0, 10_001],
    "evaluate.batch_size": [0, 1025],
    "evaluate.scales": [[], [0.05], [1.0, 5.0], [-1.0]],
    "render.epochs": [[], [0], [-1], [8], ["first"], [1, 1.5]],
    "render.num_pictures": [0, 51],
}
OUTSIDE = [(key, value) for key, values in RANGES.items() for value in values]
WITHOUT_RANGE = {"model.bilinear", "recipes.modern.flip", "evaluate.flip"}  # true or false


def section_of(params: dict, key: str) -> tuple[dict, str]:
    """Where `key` stands, and the last part of its name."""
    *parents, name = key.split(".")
    for parent in parents:
        params = params[parent]
    return params, name


def refused(key: str, value: object) -> str:
    """The error, from the values as they come out of the file."""
    params = copy.deepcopy(SMALL)
    section, name = section_of(params, key)
    section[name] = value
    with pytest.raises(InputError) as caught:
        validate(Params, params)
    said = str(caught.value)
    assert said.startswith(key)
    assert "\n" not in said
    return said


@pytest.mark.parametrize(("key", "kind"), TYPES)
def test_a_wrong_type_is_named_with_what_would_be_right(key: str, kind: str):
    assert re.search("should be|unknown key|no recipe", refused(key, WRONG_TYPES[kind]))


@pytest.mark.parametrize(("key", "value"), OUTSIDE)
def test_a_value_out_of_range_is_named(key: str, value: object):
    refused(key, value)


def test_the_values_are_right_but_for_what_a_test_changes():
    validate(Params, SMALL)


def test_no_key_is_left_out():
    assert RANGES.keys() | WITHOUT_RANGE == KEYS.keys()


@pytest.mark.parametrize("key", KEYS)
def test_a_missing_key_is_named(key: str):
    params = copy.deepcopy(SMALL)
    section, name = section_of(params, key)
    del section[name]
    with pytest.raises(InputError, match=rf"{re.escape(key)}: missing$"):
        validate(Params, params)
