import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

from roadseg.prepare import lut
from roadseg.prepare.lut import count_values, look_up

IN_A_NEW_PROCESS = """
import numpy as np
import lut
assert not lut._look_up.signatures, "importing compiles"
table = np.arange(255, -1, -1, dtype=np.uint8)
assert lut.look_up(table.reshape(16, 16), table).ravel().tolist() == list(range(256))
print(lut._look_up.stats.cache_path)
"""


def test_small_mask_computed_by_hand():
    table = np.full(256, 9, dtype=np.uint8)
    table[[7, 23]] = 1, 7
    label_ids = np.array([[7, 23], [7, 255]], dtype=np.uint8)
    assert look_up(label_ids, table).tolist() == [[1, 7], [1, 9]]
    assert label_ids.tolist() == [[7, 23], [7, 255]]


def test_equals_a_plain_loop_for_every_memory_layout():
    rng = np.random.default_rng(0)
    table = rng.permutation(256).astype(np.uint8)
    whole = rng.integers(0, 256, (40, 60), dtype=np.uint8)
    for label_ids in (whole, whole[::2, ::3], whole.T, whole[:, ::-1], whole[:0]):
        label_ids.flags.writeable = False
        expected = [[table[value] for value in row] for row in label_ids.tolist()]
        assert look_up(label_ids, table).tolist() == expected


def test_masks_of_16_bits_have_a_table_of_65536_entries():
    table = np.zeros(65536, dtype=np.uint8)
    table[[256, 65535]] = 1, 2
    mask = np.array([[0, 256], [65535, 256]], dtype=np.uint16)
    assert look_up(mask, table).tolist() == [[0, 1], [2, 1]]
    counts = count_values(mask)
    assert np.flatnonzero(counts).tolist() == [0, 256, 65535]
    assert counts[[0, 256, 65535]].tolist() == [1, 2, 1]


@pytest.mark.parametrize(
    ("label_ids", "table"),
    [(np.int64, np.uint8), (np.uint8, np.int64), (np.uint8, None), (np.uint16, np.uint8)],
)
def test_array_of_another_type_or_size_is_refused(label_ids, table):
    with pytest.raises(TypeError):
        look_up(np.zeros((2, 2), label_ids), np.zeros(256 if table else 34, table or np.uint8))


def test_concurrent_first_calls_compile_once(monkeypatch: pytest.MonkeyPatch):
    from numba import njit

    kernel = njit(nogil=True)(lut._look_up.py_func)
    monkeypatch.setattr(lut, "_look_up", kernel)
    barrier, table = Barrier(8), np.arange(255, -1, -1, dtype=np.uint8)

    def first_call(value: int) -> int:
        barrier.wait(60)
        return int(look_up(np.full((3, 3), value, np.uint8), table)[2, 2])

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(first_call, range(8))) == [255 - value for value in range(8)]
    assert sum(kernel.stats.cache_misses.values()) == 1


@pytest.mark.parametrize("writable", [True, False])
def test_kernel_is_cached_if_a_directory_is_writable(tmp_path: Path, writable: bool):
    """A file in place of each cache directory also stops root, unlike permissions."""
    shutil.copy(lut.__file__, tmp_path)
    if not writable:
        (tmp_path / "__pycache__").touch()
    nowhere = {"HOME": os.devnull, "XDG_CACHE_HOME": os.devnull}
    command = [sys.executable, "-c", IN_A_NEW_PROCESS]
    result = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, **nowhere}, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == (str(tmp_path / "__pycache__") if writable else "None")
    assert bool(list(tmp_path.glob("__pycache__/*.nbc"))) == writable
