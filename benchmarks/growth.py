"""Ten times the pictures through fetch, remap and split: time per picture, and memory."""

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

from benchmarks.table import Row, in_turn
from roadseg.config.schema import read_yaml
from roadseg.provenance.source_code import ROOT

_FEW, _MANY = 640, 6400
_SIZE = {"height": 36, "width": 64}  # small, so that what a picture costs besides its pixels shows
_LOOK_S = 0.05
_OWN = re.compile(r"^Pss_(?:Anon|Shmem): +(\d+) kB", re.MULTILINE)


class Side:
    """A number of pictures, and the largest memory that each stage has had with them."""

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
        path = self.root / "params.yaml"
        text = (path if path.exists() else ROOT / "params.yaml").read_text()
        text, found = re.subn(rf"(?m)^(  {key}:) \S+", rf"\1 {value}", text)
        assert found == 1, key
        path.write_text(text)

    def run(self, stage: str, *removed: str, name: str | None = None) -> float:
        """Seconds a picture of `stage`, after `removed` are gone."""
        for folder in removed:
            shutil.rmtree(self.root / folder, ignore_errors=True)
        cost = measured(shlex.split(_command(stage))[2:], self.root)
        key = name or stage
        self.peaks[key] = max(self.peaks.get(key, 0), cost.megabytes)
        return cost.seconds / self.count


class Cost(NamedTuple):
    """Of a command and its processes together."""

    seconds: float
    megabytes: float
    """Largest memory of their own; what they have mapped of files is the system's to take back."""


def rows() -> Iterator[Row]:
    """Takes 20 minutes, half of it to draw pictures; a figure of memory is the largest of all."""
    with tempfile.TemporaryDirectory() as name:
        few, many = (Side(Path(name) / str(count), count) for count in (_FEW, _MANY))
        drawn = tuple(side.run("fetch", name="fetch, drawing") for side in (few, many))
        yield from _rows("fetch, drawing", "once each", drawn, few, many)
        for side in (few, many):
            (side.root / "data/raw").rename(side.root / "pictures")
            side.set("source", "pictures")
        for stage, out in (("fetch", "data/raw"), ("remap", "data/prepared"), ("split", "no")):
            seconds = in_turn(
                lambda stage=stage, out=out: few.run(stage, out),
                lambda stage=stage, out=out: many.run(stage, out),
            )
            yield from _rows(stage, "from a folder" if stage == "fetch" else "", seconds, few, many)


def _rows(stage: str, how: str, seconds: tuple[float, ...], few: Side, many: Side) -> Iterator[Row]:
    """From its start to its end, so with what it costs to start."""
    sides = f"{_MANY} / {_FEW} pictures of {_SIZE['height']}x{_SIZE['width']}"
    told = ", ".join(filter(None, [stage, how]))
    more, less = (1000 * value for value in reversed(seconds))
    yield Row(
        name=f"time per picture of {told}",
        sides=sides,
        seconds=(more, less),
        ratio=more / less,
        at_most=1.15,
        unit="ms",
    )
    more, less = many.peaks[stage], few.peaks[stage]
    yield Row(
        name=f"peak memory of {told}",
        sides=sides,
        seconds=(more, less),
        ratio=more / less,
        at_most=1.1,
        unit="MB",
    )


def _command(stage: str) -> str:
    return read_yaml(ROOT / "dvc.yaml")["stages"][stage]["cmd"]


def measured(command: list[str], folder: Path) -> Cost:
    """Run `command`, words after `python`, in `folder`, and look at its memory again and again."""
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
            time.sleep(_LOOK_S)
        seconds = time.perf_counter() - started
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)}: {process.stderr.read()}")
    return Cost(seconds, peak)


def _megabytes(process: psutil.Process) -> float:
    """Of it and its children; of what several share, each has its part."""
    total = 0
    try:
        for each in [process, *process.children(recursive=True)]:
            found = Path(f"/proc/{each.pid}/smaps_rollup").read_text()
            total += sum(map(int, _OWN.findall(found)))
    except (OSError, psutil.NoSuchProcess):  # it has just ended
        pass
    return total / 1024
