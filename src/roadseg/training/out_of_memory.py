"""Memory that runs out while training: one line that says what to lower."""

import contextlib
import re
from collections.abc import Iterator

from roadseg.config.params import Recipe, Train
from roadseg.system.errors import InputError
from roadseg.system.memory import is_out_of_memory

_LOST = re.compile(r"DataLoader worker \(pid.*(exited unexpectedly|is killed by signal)")
_NO_SHARED_MEMORY = re.compile(r"shared memory|</torch_\d+|Bus error|'/dev/shm'")
"""In torch's errors of loader processes, which have no class of their own."""
_KEPT = "what was saved of the training stays"


@contextlib.contextmanager
def explain_out_of_memory(train: Train, recipe: Recipe, base_channels: int) -> Iterator[None]:
    """Turn what tells of too little memory within into an InputError with what to lower."""
    try:
        yield
    except Exception as error:
        workers, text = f"train.num_workers ({train.num_workers})", str(error)
        lower = f"lower recipes.{train.recipe}.batch_size ({recipe.batch_size})"
        if train.num_workers and _NO_SHARED_MEMORY.search(text):
            said = (
                f"no room in shared memory (/dev/shm) for batches; set {workers} to 0, or {lower}"
            )
        elif _LOST.search(text):
            said = (
                "a loader process was killed, probably by the system for want of memory; lower "
                f"{workers}; {_KEPT}"
            )
        elif is_out_of_memory(error):
            more = f", {workers}" if train.num_workers else ""
            said = f"out of memory; {lower}{more} or model.base_channels ({base_channels}); {_KEPT}"
        else:
            raise
        raise InputError(f"train: {said}") from None
