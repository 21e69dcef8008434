"""Order, markers and environment of all tests, and a small data set in KITTI's layout."""

import os
import signal
import tempfile
from pathlib import Path

# Networks here are tiny: threads would wait for each other longer than they compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

# A shell's background jobs ignore Ctrl-C, and so would every process that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

LONGEST = (
    *("test_pipeline", "test_ddp_equivalence", "test_interruption", "test_kills", "test_remotes"),
    *("test_paths", "test_out_of_memory", "test_disk", "test_export", "test_sources_in_outputs"),
    *("test_resume", "test_code_of_experiments", "test_demo", "test_shared_cache", "test_cache"),
    *("test_aggregate", "test_linked_cache", "test_plots_page", "test_benchmarks", "test_stages"),
    *("test_main", "test_predict", "test_numbers", "test_clock", "test_trainer", "test_fuzz"),
)
SLOW = {
    *("benchmarks", "distributed", "faults", "fuzz", "pipeline", "remotes", "stages"),
    *("test_checkpoint_store", "test_class_names", "test_demo", "test_export", "test_imports"),
    *("test_hostile_archives", "test_init", "test_line_endings", "test_predict"),
    *("test_exported_models", "test_report_recipe", "test_resume", "test_signals", "test_tiling"),
}
"""Directories and files that get the marker `slow`; a few single tests have it themselves."""


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Keep temporary files below pytest's own folder, which it removes when all tests pass."""
    folder = config._tmp_path_factory.mktemp("tmp")
    os.environ["DVC_SITE_CACHE_DIR"] = str(folder / "dvc")
    if hasattr(config, "workerinput"):  # xdist's workers end without running exit handlers
        os.environ["TMPDIR"] = str(folder)
        tempfile.tempdir = None  # read TMPDIR again


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Spare `pytest -m "not slow"` the imports of slow files."""
    return True if config.option.markexpr == "not slow" and collection_path.stem in SLOW else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark slow tests, and run the longest files first, so that no worker is alone at the end."""
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))
    for item in items:
        if {item.path.stem, item.path.parent.name} & SLOW:
            item.add_marker("slow")


@pytest.hookimpl(optionalhook=True)  # `make gpu` runs tests without xdist
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: a third of the time is waiting, for DVC, servers and kills."""
    return 1 + (os.cpu_count() or 1)


@pytest.fixture
def raw_images(tmp_path: Path) -> Path:
    # imports torch, which the process that starts the workers does not need
    from tests.factories import write_images

    return write_images(tmp_path / "pictures")
