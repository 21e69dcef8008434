"""Signals and parents, with real processes."""

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


@pytest.fixture(autouse=True)
def started_from_a_terminal() -> Iterator[None]:
    """Processes inherit what is ignored, and `nohup make test` ignores SIGHUP."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@contextmanager
def process(work: str, *wrapper: str) -> Iterator[subprocess.Popen]:
    """A process that does `work` with the signals taken over; it says when it has begun."""
    code = f"""
import os
from roadseg.runtime.signals import GracefulShutdown as Stop
with Stop() as stop:
    print(os.getpid(), flush=True)
    {work.strip().replace(chr(10), chr(10) + "    ")}
"""
    command = [*wrapper, sys.executable, "-c", code]
    started = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_asks_and_the_second_ends_at_once(number: signal.Signals):
    with process(ONE_LONG_CALL) as computing:
        computing.stdout.readline()
        computing.send_signal(number)
        assert computing.stderr.readline() == "\n"
        assert "press Ctrl-C again to stop immediately" in computing.stderr.readline()
        computing.send_signal(number)  # as a closed terminal and `timeout` do
        time.sleep(1)
        computing.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        assert computing.poll() is None
        computing.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)
        assert computing.wait(timeout=10) == 130


def test_a_step_is_finished_first():
    with process(STEPS) as stepping:
        stepping.stdout.readline()
        stepping.send_signal(signal.SIGTERM)
        assert "KeyboardInterrupt" in stepping.communicate(timeout=10)[1]


def test_what_nohup_ignores_stays_ignored():
    with process(STEPS, "nohup") as stepping:
        stepping.stdout.readline()
        stepping.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            stepping.wait(timeout=0.5)


def test_signals_are_given_back():
    before = signal.getsignal(signal.SIGINT)
    with GracefulShutdown() as stop:
        assert signal.getsignal(signal.SIGINT) is not before
        assert not stop.requested
    assert signal.getsignal(signal.SIGINT) is before
