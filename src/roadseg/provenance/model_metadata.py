"""What a model's file says of it beside its weights; read without torch."""

import contextlib
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from roadseg.config.class_map import ClassMap
from roadseg.config.schema import checked
from roadseg.system.errors import InputError
from roadseg.system.memory import is_out_of_memory

KEY = "model"
"""Of the metadata; one key only: safetensors writes several in changing order."""


@dataclass(frozen=True, kw_only=True)
class _Network:
    """The options of UNet."""

    num_classes: int
    base_channels: int
    bilinear: bool
    norm: Literal["batch", "group"]
    dropout: float

    def __post_init__(self) -> None:
        if not 1 <= self.base_channels <= 1024:
            raise InputError(
                f"base_channels: {self.base_channels} is out of range; expected 1 to 1024"
            )
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout: {self.dropout} is out of range; expected 0 to below 1")


@dataclass(frozen=True, kw_only=True)
class _Description:
    """What whoever loads a model reads of its description; it may hold more."""

    unet: _Network
    classes: ClassMap
    ignored_class: int | None
    scale: float

    def __post_init__(self) -> None:
        count = self.classes.num_classes
        if self.unet.num_classes != count:
            raise InputError(
                f"unet.num_classes: {self.unet.num_classes}, but there are {count} classes"
            )
        if self.ignored_class is not None and not 0 <= self.ignored_class < count:
            raise InputError(f"ignored_class: {self.ignored_class} is none of {count} classes")
        if not 0 < self.scale <= 1:
            raise InputError(f"scale: {self.scale} is out of range; expected above 0, at most 1")


def read_description(path: Path) -> dict[str, Any]:
    """What `save_weights` wrote beside the weights, checked.

    Raises:
        InputError: no such file, or not a safetensors file of this project.
    """
    description = _unchecked(path)
    if not isinstance(description, dict):
        raise InputError(f"{path}: not a model of this project: no description of one")
    names = [field.name for field in fields(_Description) if field.name in description]
    try:
        checked(_Description, {name: description[name] for name in names})
    except InputError as error:
        raise InputError(f"{path}: not a model of this project: {error}") from None
    return description


def _unchecked(path: Path) -> Any:
    with readable(path), safe_open(path, framework="np") as file:
        return json.loads((file.metadata() or {})[KEY])


def described_classes(path: Path) -> dict[str, Any] | None:
    """The class map of the model in `path`, None in a file that is not of this project."""
    try:
        return _unchecked(path)["classes"]
    except (InputError, KeyError, TypeError):
        return None


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """Whatever fails in reading `path` as an InputError, but for memory that is short."""
    try:
        path.open("rb").close()  # of what may not be read, safetensors says that it is not there
        yield
    except InputError:
        raise
    except (PermissionError, IsADirectoryError) as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except FileNotFoundError:
        raise InputError(f"{path}: no such model; run dvc repro train") from None
    except Exception as error:
        if is_out_of_memory(error):
            raise
        if isinstance(error, SafetensorError | OSError | struct.error):
            raise InputError(f"{path}: not a whole safetensors file: {error}") from None
        raise InputError(f"{path}: not a model of this project: {error!r}") from None
