"""Properties of params.yaml: valid values are unchanged, and errors have the key."""

import copy
import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import assume, given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from roadseg.config.params import Params, load_params
from roadseg.config.schema import validate
from roadseg.system.errors import InputError
from tests.factories import ROOT
from tests.hypothesis_profiles import FEW, LAW, MANY

SEED, FRACTION = st.integers(0, 2**32 - 1), st.floats(0, 1, exclude_max=True)
POSITIVE = st.floats(0, 1, exclude_min=True)
# printable text, which YAML can represent
TEXT = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1)
PATTERN = st.from_regex(r"([a-z0-9]{1,5}/){0,2}[a-z*]{0,3}\{id\}[a-z_]{0,4}", fullmatch=True)

VALID: dict[str, Any] = {
    "data.source": TEXT,
    "data.sha256": st.none() | st.text("0123456789abcdef", min_size=64, max_size=64),
    "data.images": PATTERN.map(lambda pattern: f"{pattern}.jpeg"),
    "data.masks": PATTERN.map(lambda pattern: f"{pattern}.PNG"),
    "data.test_images": st.none() | PATTERN.map(lambda pattern: f"{pattern}.{{png,TIF}}"),
    "data.test_ids": st.none() | st.lists(TEXT, min_size=1, max_size=4) | st.just("^test_"),
    "data.unmasked": st.sampled_from(["error", "skip"]),
    "data.max_files": st.integers(3, 10**9),
    "data.max_gigabytes": POSITIVE | st.integers(1, 10**6),
    "data.max_ratio": st.floats(1e-9, 1e5) | st.integers(1, 10**5),
    "data.max_megapixels": st.floats(1e-9, 1e5),
    "data.max_downloads_gigabytes": POSITIVE | st.integers(1, 10**6),
    "sample.num_train": st.integers(2, 999_999),
    "sample.height": st.integers(36, 4096),
    "sample.seed": st.integers(0, 2**63 - 1),
    "remap.classes": TEXT,
    "remap.scale": POSITIVE,
    "split.val_fraction": st.floats(0, 1, exclude_min=True, exclude_max=True),
    "split.val_ids": st.none() | st.lists(TEXT, min_size=1, max_size=4) | st.just("^(a|b)_"),
    "split.group_by": st.sampled_from([None, "size", "^(.+)_", "(?:a|b)(c)"]),
    "split.stratify_by": st.sampled_from(["size", "none"]),
    "split.fold": st.integers(0, 2**63 - 1),
    "model.unet.base_channels": st.integers(1, 1024),
    "model.unet.bilinear": st.booleans(),
    "model.unet.norm": st.sampled_from(["batch", "group"]),
    "model.unet.dropout": FRACTION,
    "train.epochs": st.integers(7, 999),
    "train.minutes": st.none() | st.floats(0, 43_200, exclude_min=True) | st.integers(1, 43_200),
    "train.seed": SEED,
    "train.start": st.none() | TEXT,
    "train.device": st.sampled_from(["auto", "cpu", "mps", "cuda", "cuda:0", "cuda:17"]),
    "train.processes": st.integers(1, 2),
    "train.num_workers": st.integers(0, 64),
    "recipes.modern.optimizer": st.sampled_from(["rmsprop", "adamw", "sgd", "muon"]),
    "recipes.modern.learning_rate": st.floats(0, 10, exclude_min=True),
    "recipes.modern.weight_decay": FRACTION,
    "recipes.modern.batch_size": st.integers(1, 1024) | st.just("auto"),
    "recipes.modern.clip_limit": st.floats(0, exclude_min=True, allow_infinity=False),
    "recipes.modern.ema": FRACTION | st.just(0),
    "recipes.report.halved": st.floats(0, 1),
    "recipes.modern.augmentation.flip": st.booleans(),
    "recipes.modern.augmentation.blur": st.floats(0, 3),
    "recipes.report.class_uniform": FRACTION,
    "resume.minutes": st.floats(0, 1440) | st.integers(0, 1440),
    "evaluate.scales": st.lists(st.floats(0.1, 4) | st.integers(1, 4), min_size=1, max_size=4),
    "render.epochs": st.lists(st.integers(1, 7) | st.just("last"), min_size=1, max_size=5),
}
SCALARS = (
    *(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=True), TEXT),
    st.sampled_from([0, 1, -1, 2**63, 10**400, 1e-300, "", " ", "1", "null", "size", "last", "()"]),
)
ANYTHING = st.recursive(
    st.one_of(*SCALARS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)


def params() -> dict[str, Any]:
    found = yaml.safe_load((ROOT / "params.yaml").read_text())
    found["render"]["epochs"] = ["last"]  # valid for every train.epochs
    return found


BASE = params()


def with_value(key: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(BASE)
    section = changed
    *parents, name = key.split(".")
    for parent in parents:
        section = section[parent]
    section[name] = value
    return changed


def load(values: dict[str, Any]) -> dict[str, Any] | str:
    """Write `values` as DVC does and load the file; return the values or the error message."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        with path.open("w", encoding="utf-8") as file:
            YAML(typ="safe", pure=True).dump(values, file)
        try:
            return load_params(path).model_dump()
        except InputError as error:
            message, name = str(error), f"{path}: "
    assert message.startswith(name), message
    assert message.isprintable(), message
    return message.removeprefix(name)


def validate_values(values: dict[str, Any]) -> dict[str, Any] | str:
    """Like `load`, without a file."""
    try:
        return validate(Params, values).model_dump()
    except InputError as error:
        return str(error)


def is_same(a: Any, b: Any) -> bool:
    """True if equal; True differs from 1, but an integer may equal a float."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(is_same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(is_same, a, b))
    return a == b and isinstance(a, bool) == isinstance(b, bool)


@FEW
@given(st.fixed_dictionaries({}, optional=VALID))
def test_valid_parameters_are_unchanged_by_a_round_trip(changes: dict[str, Any]):
    values = copy.deepcopy(BASE)
    for key, value in changes.items():
        section = values
        *parents, name = key.split(".")
        for parent in parents:
            section = section[parent]
        section[name] = value
    found = load(values)
    assert is_same(found, values)
    assert is_same(load(found), values)


def leaf_keys(value: Any, prefix: str = "") -> list[str]:
    if not isinstance(value, dict):
        return [prefix]
    return [key for name, inner in value.items() for key in leaf_keys(inner, f"{prefix}.{name}")]


KEYS = [key.removeprefix(".") for key in leaf_keys(BASE)]


@LAW
@given(st.sampled_from(KEYS), ANYTHING)
def test_reading_a_file_gives_the_result_of_its_values(key: str, value: Any):
    values = with_value(key, value)
    found, expected = load(values), validate_values(values)
    if isinstance(expected, str):  # the YAML reader may be the first to refuse a huge number
        assert isinstance(found, str)
    else:
        assert found == expected


@MANY
@given(st.sampled_from(KEYS), ANYTHING)
def test_any_value_is_accepted_unchanged_or_its_key_is_in_the_error(key: str, value: Any):
    values = with_value(key, value)
    found = validate_values(values)
    if isinstance(found, str):
        assert found.startswith(key), found
    else:
        assert is_same(found, values)


@MANY
@given(st.sampled_from(KEYS), st.sampled_from(["missing", "unknown", "renamed"]), TEXT)
def test_error_of_a_missing_or_unknown_key_has_the_key(key: str, damage: str, name: str):
    values = with_value(key, None)
    section, (*parents, last) = values, key.split(".")
    for parent in parents:
        section = section[parent]
    assume(name not in section)
    kept = section.pop(last)
    if damage != "missing":
        section[name] = kept
    if damage == "unknown":
        section[last] = kept
    path = ".".join([*parents, last if damage == "missing" else name])
    message = validate_values(values)
    assert isinstance(message, str), f"{damage} {path} is accepted"
    assert message.startswith(f"{path}: "[:200]), message
    assert "missing" in message or "unknown key" in message
