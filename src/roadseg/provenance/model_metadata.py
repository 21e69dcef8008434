"""Metadata in the header of a model file (safetensors); readable without torch."""

import contextlib
import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, field_validator, model_validator
from safetensors import SafetensorError, safe_open

from roadseg.config.class_map import ClassMap
from roadseg.config.schema import StrictModel, validate
from roadseg.provenance.encoder_weights import WeightsRecord
from roadseg.system.errors import InputError
from roadseg.system.memory import out_of_memory_as

KEY = "model"
"""The only key of the safetensors metadata, because safetensors writes several in random order."""

Scalar = str | int | float | bool | None


class Machine(StrictModel):
    """Hardware of a training run from one epoch on; it affects the last bits of the weights."""

    from_epoch: int
    processes: int | None = None
    """Number of training processes; None: one."""
    processor: str
    threads: int | None = None
    """Number of CPU threads; None on a GPU."""


class DataDigest(StrictModel):
    """Digest of the images and masks of one split."""

    pictures: int
    """Number of images."""
    sha256: str


class TrainingData(StrictModel):
    """Digests of the data of a training run."""

    train: DataDigest
    val: DataDigest


class TrainingProvenance(StrictModel):
    """Everything that determines the weights after a given epoch; part of each model file.

    `model`, `recipe` and `train` have the options that params.yaml had at the time; these differ
    between versions of this project.
    """

    code: dict[str, str]
    """Git blob id of each module of the import closure, by path."""
    data: TrainingData
    model: dict[str, Scalar]
    recipe: dict[str, Scalar]
    """The options of the recipe and its `name`."""
    train: dict[str, Scalar]
    """Seed, number of epochs if a step depends on it, and hash of the initial weights if any."""
    machine: dict[str, str]
    """Device type and precision."""
    versions: dict[str, str]
    """Versions of the packages that compute: torch, numpy, and for smp networks its own."""

    @field_validator("recipe")
    @classmethod
    def _require_name(cls, recipe: dict[str, Scalar]) -> dict[str, Scalar]:
        if "name" not in recipe:
            raise ValueError("should have the key name")
        return recipe

    def fingerprint(self) -> str:
        """Return a hash of all fields, 16 hexadecimal digits."""
        text = json.dumps(self.model_dump(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def differences_from(self, before: "TrainingProvenance") -> list[str]:
        """List differences such as `recipe.learning_rate 0.001 -> 0.002`, the code first."""
        names = before.code.keys() | self.code.keys()
        modules = sorted(name for name in names if before.code.get(name) != self.code.get(name))
        code = [f"its code ({len(modules)} modules, such as {modules[0]})"] if modules else []
        old, new = (_flatten({**p.model_dump(), "code": {}}) for p in (before, self))
        changed = sorted(key for key in old | new if old.get(key) != new.get(key))
        return code + [_difference(key, old.get(key), new.get(key)) for key in changed]


def _difference(key: tuple[str, ...], before: Any, now: Any) -> str:
    if key[-1] == "sha256":
        return f"content of the {key[1]} images"
    reason = ", over which the recipe spreads its schedule" if key[-1] == "epochs" else ""
    return f"{'.'.join(key)} {before} -> {now}{reason}"


def _flatten(value: Any, key: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    if not isinstance(value, dict):
        return {key: value}
    return {path: leaf for k, v in value.items() for path, leaf in _flatten(v, (*key, k)).items()}


class ModelMetadata(StrictModel):
    """Metadata that a model file contains next to the weights.

    A model of an earlier version of this project, or of another program, may have only the fields
    that predictions need.
    """

    architecture: str = "unet"
    network: dict[str, Scalar]
    """Keyword arguments of the network's class, `num_classes` among them."""
    classes: ClassMap
    ignored_class: int | None
    """Id of the class that was excluded from training; None if there is none."""
    scale: float = Field(gt=0, le=1)
    """Scale of height and width at which images are passed to the network."""
    weights: WeightsRecord | None = None
    """Origin of the initial weights of the encoder; None if they were random."""
    provenance: TrainingProvenance | None = None
    machines: list[Machine] = Field(default_factory=list)
    epoch: int | None = None
    """Epoch of the weights; 1, 2, ..."""
    val_miou: float | None = None
    """Validation mIoU after `epoch`, 0 to 1."""

    @model_validator(mode="after")
    def _check_classes(self) -> "ModelMetadata":
        count = self.classes.num_classes
        if (found := self.network.get("num_classes")) != count:
            raise ValueError(f"network.num_classes: {found}, but there are {count} classes")
        if self.ignored_class is not None and not 0 <= self.ignored_class < count:
            raise ValueError(
                f"ignored_class: {self.ignored_class} is not one of the {count} classes"
            )
        return self

    def to_json(self, indent: int | None = None) -> str:
        """Return JSON with sorted keys, without unset fields."""
        return json.dumps(self.model_dump(exclude_unset=True), indent=indent, sort_keys=True)


def describe_network(metadata: ModelMetadata) -> str:
    """Format the architecture and its options: `unet, base_channels 64, bilinear True, ...`."""
    return f"{metadata.architecture}, {list_options(metadata.network)}"


def list_options(options: StrictModel | Mapping[str, Scalar]) -> str:
    """Format options as `name value, name value, ...`."""
    values = options.model_dump(exclude_unset=True) if isinstance(options, StrictModel) else options
    return ", ".join(f"{name} {value}" for name, value in values.items())


class TrainedModelMetadata(ModelMetadata):
    """Metadata of a model that `train` wrote, with its provenance."""

    provenance: TrainingProvenance
    machines: list[Machine]
    epoch: int
    val_miou: float


Metadata = TypeVar("Metadata", bound=ModelMetadata)


def read_metadata(path: Path, metadata_type: type[Metadata]) -> Metadata:
    """Read the metadata that `save_weights` wrote; unknown keys of later versions are ignored.

    Raises:
        InputError: the file is missing or is not a safetensors file with this metadata.
    """
    found = _read_header(path)
    if "unet" in found:  # models of version 0.2 and earlier
        found["network"] = found.pop("unet")
    known = {name: found[name] for name in metadata_type.model_fields if name in found}
    try:
        return validate(metadata_type, known)
    except InputError as error:
        raise InputError(f"{path}: not a model of this project: {error}") from None


def read_classes(path: Path) -> ClassMap | None:
    """Read the class map of a model; None if the file is not a model of this project."""
    try:
        return validate(ClassMap, _read_header(path).get("classes"))
    except InputError:
        return None


def _read_header(path: Path) -> dict[str, Any]:
    with explain_read_errors(path), safe_open(path, framework="np") as file:
        text = (file.metadata() or {}).get(KEY, "null")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a model of this project: {error}") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: not a model of this project: it has no metadata")
    return found


@contextlib.contextmanager
def explain_read_errors(path: Path) -> Iterator[None]:
    """Turn errors raised while reading the safetensors file `path` into InputErrors."""
    try:
        path.open("rb").close()  # safetensors reports a file without read permission as missing
        with out_of_memory_as(f"{path}: out of memory while reading it; close other programs"):
            yield
    except (PermissionError, IsADirectoryError) as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except FileNotFoundError:
        raise InputError(f"{path}: no such model; run dvc repro train") from None
    except (SafetensorError, OSError, struct.error) as error:
        raise InputError(f"{path}: damaged or not a safetensors file: {error}") from None
