"""Compute the code dependencies of each stage and write them to dvc.yaml.

DVC reruns a stage when one of its `deps` changes, so they must cover the code that the stage
imports. `make deps` runs this module, and a test checks that dvc.yaml is current.
"""

import ast
import re
from pathlib import Path

from roadseg.config.schema import parse_yaml
from roadseg.provenance.source_code import ROOT, import_closure
from roadseg.system.files import atomic_file

_FOUNDATIONS = tuple(ROOT / "src/roadseg" / name for name in ("config", "runtime", "system"))
"""Listed as a whole if any module is used: small, stable, and used by most stages."""
_CODE = re.compile(r" *- (?:src|stages)/.*\n")
_STAGE_SCRIPT = re.compile(r"\bstages(?:\.\w+)+")


def code_dependencies(cmd: str) -> list[str]:
    """List the directories and modules that a stage with the command `cmd` imports.

    A directory is listed if all its modules are in the import closure of the stage scripts in
    `cmd`, otherwise the single modules. Returns sorted paths relative to the repository.
    """
    scripts = [ROOT / f"{name.replace('.', '/')}.py" for name in _STAGE_SCRIPT.findall(cmd)]
    closure = {ROOT / name for script in scripts for name in import_closure(script)}
    used = {path for path in closure if not _is_docstring_only(path)}
    covered = [path for top in (ROOT / "src", ROOT / "stages") for path in _cover(top, used)]
    return sorted(path.relative_to(ROOT).as_posix() for path in covered)


def _is_docstring_only(path: Path) -> bool:
    return path.name == "__init__.py" and len(ast.parse(path.read_text(encoding="utf-8")).body) == 1


def _cover(directory: Path, used: set[Path]) -> list[Path]:
    modules = {path for path in directory.rglob("*.py") if not _is_docstring_only(path)}
    if modules and (modules <= used or (directory in _FOUNDATIONS and modules & used)):
        return [directory]
    below = [
        path for child in directory.iterdir() if child.is_dir() for path in _cover(child, used)
    ]
    return below + [path for path in modules & used if path.parent == directory]


def renew_dependencies(text: str) -> str:
    """Replace the code dependencies in the text of a dvc.yaml, whose stages end with `deps`."""
    commands = {name: stage["cmd"] for name, stage in parse_yaml(text)["stages"].items()}
    blocks = re.split(r"(?m)^(?=  \w+:\n)|^(?=\w+:)", text)
    for index, block in enumerate(blocks):
        name = block.split(":", 1)[0].strip()
        if name in commands and block.startswith("  "):
            body = _CODE.sub("", block).rstrip("\n")
            code = "".join(f"\n      - {path}" for path in code_dependencies(commands[name]))
            blocks[index] = f"{body}{code}\n\n"
    return "".join(blocks)


def main() -> None:
    """Update dvc.yaml of this repository."""
    pipeline = ROOT / "dvc.yaml"
    text = renew_dependencies(pipeline.read_text(encoding="utf-8"))
    with atomic_file(pipeline) as temporary:
        temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
