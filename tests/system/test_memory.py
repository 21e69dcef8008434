import os
import subprocess
import sys

import pytest

_COUNT = """
import resource, sys
import numpy as np
from roadseg.system.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
np.ones(1 << 26, dtype=np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(1 << 26, dtype=np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(mode: str) -> int:
    """Of an array of 64 MiB where one as large has just been freed."""
    command = [sys.executable, "-c", _COUNT, mode]
    small_pages = {**os.environ, "NUMPY_MADVISE_HUGEPAGE": "0"}  # huge ones are few at any rate
    result = subprocess.run(command, env=small_pages, capture_output=True, text=True, check=True)
    return int(result.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_memory_that_was_freed_is_taken_again():
    assert page_faults("kept") < 100 < page_faults("given back")


_ROOM = """
import resource
from roadseg.system.memory import available_bytes
before = available_bytes()
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + (256 << 20), -1))
print(before > available_bytes(), available_bytes() >> 20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux's /proc")
def test_a_limit_of_the_shell_is_room_at_hand():
    command = [sys.executable, "-c", _ROOM]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    is_less, mebibytes = result.stdout.split()
    assert is_less == "True"
    assert 200 <= int(mebibytes) <= 256
