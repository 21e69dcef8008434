"""Tables that DVC plots and people read: CSV with fixed columns and rounding."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roadseg.system.errors import InputError
from roadseg.system.files import atomic_file

if TYPE_CHECKING:
    import pandas

_MEND = "not as its stage wrote it; dvc repro makes it again"


def round_significant(value: float) -> float:
    """`value` to 6 significant digits, as tables and metrics hold it."""
    return float(f"{value:.6g}")


def write_table(path: Path, columns: Mapping[str, Sequence]) -> None:
    """Write columns (a pandas DataFrame is some) as CSV.

    Floats have 6 significant digits; a value that is absent (NaN) is empty.
    """
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in zip(*(columns[name] for name in columns), strict=True):
            writer.writerow(_text(value) for value in row)


def _text(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return "" if math.isnan(value) else f"{value:.6g}"


def read_table(path: Path, *columns: str) -> "pandas.DataFrame":
    """What `write_table` has written; names stay the texts that they are, null and 1 among them.

    Args:
        columns: what it must have; those that are not names or colours hold numbers.

    Raises:
        InputError: no such file, or another table.
    """
    import pandas  # takes half a second; the stages that only write do not need it

    texts = dict.fromkeys(("class", "actual", "predicted", "picture", "color"), str)
    try:
        table = pandas.read_csv(path, dtype=texts, keep_default_na=False, na_values=[""])
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; dvc repro makes it") from None
    except ValueError as error:
        raise InputError(f"{path}: {_MEND} ({error})") from None
    if missing := set(columns) - set(table):
        raise InputError(f"{path}: {_MEND} (column {min(missing)})")
    return table
