"""Deterministic kernels and seeds."""

import os

import numpy as np
import torch


def make_deterministic() -> None:
    """Make every kernel return the same bits for the same input."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    # like use_deterministic_algorithms(True), but without importing the compiler (2 s)
    torch.set_deterministic_debug_mode("error")
    # costs time, and we read no such memory (mypy does not see this property of a module)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False  # True by default, which would not be fp32
    torch.backends.cuda.matmul.allow_tf32 = False
    # True by default, which adds parts of a long sum in bf16; Muon's sums have up to 9216 terms
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False


def seed_torch(*words: int) -> None:
    """Seed torch's random generators with a hash of `words`."""
    (word,) = np.random.SeedSequence(words).generate_state(1)
    torch.manual_seed(int(word))
