"""The small trainings of tests/training, and a finished pipeline to damage."""

from pathlib import Path

import pytest

from tests.faults.limited_process import run_all_stages
from tests.shared_folder import make_once
from tests.training.conftest import prepared, processes, without_histograms

__all__ = ["prepared", "processes", "without_histograms"]


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """All stages on eight images; read-only."""
    return make_once(tmp_path_factory, worker_id, "stages", run_all_stages)
