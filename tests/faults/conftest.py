"""The small trainings of tests/training, and a finished pipeline, for faults that hit them."""

from pathlib import Path

import pytest

from tests.faults.failing import everything_done
from tests.training.conftest import cache, processes, without_histograms

__all__ = ["cache", "processes", "without_histograms"]


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All stages on eight pictures; not to be changed."""
    return everything_done(tmp_path_factory.mktemp("done"))
