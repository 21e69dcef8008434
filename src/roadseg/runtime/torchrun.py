"""Environment variables of the processes that torchrun starts, read without torch."""

import os


def is_distributed() -> bool:
    """Return True if torchrun started this process as one of several.

    WORLD_SIZE alone does not show it, because cluster schedulers set it too.
    """
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ["WORLD_SIZE"]) > 1


def is_first_rank() -> bool:
    """Return True unless torchrun started this process with a rank other than 0."""
    return not is_distributed() or os.environ["RANK"] == "0"
