"""Read YAML as DVC does, and validate plain data with strict pydantic models.

DVC uses ruamel.yaml with YAML 1.2, where `1e-05` is a number and `no` a string; in PyYAML's
YAML 1.1, `1e-05` is a string and `no` is False.
"""

import difflib
import reprlib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML

from roadseg.system.errors import InputError

_MAX_BYTES = 1 << 16
"""Limit, a few seconds of parsing; a class map of 256 label ids needs a third of it."""
_KEYS_EXPECTED = "should be keys with values"
_REASONS = {"missing": "missing", "model_type": _KEYS_EXPECTED, "dict_type": _KEYS_EXPECTED}
# repr() would expand nested aliases, which can be exponentially many.
_SHORT = reprlib.Repr()
_SHORT.maxlevel = 3
_SHORT.maxlist = _SHORT.maxdict = 20  # elements
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = 600  # characters, as in an error message

_Model = TypeVar("_Model", bound=BaseModel)


class StrictModel(BaseModel):
    """Base class of immutable models that accept exactly their own keys and types.

    Integers are valid floats, booleans are not numbers, NaN and infinity are refused. Validators
    raise ValueError: those of a field with a text like "should be a regular expression", those of a
    model with a text that begins with the key, like "void: no such class".
    """

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="forbid",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    # extra="forbid" would report each key of each alias, and a small YAML file can have billions.
    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_key(cls, values: Any) -> Any:
        known = list(cls.model_fields)
        for key in values if isinstance(values, dict) else ():
            if key not in known:
                name = key if isinstance(key, str) else _shorten(key)
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}"
                raise ValueError(f"{name}: unknown key; {hint}")
        return values


def read_yaml(path: Path) -> Any:
    """Read plain values (dict, list, str, int, float, bool, None) from the YAML file `path`.

    Raises:
        InputError: the file is missing, not UTF-8, not YAML or too large.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if (size := path.stat().st_size) > _MAX_BYTES:
        raise InputError(f"{path}: {size:,} bytes; the limit is {_MAX_BYTES:,}")
    data = path.read_bytes()
    try:
        return parse_yaml(data.decode())
    except Exception as error:  # YAMLError, KeyError, AttributeError and many more
        raise InputError(f"{path}: not a YAML file: {' '.join(str(error).split())}") from None


def parse_yaml(text: str) -> Any:
    """Parse YAML 1.2 into plain values, as DVC does."""
    yaml = YAML(typ="safe", pure=True)
    yaml.composer.warn_double_anchors = False  # YAML 1.2 allows an anchor to be defined again
    return yaml.load(text)


def validate(model_type: type[_Model], value: Any, source: Path | None = None) -> _Model:
    """Build a `model_type` from the plain data `value`, as read from YAML or JSON.

    Args:
        source: the file that contains `value`, for the error message.

    Raises:
        InputError: describes the first error; the message has the file and the dotted key.
    """
    prefix = "" if source is None else f"{source}: "
    try:
        return model_type.model_validate(value)
    except ValidationError as error:
        errors = error.errors(include_url=False)
    key, first = _dotted_key(errors[0], value), errors[0]
    reasons = {_reason(error): None for error in errors if _dotted_key(error, value) == key}
    if first["type"] == "value_error" and isinstance(first["input"], dict):  # begins with a key
        raise InputError(prefix + f"{key}.{_reason(first)}".removeprefix("."))
    got = "" if first["type"] == "missing" else f", got {_shorten(first['input'])}"
    raise InputError(f"{prefix}{key or 'top level'}: {' or '.join(reasons)}{got}")


def _dotted_key(error: ErrorDetails, value: Any) -> str:
    """Return the dotted key of `error`; unlike `loc`, without the options of unions."""
    key = ""
    for part in error["loc"]:
        if isinstance(value, dict) and (part in value or error["type"] == "missing"):
            key, value = f"{key}.{part}", value.get(part)
        elif isinstance(value, list) and isinstance(part, int):
            key, value = f"{key}[{part}]", value[part]
    return key.removeprefix(".")


def _reason(error: ErrorDetails) -> str:
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    message = error["msg"][0].lower() + error["msg"][1:]
    return _REASONS.get(error["type"], message.removeprefix("input "))


def _shorten(value: Any) -> str:
    try:
        return _SHORT.repr(value)
    except ValueError:  # an integer of more than 4300 digits
        return "a number with thousands of digits"


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Turn nested mappings into one mapping with dotted keys."""
    if not isinstance(value, dict):
        return {prefix: value}
    return {
        key: leaf
        for name, entry in value.items()
        for key, leaf in flatten(entry, f"{prefix}.{name}" if prefix else name).items()
    }
