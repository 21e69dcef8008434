"""Class tables that come with data sets: names of the classes, with their colors or label ids.

`class_dict.csv` (Kaggle), `labelmap.txt` (CVAT), `label_colors.txt` (CamVid), `objectInfo150.txt`
(ADE20K), `_classes.csv` (Roboflow) and `data.yaml` (YOLO). They are untrusted: an invalid table is
an InputError that names file, line and value.
"""

import csv
import fnmatch
import io
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import NamedTuple

from roadseg.config.schema import parse_yaml
from roadseg.system.errors import InputError

Color = tuple[int, int, int]
"""Red, green and blue, 0..255."""
MAX_BYTES = 1 << 16
"""Limit on the size of a table; 254 classes need a tenth of it."""

_LABELMAP = r"(?P<name>.*):(?P<r>[^,:]*),(?P<g>[^,:]*),(?P<b>[^,:]*):[^:]*:[^:]*"
_LABEL_COLORS = r"(?P<r>\S+)\s+(?P<g>\S+)\s+(?P<b>\S+)\s+(?P<name>.+)"


class TableClass(NamedTuple):
    """One class of a table, with what the table says of its pixels."""

    name: str
    color: Color | None = None
    label_id: int | None = None


class ClassTable(NamedTuple):
    """The classes of the table `file`; names are unique, and so are colors and label ids."""

    file: str
    classes: list[TableClass]

    def by_color(self) -> dict[Color, TableClass]:
        """Return the classes that have a color, by color."""
        return {entry.color: entry for entry in self.classes if entry.color is not None}

    def by_label_id(self) -> dict[int, TableClass]:
        """Return the classes by label id; in a table of colors, that is the position."""
        ids = (
            position if entry.label_id is None else entry.label_id
            for position, entry in enumerate(self.classes)
        )
        return dict(zip(ids, self.classes, strict=True))


class _LineError(Exception):
    """A problem in one line of a table; line 0 is the whole file."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}" if line else problem)


_Rows = Iterator[tuple[int, TableClass]]
"""Line numbers from 1 and classes."""


def find_class_table(names: Iterable[str]) -> str | None:
    """Return the class table among the file `names`: the one with the shortest path, if any."""
    found = [name for name in names if _reader(name)]
    return min(found, key=lambda name: (name.count("/"), name), default=None)


def read_class_table(name: str, data: bytes) -> ClassTable:
    """Read the class table `name` from its content.

    Raises:
        InputError: the table is too large, not UTF-8, lacks a column, or has an invalid or repeated
            name, color or label id.
    """
    reader = _reader(name)
    if reader is None:
        raise InputError(f"{name}: not a known class table")
    if len(data) > MAX_BYTES:
        raise InputError(f"{name}: over {MAX_BYTES:,} bytes; a class table is smaller")
    try:
        rows = list(reader(data.decode("utf-8-sig")))
        if not rows:
            raise _LineError(0, "has no classes")
        _require_unique(rows)
    except UnicodeDecodeError:
        raise InputError(f"{name}: not UTF-8 text; save it as UTF-8") from None
    except (_LineError, csv.Error) as error:
        raise InputError(f"{name}: {error}") from None
    return ClassTable(name, [entry for _, entry in rows])


def _reader(name: str) -> Callable[[str], _Rows] | None:
    base = PurePosixPath(name).name.casefold()
    return next((read for glob, read in _READERS.items() if fnmatch.fnmatch(base, glob)), None)


def _require_unique(rows: list[tuple[int, TableClass]]) -> None:
    seen: dict[str, int] = {}
    for line, entry in rows:
        for kind, value in entry._asdict().items():
            if value is None:
                continue
            text = f"{kind.replace('_', ' ')} {value!r}"
            if text in seen:
                raise _LineError(line, f"{text} is also in line {seen[text]}; each may occur once")
            seen[text] = line


def _read_columns(
    text: str, delimiter: str, columns: tuple[str, ...]
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line numbers and the values of `columns`, whose header is in any case and order."""
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True, strict=True)
    header = [field.strip().casefold() for field in next(reader, [])]
    if missing := [column for column in columns if column not in header]:
        raise _LineError(1, f"no column {missing[0]!r}; expected {', '.join(columns)}")
    for fields in reader:
        if not any(field.strip() for field in fields):
            continue
        if len(fields) < len(header):
            raise _LineError(reader.line_num, f"has {len(fields)} of {len(header)} fields")
        values = dict(zip(header, fields, strict=False))
        yield reader.line_num, {column: values[column].strip() for column in columns}


def _read_csv(text: str) -> _Rows:
    """`name,r,g,b` with a header."""
    for line, row in _read_columns(text, ",", ("name", "r", "g", "b")):
        color = _color(line, [row["r"], row["g"], row["b"]])
        yield line, TableClass(_name(line, row["name"]), color)


def _read_roboflow(text: str) -> _Rows:
    """`Pixel Value, Class` with a header."""
    for line, row in _read_columns(text, ",", ("pixel value", "class")):
        label_id = _number(line, "Pixel Value", row["pixel value"], 65535)
        yield line, TableClass(_name(line, row["class"]), label_id=label_id)


def _read_ade20k(text: str) -> _Rows:
    """Tab-separated columns `Idx` and `Name`; a name has synonyms, of which the first is kept."""
    rows = list(_read_columns(text, "\t", ("idx", "name")))
    firsts = [re.split(r"[,;]", row["name"])[0].strip() for _, row in rows]
    for (line, row), first in zip(rows, firsts, strict=True):
        name = first if firsts.count(first) == 1 else row["name"]
        yield line, TableClass(_name(line, name), label_id=_number(line, "Idx", row["idx"], 65535))


def _read_lines(expression: str, form: str, text: str) -> _Rows:
    """Lines that match `expression`; empty ones and those that begin with `#` are comments."""
    for line, row in enumerate(map(str.strip, text.splitlines()), 1):
        if not row or row.startswith("#"):
            continue
        if (found := re.fullmatch(expression, row)) is None:
            raise _LineError(line, f"{row!r} is not {form}")
        color = _color(line, [found["r"], found["g"], found["b"]])
        yield line, TableClass(_name(line, found["name"]), color)


def _read_yolo(text: str) -> _Rows:
    """`names` as a list, or as a mapping from label ids."""
    try:
        content = parse_yaml(text)
    except Exception as error:  # YAMLError, KeyError, AttributeError and many more
        raise _LineError(0, f"not a YAML file: {' '.join(str(error).split())}") from None
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict):
        raise _LineError(0, "no key names with a list of class names")
    for label_id, name in names.items():
        if type(label_id) is not int or type(name) not in (str, int) or not 0 <= label_id <= 65535:
            raise _LineError(0, "names: should be a list of names, or names by label id")
        yield 0, TableClass(_name(0, str(name)), label_id=label_id)


_READERS: dict[str, Callable[[str], _Rows]] = {
    "*class_dict*.csv": _read_csv,
    "_classes.csv": _read_roboflow,
    "labelmap.txt": partial(_read_lines, _LABELMAP, "name:r,g,b:parts:actions"),
    "label_colors.txt": partial(_read_lines, _LABEL_COLORS, "r g b name"),
    "objectinfo150.txt": _read_ade20k,
    "data.yaml": _read_yolo,
}
"""Readers by pattern of the file name in lower case."""


def _name(line: int, text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise _LineError(line, f"{text!r} is not a class name")
    return text.strip()


def _color(line: int, channels: list[str]) -> Color:
    red, green, blue = (_number(line, "a color channel", text, 255) for text in channels)
    return red, green, blue


def _number(line: int, what: str, text: str, highest: int) -> int:
    if not re.fullmatch(r"\s*[0-9]{1,6}\s*", text) or int(text) > highest:
        raise _LineError(line, f"{what} is {text.strip()!r}, expected 0 to {highest}")
    return int(text)
