"""Benchmark code that runs in its own process, because it changes process-wide settings."""

import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

Work = Callable[[], Any]


class Worker:
    """Creates a function by `make(*arguments)` in a new process, and times calls of it there."""

    def __init__(self, make: Callable[..., Work], *arguments: Any) -> None:
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, arguments), daemon=True)
        self._process.start()
        theirs.close()

    def __call__(self) -> float:
        """Call the function, wait, and return its seconds."""
        self.begin()
        return self.end()

    def begin(self) -> None:
        """Start a call without waiting for it."""
        self._connection.send(True)

    def end(self) -> float:
        """Wait for the call to finish, and return its seconds."""
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
