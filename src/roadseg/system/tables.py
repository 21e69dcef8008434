"""CSV tables with fixed columns and rounding, which DVC plots and people read."""

import csv
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from roadseg.system.errors import InputError
from roadseg.system.files import atomic_file

if TYPE_CHECKING:
    import pandas

    _Columns = Mapping[str, Iterable[object]] | pandas.DataFrame
_INVALID = "was modified after its stage wrote it; run dvc repro to rebuild it"


def round_significant(value: float) -> float:
    """Round to the 6 significant digits that tables and metrics have."""
    return float(f"{value:.6g}")


def write_table(path: Path, columns: "_Columns") -> None:
    """Write columns of equal length (or a pandas DataFrame) as CSV.

    Floats have 6 significant digits; NaN becomes an empty field.
    """
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in zip(*(column for _, column in columns.items()), strict=True):
            writer.writerow(_text(value) for value in row)


def _text(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return "" if math.isnan(value) else f"{value:.6g}"


def read_table(path: Path, *columns: str) -> "pandas.DataFrame":
    """Read a table that `write_table` wrote; names such as `null` and `1` stay text.

    Args:
        columns: required columns.

    Raises:
        InputError: the file is missing, is not a CSV table or lacks a column.
    """
    import pandas  # imported late: takes half a second, and stages that only write do not need it

    texts = dict.fromkeys(("class", "actual", "predicted", "picture", "color"), str)
    try:
        table = pandas.read_csv(path, dtype=texts, keep_default_na=False, na_values=[""])
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run dvc repro to create it") from None
    except ValueError as error:
        raise InputError(f"{path}: {_INVALID} ({error})") from None
    if missing := set(columns) - set(table):
        raise InputError(f"{path}: {_INVALID} (column {min(missing)} is missing)")
    return table
