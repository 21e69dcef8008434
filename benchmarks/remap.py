"""Lookup of label ids, and the remap stage."""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numba import njit

from benchmarks import decode, sample
from benchmarks.table import Row, time_alternately
from roadseg.prepare.lut import look_up
from roadseg.provenance.source_code import ROOT
from streetscenes.scene import street_scene

_IMAGES, _DRAWN = 200, 24
_CALLS = 200  # per timing of a kernel


@njit
def reports_kernel(label_ids, table):
    """Map label ids as the report does: fill an int32 array with -1, then loop over the pixels."""
    class_ids = np.ones(label_ids.shape, dtype=np.int32) * -1
    for i in range(label_ids.shape[0]):
        for j in range(label_ids.shape[1]):
            class_ids[i, j] = table[label_ids[i, j]]
    return class_ids


def rows() -> Iterator[Row]:
    """Measure all rows of this group."""
    _, label_ids = street_scene(0, 3, sample.KITTI["height"], sample.KITTI["width"])
    table, _ = sample.class_map().table()
    report_table = table[:34].astype(np.int32)

    def time_calls(look_up: Callable[[], object]) -> Callable[[], float]:
        def seconds_per_call() -> float:
            started = time.perf_counter()
            for _ in range(_CALLS):
                look_up()
            return (time.perf_counter() - started) / _CALLS

        return seconds_per_call

    report, numpy, kernel = time_alternately(
        time_calls(lambda: reports_kernel(label_ids, report_table)),
        time_calls(lambda: table[label_ids]),
        time_calls(lambda: look_up(label_ids, table)),
    )
    for other, seconds in (("the report's serial kernel", report), ("numpy's table[mask]", numpy)):
        yield Row(
            name="lookup of one mask of 375x1242, one core",
            sides=f"{other} / ours",
            seconds=(seconds * 1e6, kernel * 1e6),
            ratio=seconds / kernel,
            unit="us",
        )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raw = sample.write_raw(folder, _IMAGES, _DRAWN, **sample.KITTI)
        out, table_path = folder / "cache", folder / "frequency.csv"
        paths = ["--raw", raw, "--classes", "classes", "--out", out, "--frequency", table_path]
        stage = ["stages.remap", "--params", "params.yaml", *paths]

        def run(*arguments: object) -> None:
            command = [sys.executable, "-m", *map(str, arguments)]
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True)

        def run_stage() -> float:
            shutil.rmtree(out, ignore_errors=True)
            started = time.perf_counter()
            run(*stage)
            return time.perf_counter() - started

        seconds = time_alternately(run_stage, lambda: run(decode.__name__, raw))
    yield Row(
        name=f"remap stage, {_IMAGES} images of 375x1242, from start to end",
        sides="the stage / decoding each PNG once on all cores",
        seconds=seconds,
        ratio=seconds[0] / seconds[1],
        at_most=1.2,
    )
