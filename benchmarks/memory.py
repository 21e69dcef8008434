"""Peak memory of each stage with few and with many images."""

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
    "epochs: 10": "epochs: 1",
    "    - 2\n": "",  # in render.epochs
    "base_channels: 64": "base_channels: 16",  # with a small network, images matter more
}
# Started from a small process, because the peak of a new process includes that of its parent.
_MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def rows() -> Iterator[Row]:
    """Measure all rows of this group, once, because memory varies less than time."""
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
            sides=f"{_MANY} / {_FEW} images of 96x320",
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
    """Return the peak resident memory of any process of `command`, in MB."""
    measure = [sys.executable, "-c", _MEASURE, sys.executable, *command[1:]]
    result = subprocess.run(measure, cwd=folder, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)}: {result.stderr}")
    return int(result.stdout.splitlines()[-1]) / 1024
