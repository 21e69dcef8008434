"""Killed stages, two `dvc repro` at once, and stale locks of DVC end in the same dvc.lock.

The expected results come from another folder, so they must not depend on the folder either.
"""

import json
import subprocess

import pytest

from tests.dvc_repository import STAGES, copy_finished, environment, run
from tests.faults.kills import VICTIMS, Victim, run_repro


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Victim:
    folder = tmp_path_factory.mktemp("kills") / "repository"
    return Victim(copy_finished(tmp_path_factory, worker_id, folder))


def test_kills_in_each_stage_leave_results_that_repro_repairs(victim: Victim):
    victim.delete_results()
    for number, stage in enumerate(STAGES):
        victim.kill(VICTIMS[number % len(VICTIMS)], stage, delay=0.1 + number % 4 * 0.5)
        victim.require_true_status()
    victim.require_repair()


def test_two_repros_at_once_wait_or_report_a_busy_repository(victim: Victim):
    victim.remove("data", ".dvc/cache")  # train does not run again: its input will be the same
    pipe = subprocess.PIPE
    two = [
        subprocess.Popen(
            ("dvc", "repro"),
            cwd=victim.folder,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=pipe,
            text=True,
        )
        for _ in range(2)
    ]
    errors = [process.communicate(timeout=120)[1] for process in two]
    assert any(process.returncode == 0 for process in two), errors
    for process, text in zip(two, errors, strict=True):
        assert process.returncode == 0 or "busy" in text or "Unable to acquire lock" in text, text
    victim.require_true_status()
    victim.require_repair()


def test_locks_of_a_killed_dvc_are_removed(victim: Victim):
    """DVC's lock file then names a process that no longer exists."""
    with run_repro(victim.folder) as dead:
        pass
    holder = {"pid": dead.pid, "cmd": "dvc repro"}
    raw, split, models = (
        str(victim.folder / out) for out in ("data/raw", "data/split.json", "models/epochs")
    )
    locks = {"write": {raw: holder, models: holder}, "read": {raw: [holder], split: [holder]}}
    (victim.folder / ".dvc/tmp").mkdir(exist_ok=True)
    (victim.folder / ".dvc/tmp/rwlock").write_text(json.dumps(locks))
    (victim.folder / "data/split.json").unlink(missing_ok=True)
    assert "had been killed. Auto removed" in run(victim.folder, "dvc", "repro").stderr
    victim.require_repair()
