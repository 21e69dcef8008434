"""A side in a process of its own, for what is set for a whole process (its allocator)."""

import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

Work = Callable[[], Any]


class Worker:
    """Calls what `make(*arguments)` gives, in a new process, whenever it is called itself.

    Only there is anything computed meanwhile: the caller waits.
    """

    def __init__(self, make: Callable[..., Work], *arguments: Any) -> None:
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, arguments), daemon=True)
        self._process.start()
        theirs.close()

    def __call__(self) -> float:
        """Seconds of one call."""
        self.begin()
        return self.end()

    def begin(self) -> None:
        """Let it work, beside others."""
        self._connection.send(True)

    def end(self) -> float:
        """Seconds of the call that was begun."""
        return self._connection.recv()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.send(False)
        self._process.join()


def _serve(connection: Connection, make: Callable[..., Work], arguments: tuple[Any, ...]) -> None:
    work = make(*arguments)
    while connection.recv():
        started = time.perf_counter()
        work()
        connection.send(time.perf_counter() - started)
