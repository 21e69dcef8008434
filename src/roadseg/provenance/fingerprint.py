"""What a training is made from: all that decides its weights, and its fingerprint."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from roadseg.config.params import Model, Recipe, Train
from roadseg.data.prepared import PreparedDataset
from roadseg.data.split_file import Split
from roadseg.runtime.accelerator import Accelerator
from roadseg.system.errors import InputError
from roadseg.system.files import file_sha256

Provenance = dict[str, Any]


def build_provenance(
    code: dict[str, str],
    prepared: PreparedDataset,
    split: Split,
    model: Model,
    train: Train,
    recipe: Recipe,
    accelerator: Accelerator,
    start: Path | None,
) -> Provenance:
    """Everything that decides the weights after a given epoch, as JSON.

    The number of epochs is in it only where a step depends on it, so that a longer
    training can go on from a shorter one. The number of loader processes never changes a weight.

    Args:
        code: blob ids of the modules that run, by name.
        split: ids of `train` and `val`; the first are trained on, in this order, the second judge.
        start: the file of the first weights, None where they are drawn.

    Raises:
        InputError: no such file.
    """
    epochs = {"epochs": train.epochs} if recipe.depends_on_epochs else {}
    begun = {} if start is None else {"start": _start_digest(start)}
    data = {
        part: {"pictures": len(ids), "sha256": prepared.digest(ids)}
        for part, ids in (("train", split.train), ("val", split.val))
    }
    return {
        "code": code,
        "data": data,
        "model": model.model_dump(),
        "recipe": {"name": train.recipe, **recipe.model_dump()},
        "train": {"seed": train.seed, **epochs, **begun},
        "machine": {"device": accelerator.device.type, "precision": accelerator.precision},
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
    }


def _start_digest(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise InputError(f"train.start: {path}: {error.strerror}") from None


def fingerprint(origin: Provenance) -> str:
    """16 hexadecimal digits that differ where anything in `origin` differs."""
    text = json.dumps(origin, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def list_differences(before: Provenance, now: Provenance) -> list[str]:
    """What differs, a short text each: `recipe.learning_rate 0.001 -> 0.002`, `code of x.py`."""
    old, new = _flat(before), _flat(now)
    changed = sorted(key for key in old | new if old.get(key) != new.get(key))
    return [_difference(key, old.get(key), new.get(key)) for key in changed]


def _difference(key: tuple[str, ...], before: Any, now: Any) -> str:
    if key[0] == "code":
        return f"code of {key[1]}"
    if key[-1] == "sha256":
        return f"content of the {key[1]} pictures"
    reason = ", over which the recipe spreads its schedule" if key[-1] == "epochs" else ""
    return f"{'.'.join(key)} {before} -> {now}{reason}"


def _flat(value: Any, key: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    if not isinstance(value, dict):
        return {key: value}
    return {path: leaf for k, v in value.items() for path, leaf in _flat(v, (*key, k)).items()}
