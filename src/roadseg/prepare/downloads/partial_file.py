"""An unfinished download on disk, and the version of the file that its bytes belong to."""

import contextlib
import os
from pathlib import Path

from roadseg.prepare.downloads.file_kind import FileKind
from roadseg.system.errors import InputError
from roadseg.system.files import read_json, replace_file, write_json


class PartialFile:
    """The bytes of `path` that have been received, in `path`.part, and their validator."""

    def __init__(self, path: Path, kind: FileKind) -> None:
        self.kind = kind
        self.path = path.with_name(f"{path.name}.part")
        self._whole, self._facts = path, path.with_name(f"{path.name}.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():  # downloaded before; the server is asked whether it is still current
            os.replace(path, self.path)
        self.path.touch()

    @property
    def size(self) -> int:
        """Number of bytes that have been received."""
        return self.path.stat().st_size

    @property
    def validator(self) -> str:
        """ETag or date of the version to which the bytes belong; empty if there is none."""
        return read_facts(self._facts).get("validator", "")

    def restart(self, validator: str) -> None:
        """Discard all bytes, before those of another version are written."""
        os.truncate(self.path, 0)
        write_json(self._facts, {"validator": validator})

    def finish(self) -> None:
        """Rename the complete file to its final name."""
        replace_file(self.path, self._whole)


def read_facts(path: Path) -> dict[str, str]:
    """Read a JSON file of strings; empty if it is missing or damaged."""
    with contextlib.suppress(InputError):
        facts = read_json(path)
        if isinstance(facts, dict):
            return {str(key): str(value) for key, value in facts.items()}
    return {}
