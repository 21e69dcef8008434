"""Graceful shutdown after SIGINT, SIGTERM and SIGHUP."""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from types import FrameType

from roadseg.system.cli import INTERRUPTED

_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
SIGNALS = (*_INTERRUPTS, signal.SIGHUP) if hasattr(signal, "SIGHUP") else _INTERRUPTS
"""Windows has no SIGHUP."""
_REPEAT_S = 0.5
"""A closed terminal and `timeout` repeat a signal within this time; people take longer."""
_END = b"\0"  # no signal has this number


class GracefulShutdown:
    """Requests a stop at the first signal, and exits immediately at the second.

    A context manager. A training step can be one call of many seconds, in which Python runs no
    signal handlers, so a thread reads the signals from a wakeup file descriptor.

    Args:
        verbose: print a line at the first signal.
    """

    def __init__(self, verbose: bool = True) -> None:
        self._requested, self._verbose = threading.Event(), verbose

    @property
    def requested(self) -> bool:
        """Return True after the first signal."""
        return self._requested.is_set()

    def check(self) -> None:
        """Raise KeyboardInterrupt if a stop was requested."""
        if self.requested:
            raise KeyboardInterrupt

    def __enter__(self) -> "GracefulShutdown":
        self._receiver, self._sender = socket.socketpair()
        self._sender.setblocking(False)
        self._old_fd = signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        # nohup, and shells without job control, let child processes ignore a signal: keep that
        taken = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        self._old_handlers = {number: signal.signal(number, _do_nothing) for number in taken}
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_fd)
        self._sender.send(_END)
        self._thread.join()
        self._sender.close()
        self._receiver.close()

    def _watch(self) -> None:
        while (received := self._receiver.recv(1)) != _END:
            if received[0] not in self._old_handlers:
                continue
            if not self._requested.is_set():
                self._requested.set()
                requested_at = time.monotonic()
                if not self._verbose:
                    continue
                with contextlib.suppress(OSError):  # the terminal may be closed
                    print(
                        "\ntrain: stopping after this step; press Ctrl-C again to stop immediately",
                        file=sys.stderr,
                    )
            elif received[0] in _INTERRUPTS and time.monotonic() - requested_at > _REPEAT_S:
                os._exit(INTERRUPTED)  # safe, because every file is written atomically


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    """Handle a signal; without a handler it would not reach the thread that watches."""
