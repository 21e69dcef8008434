import json
import math
import re
from pathlib import Path

import pytest

from roadseg.config.json_schema import params_schema
from roadseg.config.params import load_params
from roadseg.system.errors import InputError
from tests.factories import ROOT, make_augmentation, write_params


def test_params_yaml_is_valid():
    params = load_params(ROOT / "params.yaml")
    assert params.data.source == "sample"
    assert params.train.epochs == 10
    assert params.epochs_to_render == [2, 10]
    assert params.recipe.model_dump() == params.recipes["modern"].model_dump()


@pytest.mark.parametrize("group_by", [None, "size", "^([^_]+)_"])
def test_group_by_accepts_null_size_and_patterns(tmp_path: Path, group_by: str | None):
    path = write_params(tmp_path / "params.yaml", split__group_by=group_by)
    assert load_params(path).split.group_by == group_by


def test_recipe_report_has_the_values_of_the_report():
    recipe = load_params(ROOT / "params.yaml").recipes["report"]
    assert (recipe.optimizer, recipe.learning_rate, recipe.momentum) == ("rmsprop", 1e-3, 0.9)
    assert (recipe.weight_decay, recipe.batch_size) == (1e-8, 1)
    assert (recipe.clip, recipe.clip_limit) == ("value", 0.1)
    assert (recipe.schedule, recipe.patience, recipe.validations_per_epoch) == ("plateau", 2, 2)
    assert (recipe.class_weights, recipe.lovasz, recipe.void) == ("none", 0.0, "class")
    assert (recipe.ema, recipe.halved, recipe.augmentation) == (0.0, 0.0, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train__batchsize": 3}, "train.batchsize: unknown key; known keys: recipe"),
        ({"recipes__modern__batchsize": 3}, "recipes.modern.batchsize: .*mean 'batch_size'"),
        ({"trian": {}}, "trian: unknown key; did you mean 'train'?"),
        ({"train__epochs": "abc"}, "train.epochs: should be a valid integer, got 'abc'"),
        ({"train__epochs": 7.0}, "train.epochs: should be a valid integer, got 7.0"),
        ({"train__epochs": True}, "train.epochs: should be a valid integer, got True"),
        ({"train__epochs": 0}, "train.epochs: should be greater than or equal to 1, got 0"),
        ({"train__epochs": None}, "train.epochs: should be a valid integer, got None"),
        ({"train__device": "cuda:x"}, "train.device: should be 'auto', 'cpu', .*, got 'cuda:x'"),
        ({"train__device": "auto:1"}, "train.device: .* pattern .*, got 'auto:1'"),
        ({"remap__scale": math.nan}, "remap.scale: should be a finite number, got nan"),
        ({"remap__scale": 2}, "remap.scale: should be less than or equal to 1, got 2"),
        ({"train__recipe": "mordern"}, "train.recipe: no recipe 'mordern'; .*report, modern"),
        ({"train__precision": "fp16"}, "train.precision: should be 'auto', 'fp32' or 'bf16', got"),
        ({"split__val_ids": [110]}, r"split.val_ids\[0\]: should be a valid string, got 110"),
        ({"split__val_ids": []}, "split.val_ids: list should have at least 1 item"),
        (
            {"split__val_ids": "^(a"},
            "split.val_ids: should be a valid list or should be a regular exp",
        ),
        ({"split__group_by": "a(b"}, r"split.group_by: .* one group, got 'a\(b'"),
        ({"split__group_by": "^[0-9]+"}, "split.group_by: should be null, size or a regular"),
        ({"split__group_by": "(a)(b)"}, "split.group_by: .* a regular expression with one group"),
        ({"split__group_by": 3}, "split.group_by: should be a valid string, got 3"),
        ({"split__stratify_by": "day"}, "split.stratify_by: should be 'size' or 'none', got 'day'"),
        ({"render__epochs": [3]}, "render.epochs: epoch 3 is never trained, train.epochs is 2"),
        (
            {"train__processes": 3},
            "train.processes: 3 is more than the 2 images of recipes.modern",
        ),
        (
            {"recipes__modern__lovasz": -1},
            "recipes.modern.lovasz: should be greater than or equal to 0, got -1",
        ),
        (
            {"recipes__modern__void": "no"},
            "recipes.modern.void: should be 'class' or 'ignored', got 'no'",
        ),
        ({"recipes__modern__ema": 1}, "recipes.modern.ema: should be less than 1, got 1"),
        (
            {"recipes__modern__halved": 2},
            "recipes.modern.halved: should be less than or equal to 1, got 2",
        ),
        (
            {"recipes__modern__rest_learning_rate": 0},
            "modern.rest_learning_rate: should be greater than 0, got 0",
        ),
        (
            {"evaluate__scales": []},
            r"evaluate.scales: list should have at least 1 item .*, got \[\]",
        ),
        ({"data__sha256": "ABC"}, "data.sha256: string should match pattern .*, got 'ABC'"),
        ({"data__images": "photos/*.jpg"}, r"data.images: should have a field such as \{id\}"),
        ({"data__images": "/photos/{id}.jpg"}, "data.images: should be a relative path"),
        ({"data__images": "a/{b,..}/{id}.jpg"}, "data.images: should be a relative path"),
        ({"data__masks": "{id}.jpg"}, "data.masks: JPEG changes the values of pixels; use another"),
        ({"data__masks": "m.png"}, r"data.masks: should have .* as images: \{id\}, got 'm.png'$"),
        ({"data__test_images": "{id}{id}.png"}, r"data.test_images: .* \{id\} more than once, got"),
        ({"data": None}, "data: should be keys with values, got None"),
    ],
)
def test_error_of_an_invalid_parameter_has_file_and_key(
    tmp_path: Path, changes: dict, message: str
):
    path = write_params(tmp_path / "params.yaml", **changes)
    with pytest.raises(InputError, match=re.escape(str(path))) as caught:
        load_params(path)
    assert re.search(message, str(caught.value))
    assert "\n" not in str(caught.value)


def test_error_of_a_misspelled_key_suggests_the_right_one(tmp_path: Path):
    path = write_params(tmp_path / "params.yaml")
    path.write_text(path.read_text().replace("  num_test:", "  num_tset:"))
    with pytest.raises(InputError, match=r"sample.num_tset: unknown key; did you mean 'num_test'"):
        load_params(path)


def test_recipe_depends_on_epochs_with_one_cycle_halved_or_plain():
    recipe = load_params(ROOT / "params.yaml").recipes["report"]
    assert not recipe.depends_on_epochs
    assert recipe.model_copy(update={"schedule": "one_cycle"}).depends_on_epochs
    assert recipe.model_copy(update={"schedule": "constant", "halved": 0.5}).depends_on_epochs
    for plain in (0.0, 0.3):
        changes = {"schedule": "constant", "augmentation": make_augmentation(plain=plain)}
        assert recipe.model_copy(update=changes).depends_on_epochs == (plain > 0)


def test_params_schema_json_is_current():
    """`make schema` updates it; editors find it by the first line of params.yaml."""
    assert (ROOT / "params.schema.json").read_text(encoding="utf-8") == params_schema()
    first_line = (ROOT / "params.yaml").read_text().splitlines()[0]
    assert first_line == "# yaml-language-server: $schema=params.schema.json"


def test_schema_describes_every_parameter_and_allows_no_other():
    for name, section in json.loads(params_schema())["$defs"].items():
        assert section["additionalProperties"] is False
        for key, value in section["properties"].items():
            assert "description" in value, f"{name}.{key}"


def test_exponents_without_a_point_are_numbers_as_in_dvc(tmp_path: Path):
    path = write_params(tmp_path / "params.yaml")
    text = path.read_text()
    path.write_text(text.replace("weight_decay: 1.0e-8", "weight_decay: 1e-08"))
    assert load_params(path).recipes["report"].weight_decay == 1e-8


@pytest.mark.parametrize("text", ["a: [", "\t", "- 1\n", "just words", "a: 1\na: 2\n"])
def test_invalid_file_gives_a_one_line_error(tmp_path: Path, text: str):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_params(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
