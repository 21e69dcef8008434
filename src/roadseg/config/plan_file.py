"""data/plan.json: the number of epochs and the batch size that training uses."""

from pathlib import Path

from roadseg.config.json_files import read_model
from roadseg.config.params import Epochs, Params
from roadseg.config.recipe import BatchSize
from roadseg.config.schema import StrictModel, validate
from roadseg.system.errors import InputError


class Plan(StrictModel):
    """Numbers that params.yaml states, or that the stage plan measured."""

    epochs: Epochs
    batch_size: BatchSize


def stated_plan(params: Params) -> Plan | None:
    """Return the plan that `params` states; None if a number must be measured."""
    batch_size = params.recipes[params.train.recipe].batch_size
    if params.train.minutes is not None or batch_size == "auto":
        return None
    return Plan(epochs=params.train.epochs, batch_size=batch_size)


def apply_plan(params: Params, path: Path) -> Params:
    """Return `params` with the numbers of the plan in the file `path`.

    Raises:
        InputError: the file is missing or invalid, or was written for other parameters.
    """
    plan, values = read_model(Plan, path), params.model_dump()
    train, recipe = values["train"], values["recipes"][params.train.recipe]
    batch_size = f"recipes.{params.train.recipe}.batch_size"
    if train["minutes"] is None:
        _require_stated(path, plan.epochs, "train.epochs", train["epochs"])
    if recipe["batch_size"] != "auto":
        _require_stated(path, plan.batch_size, batch_size, recipe["batch_size"])
    train["epochs"], recipe["batch_size"] = plan.epochs, plan.batch_size
    return validate(Params, values, path)


def _require_stated(path: Path, planned: int, key: str, stated: int) -> None:
    """Raise InputError if the plan differs from the number that params.yaml states."""
    if planned != stated:
        name = key.rpartition(".")[2]
        raise InputError(
            f"{path}: {name} is {planned}, but {key} is {stated}; run dvc repro to rebuild it"
        )
