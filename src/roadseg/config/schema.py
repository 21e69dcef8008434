"""Read YAML as DVC reads it, and validate plain data with strict pydantic models.

DVC writes params.yaml with ruamel and YAML 1.2, where `1e-05` is a number and `no` is a word;
PyYAML's YAML 1.1 takes the first for a string and the second for False.
"""

import dataclasses
import difflib
import reprlib
import sys
import types
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from roadseg.system.errors import InputError

_MOST_BYTES = 1 << 16
"""What takes a few seconds to read; a class map of all 256 label ids needs a third of it."""
_DAMAGE = (
    # what ruamel raises on a text that it cannot make values of; a bad date is a ValueError
    *(YAMLError, ValueError, KeyError, IndexError, AssertionError, TypeError, AttributeError),
    OverflowError,
    RecursionError,
)
_KEYS_EXPECTED = "should be keys with values"
_REASONS = {"missing": "missing", "model_type": _KEYS_EXPECTED, "dict_type": _KEYS_EXPECTED}
# Nested aliases can stand for exponentially many values, which a plain repr() would write out.
_SHORT = reprlib.Repr()
_SHORT.maxlevel = 3
_SHORT.maxlist = _SHORT.maxdict = 20  # elements
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = 600  # characters, as many as an error has

Model = TypeVar("Model", bound="StrictModel")


class StrictModel(BaseModel):
    """Base class of immutable models that accept exactly their own keys and types.

    An integer may stand for a float, a bool is not a number, NaN and infinity are refused.
    Validators raise ValueError: that of a field with a text such as "should be a regular
    expression", that of a model with one that begins with the key ("void: no such class").
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    # extra="forbid" would report each key of each alias, and small YAML can hold billions of them.
    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_key(cls, values: Any) -> Any:
        known = list(cls.model_fields)
        for key in values if isinstance(values, dict) else ():
            if key not in known:
                name = key if isinstance(key, str) else _shorten(key)
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
                raise ValueError(f"{name}: unknown key; {hint}")
        return values


def read_yaml(path: Path) -> Any:
    """The plain value (dict, list, str, int, float, bool, None) in the YAML file `path`.

    Raises:
        InputError: no such file, not UTF-8, not YAML, or larger than any parameters are.
    """
    try:
        size = path.stat().st_size
        if size > _MOST_BYTES:
            raise InputError(f"{path}: {size:,} bytes; no such file needs {_MOST_BYTES:,}")
        return parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except _DAMAGE as error:
        raise InputError(f"{path}: not a YAML file: {' '.join(str(error).split())}") from None


def parse_yaml(text: str) -> Any:
    """Parse YAML 1.2 into plain values, as DVC does."""
    return YAML(typ="safe", pure=True).load(text)


def validate(model_type: type[Model], value: Any) -> Model:
    """Build a `model_type` from `value`, plain data as YAML and JSON have it.

    Raises:
        InputError: the first error only; the message begins with the dotted key.
    """
    try:
        return model_type.model_validate(value)
    except ValidationError as error:
        errors = error.errors(include_url=False)
    key, first = _dotted_key(errors[0], value), errors[0]
    reasons = {_reason(error): None for error in errors if _dotted_key(error, value) == key}
    if first["type"] == "value_error" and isinstance(first["input"], dict):  # begins with a key
        raise InputError(f"{key}.{_reason(first)}".removeprefix("."))
    got = "" if first["type"] == "missing" else f", got {_shorten(first['input'])}"
    raise InputError(f"{key or 'top level'}: {' or '.join(reasons)}{got}")


def _dotted_key(error: Any, value: Any) -> str:
    """Return the key of `error` in `value`; unlike `loc`, it does not name options of unions."""
    key = ""
    for part in error["loc"]:
        if isinstance(value, dict) and (part in value or error["type"] == "missing"):
            key, value = f"{key}.{part}", value.get(part)
        elif isinstance(value, list) and isinstance(part, int):
            key, value = f"{key}[{part}]", value[part]
    return key.removeprefix(".")


def _reason(error: Any) -> str:
    if error["type"] in _REASONS:
        return _REASONS[error["type"]]
    return error["msg"].removeprefix("Value error, ").removeprefix("Input ")


def _shorten(value: Any) -> str:
    try:
        return _SHORT.repr(value)
    except ValueError:  # an integer of more than 4300 digits
        return "a number of very many digits"


def checked(expected: Any, value: Any, key: str = "") -> Any:
    """`value`, plain data from YAML, as the type hint `expected`.

    Dataclasses are built from mappings with exactly their fields; types are exact, except that a
    whole number may stand for a float.

    Raises:
        InputError: unknown or missing key, wrong type, or what a dataclass itself refuses; the
            message begins with the dotted key.
    """
    origin = get_origin(expected)
    if dataclasses.is_dataclass(expected):
        return _section(expected, value, key)
    if origin is dict:
        return {
            name: checked(get_args(expected)[1], entry, f"{key}.{name}")
            for name, entry in _mapping(value, key).items()
        }
    if origin is list and isinstance(value, list):
        item = get_args(expected)[0]
        return [checked(item, entry, f"{key}[{i}]") for i, entry in enumerate(value)]
    if origin in (types.UnionType, Union):
        for option in get_args(expected):
            if _fits(option, value):
                return checked(option, value, key)
    elif _fits(expected, value):
        if expected is int and abs(value) >= 2**63:
            raise InputError(f"{key}: {_shorten(value)} is out of range; expected below 2**63")
        return float(value) if expected is float else value
    raise InputError(f"{key}: expected {_described(expected)}, got {_shorten(value)}")


def _fits(expected: Any, value: Any) -> bool:
    if get_origin(expected) is Literal:
        return isinstance(value, str) and value in get_args(expected)
    if get_origin(expected) is list:
        return isinstance(value, list)
    if expected is float:  # 1 is a fine scale; nan and infinity never are
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and abs(value) <= sys.float_info.max
    return type(value) is expected  # bool is an int to isinstance


def _mapping(value: Any, key: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise InputError(f"{key or 'top level'}: expected keys with values, got {_shorten(value)}")
    return value


def _section(section: type, value: Any, key: str) -> Any:
    prefix = f"{key}." if key else ""
    hints = get_type_hints(section)
    for name in _mapping(value, key):
        if name not in hints:
            close = difflib.get_close_matches(name, hints, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(hints)}"
            raise InputError(f"{prefix}{name}: unknown key; {hint}")
    for name, hint in hints.items():
        if name not in value:
            raise InputError(f"{prefix}{name}: missing; expected {_described(hint)}")
    fields = {name: checked(hint, value[name], prefix + name) for name, hint in hints.items()}
    try:
        return section(**fields)
    except InputError as error:
        raise InputError(f"{prefix}{error}") from None


def _described(expected: Any) -> str:
    """The type hint `expected` in words."""
    origin = get_origin(expected)
    if origin is Literal:
        return " or ".join(get_args(expected))
    if origin in (types.UnionType, Union):
        return " or ".join(_described(option) for option in get_args(expected))
    if origin is list:
        return f"a list of {_described(get_args(expected)[0])}"
    if origin is dict or dataclasses.is_dataclass(expected):
        return "a section of keys"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "quoted text"}
    return words.get(expected, "null")
