"""Stages killed in turn, two `dvc repro` at once, locks of the dead: the same lock afterwards."""

import json
import subprocess

import pytest

from tests.dvc_repository import STAGES, environment, run
from tests.faults.kills import VICTIMS, Victim, started


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Victim:
    return Victim(tmp_path_factory.mktemp("kills") / "repository")


def test_each_stage_killed_in_turn(victim: Victim):
    victim.forget()
    for number, stage in enumerate(STAGES):
        victim.killed(VICTIMS[number % len(VICTIMS)], stage, delay=0.1 + number % 4 * 0.5)
        victim.require_truth()
    victim.require_mended()


def test_two_at_once(victim: Victim):
    """DVC lets one of them do a stage; the other waits, or ends and says that it is busy."""
    victim.remove("data", ".dvc/cache")  # what trains has the same input then, and is left alone
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
    said = [process.communicate(timeout=120)[1] for process in two]
    assert any(process.returncode == 0 for process in two), said
    for process, text in zip(two, said, strict=True):
        assert process.returncode == 0 or "busy" in text or "Unable to acquire lock" in text, text
    victim.require_truth()
    victim.require_mended()


def test_locks_of_the_dead(victim: Victim):
    """What a killed dvc notes about who reads and writes names a process that is gone."""
    with started(victim.folder) as dead:
        pass
    nobody = {"pid": dead.pid, "cmd": "dvc repro"}
    raw, split, models = (
        str(victim.folder / out) for out in ("data/raw", "data/split.json", "models/epochs")
    )
    locks = {"write": {raw: nobody, models: nobody}, "read": {raw: [nobody], split: [nobody]}}
    (victim.folder / ".dvc/tmp").mkdir(exist_ok=True)
    (victim.folder / ".dvc/tmp/rwlock").write_text(json.dumps(locks))
    (victim.folder / "data/split.json").unlink(missing_ok=True)
    assert "had been killed. Auto removed" in run(victim.folder, "dvc", "repro").stderr
    victim.require_mended()
