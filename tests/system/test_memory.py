import os
import subprocess
import sys

import pytest

from roadseg.system.memory import available_bytes, is_out_of_memory, resource_limit

_COUNT = """
import resource, sys
import numpy as np
from roadseg.system.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
np.ones(1 << 26, dtype=np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(1 << 26, dtype=np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(mode: str) -> int:
    """Count page faults of allocating 64 MiB after an array of that size was freed."""
    command = [sys.executable, "-c", _COUNT, mode]
    # huge pages would cause few faults in both modes
    small_pages = {**os.environ, "NUMPY_MADVISE_HUGEPAGE": "0"}
    result = subprocess.run(command, env=small_pages, capture_output=True, text=True, check=True)
    return int(result.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="requires glibc")
def test_freed_memory_is_reused_without_page_faults():
    assert page_faults("keep") < 100 < page_faults("default")


_ROOM = """
import resource
from roadseg.system.memory import available_bytes
before = available_bytes()
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + (256 << 20), -1))
print(before > available_bytes(), available_bytes() >> 20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="requires /proc")
def test_available_memory_respects_ulimit_v():
    command = [sys.executable, "-c", _ROOM]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    is_less, mebibytes = result.stdout.split()
    assert is_less == "True"
    assert 200 <= int(mebibytes) <= 256


def test_messages_of_a_gpu_whose_memory_is_full_are_recognized():
    message = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"
    assert is_out_of_memory(RuntimeError(message))
    assert is_out_of_memory(RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."))
    assert not is_out_of_memory(RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"))


def test_no_limit_is_known_on_windows(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    assert resource_limit("RLIMIT_NOFILE") is None
    assert available_bytes() > 0
