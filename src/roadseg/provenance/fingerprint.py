"""The provenance of a training, which is all that decides its weights, and its fingerprint."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from roadseg.config.params import Model, Recipe, Train
from roadseg.runtime.accelerator import Accelerator
from roadseg.system.errors import InputError


@dataclass(frozen=True)
class DataDigest:
    """The images and masks of a split."""

    pictures: int
    """Number of images."""
    sha256: str


@dataclass(frozen=True, kw_only=True)
class TrainingProvenance:
    """Everything that decides the weights after a given epoch; part of each model file."""

    code: dict[str, str]
    """Git blob id of each module that runs."""
    data: dict[str, DataDigest]
    """Of `train` and `val`."""
    model: dict[str, Any]
    recipe: dict[str, Any]
    train: dict[str, Any]
    """The seed; the number of epochs if a step depends on it; the hash of the initial weights."""
    machine: dict[str, str]
    """Device type and precision."""
    versions: dict[str, str]
    """Of torch and numpy."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> "TrainingProvenance":
        """Read what `to_json` returned.

        Raises:
            InputError: `value` is something else.
        """
        try:
            data = {split: DataDigest(**digest) for split, digest in value["data"].items()}
            provenance = cls(**{**value, "data": data})
        except (TypeError, KeyError, AttributeError) as error:
            raise InputError(f"not the provenance of a training: {error}") from None
        if not all(isinstance(section, dict) for section in vars(provenance).values()):
            raise InputError("not the provenance of a training: a section is not a mapping")
        return provenance


def build_provenance(
    code: dict[str, str],
    data: dict[str, DataDigest],
    model: Model,
    train: Train,
    recipe: Recipe,
    accelerator: Accelerator,
    *,
    depends_on_epochs: bool,
    start_sha256: str | None,
) -> TrainingProvenance:
    """Collect the provenance of a training.

    The number of loader workers is left out, because it never changes a weight.

    Args:
        depends_on_epochs: whether a step depends on the number of epochs; if not, a longer training
            can resume from a shorter one.
        start_sha256: of the file of the initial weights, None if they are random.
    """
    epochs = {"epochs": train.epochs} if depends_on_epochs else {}
    start = {} if start_sha256 is None else {"start": start_sha256}
    return TrainingProvenance(
        code=code,
        data=data,
        model=asdict(model),
        recipe={"name": train.recipe, **asdict(recipe)},
        train={"seed": train.seed, **epochs, **start},
        machine={"device": accelerator.device.type, "precision": accelerator.precision},
        versions={"torch": torch.__version__, "numpy": np.__version__},
    )


def fingerprint(provenance: TrainingProvenance) -> str:
    """Return 16 hexadecimal digits that differ if anything in `provenance` differs."""
    text = json.dumps(provenance.to_json(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def list_differences(before: TrainingProvenance, now: TrainingProvenance) -> list[str]:
    """List the differences, but for the code, as `recipe.learning_rate 0.001 -> 0.002`."""
    old, new = (_flatten({**p.to_json(), "code": {}}) for p in (before, now))
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
