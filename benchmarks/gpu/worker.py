"""Run one part in this process, and write the lines of its section to standard output."""

import importlib
import importlib.util
import os
import sys

from benchmarks.gpu.options import Options, Part
from roadseg.system.errors import InputError

REQUIRED = (
    *("numpy", "torch", "pydantic", "ruamel.yaml", "PIL", "pandas", "safetensors"),
    *("tqdm", "psutil"),
)
"""Modules that every part but `facts` imports."""


def missing_packages(names: tuple[str, ...]) -> list[str]:
    """Return those of the top-level or nested modules `names` that are not installed."""
    found = []
    for name in names:
        try:
            if importlib.util.find_spec(name) is None:
                found.append(name)
        except ModuleNotFoundError:  # the parent package of a nested module
            found.append(name)
    return found


def run(name: str, options: Options) -> None:
    """Write each line of the part `name` as soon as it is known.

    Raises:
        InputError: a package is missing, or there is no such device.
    """
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever else is printed is not part of the section
    missing = missing_packages(REQUIRED)
    if missing and name != "facts":
        raise InputError(f"not installed: {', '.join(missing)} (benchmarks/README.md says how)")
    part: Part = importlib.import_module(f"benchmarks.gpu.{name}").lines
    for line in part(options):
        print(line, file=lines)


if __name__ == "__main__":
    import json

    try:
        run(sys.argv[1], Options(**json.loads(sys.argv[2])))
    except InputError as error:
        sys.exit(f"error: {error}")
