"""Clones that share one cache by links, as docs/remotes.md recommends for a cluster."""

import hashlib
import shutil
from pathlib import Path

import pytest

from tests.dvc_repository import SMALL, STAGES, copy_finished, results, stages_run, succeeds
from tests.factories import write_params

MODEL = "models/best.safetensors"
NO_RUN_CACHE = ["check", "fetch", "split", "card"]
"""Stages that always run, because they are cheap."""


def changed_objects(cache: Path) -> list[Path]:
    """Objects of the cache whose content does not match the hash in their name."""
    objects = [path for path in (cache / "files/md5").glob("*/*") if path.is_file()]
    assert objects
    return [
        path
        for path in objects
        if hashlib.md5(path.read_bytes()).hexdigest()
        != (path.parent.name + path.name).removesuffix(".dir")
    ]


def link_to(cache: Path, clone: Path, link: str) -> None:
    """Run the commands that docs/remotes.md gives for each clone."""
    for name, value in {"dir": str(cache), "type": link, "shared": "group"}.items():
        succeeds(clone, "dvc", "config", "--local", f"cache.{name}", value)


def test_clones_share_results_and_never_change_those_of_another(
    tmp_path_factory: pytest.TempPathFactory, worker_id: str, tmp_path: Path
):
    cache = tmp_path / "cache"
    first = copy_finished(tmp_path_factory, worker_id, tmp_path / "first")
    shutil.move(first / ".dvc/cache", cache)
    link_to(cache, first, "symlink")
    succeeds(first, "dvc", "checkout", "--relink")

    second = tmp_path / "second"
    succeeds(tmp_path, "git", "clone", "-q", str(first), str(second))
    link_to(cache, second, "hardlink")
    succeeds(second, "dvc", "checkout")
    assert stages_run(succeeds(second, "dvc", "repro")) == []
    assert (first / MODEL).is_symlink()
    assert (first / MODEL).samefile(second / MODEL)
    assert (second / MODEL).stat().st_mode & 0o777 == 0o444

    before = results(first)
    write_params(second / "params.yaml", **SMALL, sample__seed=1)
    changed = [stage for stage in STAGES if stage != "weights"]
    assert stages_run(succeeds(second, "dvc", "repro")) == changed
    assert (second / MODEL).read_bytes() != before[MODEL]
    assert results(first) == before
    assert changed_objects(cache) == []

    write_params(first / "params.yaml", **SMALL, sample__seed=1)
    assert stages_run(succeeds(first, "dvc", "repro")) == NO_RUN_CACHE
    assert (first / MODEL).samefile(second / MODEL)
    assert (first / "dvc.lock").read_bytes() == (second / "dvc.lock").read_bytes()
