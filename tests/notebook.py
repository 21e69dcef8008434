"""Run the notebook as a new user would, in an empty directory, but on small data (`make notebook`).

The notebook clones a copy of this working tree with small parameters, so that neither the working
tree nor a network is used.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.dvc_repository import create_repository, environment
from tests.factories import ROOT

NOTEBOOK = "road_scenes.ipynb"
TRAINING = "-S train.recipe=thorough -S train.epochs=2"


def main() -> int:
    """Run all cells with nbmake and return its exit code: 1 if a cell raises an error."""
    with tempfile.TemporaryDirectory(prefix="notebook") as name:
        source = create_repository(Path(name, "source"), train__epochs=1, render__epochs=["last"])
        folder = Path(name, "empty")
        folder.mkdir()
        shutil.copy(ROOT / "notebooks" / NOTEBOOK, folder)
        return subprocess.run(
            [sys.executable, "-m", "pytest", "--nbmake", "--nbmake-timeout=600", NOTEBOOK],
            cwd=folder,
            env=environment() | {"HOME": name, "REPOSITORY": str(source), "TRAINING": TRAINING},
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
