"""Deterministic kernels and seeds."""

import os

import numpy as np
import torch


def make_deterministic() -> None:
    """Let every kernel give the same bits for the same input."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    # what use_deterministic_algorithms(True) sets, without the compiler that it imports (2 s)
    torch.set_deterministic_debug_mode("error")
    torch.utils.deterministic.fill_uninitialized_memory = False  # costs time, we read none of it
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False  # on by default, and fp32 would not be fp32
    torch.backends.cuda.matmul.allow_tf32 = False


def seed_torch(*words: int) -> None:
    """Seed torch's generators by a hash of `words`."""
    (word,) = np.random.SeedSequence(words).generate_state(1)
    torch.manual_seed(int(word))
