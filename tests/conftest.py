"""A small data set in KITTI's layout, made here, and parameters that suit it."""

import os
import signal
from pathlib import Path

# Networks here are tiny: threads would wait for each other longer than they compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from tests.factories import write_images

# A shell's background jobs ignore Ctrl-C, and so would every process that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

LONGEST = (
    *("test_interruption", "test_pipeline", "test_kills", "test_sources_in_outputs"),
    *("test_code_of_experiments", "test_ddp_equivalence", "test_export", "test_resume"),
    *("test_remotes", "test_shared_cache", "test_plots_page", "test_disk", "test_paths"),
    *("test_trainer", "test_out_of_memory", "test_demo", "test_linked_cache", "test_main"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that no process works alone at the end (as xdist is told)."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: a third of the time is waiting, for DVC, servers and kills."""
    return 1 + (os.cpu_count() or 1)


@pytest.fixture
def raw_images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "pictures")
