"""Files of a new project: the repository's own, which the wheel carries as data.

setup.py imports this module to copy them, so it needs the standard library only.
"""

import errno
import shutil
from collections.abc import Iterable
from pathlib import Path

PACKAGES = Path(__file__).resolve().parents[3]
"""The directory that contains the package roadseg: src of a repository, or site-packages."""
PACKAGED = Path(__file__).resolve().with_name("project")
"""The copy that an installed wheel contains; it does not exist in a repository."""
_PATTERNS = (
    ".dvc/.gitignore",
    ".dvc/config",
    ".dvc/page.html",
    ".dvc/plots/*.json",
    ".dvcignore",
    ".gitattributes",
    ".gitignore",
    "LICENSE",
    "Makefile",
    "classes/*.yaml",
    "constraints.txt",
    "dvc.yaml",
    "params.schema.json",
    "params.yaml",
    "pyproject.toml",
    "requirements*.txt",
    "setup.py",
    "splits/*.txt",
    "stages/*.py",
    "stages/python",
)
_DEVELOPMENT = "requirements-dev.txt"


def project_root() -> Path:
    """Return the directory with the files of a project: that of the wheel, or the repository."""
    return PACKAGED if PACKAGED.is_dir() else PACKAGES.parent


def project_files(root: Path) -> list[Path]:
    """List the files of a new project in `root`, relative to it, without the packages.

    Raises:
        FileNotFoundError: no file has one of the names.
    """
    found = []
    for pattern in _PATTERNS:
        names = sorted(path.relative_to(root) for path in root.glob(pattern))
        if not names:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(root / pattern))
        found += [name for name in names if name.name != _DEVELOPMENT]
    return found


def package_files() -> list[Path]:
    """List the files of the packages of this project, relative to PACKAGES."""
    return sorted(
        path.relative_to(PACKAGES)
        for name in ("roadseg", "streetscenes", "winograd")
        for path in (PACKAGES / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and PACKAGED not in path.parents
    )


def copy_files(names: Iterable[Path], root: Path, target: Path) -> None:
    """Copy the files `names` and their permissions from `root` to `target`."""
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, target / name)
