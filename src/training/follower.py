"""What all processes but the first one have for a Record: nothing is written, all is told."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from src.command import INTERRUPTED
from src.processes import Processes
from src.training.state import State
from src.training.stop import Stop


class _NoBoard:
    """A Board that draws nothing."""

    def step(self, *_: Any) -> None: ...

    validation = epoch = histograms = pictures = step


class Follower:
    """A Record that keeps nothing; the first process does.

    Args:
        stop: asked after each step, as the others' are.
    """

    def __init__(self, processes: Processes, stop: Stop) -> None:
        self.processes, self.stop, self.board = processes, stop, _NoBoard()

    @contextlib.contextmanager
    def opened(self, _state: State, _epochs: int, _machine: dict[str, Any]) -> Iterator[None]:
        """Where the training is stopped, wait for the end of the first process, which saves."""
        try:
            yield
        except KeyboardInterrupt:
            self.processes.wait_for_first()
            os._exit(INTERRUPTED)  # the first one has said so

    def is_save_due(self) -> bool:
        return False

    def save(self, _state: State, epoch_done: bool = False) -> None:
        """The first process does."""
