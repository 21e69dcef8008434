import math
import re
from pathlib import Path

import pytest

from roadseg.config.params import load_params
from roadseg.system.errors import InputError
from tests.conftest import ROOT, write_params


def test_the_projects_own_params_are_valid():
    params = load_params(ROOT / "params.yaml")
    assert params.data.source == "sample"
    assert params.train.epochs == 7
    assert params.epochs_to_render == [2, 7]
    assert params.recipe is params.recipes["modern"]


@pytest.mark.parametrize("group_by", [None, "size", "^([^_]+)_"])
def test_ways_to_group_pictures(tmp_path: Path, group_by: str | None):
    path = write_params(tmp_path / "params.yaml", split__group_by=group_by)
    assert load_params(path).split.group_by == group_by


def test_report_recipe_is_the_reports():
    recipe = load_params(ROOT / "params.yaml").recipes["report"]
    assert (recipe.optimizer, recipe.learning_rate, recipe.momentum) == ("rmsprop", 1e-3, 0.9)
    assert (recipe.weight_decay, recipe.batch_size) == (1e-8, 1)
    assert (recipe.clip, recipe.clip_limit) == ("value", 0.1)
    assert (recipe.schedule, recipe.patience, recipe.validations_per_epoch) == ("plateau", 2, 2)
    assert (recipe.class_weights, recipe.lovasz, recipe.void) == ("none", 0.0, "class")
    assert (recipe.ema, recipe.halved, recipe.flip, recipe.jitter) == (0.0, 0.0, False, 0.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train__batchsize": 3}, "train.batchsize: unknown key; known are recipe"),
        ({"recipes__modern__batchsize": 3}, "recipes.modern.batchsize: .*mean 'batch_size'"),
        ({"trian": {}}, "trian: unknown key; did you mean 'train'?"),
        ({"train__epochs": "abc"}, "train.epochs: expected a whole number, got 'abc'"),
        ({"train__epochs": 7.0}, "train.epochs: expected a whole number, got 7.0"),
        ({"train__epochs": True}, "train.epochs: expected a whole number, got True"),
        ({"train__epochs": 0}, "train.epochs: 0 is out of range; expected 1 to 999"),
        ({"train__epochs": None}, "train.epochs: expected a whole number, got None"),
        ({"train__device": "cuda:x"}, "train.device: 'cuda:x' is out of range; expected auto, cpu"),
        ({"train__device": "auto:1"}, "train.device: 'auto:1' is out of range"),
        ({"remap__scale": math.nan}, "remap.scale: expected a number, got nan"),
        ({"remap__scale": 2}, "remap.scale: 2.0 is out of range"),
        ({"train__recipe": "mordern"}, "train.recipe: no recipe 'mordern'; .*report, modern"),
        ({"train__precision": "fp16"}, "train.precision: expected auto or fp32 or bf16"),
        ({"split__val_ids": [110]}, r"split.val_ids: expected a list|val_ids\[0\]: expected"),
        ({"split__val_ids": []}, "split.val_ids: .* null or at least one id"),
        ({"split__val_ids": "^(a"}, "split.val_ids: .* or a regular expression that is searched"),
        ({"split__group_by": "a(b"}, r"split.group_by: 'a\(b' is out of range; .* one group"),
        ({"split__group_by": "^[0-9]+"}, "split.group_by: .* expected null, size or a regular"),
        ({"split__group_by": "(a)(b)"}, "split.group_by: .* a regular expression with one group"),
        ({"split__group_by": 3}, "split.group_by: expected quoted text or null, got 3"),
        ({"split__stratify_by": "day"}, "split.stratify_by: expected size or none, got 'day'"),
        ({"render__epochs": [3]}, "render.epochs: epoch 3 is never trained, train.epochs is 2"),
        (
            {"train__processes": 3},
            "train.processes: 3 is more than the 2 pictures of recipes.modern",
        ),
        ({"recipes__modern__lovasz": -1}, "recipes.modern.lovasz: -1.0 is out of range"),
        ({"recipes__modern__void": "no"}, "recipes.modern.void: expected class or ignored"),
        ({"recipes__modern__ema": 1}, "recipes.modern.ema: 1.0 is out of range; expected 0"),
        ({"recipes__modern__halved": 2}, "recipes.modern.halved: 2.0 is out of range"),
        ({"recipes__modern__rest_learning_rate": 0}, "modern.rest_learning_rate: 0.0 is out of"),
        ({"evaluate__scales": []}, r"evaluate.scales: \[\] is out of range; .* scales of 0.1 to 4"),
        ({"data__sha256": "ABC"}, "data.sha256: 'ABC' is out of range; expected null or 64"),
        ({"data__images": "photos/*.jpg"}, r"data.images: .* with one \{id\} that ends in .png or"),
        ({"data__images": "/photos/{id}.jpg"}, "data.images: .* expected a relative path"),
        ({"data__images": "a/{b,..}/{id}.jpg"}, "data.images: .* expected a relative path"),
        ({"data__masks": "{id}.jpg"}, r"data.masks: '\{id\}.jpg' .* that ends in .png$"),
        ({"data__test_images": "{id}{id}.png"}, "data.test_images: .* one {id}"),
        ({"data": None}, "data: expected keys with values, got None"),
    ],
)
def test_wrong_parameters_are_named(tmp_path: Path, changes: dict, message: str):
    path = write_params(tmp_path / "params.yaml", **changes)
    with pytest.raises(InputError, match=re.escape(str(path))) as caught:
        load_params(path)
    assert re.search(message, str(caught.value))
    assert "\n" not in str(caught.value)


def test_a_missing_key_is_named(tmp_path: Path):
    path = write_params(tmp_path / "params.yaml")
    path.write_text(path.read_text().replace("  num_test:", "  num_tset:"))
    with pytest.raises(InputError, match=r"sample.num_tset: unknown key; did you mean 'num_test'"):
        load_params(path)


def test_numbers_as_dvc_writes_them(tmp_path: Path):
    path = write_params(tmp_path / "params.yaml")
    text = path.read_text()
    path.write_text(text.replace("weight_decay: 1.0e-8", "weight_decay: 1e-08"))
    assert load_params(path).recipes["report"].weight_decay == 1e-8


@pytest.mark.parametrize("text", ["a: [", "\t", "- 1\n", "just words", "a: 1\na: 2\n"])
def test_what_is_no_params_file_is_refused_in_one_line(tmp_path: Path, text: str):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_params(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
