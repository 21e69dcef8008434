"""Experiments in a copy of the repository run the code of that copy, not the installed package."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dvc_repository import copy_finished, run, succeeds
from tests.factories import ROOT

MODULE = "src/roadseg/prepare/split.py"
EDIT = """

_split_dataset = split_dataset


def split_dataset(*args, **kwargs):
    return _split_dataset(*args, **kwargs).model_copy(update={"grouped_by": "edited code"})
"""
EXPERIMENT = ("dvc", "exp", "run", "--single-item", "split")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Path]:
    """A repository in which split has run; `roadseg` is installed from another, unedited folder."""
    edited = tmp_path_factory.mktemp("edited") / "repository"
    folder = copy_finished(tmp_path_factory, worker_id, edited)
    assert json.loads((folder / "data/split.json").read_text())["grouped_by"] is None
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT / "src"))
        yield folder


def edit_module(repository: Path) -> None:
    path = repository / MODULE
    path.write_text(path.read_text() + EDIT)


def grouped_by(repository: Path, experiment: str, folder: Path) -> str:
    """Return the value in the experiment's split.json that EDIT changes."""
    target = folder / "split.json"
    get = ("dvc", "get", ".", "data/split.json", "--rev", experiment, "-o", str(target))
    succeeds(repository, *get)
    return json.loads(target.read_text())["grouped_by"]


def test_experiment_in_a_copy_runs_the_edited_module(repository: Path, tmp_path: Path):
    edit_module(repository)
    succeeds(repository, *EXPERIMENT, "-n", "copy", "--temp")
    assert grouped_by(repository, "copy", tmp_path) == "edited code"
    succeeds(repository, "git", "checkout", "-q", "--", ".")


def test_queued_experiment_runs_the_module_as_it_was_when_queued(repository: Path, tmp_path: Path):
    edit_module(repository)
    succeeds(repository, *EXPERIMENT, "-n", "task", "--queue")
    succeeds(repository, "git", "checkout", "-q", "--", MODULE)
    succeeds(repository, "dvc", "exp", "run", "--run-all")
    assert grouped_by(repository, "task", tmp_path) == "edited code"


def test_a_class_map_that_git_does_not_track_is_named_with_git_add(repository: Path):
    own = repository / "classes/farm.yaml"
    shutil.copy(ROOT / "classes/kitti12.yaml", own)
    command = (*EXPERIMENT[:-1], "remap", "--temp", "-S", "remap.classes=farm")
    assert (
        "classes/farm.yaml is not in this copy of the repository, because DVC copies only files "
        "that Git tracks; run: git add classes/farm.yaml\n"
    ) in run(repository, *command).stderr
    succeeds(repository, "git", "add", "classes/farm.yaml")
    assert "12 classes of classes/farm.yaml" in succeeds(repository, *command)
    succeeds(repository, "git", "rm", "-q", "-f", "classes/farm.yaml")
