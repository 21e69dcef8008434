"""Read and write safetensors files, including malformed ones."""

import json
import math
import random
import struct
from typing import Any

import numpy as np
from safetensors.numpy import save

from roadseg.provenance.model_metadata import KEY
from tests.fuzz.mutation import INTERESTING, mutate_text, mutate_value

Header = dict[str, Any]
Tensors = dict[str, np.ndarray]
DTYPES = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F4", "I64", "I32", "I16", "I8")
DTYPES += ("U64", "U32", "U16", "U8", "BOOL", "C64", "f32", "X", "")
NUMPY = (np.float64, np.float16, np.int64, np.int32, np.int8, np.uint8, np.bool_, np.uint64)


def split_file(data: bytes) -> tuple[Header, bytes]:
    """Split a file into its header and the bytes of the tensors."""
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def join_file(header: bytes, body: bytes, length: int | None = None) -> bytes:
    """Write a file that declares a header of `length` bytes (None: its actual length)."""
    count = len(header) if length is None else length
    return struct.pack("<Q", count % 2**64) + header + body


def encode_json(value: Any) -> bytes:
    try:
        return json.dumps(value).encode("utf-8", "surrogatepass")
    except ValueError:  # an integer with more than 4300 digits
        return b'{"a": ' + b"9" * 5000 + b"}"


def save_model(tensors: Tensors, description: str | None) -> bytes:
    """Write a valid file with this text as the model's metadata."""
    return save(tensors, None if description is None else {KEY: description})


def change_header(rng: random.Random, data: bytes) -> bytes:
    header, body = split_file(data)
    kind = rng.randrange(5)
    if kind == 0:
        lengths = (*INTERESTING, 2**62, 2**63, -1, 100_000_001, len(data), len(data) - 8)
        return join_file(encode_json(header), body, rng.choice(lengths))
    if kind == 1:
        return join_file(mutate_text(rng, json.dumps(header, indent=0)), body)
    names = [name for name in header if name != "__metadata__"]
    name = rng.choice(names)
    if kind == 2:
        header[name] |= {"dtype": rng.choice(DTYPES)}
    elif kind == 3:
        offsets = [rng.choice((*header[rng.choice(names)]["data_offsets"], -1, 2**40, 0))] * 2
        sides = [rng.choice((0, 1, 2, 2**31, 2**63, -1)) for _ in range(rng.randrange(5))]
        header[name] |= rng.choice(({"data_offsets": offsets}, {"shape": sides}))
    else:
        header = mutate_value(rng, header)
    return join_file(encode_json(header), body)


def change_tensors(rng: random.Random, tensors: Tensors) -> Tensors:
    """Change values, shape, dtype or name of one or two tensors, or remove them."""
    found = dict(tensors)
    for _ in range(rng.randint(1, 2)):
        name, tensor = rng.choice(sorted(tensors.items()))
        kind = rng.randrange(8)
        if kind <= 2:
            found[name] = change_values(rng, tensor)
        elif kind == 3:
            found[name] = tensor.astype(rng.choice(NUMPY))
        elif kind == 4:
            shapes = [(tensor.size,), (1, *tensor.shape), tensor.shape[::-1], (1, tensor.size)]
            found[name] = tensor.reshape(rng.choice(shapes))
        elif kind == 5:
            found[name] = np.zeros(rng.choice(((), (0,), (1,), (2, 2), (64, 64, 3, 3))), "float32")
        elif kind == 6:
            odd = ("", "x", "out.weight", "module." + name, "a\nb", "\x1b[31m", "x" * 3000, name)
            found[rng.choice(odd)] = tensor
        else:
            found.pop(name, None)
    return found


def change_values(rng: random.Random, tensor: np.ndarray) -> np.ndarray:
    """Replace one or all values by NaN, infinity, or very large or small numbers."""
    values = (math.nan, math.inf, -math.inf, 1e38, -1e38, 1e19, -1.0, 0.0, -0.0, 1e-45, 3e-39)
    found = tensor.astype("float32")
    where = slice(None) if rng.random() < 0.4 else rng.randrange(found.size)
    found.reshape(-1)[where] = rng.choice(values)
    return found


def all_finite(tensors: Tensors) -> bool:
    return all(np.isfinite(tensor).all() for tensor in tensors.values())
