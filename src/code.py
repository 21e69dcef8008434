"""Which code runs: the project's modules that a file imports, and what names their content."""

import ast
import hashlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_PACKAGES = ("src", "stages")


def imported_modules(path: Path) -> set[Path]:
    """The project's own modules that the file at `path` imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            if name.split(".")[0] in _PACKAGES:
                place = ROOT.joinpath(*name.split("."))
                found |= {place.with_suffix(".py"), place / "__init__.py"}
    return {file for file in found if file.is_file()}


def import_closure(path: Path) -> list[str]:
    """`path` and all that it imports, directly or not; sorted names relative to the root."""
    seen: set[Path] = set()
    waiting = [path.resolve()]
    while waiting:
        file = waiting.pop()
        if file not in seen:
            seen.add(file)
            waiting += imported_modules(file)
    return sorted(file.relative_to(ROOT).as_posix() for file in seen)


def blob_id(path: Path) -> str:
    """The name that git gives to the content of `path`: 40 hexadecimal digits.

    So `git cat-file -p ID` shows the code that ran, if it was ever committed.
    """
    content = path.read_bytes()
    header = f"blob {len(content)}\0".encode()
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest()


def code_of(path: Path) -> dict[str, str]:
    """Blob ids of `path` and all that it imports, by name relative to the root."""
    return {name: blob_id(ROOT / name) for name in import_closure(path)}
