"""`make final` in a real repository: it alone evaluates the test set, and each call is recorded."""

import json
import shlex
from pathlib import Path

import pytest

from stages import test
from tests.dvc_repository import commit, copy_finished, run, stages_run, succeeds

# without installing the packages
FINAL = ("make", "--no-print-directory", "--old-file=.venv/installed", "final")
pytestmark = pytest.mark.slow


def test_only_make_final_evaluates_the_test_set(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    worker_id: str,
    monkeypatch: pytest.MonkeyPatch,
):
    folder = copy_finished(tmp_path_factory, worker_id, tmp_path / "repo")  # after `dvc repro`
    assert "evaluated 0 times" in (folder / "models/README.md").read_text()
    assert json.loads((folder / "metrics/test.json").read_text()) == {}

    output = succeeds(folder, *FINAL)
    assert stages_run(output) == ["card"]
    assert "up to date" in succeeds(folder, "dvc", "status")
    assert (
        "evaluated once (`metrics/test_runs.csv`), once with this"
        in (folder / "models/README.md").read_text()
    )
    metrics = json.loads((folder / "metrics/test.json").read_text())
    diff = json.loads(succeeds(folder, "dvc", "metrics", "diff", "--json"))
    assert diff["metrics/test.json"]["miou"]["new"] == metrics["miou"]
    commit(folder, "test set")

    clone = tmp_path / "clone"
    succeeds(tmp_path, "git", "clone", "-q", str(folder), str(clone))
    succeeds(clone, "dvc", "config", "--local", "cache.dir", str(folder / ".dvc/cache"))
    succeeds(clone, "dvc", "checkout", "-q")
    lines = succeeds(clone, *FINAL, "--dry-run").replace("\\\n", "").splitlines()
    before, command, after = map(shlex.split, lines)
    assert before == after == ["dvc", "repro"]
    assert command[:3] == ["python", "-m", "stages.test"]
    monkeypatch.chdir(clone)
    test.main(command[3:])
    rows = (clone / "metrics/test_runs.csv").read_text().splitlines()
    first, second = (row.split(",") for row in rows[1:])
    assert first[2:] == second[2:]  # the same model and metrics
    assert [first[1], second[1]] == ["yes", "yes"]
    assert first[0] != second[0]

    (clone / "metrics/test_runs.csv").unlink()
    assert stages_run(succeeds(clone, "dvc", "repro")) == ["card"]
    assert run(clone, "dvc", "plots", "show").returncode == 0
