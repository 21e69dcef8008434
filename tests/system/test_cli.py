"""What every command has in common, with real processes."""

import os
import signal
import subprocess
import sys

from tests.factories import ROOT

WORKS = """
import os, time
from roadseg.system.cli import run_main as run

def main():
    print(os.getpid(), flush=True)
    time.sleep(60)

run(main)
"""
# a shell that lives beside its child, as dvc does
PARENT = ("sh", "-c", '"$@" & wait', "sh")


def started(**variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PARENT, sys.executable, "-c", WORKS],
        cwd=ROOT,
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_stage_ends_with_its_dvc():
    parent = started(DVC_STAGE="fetch")
    parent.stdout.readline()
    parent.kill()
    stderr = parent.communicate(timeout=10)[1]  # ends when the orphan does, who has it too
    assert stderr == "interrupted\n"


def test_a_command_of_no_dvc_outlives_its_shell():
    parent = started()
    process = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    try:
        parent.communicate(timeout=1)
    except subprocess.TimeoutExpired:
        os.kill(process, signal.SIGTERM)
    else:
        raise AssertionError("it ended with its shell")
    assert parent.communicate(timeout=10)[1] == "interrupted\n"
