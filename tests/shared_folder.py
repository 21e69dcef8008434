"""Folders that take long to make, made once for all workers of pytest-xdist."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from roadseg.system.locks import hold_lock


def make_once(
    factory: pytest.TempPathFactory, worker_id: str, name: str, make: Callable[[Path], object]
) -> Path:
    """Return the folder that `make` fills; tests must not change it.

    Args:
        worker_id: xdist's fixture; "master" where pytest runs without workers.
    """
    shared = factory.getbasetemp() if worker_id == "master" else factory.getbasetemp().parent
    with hold_lock(shared / f"{name}.lock", f"test: is making {name}", lambda: None):
        if not (shared / f"{name}.done").exists():
            shutil.rmtree(shared / name, ignore_errors=True)  # another worker failed to make it
            make(shared / name)
            (shared / f"{name}.done").touch()
    return shared / name
