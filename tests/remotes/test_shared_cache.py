"""A cluster: clones that share one cache by links, as docs/remotes.md recommends it."""

import hashlib
from pathlib import Path

from tests.dvc_repository import (
    SMALL,
    STAGES,
    commit,
    create_repository,
    results,
    stages_run,
    succeeds,
)
from tests.factories import write_params

MODEL = "models/best.safetensors"
QUICK = {**SMALL, "train__epochs": 1, "render__epochs": ["last"]}
CHEAP = ["check", "fetch", "split", "card"]
"""Stages without a run-cache."""


def changed_objects(prepared: Path) -> list[Path]:
    """Objects of the cache whose bytes are not those of their name any more."""
    objects = [path for path in (prepared / "files/md5").glob("*/*") if path.is_file()]
    assert objects
    return [
        path
        for path in objects
        if hashlib.md5(path.read_bytes()).hexdigest()
        != (path.parent.name + path.name).removesuffix(".dir")
    ]


def link_to(prepared: Path, clone: Path, link: str) -> None:
    """What docs/remotes.md says to do in each clone."""
    for name, value in {"dir": str(prepared), "type": link, "shared": "group"}.items():
        succeeds(clone, "dvc", "config", "--local", f"cache.{name}", value)


def test_clones_share_results_and_never_change_each_others(tmp_path: Path):
    prepared = tmp_path / "prepared"
    first = create_repository(tmp_path / "first", **QUICK)
    link_to(prepared, first, "symlink")
    assert stages_run(succeeds(first, "dvc", "repro")) == STAGES
    commit(first, "results")

    second = tmp_path / "second"
    succeeds(tmp_path, "git", "clone", "-q", str(first), str(second))
    link_to(prepared, second, "hardlink")
    succeeds(second, "dvc", "checkout")
    assert stages_run(succeeds(second, "dvc", "repro")) == []
    assert (first / MODEL).is_symlink()
    assert (first / MODEL).samefile(second / MODEL)
    assert (second / MODEL).stat().st_mode & 0o777 == 0o444

    before = results(first)
    write_params(second / "params.yaml", **QUICK, sample__seed=1)
    assert stages_run(succeeds(second, "dvc", "repro")) == STAGES
    assert (second / MODEL).read_bytes() != before[MODEL]
    assert results(first) == before
    assert changed_objects(prepared) == []

    write_params(first / "params.yaml", **QUICK, sample__seed=1)
    assert stages_run(succeeds(first, "dvc", "repro")) == CHEAP
    assert (first / MODEL).samefile(second / MODEL)
    assert (first / "dvc.lock").read_bytes() == (second / "dvc.lock").read_bytes()
