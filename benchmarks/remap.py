"""The remap kernel and the remap stage."""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numba import njit

from benchmarks import decode, sample
from benchmarks.table import Row, in_turn
from src.code import ROOT
from src.data.lookup import look_up
from src.data.sample.scene import street_scene

_PICTURES, _DRAWN = 200, 24
_CALLS = 200  # of a kernel, for one timing


@njit
def reports_kernel(label_ids, table):
    """As the report's: an array of -1, then one label id after the other, into int32."""
    class_ids = np.ones(label_ids.shape, dtype=np.int32) * -1
    for i in range(label_ids.shape[0]):
        for j in range(label_ids.shape[1]):
            class_ids[i, j] = table[label_ids[i, j]]
    return class_ids


def rows() -> Iterator[Row]:
    _, label_ids = street_scene(0, 3, sample.KITTI["height"], sample.KITTI["width"])
    table, _ = sample.class_map().table()
    report_table, flat = table[:34].astype(np.int32), label_ids.reshape(-1).copy()
    found = np.empty_like(flat)

    def theirs() -> None:
        for _ in range(_CALLS):
            reports_kernel(label_ids, report_table)

    addresses = [array.ctypes.data for array in (flat, table, found)]

    def ours() -> None:
        for _ in range(_CALLS):
            look_up(*addresses, flat.size)

    def copying() -> None:
        for _ in range(_CALLS):
            np.copyto(found, flat)

    report, kernel, copy = (seconds / _CALLS * 1e6 for seconds in in_turn(theirs, ours, copying))
    name = "remap kernel, one mask of 375x1242, one core"
    sides = "the report's serial kernel / ours"
    yield Row(name=name, sides=sides, seconds=(report, kernel), ratio=report / kernel,
              at_least=20, unit="us")  # fmt: skip
    yield Row(name=name, sides="copying the mask / ours", seconds=(copy, kernel),
              ratio=copy / kernel, at_least=1 / 3, unit="us")  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raw = sample.raw(folder, _PICTURES, _DRAWN, **sample.KITTI)
        out, table_path = folder / "cache", folder / "frequency.csv"
        paths = ["--raw", raw, "--classes", "classes", "--out", out, "--frequency", table_path]
        stage = ["stages.remap", "--params", "params.yaml", *paths]

        def run(*arguments: object) -> None:
            command = [sys.executable, "-m", *map(str, arguments)]
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True)

        def afresh() -> float:
            shutil.rmtree(out, ignore_errors=True)
            started = time.perf_counter()
            run(*stage)
            return time.perf_counter() - started

        seconds = in_turn(afresh, lambda: run(decode.__name__, raw))
    yield Row(
        name=f"remap stage, {_PICTURES} pictures of 375x1242, from start to end",
        sides="the stage / decoding each PNG once on all cores",
        seconds=seconds,
        ratio=seconds[0] / seconds[1],
        at_most=1.2,
    )
