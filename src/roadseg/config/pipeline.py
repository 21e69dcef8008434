"""The paths that the pipeline writes, read from dvc.yaml."""

import os
from collections.abc import Iterable
from pathlib import Path

from roadseg.config.schema import read_yaml
from roadseg.system.errors import InputError
from roadseg.system.files import repository_path


def stage_outputs(pipeline: Path) -> set[str]:
    """Return the paths of all outs, metrics and plots in the dvc.yaml `pipeline`."""
    entries = [
        entry
        for stage in read_yaml(pipeline)["stages"].values()
        for kind in ("outs", "metrics", "plots")
        for entry in stage.get(kind, [])
    ]
    return {next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries}


def require_not_written(key: str, value: str, outputs: Iterable[str]) -> None:
    """Raise InputError if the user's file or directory `value` is at or below one of `outputs`.

    Stages and DVC delete old outputs, and would delete the user's originals with them. In a copy
    of the repository (`dvc exp run --temp`, `--queue`) the outputs are below the working directory,
    while a relative `value` counts from the main repository (DVC_ROOT), which has outputs too.

    Args:
        key: the parameter that names `value`.
        outputs: as `stage_outputs` returns them.
    """
    if "\0" in value:  # no file has such a name
        return
    path = repository_path(value)
    for output in sorted(outputs):
        for place in (Path(output), repository_path(output)):
            if _is_in(os.path.abspath(path), place) or _is_in(os.path.realpath(path), place):
                raise InputError(
                    f"{key}: {path} lies in {output}, which the pipeline deletes and writes again; "
                    "move or copy it elsewhere, for example to datasets/"
                )


def _is_in(path: str, output: Path) -> bool:
    """True if `path` is `output` or below it, also on a file system that ignores case."""
    places = (Path(path), *Path(path).parents)
    if Path(os.path.abspath(output)) in places:
        return True
    return output.exists() and any(p.exists() and p.samefile(output) for p in places)
