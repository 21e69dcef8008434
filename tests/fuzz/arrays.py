"""Prepared arrays that are damaged, and masks with invalid class ids."""

import io
import pickle
import random
from pathlib import Path

import numpy as np

from tests.fuzz.caches import ARRAYS, make_case
from tests.fuzz.case import Case, CaseBuilder
from tests.fuzz.mutation import mutate_bytes, truncate_bytes
from tests.fuzz.pickles import CODE, CallOnUnpickle
from tests.fuzz.workspace import CACHE, SPLIT_FILE, copy_in


def _choose_array(rng: random.Random, work: Path) -> Path:
    copy_in(work, CACHE, SPLIT_FILE)
    return work / CACHE / f"{rng.choice(ARRAYS)}.npy"


def mutate_array(rng: random.Random, work: Path) -> Case:
    path = _choose_array(rng, work)
    data = path.read_bytes()
    if rng.random() < 0.6:
        path.write_bytes(mutate_bytes(rng, data[:128]) + data[128:])
    else:
        path.write_bytes(mutate_bytes(rng, data))
    return make_case(rng, work)


def truncate_array(rng: random.Random, work: Path) -> Case:
    path = _choose_array(rng, work)
    path.write_bytes(truncate_bytes(rng, path.read_bytes()))
    return make_case(rng, work)


def replace_array(rng: random.Random, work: Path) -> Case:
    """Use another dtype, shape or memory order, Python objects, or a malformed header."""
    path = _choose_array(rng, work)
    array = np.load(path)
    kind = rng.randrange(6)
    if kind == 0:
        kinds = ("u2", ">u2", "i1", "f4", "f8", "?", "i8", "c8", "S1", "U1", "V1", "M8[s]", "O")
        array = array.astype(rng.choice(kinds))
    elif kind == 1:
        shapes = (
            (array.size,),
            (1, *array.shape),
            (*array.shape, 1),
            array.shape[::-1],
            (0, 48, 3),
            (),
        )
        array = np.resize(array, rng.choice(shapes))
    elif kind == 2:
        array = np.asfortranarray(array)
    elif kind == 3:
        height = rng.choice((1, 2, 16, 31, 33, 64))
        array = np.resize(array, (height, *array.shape[1:]))
    elif kind == 4:
        array = np.zeros((2, 2), dtype=[("a", "u1"), ("b", "O")])
    buffer = io.BytesIO()
    version = rng.choice(((1, 0), (1, 0), (2, 0), (3, 0)))
    np.lib.format.write_array(buffer, array, version, allow_pickle=True)
    data = buffer.getvalue()
    if kind == 5:
        data = _replace_header(rng, data)
    path.write_bytes(data)
    return make_case(rng, work)


def _replace_header(rng: random.Random, data: bytes) -> bytes:
    """Replace the header, which NumPy's reader evaluates as a Python literal."""
    texts = (
        *("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", f"exec({CODE!r})", ""),
        *("(" * 5000, "{'descr': '|u1', 'fortran_order': False, 'shape': (10**9,) * 3, }"),
        *("{'descr': '|u1', 'fortran_order': True, 'shape': (32, 48), }", "[]", "1" * 9000),
        *("{'descr': '|u1', 'fortran_order': False, 'shape': (32, 48, 3, 1), }", "\0" * 100),
        *("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, -4608), }", "{'descr': '|u1'}"),
        "{'descr': '|u1', 'fortran_order': False, 'shape': (999999999, 999999999, 3), }",
    )
    text = rng.choice(texts).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    body = rng.choice((data[128:], b"", pickle.dumps(CallOnUnpickle(exec, CODE)), bytes(5000)))
    return b"\x93NUMPY\x01\0" + (len(text) % 65536).to_bytes(2, "little") + text + body


def change_class_ids(rng: random.Random, work: Path) -> Case:
    """Write masks with valid, invalid and ignored class ids."""
    copy_in(work, CACHE, SPLIT_FILE)
    path = work / CACHE / f"masks/{rng.choice(('000000_10', '000002_10'))}.npy"
    mask = np.load(path).copy()
    some = rng.choice(((0,), (11,), (255,), (12,), (254,), (0, 11, 255), range(256)))
    if rng.random() < 0.5:
        mask.flat[rng.randrange(mask.size)] = rng.choice(list(some))
    else:
        mask[:] = np.array(some, dtype=np.uint8)[np.arange(mask.size) % len(some)].reshape(
            mask.shape
        )
    np.save(path, mask)
    return make_case(rng, work)


KINDS: dict[str, CaseBuilder] = {
    "cache mutated": mutate_array,
    "cache cut": truncate_array,
    "cache arrays": replace_array,
    "cache ids": change_class_ids,
}
