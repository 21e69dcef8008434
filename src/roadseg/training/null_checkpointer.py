"""What all processes but the first one have for a Record: nothing is written, all is told."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from roadseg.runtime.distributed import ProcessGroup
from roadseg.runtime.signals import GracefulShutdown
from roadseg.system.cli import INTERRUPTED
from roadseg.training.train_state import TrainState


class _NoBoard:
    """A Board that draws nothing."""

    def step(self, *_: Any) -> None: ...

    validation = epoch = histograms = pictures = step


class NullCheckpointer:
    """A Record that keeps nothing; the first process does.

    Args:
        stop: asked after each step, as the others' are.
    """

    def __init__(self, process_group: ProcessGroup, stop: GracefulShutdown) -> None:
        self.process_group, self.stop, self.board = process_group, stop, _NoBoard()

    @contextlib.contextmanager
    def opened(self, _state: TrainState, _epochs: int, _machine: dict[str, Any]) -> Iterator[None]:
        """Where the training is stopped, wait for the end of the first process, which saves."""
        try:
            yield
        except KeyboardInterrupt:
            self.process_group.wait_for_first()
            os._exit(INTERRUPTED)  # the first one has said so

    def is_save_due(self) -> bool:
        return False

    def save(self, _state: TrainState, epoch_done: bool = False) -> None:
        """The first process does."""
