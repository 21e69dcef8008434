"""Outputs of the pipeline in other DVC experiments and Git revisions."""

import hashlib

from roadseg.system.errors import InputError


def read_at_revision(path: str, revision: str) -> bytes:
    """Read the output `path` of the repository in the working directory at `revision`.

    DVC looks in Git, in its cache and in its default remote.

    Args:
        revision: name of an experiment, branch or tag, or a commit id.

    Raises:
        InputError: there is no such revision, or its output is not available.
    """
    import dvc.api
    from dvc.exceptions import DvcException, NotDvcRepoError, PathMissingError
    from dvc.scm import SCMError

    try:
        content: bytes = dvc.api.read(path, rev=revision, mode="rb")
    except (SCMError, NotDvcRepoError) as error:
        raise InputError(
            f"{revision}: no such file or folder, nor DVC experiment or Git revision ({error})"
        ) from None
    except PathMissingError:
        raise InputError(
            f"{revision}: {path} is not in the cache; run dvc pull in that revision (for an "
            "experiment: dvc exp pull), or dvc repro if its pipeline did not write this table"
        ) from None
    except DvcException as error:
        raise InputError(f"{revision}: {path}: {' '.join(str(error).split())}") from None
    return content


def hash_files_at_revision(folder: str, revision: str) -> dict[str, str] | None:
    """Return the MD5 of each file of an output directory at `revision`, by path within `folder`.

    None if DVC has no list of its files, in the cache or in the default remote.
    """
    from dvc.api import DVCFileSystem
    from dvc_data.index import DataIndexDirError

    files = DVCFileSystem(rev=revision)
    try:
        found = files.find(folder, detail=True)
    except (FileNotFoundError, DataIndexDirError):
        return None
    return {
        name.removeprefix(f"{folder}/"): info.get("md5")
        or hashlib.md5(files.read_bytes(name), usedforsecurity=False).hexdigest()
        for name, info in found.items()
    } or None
