"""Time per image and peak memory of fetch, remap and split with ten times as many images."""

import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from benchmarks.table import Row, time_alternately
from roadseg.config.schema import read_yaml
from roadseg.provenance.source_code import ROOT

_FEW, _MANY = 640, 6400
_SIZE = {"height": 36, "width": 64}  # small, so that the cost per image outweighs that per pixel
_POLL_S = 0.05
_PRIVATE = re.compile(r"^Pss_(?:Anon|Shmem): +(\d+) kB", re.MULTILINE)


class Side:
    """A workspace with `count` images, and the peak memory of each stage in it, in MB."""

    def __init__(self, root: Path, count: int) -> None:
        self.count, self.root = count, root
        self.peaks: dict[str, float] = {}
        (root / "data").mkdir(parents=True)
        for name in ("src", "stages", "classes", "params.yaml"):
            (root / name).symlink_to(ROOT / name)
        (root / "params.yaml").unlink()
        self.set("num_train", count)
        for key, value in _SIZE.items():
            self.set(key, value)

    def set(self, key: str, value: object) -> None:
        """Set a parameter of params.yaml."""
        path = self.root / "params.yaml"
        text = (path if path.exists() else ROOT / "params.yaml").read_text()
        text, count = re.subn(rf"(?m)^(  {key}:) \S+", rf"\1 {value}", text)
        assert count == 1, key
        path.write_text(text)

    def run(self, stage: str, *removed: str, name: str | None = None) -> float:
        """Remove directories, run a stage, and return the seconds per image."""
        for folder in removed:
            shutil.rmtree(self.root / folder, ignore_errors=True)
        cost = measure(shlex.split(_command(stage))[2:], self.root)
        key = name or stage
        self.peaks[key] = max(self.peaks.get(key, 0), cost.megabytes)
        return cost.seconds / self.count


class Cost(NamedTuple):
    """Cost of a command, including its child processes."""

    seconds: float
    megabytes: float
    """Peak private memory, without mapped files, which the system can reclaim."""


def rows() -> Iterator[Row]:
    """Measure all rows of this group; takes 20 minutes. Peaks are the maximum of all runs."""
    with tempfile.TemporaryDirectory() as name:
        few, many = (Side(Path(name) / str(count), count) for count in (_FEW, _MANY))
        drawn = tuple(side.run("fetch", name="fetch, drawing") for side in (few, many))
        yield from _rows("fetch, drawing", "once each", drawn, few, many)
        for side in (few, many):
            (side.root / "data/raw").rename(side.root / "pictures")
            side.set("source", "pictures")
        for stage, out in (("fetch", "data/raw"), ("remap", "data/prepared"), ("split", "no")):
            seconds = time_alternately(
                lambda stage=stage, out=out: few.run(stage, out),
                lambda stage=stage, out=out: many.run(stage, out),
            )
            yield from _rows(stage, "from a folder" if stage == "fetch" else "", seconds, few, many)


def _rows(stage: str, how: str, seconds: tuple[float, ...], few: Side, many: Side) -> Iterator[Row]:
    """Return the rows of a stage; its time includes starting the process."""
    sides = f"{_MANY} / {_FEW} images of {_SIZE['height']}x{_SIZE['width']}"
    name = ", ".join(filter(None, [stage, how]))
    more, less = (1000 * value for value in reversed(seconds))
    yield Row(
        name=f"time per image of {name}",
        sides=sides,
        seconds=(more, less),
        ratio=more / less,
        at_most=1.15,
        unit="ms",
    )
    more, less = many.peaks[stage], few.peaks[stage]
    yield Row(
        name=f"peak memory of {name}",
        sides=sides,
        seconds=(more, less),
        ratio=more / less,
        at_most=1.1,
        unit="MB",
    )


def _command(stage: str) -> str:
    return read_yaml(ROOT / "dvc.yaml")["stages"][stage]["cmd"]


def measure(command: list[str], folder: Path) -> Cost:
    """Run `python` with the arguments `command` in `folder`, and poll its memory."""
    started, peak = time.perf_counter(), 0.0
    with subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while process.poll() is None:
            peak = max(peak, _megabytes(psutil.Process(process.pid)))
            time.sleep(_POLL_S)
        seconds = time.perf_counter() - started
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)}: {process.stderr.read()}")
    return Cost(seconds, peak)


def _megabytes(process: psutil.Process) -> float:
    """Return the proportional set size (PSS) of the private memory of a process tree, in MB."""
    total = 0
    try:
        for each in [process, *process.children(recursive=True)]:
            usage = Path(f"/proc/{each.pid}/smaps_rollup").read_text()
            total += sum(map(int, _PRIVATE.findall(usage)))
    except (OSError, psutil.NoSuchProcess):  # the process has ended
        pass
    return total / 1024
