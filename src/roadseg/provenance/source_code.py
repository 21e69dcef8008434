"""Import closure of the project's own code, and Git blob ids of its modules."""

import ast
import hashlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
"""Root of the repository, if the package is used from one."""
_SOURCE_DIRS = {
    "roadseg": Path("src"),
    "streetscenes": Path("src"),
    "winograd": Path("src"),
    "stages": Path(),
}
"""The directory of each package of this project, relative to the repository."""


def imported_modules(path: Path) -> set[Path]:
    """Find the project's own modules that the file `path` imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            found |= _module_files(name)
    return found


def _module_files(name: str) -> set[Path]:
    """List the files that `import name` runs: the module and the `__init__.py` of its packages."""
    parts = name.split(".")
    if parts[0] not in _SOURCE_DIRS:
        return set()
    base = ROOT / _SOURCE_DIRS[parts[0]]
    packages = [base.joinpath(*parts[:depth]) for depth in range(1, len(parts) + 1)]
    files = [package / "__init__.py" for package in packages]
    return {file for file in [*files, packages[-1].with_suffix(".py")] if file.is_file()}


def import_closure(path: Path) -> list[str]:
    """List `path` and the project's modules that it imports, recursively; sorted, from ROOT."""
    package = path.resolve().parent / "__init__.py"
    waiting = [path.resolve(), *([package] if package.is_file() else [])]
    seen: set[Path] = set()
    while waiting:
        file = waiting.pop()
        if file not in seen:
            seen.add(file)
            waiting += imported_modules(file)
    return sorted(file.relative_to(ROOT).as_posix() for file in seen)


def blob_id(path: Path) -> str:
    """Compute the id of `path` as a Git blob, 40 hexadecimal digits.

    `git cat-file -p ID` shows the content if it was ever committed.
    """
    content = path.read_bytes()
    header = f"blob {len(content)}\0".encode()
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest()


def source_blobs(path: Path) -> dict[str, str]:
    """Map each module of the import closure of `path` to its Git blob id."""
    return {name: blob_id(ROOT / name) for name in import_closure(path)}
