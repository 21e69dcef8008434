"""data/plan.json: numbers that params.yaml states or leaves open, and damaged files."""

import json
from pathlib import Path

import pytest

from roadseg.config.params import Params, load_params
from roadseg.config.plan_file import Plan, apply_plan, stated_plan
from roadseg.system.errors import InputError
from tests.factories import write_params


def read_params(folder: Path, **changes: object) -> Params:
    return load_params(write_params(folder / "params.yaml", **changes))


def write_plan(folder: Path, text: str) -> Path:
    path = folder / "plan.json"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def open_params(tmp_path_factory: pytest.TempPathFactory) -> Params:
    """Parameters that leave both numbers open."""
    changes = {"train__minutes": 10, "recipes__modern__batch_size": "auto"}
    return read_params(tmp_path_factory.mktemp("open"), **changes)


def test_plan_has_the_numbers_of_the_parameters(tmp_path: Path):
    params = read_params(tmp_path, train__epochs=5, recipes__modern__batch_size=3)
    assert stated_plan(params) == Plan(epochs=5, batch_size=3)


@pytest.mark.parametrize(
    "changes", [{"train__minutes": 10}, {"recipes__modern__batch_size": "auto"}]
)
def test_open_number_must_be_measured(tmp_path: Path, changes: dict):
    assert stated_plan(read_params(tmp_path, **changes)) is None


def test_recipe_that_is_not_used_may_be_open(tmp_path: Path):
    params = read_params(tmp_path, recipes__report__batch_size="auto")
    assert stated_plan(params) == Plan(epochs=2, batch_size=2)


def test_open_numbers_are_those_of_the_plan(open_params: Params, tmp_path: Path):
    with pytest.raises(InputError, match=r"^batch_size: .*, got 'auto'$"):
        _ = open_params.recipe
    planned = apply_plan(open_params, write_plan(tmp_path, '{"epochs": 37, "batch_size": 16}'))
    assert (planned.train.epochs, planned.recipe.batch_size) == (37, 16)
    stated = read_params(tmp_path, train__epochs=37, recipes__modern__batch_size=16)
    assert planned.recipe == stated.recipe
    assert planned.epochs_to_render == stated.epochs_to_render == [2, 37]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"epochs": 3, "batch_size": 2}', "epochs is 3, but train.epochs is 2; run dvc repro"),
        ('{"epochs": 2, "batch_size": 4}', "batch_size is 4, but recipes.modern.batch_size is 2;"),
    ],
)
def test_plan_of_other_parameters_is_refused(tmp_path: Path, text: str, message: str):
    path = write_plan(tmp_path, text)
    with pytest.raises(InputError, match=rf"^{path}: {message}"):
        apply_plan(read_params(tmp_path), path)


WRONG = {
    "epochs": [0, -1, 1000, 10**30, "7", 7.0, True, None, [7]],
    "batch_size": [0, 1025, "auto", 2.5, {}],
    "minutes": [10],
}


@pytest.mark.parametrize(
    "text",
    [
        *(json.dumps({"epochs": 2, "batch_size": 2, k: v}) for k, vs in WRONG.items() for v in vs),
        *("", "[]", '{"epochs": 2}', '{"batch_size": 2}', '{"epochs": NaN, "batch_size": 2}'),
    ],
)
def test_invalid_plan_is_refused(open_params: Params, tmp_path: Path, text: str):
    with pytest.raises(InputError, match=r"plan.json: .*; run dvc repro to rebuild it$") as caught:
        apply_plan(open_params, write_plan(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_batch_that_the_processes_cannot_share_is_refused(tmp_path: Path):
    params = read_params(tmp_path, train__processes=4, recipes__modern__batch_size="auto")
    path = write_plan(tmp_path, '{"epochs": 2, "batch_size": 2}')
    with pytest.raises(InputError, match=r"plan.json: train.processes: 4 is more than the 2 image"):
        apply_plan(params, path)


def test_epochs_that_the_plan_does_not_have_are_replaced_by_the_last(tmp_path: Path):
    params = read_params(tmp_path, train__minutes=1, render__epochs=[2, 50, "last"])
    path = write_plan(tmp_path, '{"epochs": 3, "batch_size": 2}')
    assert apply_plan(params, path).epochs_to_render == [2, 3]
