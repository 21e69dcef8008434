"""The small trainings of tests/training, and a finished pipeline, for faults that hit them."""

from pathlib import Path

import pytest

from roadseg.system.locks import hold_lock
from tests.faults.limited_process import everything_done
from tests.training.conftest import prepared, processes, without_histograms

__all__ = ["prepared", "processes", "without_histograms"]


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """All stages on eight pictures; not to be changed. One for all processes of this run."""
    if worker_id == "master":
        return everything_done(tmp_path_factory.mktemp("done"))
    shared = tmp_path_factory.getbasetemp().parent
    with hold_lock(shared / "done.lock", "test: makes the same", lambda: None):
        if not (shared / "is_done").exists():  # its files name the folder: it is made in place
            everything_done(shared / "done")
            (shared / "is_done").touch()
    return shared / "done"
