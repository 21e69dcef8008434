"""Output paths of the pipeline, read from dvc.yaml."""

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
    """Refuse a user's file or directory in a pipeline output, which DVC and stages delete.

    In a copy of the repository (`dvc exp run --temp`, `--queue`) outputs are in the working
    directory, but a relative `value` is resolved in the main repository, which has outputs too.

    Raises:
        InputError: the `value` of the parameter `key` is one of `outputs`, or in one of them.
    """
    if "\0" in value:  # not a valid path
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
    """True if `path` is `output` or in it, also on a file system that ignores case."""
    places = (Path(path), *Path(path).parents)
    if Path(os.path.abspath(output)) in places:
        return True
    return output.exists() and any(p.exists() and p.samefile(output) for p in places)
