"""JSON files that one stage writes and another reads, as strict models."""

from pathlib import Path
from typing import TypeVar

from roadseg.config.schema import StrictModel, validate
from roadseg.system.errors import InputError
from roadseg.system.files import read_json, write_json

_Model = TypeVar("_Model", bound=StrictModel)


def read_model(model_type: type[_Model], path: Path) -> _Model:
    """Read the JSON file `path` as a `model_type`.

    Raises:
        InputError: the file is missing or was not written by `write_model`.
    """
    value = read_json(path)
    try:
        return validate(model_type, value, path)
    except InputError as error:
        raise InputError(f"{error}; run dvc repro to rebuild it") from None


def write_model(path: Path, model: StrictModel) -> None:
    """Write `model` as JSON with sorted keys, without unset fields."""
    write_json(path, model.model_dump(exclude_unset=True))
