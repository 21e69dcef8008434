"""Where DVC links its cache into the workspace, a remap that runs again damages neither."""

import hashlib
from pathlib import Path

import pytest

from tests.dvc_repository import SMALL, create_repository, run, succeeds
from tests.factories import write_images, write_params
from tests.faults.limited_process import tree


@pytest.mark.parametrize("kind", ["hardlink", "symlink"])
def test_a_picture_is_added(tmp_path: Path, kind: str):
    write_images(tmp_path / "eight")
    write_images(tmp_path / "nine", num_train=9)
    folder = create_repository(tmp_path / "repository", data__source=str(tmp_path / "eight"))
    succeeds(folder, "dvc", "config", "--local", "cache.type", kind)
    succeeds(folder, "dvc", "repro", "remap")
    write_params(folder / "params.yaml", **SMALL, data__source=str(tmp_path / "nine"))
    said = run(folder, "dvc", "repro", "remap")
    assert said.returncode == 0, said.stderr
    assert "up to date" in succeeds(folder, "dvc", "status", "remap")
    for path in (folder / ".dvc/cache/files/md5").glob("*/*"):
        name = f"{path.parent.name}{path.name}".removesuffix(".dir")
        assert hashlib.md5(path.read_bytes()).hexdigest() == name
    scratch = create_repository(tmp_path / "scratch", data__source=str(tmp_path / "nine"))
    succeeds(scratch, "dvc", "repro", "remap")
    assert tree(folder / "data/prepared") == tree(scratch / "data/prepared")
