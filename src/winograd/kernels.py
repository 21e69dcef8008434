"""Compiled kernels of a 3x3 convolution with Winograd's F(2x2, 3x3), for bf16 on AVX-512.

The output is computed in tiles of 2x2 pixels. The 4x4 input pixels of a tile, and a 3x3 filter, are
each transformed to 16 values, one per slot. For each slot, a matrix product multiplies tiles and
filters and sums over the channels: 16 multiplications per tile and channel instead of 36. An
inverse transform gives the output. Matrices: Lavin and Gray 2016, equation 12.

The kernels run in torch's OpenMP threads; threads of our own would compete with these for the
cores. Arguments are addresses and sizes in bytes. The channels of a pixel are contiguous
(channels_last); their number is a multiple of CHANNELS. Factors are stored as pairs of bf16, the
operands of VDPBF16PS. The order of summation does not depend on the number of threads.

All kernels are in one file because numba's cache on disk detects changes only in this file.
"""

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import carray, cfunc, int64, njit, types, uint64
from numba.core import cgutils
from numba.extending import intrinsic

_LANES = 16
"""float32 values in a vector of 512 bits."""
CHANNELS = 2 * _LANES
"""Number of columns (channels) of a block of a matrix product."""
ROWS = 4
"""Number of rows that a matrix product may write beyond the last requested row."""
_LINE = 64
"""Size of a cache line, in bytes."""

_INPUT = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))
_FILTER = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
_OUTPUT = ((1, 1, 1, 0), (0, 1, -1, -1))
"""B^T, G and A^T; the output is A^T [(G g G^T) * (B^T d B)] A for filter g, input d."""

Matrix = Sequence[Sequence[float]]
Emit = Callable[[ir.IRBuilder, Sequence[ir.Value]], list[Any]]
"""Emits LLVM IR that computes output vectors from input vectors, of _LANES channels each."""


class _BFloat(ir.types.Type):
    """LLVM's type bfloat, which llvmlite lacks."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


_FP32 = ir.VectorType(ir.FloatType(), _LANES)
_BF16 = ir.VectorType(_BFloat(), _LANES)
_PAIRS = ir.VectorType(_BFloat(), 2 * _LANES)  # two vectors v and w, interleaved: v0 w0 v1 w1 ..
_INT32, _INT64 = ir.IntType(32), ir.IntType(64)
_BYTES = {_FP32: 4, _BF16: 2, _PAIRS: 4}  # per channel


def _transpose(matrix: Matrix) -> Matrix:
    return tuple(zip(*matrix, strict=True))


def _sum(b: ir.IRBuilder, factors: Sequence[float], values: Sequence[ir.Value]) -> ir.Value:
    """Emit the sum of factors times values."""
    total = None
    for factor, value in zip(factors, values, strict=True):
        if factor == 0:
            continue
        if abs(factor) != 1:
            value = b.fmul(value, ir.Constant(_FP32, [abs(factor)] * _LANES))
        if total is None:
            total = value if factor > 0 else b.fneg(value)
        else:
            total = (b.fadd if factor > 0 else b.fsub)(total, value)
    return total


def _transform(matrix: Matrix) -> Emit:
    """Emit M X M^T for a square X, given row by row."""
    size = len(matrix[0])

    def emit(b: ir.IRBuilder, values: Sequence[ir.Value]) -> list[ir.Value]:
        columns = [values[j::size] for j in range(size)]
        rows = [[_sum(b, factors, column) for column in columns] for factors in matrix]  # M X
        return [_sum(b, factors, row) for row in rows for factors in matrix]

    return emit


def _apply_to_pairs(emit: Emit) -> Emit:
    """Apply `emit` to the first and to the second half of the values; pair the results."""

    def emit_pairs(b: ir.IRBuilder, values: Sequence[ir.Value]) -> list[Any]:
        half = len(values) // 2
        return list(zip(emit(b, values[:half]), emit(b, values[half:]), strict=True))

    return emit_pairs


def _add_last(emit: Emit, count: int) -> Emit:
    """Apply `emit` to all but the last `count` values, and add those to the results cyclically."""

    def emit_sums(b: ir.IRBuilder, values: Sequence[ir.Value]) -> list[ir.Value]:
        results = emit(b, values[:-count])
        addends = values[-count:] * (len(results) // count)
        return [b.fadd(value, addend) for value, addend in zip(results, addends, strict=True)]

    return emit_sums


def _append_sum(emit: Emit) -> Emit:
    """Apply `emit` to all but the last value, and append the sum of all values."""

    def emit_both(b: ir.IRBuilder, values: Sequence[ir.Value]) -> list[Any]:
        return [*emit(b, values[:-1]), _sum(b, [1] * len(values), values)]

    return emit_both


def _convert_for_store(b: ir.IRBuilder, value: Any, kind: ir.Type) -> ir.Value:
    if kind is _FP32:
        return value
    if kind is _BF16:
        return b.fptrunc(value, _BF16)
    order = [lane + half * _LANES for lane in range(_LANES) for half in range(2)]
    mask = ir.Constant(ir.VectorType(_INT32, 2 * _LANES), order)
    return b.shuffle_vector(*(b.fptrunc(half, _BF16) for half in value), mask)


def _at(b: ir.IRBuilder, address: ir.Value, kind: ir.Type) -> ir.Value:
    return b.inttoptr(address, kind.as_pointer())


def _channelwise(emit: Emit, loaded: Sequence[ir.Type], stored: Sequence[ir.Type]) -> Callable:
    """Create an intrinsic f(sources, targets, channels) that applies `emit` to all channels.

    `sources` and `targets` are addresses of arrays of addresses, one for each type in `loaded` and
    `stored`.
    """

    def table(b: ir.IRBuilder, address: ir.Value, count: int) -> list[ir.Value]:
        first = _at(b, address, _INT64)
        return [b.load(b.gep(first, [ir.Constant(_INT64, i)])) for i in range(count)]

    @intrinsic
    def transform(_context, sources, targets, channels):
        def generate(context, b, _signature, arguments):
            sources, targets, channels = arguments
            sources, targets = table(b, sources, len(loaded)), table(b, targets, len(stored))
            start, body, end = b.block, b.append_basic_block(), b.append_basic_block()
            b.branch(body)
            b.position_at_end(body)
            channel = b.phi(_INT64)
            channel.add_incoming(ir.Constant(_INT64, 0), start)

            def place(address: ir.Value, kind: ir.Type) -> ir.Value:
                offset = b.mul(channel, ir.Constant(_INT64, _BYTES[kind]))
                return _at(b, b.add(address, offset), kind)

            values = []
            for address, kind in zip(sources, loaded, strict=True):
                value = b.load(place(address, kind), align=2)
                values.append(value if kind is _FP32 else b.fpext(value, _FP32))
            for address, kind, value in zip(targets, stored, emit(b, values), strict=True):
                b.store(_convert_for_store(b, value, kind), place(address, kind), align=2)
            following = b.add(channel, ir.Constant(_INT64, _LANES))
            channel.add_incoming(following, body)
            b.cbranch(b.icmp_signed("<", following, channels), body, end)
            b.position_at_end(end)
            return context.get_dummy_value()

        return types.void(sources, targets, channels), generate

    return transform


_input_tile = _channelwise(_transform(_INPUT), [_BF16] * 16, [_BF16] * 16)
_output_tile = _channelwise(_add_last(_transform(_OUTPUT), 1), [_FP32] * 17, [_BF16] * 4)
_input_pair = _channelwise(_apply_to_pairs(_transform(_INPUT)), [_BF16] * 32, [_PAIRS] * 16)
_output_gradient_pair = _channelwise(
    _append_sum(_apply_to_pairs(_transform(_transpose(_OUTPUT)))),
    [*[_BF16] * 8, _FP32],
    [*[_PAIRS] * 16, _FP32],
)
_filter_pair = _channelwise(_apply_to_pairs(_transform(_FILTER)), [_FP32] * 18, [_PAIRS] * 16)
_filter_gradient = _channelwise(
    _add_last(_transform(_transpose(_FILTER)), 9), [_FP32] * 25, [_FP32] * 9
)


def _product(rows: int) -> Callable:
    """Create an intrinsic for `rows` rows and CHANNELS columns of a matrix product, in registers.

    f(left, left_row, left_step, right, right_step, steps, result, result_row): `left_row` and
    `result_row` are strides between rows in bytes, `left_step` and `right_step` between pairs.
    """
    columns = CHANNELS // _LANES

    @intrinsic
    def product(_context, left, left_row, left_step, right, right_step, steps, result, result_row):
        def generate(context, b, _signature, arguments):
            left, left_row, left_step, right, right_step, steps, result, result_row = arguments
            vector = ir.VectorType(_INT32, _LANES)
            undefined, zeros = ir.Constant(vector, ir.Undefined), ir.Constant(vector, [0] * _LANES)
            dot = cgutils.get_or_insert_function(
                b.module,
                ir.FunctionType(_FP32, [_FP32, _PAIRS, _PAIRS]),
                "llvm.x86.avx512bf16.dpbf16ps.512",
            )

            def offset(address: ir.Value, stride: ir.Value | int, count: int) -> ir.Value:
                if isinstance(stride, int):
                    stride = ir.Constant(_INT64, stride)
                return b.add(address, b.mul(stride, ir.Constant(_INT64, count)))

            def broadcast_pair(address: ir.Value) -> ir.Value:
                one = b.insert_element(
                    undefined, b.load(_at(b, address, _INT32), align=2), ir.Constant(_INT32, 0)
                )
                return b.bitcast(b.shuffle_vector(one, undefined, zeros), _PAIRS)

            start, body, end = b.block, b.append_basic_block(), b.append_basic_block()
            b.branch(body)
            b.position_at_end(body)
            step, lefts, rights = (b.phi(_INT64) for _ in range(3))
            sums = [b.phi(_FP32) for _ in range(rows * columns)]
            for phi, first in ((step, ir.Constant(_INT64, 0)), (lefts, left), (rights, right)):
                phi.add_incoming(first, start)
            for phi in sums:
                phi.add_incoming(ir.Constant(_FP32, [0.0] * _LANES), start)
            panel = [
                b.load(_at(b, offset(rights, 4 * _LANES, column), _PAIRS), align=4)
                for column in range(columns)
            ]
            new_sums = []
            for row in range(rows):
                pair = broadcast_pair(offset(lefts, left_row, row))
                for column in range(columns):
                    before = sums[row * columns + column]
                    new_sums.append(b.call(dot, [before, pair, panel[column]]))
            following = offset(step, 1, 1)
            step.add_incoming(following, body)
            lefts.add_incoming(b.add(lefts, left_step), body)
            rights.add_incoming(b.add(rights, right_step), body)
            for phi, new_sum in zip(sums, new_sums, strict=True):
                phi.add_incoming(new_sum, body)
            b.cbranch(b.icmp_signed("<", following, steps), body, end)
            b.position_at_end(end)
            for number, new_sum in enumerate(new_sums):
                row, column = divmod(number, columns)
                place = offset(offset(result, result_row, row), 4 * _LANES, column)
                b.store(new_sum, _at(b, place, _FP32), align=4)
            return context.get_dummy_value()

        return types.void(*[int64] * 8), generate

    return product


_product_14, _product_12, _product_8, _product_4 = (_product(rows) for rows in (14, 12, 8, 4))


@njit
def _multiply(rows, left, left_row, left_step, right, right_step, steps, result, result_row):
    """Compute CHANNELS columns of a matrix product; writes `rows` rows, rounded up to ROWS."""
    row = 0
    while row < rows:
        from_, to, rest = left + row * left_row, result + row * result_row, rows - row
        if rest >= 28 or (rest >= 14 and rest % 4 != 0):
            _product_14(from_, left_row, left_step, right, right_step, steps, to, result_row)
            row += 14
        elif rest > 8:
            _product_12(from_, left_row, left_step, right, right_step, steps, to, result_row)
            row += 12
        elif rest > 4:
            _product_8(from_, left_row, left_step, right, right_step, steps, to, result_row)
            row += 8
        else:
            _product_4(from_, left_row, left_step, right, right_step, steps, to, result_row)
            row += 4


@njit
def pitch(size):
    """Return the stride between rows of `size` bytes: an odd number of cache lines, in bytes.

    A stride of a power of 2 would map all rows to the same few sets of the cache.
    """
    return ((size + _LINE - 1) // _LINE | 1) * _LINE


_openmp = ctypes.CDLL("libgomp.so.1")  # the copy that torch has loaded
for _name in ("omp_get_thread_num", "omp_get_num_threads"):
    _address = ctypes.cast(getattr(_openmp, _name), ctypes.c_void_p).value
    llvmlite.binding.add_symbol(_name, _address)
_thread = types.ExternalFunction("omp_get_thread_num", types.int32())
_num_threads = types.ExternalFunction("omp_get_num_threads", types.int32())
_KERNEL = types.void(types.voidptr)


def _arguments(names: str) -> np.dtype:
    """Return a struct of int64 fields, for the arguments of a kernel."""
    return np.dtype([(name, np.int64) for name in names.split()])


@njit
def _thread_range(count):
    """Return this thread's part of range(count); OpenMP may start fewer threads than requested."""
    number, threads = _thread(), _num_threads()
    return count * number // threads, count * (number + 1) // threads


@njit
def _write_addresses(target, first, image, height, width, pixel, tile, size, outside):
    """Write the addresses of a tile's pixels to target[first:]; `outside` replaces missing ones."""
    across, down, margin = (width + 1) // 2, (height + 1) // 2, (size - 2) // 2
    number, place = tile // (across * down), tile % (across * down)
    y0, x0 = 2 * (place // across) - margin, 2 * (place % across) - margin
    for y in range(size):
        row = image + (number * height + y0 + y) * width * pixel
        for x in range(size):
            inside = 0 <= y0 + y < height and 0 <= x0 + x < width
            target[first + size * y + x] = row + (x0 + x) * pixel if inside else outside


CONVOLUTION = _arguments(
    "images filters bias results height width channels outs tiles block workspace"
)


@cfunc(_KERNEL, cache=True)
def convolution(pointer):
    """Convolve: each thread transforms a `block` of tiles, multiplies, and transforms back.

    workspace: per thread, 16 slots of `block` + ROWS rows, for transformed inputs and for products.
    """
    a = carray(pointer, 1, CONVOLUTION)[0]
    channels, outs, block = a.channels, a.outs, a.block
    value_row, product_row, filter_row = pitch(2 * channels), pitch(4 * outs), pitch(4 * outs)
    value_slot = pitch((block + ROWS) * value_row)
    product_slot = pitch((block + ROWS) * product_row)
    values = a.workspace + _thread() * 16 * (value_slot + product_slot)
    products = values + 16 * value_slot
    outside, unused = np.zeros(channels, np.uint16), np.empty(outs, np.uint16)
    sources, targets = np.empty(17, np.int64), np.empty(16, np.int64)
    begin, end = _thread_range(a.tiles)
    for first in range(begin, end, block):
        count = min(block, end - first)
        for i in range(count):
            _write_addresses(
                sources, 0, a.images, a.height, a.width, 2 * channels, first + i, 4,
                outside.ctypes.data,
            )  # fmt: skip
            for k in range(16):
                targets[k] = values + k * value_slot + i * value_row
            _input_tile(sources.ctypes.data, targets.ctypes.data, channels)
        for k in range(16):
            filters = a.filters + k * (channels // 2) * filter_row
            for out in range(0, outs, CHANNELS):
                _multiply(
                    count, values + k * value_slot, value_row, 4, filters + 4 * out, filter_row,
                    channels // 2, products + k * product_slot + 4 * out, product_row,
                )  # fmt: skip
        sources[16] = a.bias
        for i in range(count):
            _write_addresses(
                targets, 0, a.results, a.height, a.width, 2 * outs, first + i, 2, unused.ctypes.data
            )
            for k in range(16):
                sources[k] = products + k * product_slot + i * product_row
            _output_tile(sources.ctypes.data, targets.ctypes.data, outs)


PAIRS = _arguments("images slots height width channels first last are_gradients sums")


@cfunc(_KERNEL, cache=True)
def transform_pairs(pointer):
    """Transform tiles `first` to `last` to 16 slots of pairs of tiles, (pairs, channels, 2) bf16.

    For gradients, the thread also adds the sum over its pixels to its row of `sums`.
    """
    a = carray(pointer, 1, PAIRS)[0]
    channels, pairs = a.channels, (a.last - a.first + 1) // 2
    row = pitch(4 * channels)
    slot = pitch(pairs * row)
    outside = np.zeros(channels, np.uint16)
    sources, targets = np.empty(32, np.int64), np.empty(17, np.int64)
    size = 2 if a.are_gradients else 4
    begin, end = _thread_range(pairs)
    for pair in range(begin, end):
        for half in range(2):
            tile, at = a.first + 2 * pair + half, half * size * size
            if tile < a.last:
                _write_addresses(
                    sources, at, a.images, a.height, a.width, 2 * channels, tile, size,
                    outside.ctypes.data,
                )  # fmt: skip
            else:
                sources[at : at + size * size] = outside.ctypes.data
        for k in range(16):
            targets[k] = a.slots + k * slot + pair * row
        if a.are_gradients:
            sources[8] = targets[16] = a.sums + _thread() * 4 * channels
            _output_gradient_pair(sources.ctypes.data, targets.ctypes.data, channels)
        else:
            _input_pair(sources.ctypes.data, targets.ctypes.data, channels)


GRADIENTS = _arguments("outputs inputs gradients pairs channels outs accumulate workspace")


@cfunc(_KERNEL, cache=True)
def filter_gradients(pointer):
    """Compute (outs, 3, 3, channels) float32 from slots of pairs; add to it if `accumulate` is set.

    workspace: per thread, 16 slots of CHANNELS rows and columns of float32.
    """
    a = carray(pointer, 1, GRADIENTS)[0]
    pairs, channels, groups = a.pairs, a.channels, a.outs // CHANNELS
    input_row, output_row, sum_row = pitch(4 * channels), pitch(4 * a.outs), 4 * CHANNELS
    input_slot, output_slot = pitch(pairs * input_row), pitch(pairs * output_row)
    sum_slot = pitch(CHANNELS * sum_row)
    sums = a.workspace + _thread() * 16 * sum_slot
    zeros = np.zeros(CHANNELS, np.float32)
    sources, targets = np.empty(25, np.int64), np.empty(9, np.int64)
    begin, end = _thread_range(groups * (channels // CHANNELS))
    for number in range(begin, end):
        channel, out = number // groups * CHANNELS, number % groups * CHANNELS
        for k in range(16):
            _multiply(
                CHANNELS, a.outputs + k * output_slot + 4 * out, 4, output_row,
                a.inputs + k * input_slot + 4 * channel, input_row, pairs,
                sums + k * sum_slot, sum_row,
            )  # fmt: skip
        for row in range(CHANNELS):
            for k in range(16):
                sources[k] = sums + k * sum_slot + row * sum_row
            for k in range(9):
                targets[k] = a.gradients + 4 * ((9 * (out + row) + k) * channels + channel)
                sources[16 + k] = targets[k] if a.accumulate else zeros.ctypes.data
            _filter_gradient(sources.ctypes.data, targets.ctypes.data, CHANNELS)


@njit
def _rotated_slot(k):
    """Return the slot that holds, for filters rotated by 180 degrees, the values of slot `k`."""
    row, column = k // 4, k % 4
    row = 3 - row if row % 3 == 0 else row
    column = 3 - column if column % 3 == 0 else column
    return 4 * row + column


@intrinsic
def _pointer(_context, address):
    """Convert an address to a pointer for carray."""

    def generate(_context, b, _signature, arguments):
        return _at(b, arguments[0], ir.IntType(8))

    return types.voidptr(address), generate


_GROUP = 8  # pairs of outputs per cache line


FILTERS = _arguments("filters forward backward channels outs")


@cfunc(_KERNEL, cache=True)
def transform_filters(pointer):
    """Transform filters (outs, 3, 3, channels) float32 to 16 slots of bf16 with `pitch` strides.

    forward: (channels / 2, outs, 2), pairs of input channels. backward: (outs / 2, channels, 2),
    rotated by 180 degrees, for the gradient of the input.
    """
    a = carray(pointer, 1, FILTERS)[0]
    channels, pairs_in, pairs_out = a.channels, a.channels // 2, a.outs // 2
    forward_row, backward_row = pitch(4 * a.outs), pitch(4 * channels)
    sources, targets = np.empty(18, np.int64), np.empty(16, np.int64)
    # one uint64 holds two outputs of two channels
    backward = carray(_pointer(a.backward), 2 * pairs_out * backward_row, uint64)
    forward = carray(_pointer(a.forward), 2 * pairs_in * forward_row, uint64)
    begin, end = _thread_range(pairs_out // _GROUP)
    for group in range(begin, end):
        for pair in range(_GROUP * group, _GROUP * (group + 1)):
            for k in range(18):
                sources[k] = a.filters + 4 * channels * (18 * pair + k)
            for k in range(16):
                targets[k] = a.backward + (_rotated_slot(k) * pairs_out + pair) * backward_row
            _filter_pair(sources.ctypes.data, targets.ctypes.data, channels)
        for k in range(16):
            source = (_rotated_slot(k) * pairs_out + _GROUP * group) * backward_row // 8
            target = k * pairs_in * forward_row // 8 + _GROUP * group
            for column in range(pairs_in):
                for pair in range(_GROUP):
                    four = backward[source + pair * backward_row // 8 + column]
                    swapped = (four >> 16 & 0xFFFF) << 32 | (four >> 32 & 0xFFFF) << 16
                    forward[target + column * forward_row // 8 + pair] = (
                        four & uint64(0xFFFF00000000FFFF) | swapped
                    )


def run(kernel: Any, arguments: np.dtype, threads: int, **values: int) -> None:
    """Run `kernel` in at most `threads` of torch's OpenMP threads, and wait for the result."""
    packed = np.array([tuple(values[name] for name in arguments.names)], arguments)
    _openmp.GOMP_parallel(
        ctypes.c_void_p(kernel.address), ctypes.c_void_p(packed.ctypes.data), threads, 0
    )
