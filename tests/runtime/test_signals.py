"""Graceful shutdown of real processes by signals."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from roadseg.runtime.signals import GracefulShutdown
from tests.factories import ROOT

ONE_LONG_CALL = "import hashlib; hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"  # half an hour
STEPS = """
import time
while True:
    stop.check()
    time.sleep(0.01)
"""
ONE_STEP = """
import time
print("begin", flush=True)
time.sleep(1)
print("end", flush=True)
stop.check()
"""


@pytest.fixture(autouse=True)
def restore_sighup() -> Iterator[None]:
    """Undo `nohup make test`, which lets the processes of the tests inherit an ignored SIGHUP."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@contextmanager
def run_process(work: str, *wrapper: str) -> Iterator[subprocess.Popen]:
    """Run `work` with a graceful shutdown in a process, which prints a line when it is ready."""
    code = f"""
import os
from roadseg.runtime.signals import GracefulShutdown as Stop
with Stop() as stop:
    print(os.getpid(), flush=True)
    {work.strip().replace(chr(10), chr(10) + "    ")}
"""
    command = [*wrapper, sys.executable, "-c", code]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_first_signal_requests_a_stop_and_the_second_exits_immediately(number: signal.Signals):
    with run_process(ONE_LONG_CALL) as computing:
        computing.stdout.readline()
        computing.send_signal(number)
        assert computing.stderr.readline() == "\n"
        assert "press Ctrl-C again to stop immediately" in computing.stderr.readline()
        computing.send_signal(number)  # repeated at once, as by a closed terminal or `timeout`
        time.sleep(1)
        computing.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        assert computing.poll() is None
        computing.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)
        assert computing.wait(timeout=10) == 130


def test_current_step_is_finished_first():
    with run_process(ONE_STEP) as stepping:
        stepping.stdout.readline()
        assert stepping.stdout.readline() == "begin\n"
        stepping.send_signal(signal.SIGTERM)
        output, errors = stepping.communicate(timeout=10)
        assert output == "end\n"
        assert "KeyboardInterrupt" in errors


def test_signal_ignored_by_nohup_stays_ignored():
    with run_process(STEPS, "nohup") as stepping:
        stepping.stdout.readline()
        stepping.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            stepping.wait(timeout=0.5)


def test_previous_signal_handlers_are_restored():
    before = signal.getsignal(signal.SIGINT)
    with GracefulShutdown() as stop:
        assert signal.getsignal(signal.SIGINT) is not before
        assert not stop.requested
    assert signal.getsignal(signal.SIGINT) is before
