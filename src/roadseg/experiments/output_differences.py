"""Numeric differences between two versions of an output: metrics, tables and model files.

Two numbers are equal to n digits if their difference is at most 10^-n times the larger of them.
"""

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roadseg.config.schema import flatten
from roadseg.system.errors import InputError
from roadseg.system.files import read_json


@dataclass(frozen=True)
class Difference:
    """A file, or one metric in it, of which the committed and the new version differ."""

    digits: int | None
    """Number of equal significant digits, the smallest over all values; None: all are equal."""
    detail: str = ""
    metric: str = ""
    """Key of a metric; empty for the file as a whole."""

    def __str__(self) -> str:
        if self.digits is None:
            result = "equal values, other bytes"
        elif self.digits == 0:
            result = "different"
        else:
            result = f"equal to {self.digits} digit{'s' * (self.digits > 1)}"
        return f"{result} ({self.detail})" if self.detail else result


def compare_files(committed: Path, new: Path) -> list[Difference]:
    """Compare two versions of a file whose bytes differ: the file, then each metric that differs.

    Values are compared in JSON, CSV and safetensors files; of other types, nothing is equal.

    Raises:
        InputError: one of the files cannot be read.
    """
    if new.suffix == ".json":
        return _compare_json(read_json(committed), read_json(new))
    if new.suffix == ".csv":
        return [_compare_csv(_read_csv(committed), _read_csv(new))]
    if new.suffix == ".safetensors":
        return [_compare_weights(committed, new)]
    return [Difference(0)]


def equal_digits(a: float, b: float) -> int | None:
    """Return the number of equal significant digits of two numbers; None if they are equal."""
    if a == b or (math.isnan(a) and math.isnan(b)):
        return None
    relative = abs(a - b) / max(abs(a), abs(b))
    # rounded, because 0.001 is not exactly 10^-3
    return max(0, math.floor(round(-math.log10(relative), 9))) if relative < math.inf else 0


def _compare_json(committed: Any, new: Any) -> list[Difference]:
    old, now = flatten(committed), flatten(new)
    if old.keys() != now.keys():
        return [Difference(0, f"other keys: {', '.join(sorted(old.keys() ^ now.keys()))}")]
    rows = []
    for key, value in now.items():
        if (digits := _equal_digits_of_values(old[key], value)) is not None:
            shown = f"{old[key]} -> {value}" if not isinstance(value, list) else ""
            rows.append(Difference(digits, shown, key))
    if not rows:
        return [Difference(None)]
    smallest = min(row.digits for row in rows if row.digits is not None)
    return [Difference(smallest, f"{len(rows)} of {len(now)} values differ"), *rows]


def _equal_digits_of_values(a: Any, b: Any) -> int | None:
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (a, b))
    return equal_digits(a, b) if numbers else None if a == b else 0


def _read_csv(path: Path) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.reader(file, strict=True))
    except (ValueError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV table ({error})") from None


def _compare_csv(committed: list[list[str]], new: list[list[str]]) -> Difference:
    shape, old_shape = ([len(row) for row in table] for table in (new, committed))
    if shape != old_shape or new[:1] != committed[:1]:
        return Difference(0, f"{len(new) - 1} rows; committed: {len(committed) - 1}")
    differing = [
        (digits, column)
        for row, old_row in zip(new, committed, strict=True)
        for column, cell, old in zip(new[0], row, old_row, strict=True)
        if (digits := _equal_digits_of_cells(cell, old)) is not None
    ]
    if not differing:
        return Difference(None)
    digits, column = min(differing)
    cells = sum(map(len, new[1:]))
    return Difference(digits, f"{len(differing)} of {cells} values differ, the largest in {column}")


def _equal_digits_of_cells(a: str, b: str) -> int | None:
    if a == b:
        return None
    try:
        return equal_digits(float(a), float(b))
    except ValueError:  # a name, or an empty cell
        return 0


def _compare_weights(committed: Path, new: Path) -> Difference:
    """Compare the metadata of two model files, and each tensor relative to its largest value."""
    import numpy as np
    from safetensors import safe_open

    from roadseg.provenance.model_metadata import explain_read_errors

    metadata, largest = _compare_metadata(committed, new), 0.0
    with (
        explain_read_errors(new),
        safe_open(committed, framework="numpy") as a,
        safe_open(new, framework="numpy") as b,
    ):
        names = sorted(b.keys())
        shapes = [[file.get_slice(n).get_shape() for n in sorted(file.keys())] for file in (a, b)]
        if sorted(a.keys()) != names or shapes[0] != shapes[1]:
            return Difference(0, f"another network; {metadata}")
        for name in names:
            old, now = (file.get_tensor(name).astype(np.float64) for file in (a, b))
            if difference := np.abs(old - now).max(initial=0):
                largest = max(largest, difference / max(np.abs(old).max(), np.abs(now).max()))
    if largest == 0:
        return Difference(None, f"equal weights; {metadata}")
    return Difference(equal_digits(1, 1 - largest), f"weights differ by {largest:.1e}; {metadata}")


def _compare_metadata(committed: Path, new: Path) -> str:
    """List the fields that differ, with the machines on which the models were trained."""
    from roadseg.provenance.model_metadata import ModelMetadata, list_options, read_metadata

    old, now = (read_metadata(path, ModelMetadata) for path in (committed, new))
    a, b = (flatten(metadata.model_dump(mode="json")) for metadata in (old, now))
    keys = [key for key in b | a if a.get(key) != b.get(key)]
    fields = list(dict.fromkeys(".".join(key.split(".")[:2]) for key in keys)) or ["same"]
    machines = [" then ".join(map(list_options, metadata.machines)) for metadata in (old, now)]
    trained = f"; machine {machines[0]} -> {machines[1]}" if machines[0] != machines[1] else ""
    return f"metadata: {', '.join(fields)}{trained}"
