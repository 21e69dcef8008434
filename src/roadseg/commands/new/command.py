"""Create a project: the pipeline with its code, parameters and class maps.

In the new directory, `make repro` runs the pipeline on the synthetic data set, and `roadseg init`
configures it for your own data. The code is that of this installation; results are not copied.
"""

import argparse
import os
import shlex
import shutil
from pathlib import Path

from roadseg.commands.doctor import install_command
from roadseg.commands.new.project_files import (
    PACKAGES,
    copy_files,
    package_files,
    project_files,
    project_root,
)
from roadseg.system.errors import InputError, escape_unprintable
from roadseg.system.files import atomic_folder

_README = Path(__file__).with_name("project_readme.md")
_NO_TEST_RUN = {
    "metrics/test.json": "{}",
    "plots/test/confusion.csv": "actual,predicted,pixels,share",
    "plots/test/per_class.csv": "class,iou,dice,accuracy,boundary_f,pixels,color",
    "plots/test/predictions/none.json": "[]",
}
"""Results of the test set before `make final`, because DVC warns about files that are missing."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the directory."""
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="directory to create; it may exist if it is empty"
    )


def run(args: argparse.Namespace) -> None:
    """Create the project and print the next commands."""
    shown, folder = args.folder, Path(os.path.abspath(args.folder))
    _require_free(shown, folder)
    has_git = shutil.which("git") is not None
    with atomic_folder(folder) as temporary:
        count = _write_project(temporary)
        if has_git:
            _track(temporary)
        if folder.is_dir():
            folder.rmdir()  # fails if it is no longer empty
    lines = [f"new: created {shown} with {count} files"]
    start = [f"cd {shlex.quote(str(shown))}", 'git commit -m "New project"', "make repro"]
    if not has_git:
        lines.append(f"new: DVC needs git, which is not installed; run: {install_command('git')}")
        start[1:1] = ["git init", "git add --all"]
    lines += ["new: next, run:", *(f"  {command}" for command in start)]
    print(*map(escape_unprintable, lines), sep="\n")


def _require_free(shown: Path, folder: Path) -> None:
    """Raise InputError unless `folder` does not exist or is an empty directory to be replaced."""
    is_empty = folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir())
    if os.path.lexists(folder) and not is_empty:
        raise InputError(f"{shown}: exists and is not an empty directory; choose a new name")
    if folder == Path.cwd():
        raise InputError(f"{shown}: is the working directory; run: cd .. && roadseg new NAME")


def _write_project(folder: Path) -> int:
    """Write all files of a project to `folder`, and return their number."""
    root, code = project_root(), package_files()
    names = project_files(root)
    copy_files(names, root, folder)
    copy_files(code, PACKAGES, folder / "src")
    shutil.copyfile(_README, folder / "README.md")
    for name, text in _NO_TEST_RUN.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{text}\n", encoding="utf-8", newline="\n")
    (folder / "stages/python").chmod(0o755)  # installers may lose the permission
    return len(names) + len(code) + 1 + len(_NO_TEST_RUN)


def _track(folder: Path) -> None:
    """Make `folder` a Git repository, which DVC needs, with all files in the index."""
    from roadseg.experiments.git import run_git

    run_git("init", "--quiet", folder=folder)
    run_git("add", "--all", folder=folder)
