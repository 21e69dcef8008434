"""Models whose probabilities are averaged: loading, compatibility and provenance."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from roadseg.config.schema import StrictModel
from roadseg.inference.tta import Ensemble
from roadseg.models.model_file import load_model
from roadseg.models.network import Network
from roadseg.provenance.model_metadata import ModelMetadata
from roadseg.system.errors import InputError
from roadseg.system.files import file_sha256, write_json


def load_models(paths: Sequence[Path]) -> tuple[list[Network], list[ModelMetadata]]:
    """Load models whose probabilities can be averaged, and their metadata.

    Raises:
        InputError: as `load_model`, and if a model differs from the first one in the class map, the
            scale or the class that was excluded from training.
    """
    networks: list[Network] = []
    loaded: list[ModelMetadata] = []
    for path in paths:
        network, metadata = load_model(path)
        if loaded and (difference := first_difference(_inputs(metadata), _inputs(loaded[0]))):
            raise InputError(
                f"{path}: cannot be averaged with {paths[0]}: {difference}; use models with one "
                "class map, scale and ignored class"
            )
        networks.append(network)
        loaded.append(metadata)
    return networks, loaded


def combine(networks: Sequence[nn.Module]) -> nn.Module:
    """Return the Ensemble of `networks`; a single network is returned as it is."""
    return networks[0] if len(networks) == 1 else Ensemble(networks)


def join_names(paths: Sequence[Path]) -> str:
    """Return the paths of models for a message."""
    return ", ".join(map(str, paths))


class ModelRecord(StrictModel):
    """One model in models.json."""

    model: str
    """Path as the user gave it."""
    sha256: str
    epoch: int | None
    val_miou: float | None
    """Validation mIoU after `epoch`, on the validation images of the training."""
    seed: int | None
    """Seed of the training; None, like the others, if the model does not state it."""


def write_model_records(
    path: Path, models: Sequence[Path], metadata: Sequence[ModelMetadata]
) -> None:
    """Write the records of `models`, in their order, to the JSON file `path`."""
    records = []
    for model, facts in zip(models, metadata, strict=True):
        seed = facts.provenance.train.get("seed") if facts.provenance else None
        record = ModelRecord(
            model=str(model),
            sha256=file_sha256(model),
            epoch=facts.epoch,
            val_miou=facts.val_miou,
            seed=seed if isinstance(seed, int) else None,
        )
        records.append(record.model_dump())
    write_json(path, records)


def _inputs(metadata: ModelMetadata) -> dict[str, Any]:
    """Return the metadata that models of an ensemble have in common."""
    class_map = metadata.classes.model_dump()
    scale = {"scale": metadata.scale, "ignored_class": metadata.ignored_class}
    return {"classes": class_map.pop("classes"), **class_map, **scale}


def first_difference(mine: Any, theirs: Any, key: str = "") -> str | None:
    """Describe the first difference of two nested values; None if they are equal.

    Returns:
        the dotted key and both values, such as `classes.3.name is 'pole', not 'sign'`.
    """
    if isinstance(mine, dict) and isinstance(theirs, dict):
        pairs = [(name, mine.get(name), theirs.get(name)) for name in {**mine, **theirs}]
    elif isinstance(mine, list) and mine and isinstance(mine[0], dict):
        pairs = [(i, *pair) for i, pair in enumerate(zip(mine, theirs, strict=False))]
        pairs += [("length", len(mine), len(theirs))]
    else:
        return None if mine == theirs else f"{key} is {mine!r}, not {theirs!r}"
    found = (first_difference(a, b, f"{key}.{name}".removeprefix(".")) for name, a, b in pairs)
    return next(filter(None, found), None)
