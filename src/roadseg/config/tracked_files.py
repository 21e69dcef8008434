"""Files that users add to the repository, such as class maps, and name in params.yaml."""

import os
from collections.abc import Sequence
from pathlib import Path

from roadseg.system.errors import InputError
from roadseg.system.files import repository_path


def find_tracked_file(key: str, names: Sequence[Path], folder: Path) -> Path | None:
    """Return the first of the paths `names` that is a file, None if none is.

    A relative path is resolved in the working directory, then in the main repository. DVC runs an
    experiment in a copy of the repository, and hashes the files of the copy.

    Args:
        key: the parameter that names the file, for error messages.
        folder: the directory of such files, a dependency of the stage.

    Raises:
        InputError: DVC did not copy the file because Git does not track it.
    """
    for path in names:
        if path.is_file():
            return path
    main_folder = repository_path(str(folder)).resolve()
    for path in (repository_path(str(name)) for name in names):
        if path.is_file():
            if path.resolve().is_relative_to(main_folder):
                name = os.path.relpath(path, repository_path("."))
                raise InputError(
                    f"{key}: {name} is not in this copy of the repository, because DVC copies only "
                    f"files that Git tracks; run: git add {name}"
                )
            return path
    return None


def is_tracked(path: Path, folder: Path) -> bool:
    """True if `path` is in `folder`, so that DVC repeats the stage after it has changed."""
    return folder.resolve() in path.resolve().parents
