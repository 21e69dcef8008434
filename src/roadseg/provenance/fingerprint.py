"""The provenance of a training, which is all that decides its weights, and its fingerprint."""

import hashlib
import json
from typing import Any

import numpy as np
import torch

from roadseg.config.params import Model, Recipe, Train
from roadseg.provenance.model_metadata import TrainingData, TrainingProvenance
from roadseg.runtime.accelerator import Accelerator


def build_provenance(
    code: dict[str, str],
    data: TrainingData,
    model: Model,
    train: Train,
    recipe: Recipe,
    accelerator: Accelerator,
    *,
    start_sha256: str | None,
) -> TrainingProvenance:
    """Collect the provenance of a training.

    The number of loader workers is left out, because it never changes a weight, and the number of
    epochs if no step depends on it, so that a longer training can resume from a shorter one.

    Args:
        start_sha256: of the file of the initial weights, None if they are random.
    """
    epochs = {"epochs": train.epochs} if recipe.depends_on_epochs else {}
    start = {} if start_sha256 is None else {"start": start_sha256}
    return TrainingProvenance(
        code=code,
        data=data,
        model=model.model_dump(),
        recipe={"name": train.recipe, **recipe.model_dump()},
        train={"seed": train.seed, **epochs, **start},
        machine={"device": accelerator.device.type, "precision": accelerator.precision},
        versions={"torch": torch.__version__, "numpy": np.__version__},
    )


def fingerprint(provenance: TrainingProvenance) -> str:
    """Return 16 hexadecimal digits that differ if anything in `provenance` differs."""
    text = json.dumps(provenance.model_dump(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def list_differences(before: TrainingProvenance, now: TrainingProvenance) -> list[str]:
    """List the differences, but for the code, as `recipe.learning_rate 0.001 -> 0.002`."""
    old, new = (_flatten({**p.model_dump(), "code": {}}) for p in (before, now))
    changed = sorted(key for key in old | new if old.get(key) != new.get(key))
    return [_difference(key, old.get(key), new.get(key)) for key in changed]


def changed_modules(before: TrainingProvenance, now: TrainingProvenance) -> list[str]:
    """List the modules whose code differs, first those that both have."""
    names = before.code.keys() | now.code.keys()
    changed = [name for name in names if before.code.get(name) != now.code.get(name)]
    is_in_one = {name: (name in before.code) != (name in now.code) for name in changed}
    return sorted(changed, key=lambda name: (is_in_one[name], name))


def _difference(key: tuple[str, ...], before: Any, now: Any) -> str:
    if key[-1] == "sha256":
        return f"content of the {key[1]} images"
    reason = ", over which the recipe spreads its schedule" if key[-1] == "epochs" else ""
    return f"{'.'.join(key)} {before} -> {now}{reason}"


def _flatten(value: Any, key: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    if not isinstance(value, dict):
        return {key: value}
    return {path: leaf for k, v in value.items() for path, leaf in _flatten(v, (*key, k)).items()}
