import numpy as np
import pytest

from src.data.lookup import HAS_VBMI, compiled, remapped

needs_vbmi = pytest.mark.skipif(not HAS_VBMI, reason="needs a processor with AVX-512 VBMI")


def test_by_hand():
    table = np.full(256, 9, dtype=np.uint8)
    table[[7, 23]] = 1, 7
    label_ids = np.array([[7, 23], [7, 255]], dtype=np.uint8)
    assert remapped(label_ids, table).tolist() == [[1, 7], [1, 9]]


def test_agrees_with_a_plain_loop_on_every_layout_of_memory():
    rng = np.random.default_rng(0)
    table = rng.permutation(256).astype(np.uint8)
    whole = rng.integers(0, 256, (40, 60), dtype=np.uint8)
    for label_ids in (whole, whole[::2, ::3], whole.T, whole[:0]):
        label_ids.flags.writeable = False
        expected = [[table[value] for value in row] for row in label_ids.tolist()]
        assert remapped(label_ids, table).tolist() == expected


@pytest.mark.parametrize("by_vectors", [False, pytest.param(True, marks=needs_vbmi)])
def test_each_kernel_at_every_size_and_alignment(by_vectors: bool):
    """Every value at every place of a vector, and nothing written beyond the end."""
    kernel, _ = compiled(by_vectors)
    for size in (0, 1, 63, 64, 255, 256, 257, 1000, 4096):
        rng = np.random.default_rng(size)
        table = rng.permutation(256).astype(np.uint8)
        for offset in range(3):
            values = (np.arange(size + offset) * 7 + offset).astype(np.uint8)[offset:]
            memory = np.full(size + 64, 77, dtype=np.uint8)
            kernel(values.ctypes.data, table.ctypes.data, memory.ctypes.data, size)
            assert np.array_equal(memory[:size], table[values])
            assert (memory[size:] == 77).all()


@needs_vbmi
def test_the_instruction_is_the_one_that_was_meant():
    _, code = compiled(by_vectors=True)
    assert "vpermi2b" in code or "vpermt2b" in code


@pytest.mark.parametrize(
    ("label_ids", "table"), [(np.int64, np.uint8), (np.uint8, np.int64), (np.uint8, None)]
)
def test_other_arrays_are_refused(label_ids, table):
    with pytest.raises(TypeError):
        remapped(np.zeros((2, 2), label_ids), np.zeros(256 if table else 34, table or np.uint8))
