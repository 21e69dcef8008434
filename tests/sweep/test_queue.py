"""The real queue of dvc, on a pipeline of one tiny stage that ends when the test lets it."""

import csv
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT
from tests.repository import commit, environment, run, succeeds

MEASURE = """
import json, os, pathlib, sys, time
from ruamel.yaml import YAML
rate = YAML(typ="safe").load(pathlib.Path("params.yaml").read_text())["rate"]
told = {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")}
root = pathlib.Path(os.environ["DVC_ROOT"])
(root / f"runs_{rate}").write_text(json.dumps({**told, "pid": os.getpid()}))
deadline = time.monotonic() + 120
while not (root / f"end_{rate}").exists():
    time.sleep(0.05)
    if time.monotonic() > deadline:
        sys.exit("nobody ends it")
    if os.getppid() == 1:
        sys.exit("its DVC is gone")
if (root / f"end_{rate}").read_text() == "badly":
    sys.exit("badly")
pathlib.Path("figures.json").write_text(json.dumps({"miou": 2 * rate, "loss": -rate}))
"""
PIPELINE = """
stages:
  measure:
    cmd: exec python measure.py
    deps: [measure.py]
    params: [rate]
    metrics: [figures.json: {cache: false}]
"""


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "measure.py").write_text(MEASURE)
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / "params.yaml").write_text("rate: 1\nother: [1]\n")
    (tmp_path / ".gitignore").write_text("__pycache__/\nruns_*\nend_*\nsweep/\n")
    succeeds(tmp_path, "git", "init", "-q", "-b", "main")
    succeeds(tmp_path, "dvc", "init", "-q")
    commit(tmp_path, "start")
    yield tmp_path
    for process in processes_in(tmp_path):
        process.kill()


def processes_in(folder: Path) -> list[psutil.Process]:
    """Workers, and what they started."""
    found = []
    for process in psutil.process_iter(["cwd", "cmdline"]):
        inside = Path(process.info["cwd"] or "/").is_relative_to(folder)
        if inside or any(str(folder) in word for word in process.info["cmdline"] or []):
            found.append(process)
    return found


def sweep(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command, in the repository `folder`."""
    code = "import runpy; runpy.run_module('src.sweep', run_name='__main__')"
    return run(
        folder, "python", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}", *words
    )


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def running(folder: Path, rate: int) -> dict | None:
    path = folder / f"runs_{rate}"
    return json.loads(path.read_text()) if path.exists() and path.read_text() else None


def table_of(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "sweep/table.csv").open() as file:
        return {row["experiment"]: row for row in csv.DictReader(file)}


def show(folder: Path) -> subprocess.CompletedProcess[str]:
    return sweep(folder, "show", "--by", "figures.miou")


def states(folder: Path) -> dict[str, str]:
    return {name: row["state"] for name, row in table_of(folder).items()}


def workers(told: str) -> dict[str, int]:
    """Process ids by GPU."""
    return {gpu: int(pid) for pid, gpu in re.findall(r"process (\d+), GPU (\d)", told)}


def test_a_sweep_whose_workers_are_killed(repository: Path):
    names = ["s-1", "s-2", "s-3"]
    succeeds(repository, "dvc", "exp", "run", "--queue", "-n", "s", "-S", "rate=2,3,4")
    started = sweep(repository, "start", "--gpus", "0,1")
    assert started.returncode == 0, started.stderr
    wait_until(lambda: running(repository, 2) and running(repository, 3))
    # two at once, each with a GPU and as many threads
    first, second = running(repository, 2), running(repository, 3)
    assert {first["CUDA_VISIBLE_DEVICES"], second["CUDA_VISIBLE_DEVICES"]} == {"0", "1"}
    assert first["OMP_NUM_THREADS"] == second["OMP_NUM_THREADS"]
    again = sweep(repository, "start", "--gpus", "0,1").stdout
    assert workers(again) == workers(started.stdout)

    for pid in workers(again).values():
        os.kill(pid, signal.SIGKILL)
    (repository / "end_2").write_text("well")  # its result finds nobody
    wait_until(lambda: not psutil.pid_exists(first["pid"]))
    told = show(repository)
    assert states(repository) == {"s-1": "abandoned", "s-2": "abandoned", "s-3": "queued"}
    assert told.stderr == "error: of 3 experiments 0 finished; a picture needs two\n"
    assert "s-2 has lost its worker, which was killed; process " in told.stdout
    assert not running(repository, 4)

    (repository / "runs_3").unlink()
    (repository / "params.yaml").write_text("rate: 9\nother: [2]\n")  # belongs to nobody queued
    assert sweep(repository, "retry").stdout.count("queued again as it was") == 2
    assert not psutil.pid_exists(second["pid"])
    (repository / "end_3").write_text("well")
    (repository / "end_4").write_text("badly")
    assert "started" in sweep(repository, "start", "--workers", "2").stdout
    wait_until(
        lambda: (
            "Running" not in (s := succeeds(repository, "dvc", "queue", "status"))
            and "Queued" not in s
        )
    )
    told = show(repository)
    assert told.returncode == 0, told.stderr
    assert "s-3 failed: dvc queue logs s-3\n" in told.stdout
    assert "badly" in succeeds(repository, "dvc", "queue", "logs", "s-3")

    (repository / "end_4").write_text("well")
    assert sweep(repository, "retry", "s-2").stderr.startswith("error: s-2: it is finished;")
    assert sweep(repository, "retry", "s-3").returncode == 0
    assert sweep(repository, "start").returncode == 0
    wait_until(lambda: show(repository).stdout.count("finished") == 3)
    rows = table_of(repository)
    assert list(rows) == names[::-1]  # the best first
    assert [rows[name]["rate"] for name in names] == ["2", "3", "4"]
    assert [rows[name]["figures.miou"] for name in names] == ["4", "6", "8"]
    assert "other" not in rows["s-1"]
    assert (repository / "sweep/parallel.png").read_bytes().startswith(b"\x89PNG")


def test_workers_that_could_take_any_gpu_are_refused(repository: Path):
    # no pipe: the worker would keep it open to its end
    subprocess.run(
        ["dvc", "queue", "start"],
        cwd=repository,
        env={k: v for k, v in environment().items() if k != "CUDA_VISIBLE_DEVICES"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    wait_until(lambda: processes_in(repository))
    result = sweep(repository, "start", "--gpus", "0,1")
    assert result.returncode == 1
    assert re.fullmatch(
        r"error: worker 1 \(process \d+\) has no GPU of its own .*\n", result.stderr
    )


def test_mistakes_are_said(repository: Path):
    for words, said in [
        (["show"], "error: no experiments here"),
        (["retry", "nobody"], "error: nobody: no such task"),
        (["start", "--gpus", "0,0"], "'0,0': name each GPU once"),
        (["start", "--workers", "0"], "'0': a number from 1 on is needed"),
    ]:
        result = sweep(repository, *words)
        assert result.returncode != 0
        assert said in result.stderr
    assert not processes_in(repository)
