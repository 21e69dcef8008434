"""Largest memory of each stage with few and with many pictures."""

import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.table import Row
from roadseg.config.schema import read_yaml
from roadseg.provenance.source_code import ROOT

_FEW, _MANY = 64, 640
_PARAMS = {
    "epochs: 7": "epochs: 1",
    "    - 2\n": "",  # of render.epochs
    "base_channels: 64": "base_channels: 16",  # pictures weigh more beside a small network
}
# from a small process, for a new one begins with the size of the one that starts it
_MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def rows() -> Iterator[Row]:
    """One epoch of a small network; a figure of memory does not vary as a time does."""
    stages = read_yaml(ROOT / "dvc.yaml")["stages"]
    peaks = {}
    for count in (_FEW, _MANY):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "clone"
            subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
            _set_params(folder / "params.yaml", count)
            for stage, entry in stages.items():
                peaks[stage, count] = _peak_mb(shlex.split(entry["cmd"]), folder)
    for stage in stages:
        few, many = peaks[stage, _FEW], peaks[stage, _MANY]
        yield Row(
            name=f"peak memory of {stage}",
            sides=f"{_MANY} / {_FEW} pictures of 96x320",
            seconds=(many, few),
            ratio=many / few,
            at_most=1.1,
            unit="MB",
        )


def _set_params(path: Path, num_train: int) -> None:
    text = path.read_text()
    for before, after in {**_PARAMS, "num_train: 64": f"num_train: {num_train}"}.items():
        assert before in text, before
        text = text.replace(before, after)
    path.write_text(text)


def _peak_mb(command: list[str], folder: Path) -> float:
    """Largest resident memory of a process of `command`."""
    measured = [sys.executable, "-c", _MEASURE, sys.executable, *command[1:]]
    result = subprocess.run(measured, cwd=folder, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)}: {result.stderr}")
    return int(result.stdout.splitlines()[-1]) / 1024
