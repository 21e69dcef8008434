"""metrics/test_runs.csv: one row for each evaluation of the test set; it needs no torch."""

import csv
import io
import subprocess
from pathlib import Path
from typing import Annotated

from pydantic import Field

from roadseg.config.schema import StrictModel, validate
from roadseg.system.errors import InputError
from roadseg.system.files import atomic_file


class LoggedRun(StrictModel):
    """A row of the log."""

    commit: Annotated[str, Field(pattern=r"^[0-9a-f]*$")]
    """Commit of the repository; empty if it is not a Git repository."""
    clean: Annotated[str, Field(pattern="^(yes|no)$")]
    """yes: all files were as in the commit, and Git knew all of them; otherwise no."""
    model_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}([+][0-9a-f]{64})*$")]
    """SHA-256 of the model file; of an ensemble, those of all models, joined by +."""
    miou: float
    miou_low: float
    """Lower end of the 95 % interval of `miou`."""
    miou_high: float
    images: int
    """Number of test images."""


_MAX_BYTES = 1 << 20
"""Limit on the size of the log; some thousands of rows."""
_COLUMNS = list(LoggedRun.model_fields)


def read_runs(path: Path) -> list[LoggedRun]:
    """Read the log `path`; it is empty if there is no such file.

    Raises:
        InputError: the file is not such a log; names the line.
    """
    try:
        if (size := path.stat().st_size) > _MAX_BYTES:
            raise InputError(f"{path}: {size:,} bytes; the limit is {_MAX_BYTES:,}")
        reader = csv.reader(io.StringIO(path.read_text(encoding="utf-8")))
        rows = [(reader.line_num, row) for row in reader]
    except FileNotFoundError:
        return []
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file in UTF-8: {error}") from None
    return _parse_rows(path, rows)


def _parse_rows(path: Path, rows: list[tuple[int, list[str]]]) -> list[LoggedRun]:
    """Parse the numbered lines of the log; the first is the header."""
    runs = []
    for line, row in rows:
        place = f"{path}, line {line}"
        if line == 1:
            if row != _COLUMNS:
                raise InputError(f"{place}: should be {','.join(_COLUMNS)}; restore it with Git")
            continue
        runs.append(_parse(row, place))
    return runs


def _parse(row: list[str], place: str) -> LoggedRun:
    if len(row) != len(_COLUMNS):
        raise InputError(f"{place}: {len(row)} fields, expected {len(_COLUMNS)}")
    try:
        values: dict[str, object] = dict(zip(_COLUMNS, row, strict=True))
        values |= {key: float(str(values[key])) for key in ("miou", "miou_low", "miou_high")}
        values["images"] = int(str(values["images"]))
    except ValueError as error:
        raise InputError(f"{place}: {error}") from None
    return validate(LoggedRun, values, Path(place))


def append_run(path: Path, run: LoggedRun) -> int:
    """Append `run` to the log `path`, which is created if it does not exist.

    The file is replaced atomically. The caller holds a lock, so that no row is lost.

    Returns:
        Number of rows.
    """
    runs = [*read_runs(path), run]
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(run.model_dump().values() for run in runs)
    return len(runs)


def git_state(folder: Path) -> tuple[str, str]:
    """Return the commit of the repository `folder`, and yes or no: is the working tree clean."""
    try:
        return _git(folder, "rev-parse", "HEAD").strip(), (
            "no" if _git(folder, "status", "--porcelain") else "yes"
        )
    except (OSError, subprocess.CalledProcessError):  # no git, or not a repository
        return "", "no"


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, errors="replace", check=True
    ).stdout
