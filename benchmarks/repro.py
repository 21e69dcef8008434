"""The default run with `dvc repro`, compared to running its stages one after the other."""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.table import Row, time_alternately
from roadseg.config.schema import read_yaml
from roadseg.provenance.source_code import ROOT


def rows() -> Iterator[Row]:
    """Measure all rows of this group; takes half an hour, for ten default runs."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def run(folder: Path, *command: str) -> None:
        subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)

    def clone(folder: Path) -> Path:
        run(ROOT, "git", "clone", "--quiet", str(ROOT), str(folder))
        return folder

    def time_from_scratch(folder: Path, side: Callable[[], None]) -> float:
        """Remove all results in `folder`, then time `side`."""
        for name in (".ckpt", ".dvc/cache", ".dvc/tmp", "data", "models", "runs"):
            shutil.rmtree(folder / name, ignore_errors=True)
        started = time.perf_counter()
        side()
        return time.perf_counter() - started

    with tempfile.TemporaryDirectory() as name:
        by_dvc, by_hand = (clone(Path(name) / side) for side in ("dvc", "hand"))
        stages = read_yaml(by_hand / "dvc.yaml")["stages"].values()

        def repro() -> None:
            run(by_dvc, "dvc", "repro")

        def run_stages() -> None:
            for stage in stages:
                run(by_hand, *shlex.split(stage["cmd"]))

        seconds = time_alternately(
            lambda: time_from_scratch(by_dvc, repro),
            lambda: time_from_scratch(by_hand, run_stages),
            untimed=0,
        )
        yield Row(
            name="the default run on the sample",
            sides="dvc repro / its stages called directly",
            seconds=seconds,
            ratio=seconds[0] / seconds[1],
            at_most=1.05,
        )
        yield Row(
            name="the default run",
            sides="dvc repro / 150 s",
            seconds=(seconds[0], 150.0),
            ratio=seconds[0] / 150,
            at_most=1,
        )
        nothing, status = time_alternately(repro, lambda: run(by_dvc, "dvc", "status"))
        yield Row(
            name="dvc repro with nothing to do",
            sides="dvc repro / dvc status",
            seconds=(nothing, status),
            ratio=nothing / status,
        )
