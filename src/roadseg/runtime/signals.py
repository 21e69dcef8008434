"""When to stop before the end."""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from types import FrameType

from roadseg.system.cli import INTERRUPTED

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_TWICE_S = 0.5
"""A closed terminal and `timeout` send a signal twice; a person who insists takes longer."""
_END = b"\0"  # no signal has this number


class GracefulShutdown:
    """Asks for an orderly end after the first signal, and ends the process at the second.

    As a context it takes the signals over. A step of training can be one call of many seconds, in
    which Python's own handlers do not run; so a thread reads the signals, and the second one
    works at once.

    Args:
        tells: says so on the terminal.
    """

    def __init__(self, tells: bool = True) -> None:
        self._asked, self._tells = threading.Event(), tells

    @property
    def requested(self) -> bool:
        return self._asked.is_set()

    def check(self) -> None:
        """Raises KeyboardInterrupt if it is time to stop."""
        if self.requested:
            raise KeyboardInterrupt

    def __enter__(self) -> "GracefulShutdown":
        self._receiver, self._sender = socket.socketpair()
        self._sender.setblocking(False)
        self._old_fd = signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
        # nohup and shells without job control ignore a signal for their children; so do we
        taken = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        self._old_handlers = {number: signal.signal(number, _handled) for number in taken}
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
            if not self._asked.is_set():
                self._asked.set()
                asked_at = time.monotonic()
                if not self._tells:
                    continue
                with contextlib.suppress(OSError):  # the terminal may be gone
                    print(
                        "\ntrain: stopping after this step; press Ctrl-C again to stop immediately",
                        file=sys.stderr,
                    )
            elif received[0] != signal.SIGHUP and time.monotonic() - asked_at > _TWICE_S:
                os._exit(INTERRUPTED)  # every file is the old one or the new one, always


def _handled(_number: int, _frame: FrameType | None) -> None:
    """The watching thread does it; a handler must exist for the signal to reach it."""
