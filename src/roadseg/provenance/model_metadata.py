"""What a model's file says of it beside its weights; read without torch."""

import contextlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator
from safetensors import SafetensorError, safe_open

from roadseg.config.class_map import ClassMap
from roadseg.config.schema import StrictModel, validate
from roadseg.system.errors import InputError
from roadseg.system.memory import is_out_of_memory

KEY = "model"
"""Of the metadata; one key only: safetensors writes several in changing order."""


class _Network(StrictModel):
    """The options of UNet."""

    num_classes: int
    base_channels: int = Field(ge=1, le=1024)
    bilinear: bool
    norm: Literal["batch", "group"]
    dropout: float = Field(ge=0, lt=1)


class _Description(StrictModel):
    """The keys of the metadata that loading a model needs; there may be others."""

    unet: _Network
    classes: ClassMap
    ignored_class: int | None
    scale: float = Field(gt=0, le=1)

    @model_validator(mode="after")
    def _check_classes(self) -> "_Description":
        count = self.classes.num_classes
        if self.unet.num_classes != count:
            raise ValueError(
                f"unet.num_classes: {self.unet.num_classes}, but there are {count} classes"
            )
        if self.ignored_class is not None and not 0 <= self.ignored_class < count:
            raise ValueError(f"ignored_class: {self.ignored_class} is none of {count} classes")
        return self


def read_description(path: Path) -> dict[str, Any]:
    """What `save_weights` wrote beside the weights, checked.

    Raises:
        InputError: no such file, or not a safetensors file of this project.
    """
    description = _unchecked(path)
    if not isinstance(description, dict):
        raise InputError(f"{path}: not a model of this project: no description of one")
    names = [name for name in _Description.model_fields if name in description]
    try:
        validate(_Description, {name: description[name] for name in names})
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
