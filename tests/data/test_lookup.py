import numpy as np
import pytest
from numba import njit

from src.data.lookup import HAS_VBMI, look_up, look_up_plainly, pixels_by_value, remapped


def test_by_hand():
    table = np.full(256, 9, dtype=np.uint8)
    table[[7, 23]] = 1, 7
    label_ids = np.array([[7, 23], [7, 255]], dtype=np.uint8)
    assert remapped(label_ids, table).tolist() == [[1, 7], [1, 9]]
    counts = pixels_by_value(label_ids)
    assert {i: int(c) for i, c in enumerate(counts) if c} == {7: 2, 23: 1, 255: 1}


def test_agrees_with_a_plain_loop_on_every_layout_of_memory():
    rng = np.random.default_rng(0)
    table = rng.permutation(256).astype(np.uint8)
    whole = rng.integers(0, 256, (40, 60), dtype=np.uint8)
    for label_ids in (whole, whole[::2, ::3], whole.T, whole[:0]):
        label_ids.flags.writeable = False
        expected = [[table[value] for value in row] for row in label_ids.tolist()]
        assert remapped(label_ids, table).tolist() == expected
        counts = pixels_by_value(label_ids)
        assert counts.tolist() == [int((label_ids == i).sum()) for i in range(256)]


@pytest.mark.parametrize("kernel", [look_up, look_up_plainly])
@pytest.mark.parametrize("size", [0, 1, 63, 255, 256, 257, 1000, 4096])
def test_each_kernel_at_every_size_and_alignment(kernel, size: int):
    """Every value at every place of a vector, and nothing written beyond the end."""
    rng = np.random.default_rng(size)
    table = rng.permutation(256).astype(np.uint8)
    for offset in range(3):
        values = (np.arange(size + offset) * 7 + offset).astype(np.uint8)[offset:]
        memory = np.full(size + 64, 77, dtype=np.uint8)
        kernel(values, table, memory[:size])
        assert np.array_equal(memory[:size], table[values])
        assert (memory[size:] == 77).all()


@pytest.mark.skipif(not HAS_VBMI, reason="this processor has no AVX-512 VBMI")
def test_the_instruction_is_the_one_that_was_meant():
    compiled_here = njit(look_up.signatures[0], nogil=True)(look_up.py_func)
    (code,) = compiled_here.inspect_asm().values()
    assert "vpermi2b" in code or "vpermt2b" in code
