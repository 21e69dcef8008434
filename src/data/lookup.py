"""A table applied to every byte of a mask, at about the speed at which memory is copied.

Processors with AVX-512 VBMI look 64 bytes up at a time in a table of 256; no compiler finds that
instruction by itself. Elsewhere it is one byte after the other. The kernels are compiled by
llvmlite alone, in a few milliseconds: numba takes longer to import than a data set to remap.
"""

import contextlib
import ctypes
from collections.abc import Callable, Iterator

import numpy as np
from llvmlite import binding, ir

_FEATURES = binding.get_host_cpu_features()
HAS_VBMI = bool(_FEATURES.get("avx512vbmi"))

_BYTE, _COUNT = ir.IntType(8), ir.IntType(64)
_VECTOR = ir.VectorType(_BYTE, 64)


@contextlib.contextmanager
def _loop(b: ir.IRBuilder, start: ir.Value, end: ir.Value, step: int) -> Iterator[ir.Value]:
    """Code for each i = start, start + step, .. below `end`; yields i."""
    before = b.block
    head, body, after = (b.append_basic_block() for _ in range(3))
    b.branch(head)
    b.position_at_end(head)
    i = b.phi(_COUNT)
    i.add_incoming(start, before)
    b.cbranch(b.icmp_unsigned("<", i, end), body, after)
    b.position_at_end(body)
    yield i
    i.add_incoming(b.add(i, _COUNT(step)), b.block)
    b.branch(head)
    b.position_at_end(after)


def _look_up_vectors(
    b: ir.IRBuilder, values: ir.Value, table: ir.Value, found: ir.Value
) -> Callable:
    """Code that looks up the 64 values from i on, for a table in four registers."""

    def vector_at(base: ir.Value, offset: ir.Value) -> ir.Value:
        return b.bitcast(b.gep(base, [offset]), _VECTOR.as_pointer())

    # takes from two quarters of the table, by the lowest 7 bits of each value
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    permute = ir.Function(b.module, kind, "llvm.x86.avx512.vpermi2var.qi.512")
    quarters = [b.load(vector_at(table, _COUNT(64 * q)), align=1) for q in range(4)]

    def look_up(i: ir.Value) -> None:
        ids = b.load(vector_at(values, i), align=1)
        low = b.call(permute, [quarters[0], ids, quarters[1]])
        high = b.call(permute, [quarters[2], ids, quarters[3]])
        is_high = b.icmp_signed("<", ids, ir.Constant(_VECTOR, None))  # the 8th bit
        b.store(b.select(is_high, high, low), vector_at(found, i), align=1)

    return look_up


def _assembly(by_vectors: bool) -> str:
    """found[i] = table[values[i]] for i below count, as a function look_up of LLVM."""
    module = ir.Module()
    kind = ir.FunctionType(ir.VoidType(), [_BYTE.as_pointer()] * 3 + [_COUNT])
    function = ir.Function(module, kind, "look_up")
    values, table, found, count = function.args
    b = ir.IRBuilder(function.append_basic_block())
    done = _COUNT(0)
    if by_vectors:
        look_up = _look_up_vectors(b, values, table, found)
        for width in (256, 64):  # four vectors at a time, then the last few
            whole = b.and_(count, _COUNT(-width))
            with _loop(b, done, whole, width) as i:
                for offset in range(0, width, 64):
                    look_up(b.add(i, _COUNT(offset)))
            done = whole
    with _loop(b, done, count, 1) as i:
        value = b.zext(b.load(b.gep(values, [i])), _COUNT)
        b.store(b.load(b.gep(table, [value])), b.gep(found, [i]))
    b.ret_void()
    return str(module)


def compiled(by_vectors: bool) -> tuple[Callable[[int, int, int, int], None], str]:
    """A kernel look_up(values, table, found, count) of addresses, and its machine code as text.

    It runs without Python's lock.
    """
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    module = binding.parse_assembly(_assembly(by_vectors))
    target = binding.Target.from_default_triple().create_target_machine(
        cpu=binding.get_host_cpu_name(), features=_FEATURES.flatten(), opt=3
    )
    code = target.emit_assembly(module)
    engine = binding.create_mcjit_compiler(module, target)
    engine.finalize_object()
    address = engine.get_function_address("look_up")
    kernel = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64)(address)
    kernel.engine = engine  # which owns the code
    return kernel, code


look_up, _ = compiled(HAS_VBMI)


def remapped(label_ids: np.ndarray, table: np.ndarray) -> np.ndarray:
    """table[label_ids], a new array.

    Args:
        label_ids: (H, W) uint8.
        table: (256,) uint8; an 8-bit id cannot fall outside of it.
    """
    label_ids, table = np.ascontiguousarray(label_ids), np.ascontiguousarray(table)
    if (label_ids.dtype, table.dtype, table.shape) != (np.uint8, np.uint8, (256,)):
        raise TypeError(f"{label_ids.dtype} ids, {table.dtype} table of {table.shape}")
    class_ids = np.empty_like(label_ids)
    look_up(label_ids.ctypes.data, table.ctypes.data, class_ids.ctypes.data, label_ids.size)
    return class_ids
