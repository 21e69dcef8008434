"""Adds to the wheel the files that `roadseg new` copies; pyproject.toml has all the rest."""

import shutil
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "src"))

from roadseg.commands.new.project_files import copy_files, project_files  # noqa: E402


class BuildWithProject(build_py):
    """Builds the packages and copies the files of a project next to the module that lists them."""

    def run(self) -> None:
        """Build; an editable install uses the files of the repository."""
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / "roadseg/commands/new/project"
            shutil.rmtree(target, ignore_errors=True)  # of an earlier build
            copy_files(project_files(ROOT), ROOT, target)

    def get_source_files(self) -> list[str]:
        """Return what a source distribution contains."""
        return [*super().get_source_files(), *map(str, project_files(Path()))]


setup(cmdclass={"build_py": BuildWithProject})
