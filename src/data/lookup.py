"""A table applied to every byte of a mask, at about the speed at which memory is copied.

Processors with AVX-512 VBMI look 64 bytes up at a time in a table of 256; the compiler does not
find that instruction by itself. Elsewhere it is one byte after the other.
"""

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import int64, njit, types, uint8, void
from numba.core import cgutils
from numba.extending import intrinsic

HAS_VBMI = bool(get_host_cpu_features().get("avx512vbmi"))

_READ_ONLY = types.Array(uint8, 1, "C", readonly=True)  # Pillow's arrays are; others convert
_LOOK_UP = void(_READ_ONLY, _READ_ONLY, uint8[::1])
_VECTOR = ir.VectorType(ir.IntType(8), 64)
_VECTORS = 4  # looked up by one call, for which the table is loaded once
_BLOCK = 64 * _VECTORS


@njit(nogil=True, cache=True)
def look_up_plainly(values, table, found):  # pragma: no cover (compiled)
    """found[i] = table[values[i]], for flat arrays of bytes."""
    for i in range(values.size):
        found[i] = table[values[i]]


if HAS_VBMI:

    @intrinsic
    def _look_up_block(_context, values, table, found, start):
        """found[start : start + _BLOCK] = table[values[start : start + _BLOCK]]"""

        def generate(context, builder, signature, arguments):
            def vector_at(number: int, offset: ir.Value) -> ir.Value:
                proxy = cgutils.create_struct_proxy(signature.args[number])
                data = proxy(context, builder, arguments[number]).data
                return builder.bitcast(builder.gep(data, [offset]), _VECTOR.as_pointer())

            def constant(value: int) -> ir.Value:
                return context.get_constant(types.intp, value)

            two_quarters = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
            name = "llvm.x86.avx512.vpermi2var.qi.512"  # by the lowest 7 bits of each value
            permute = cgutils.get_or_insert_function(builder.module, two_quarters, name)
            quarters = [builder.load(vector_at(1, constant(64 * q)), align=1) for q in range(4)]
            for number in range(_VECTORS):
                offset = builder.add(arguments[3], constant(64 * number))
                ids = builder.load(vector_at(0, offset), align=1)
                low = builder.call(permute, [quarters[0], ids, quarters[1]])
                high = builder.call(permute, [quarters[2], ids, quarters[3]])
                is_high = builder.icmp_signed("<", ids, ir.Constant(_VECTOR, None))  # the 8th bit
                chosen = builder.select(is_high, high, low)
                builder.store(chosen, vector_at(2, offset), align=1)
            return context.get_dummy_value()

        return types.void(values, table, found, start), generate

    @njit(_LOOK_UP, nogil=True, cache=True)
    def look_up(values, table, found):  # pragma: no cover (compiled)
        """As `look_up_plainly`."""
        whole = values.size // _BLOCK * _BLOCK
        for start in range(0, whole, _BLOCK):
            _look_up_block(values, table, found, start)
        for i in range(whole, values.size):
            found[i] = table[values[i]]

else:
    look_up = look_up_plainly


@njit(void(_READ_ONLY, int64[::1]), nogil=True, cache=True)
def _count(values, counts):  # pragma: no cover (compiled)
    # equal neighbours would wait for each other's count; these are four apart
    parts = np.zeros((4, 256), dtype=np.int64)
    whole = values.size // 4 * 4
    for i in range(0, whole, 4):
        for k in range(4):
            parts[k, values[i + k]] += 1
    for i in range(whole, values.size):
        parts[0, values[i]] += 1
    for value in range(256):
        for k in range(4):
            counts[value] += parts[k, value]


def remapped(label_ids: np.ndarray, table: np.ndarray) -> np.ndarray:
    """table[label_ids], a new array.

    Args:
        label_ids: (H, W) uint8.
        table: (256,) uint8; an 8-bit id cannot fall outside of it.
    """
    class_ids = np.empty(label_ids.shape, dtype=np.uint8)
    flat = np.ascontiguousarray(label_ids).reshape(-1)
    look_up(flat, np.ascontiguousarray(table), class_ids.reshape(-1))
    return class_ids


def pixels_by_value(mask: np.ndarray) -> np.ndarray:
    """(256,) int64, how often each value occurs in a mask of uint8."""
    counts = np.zeros(256, dtype=np.int64)
    _count(np.ascontiguousarray(mask).reshape(-1), counts)
    return counts
