"""Output, errors and exit codes that all commands share, in real processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.factories import ROOT, save_model, write_images, write_params

LONG_COMMAND = """
import os, time
from roadseg.system.cli import run_main as run

def main():
    print(os.getpid(), flush=True)
    time.sleep(60)

run(main)
"""
# a shell that waits for its child, as dvc does
PARENT = ("sh", "-c", '"$@" & wait', "sh")


def start(**variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PARENT, sys.executable, "-c", LONG_COMMAND],
        cwd=ROOT,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_stage_ends_when_dvc_ends():
    parent = start(DVC_STAGE="fetch")
    parent.stdout.readline()
    parent.kill()
    stderr = parent.communicate(timeout=10)[1]  # returns once the orphan has ended too
    assert stderr == "interrupted\n"


def test_command_outside_dvc_keeps_running_when_its_shell_ends():
    parent = start()
    process = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    try:
        parent.communicate(timeout=1)
    except subprocess.TimeoutExpired:
        os.kill(process, signal.SIGTERM)
    else:
        raise AssertionError("the command ended with its shell")
    assert parent.communicate(timeout=10)[1] == "interrupted\n"


@pytest.mark.slow
def test_output_beyond_ascii_is_escaped_for_an_ascii_stdout(tmp_path: Path):
    folder = tmp_path / "straße"
    images = write_images(folder / "photos")
    params = write_params(tmp_path / "params.yaml", data__source=str(images))
    model = save_model(tmp_path / "model.safetensors")
    paths = f"--params {params} --pipeline dvc.yaml --splits x --downloads x --out {folder / 'raw'}"
    options = f"--model {model} --out {folder / 'out'} --device cpu"
    for command in (
        f"stages.fetch {paths}",
        f"roadseg predict {images / 'testing/image_2'} {options}",
    ):
        result = subprocess.run(
            [sys.executable, "-m", *command.split()],
            cwd=ROOT,
            env={**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
            capture_output=True,
        )
        assert result.returncode == 0, result.stderr
        assert b"stra\\xdfe" in result.stdout
