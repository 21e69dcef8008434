"""A second remap damages neither DVC's cache nor a workspace that is linked to it."""

import hashlib
from pathlib import Path

import pytest

from tests.dvc_repository import SMALL, create_repository, succeeds
from tests.factories import write_images, write_params
from tests.faults.limited_process import tree


@pytest.fixture(scope="module")
def remapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository without links, in which nine images are remapped from scratch."""
    folder = tmp_path_factory.mktemp("linked")
    write_images(folder / "nine", num_train=9)
    create_repository(folder / "repository", data__source=str(folder / "nine"))
    succeeds(folder / "repository", "dvc", "repro", "remap")
    return folder / "repository"


@pytest.mark.parametrize("kind", ["hardlink", "symlink"])
def test_adding_an_image_keeps_a_linked_cache_intact(remapped: Path, tmp_path: Path, kind: str):
    write_images(tmp_path / "eight")
    nine = remapped.parent / "nine"
    folder = create_repository(tmp_path / "repository", data__source=str(tmp_path / "eight"))
    succeeds(folder, "dvc", "config", "--local", "cache.type", kind)
    succeeds(folder, "dvc", "repro", "remap")
    write_params(folder / "params.yaml", **SMALL, data__source=str(nine))
    succeeds(folder, "dvc", "repro", "remap")
    assert "up to date" in succeeds(folder, "dvc", "status", "remap")
    for path in (folder / ".dvc/cache/files/md5").glob("*/*"):
        name = f"{path.parent.name}{path.name}".removesuffix(".dir")
        assert hashlib.md5(path.read_bytes()).hexdigest() == name
    assert tree(folder / "data/prepared") == tree(remapped / "data/prepared")
