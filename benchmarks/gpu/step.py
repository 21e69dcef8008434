"""Step times of the recipe `modern` for image sizes and batch sizes.

The report's implementation runs with torch's default settings, because its loss has no
deterministic kernel.
"""

from collections.abc import Callable, Iterator

import torch

from benchmarks.gpu.options import Options
from benchmarks.gpu.timing import on_device, time_steps, with_default_kernels
from benchmarks.step import FLOP_PER_PIXEL, our_step, prepare_step, random_batch, reports_step
from benchmarks.table import HEADER, MATRIX, Row, matrix_product
from roadseg.runtime.accelerator import select_accelerator
from roadseg.runtime.determinism import make_deterministic
from roadseg.system.memory import is_out_of_memory

_SIZES = ((96, 320), (180, 240), (360, 480), (375, 1242))
_BATCHES = (1, 2, 4, 8, 16, 32)
_TARGET_BATCH = 8
"""Smallest batch to which the targets apply."""


def lines(options: Options) -> Iterator[str]:
    """Compare steps with the report's implementation and with the matrix rate."""
    make_deterministic()
    device = options.device
    sizes, batches = ([(36, 64)], (1, 2)) if options.small else (_SIZES, _BATCHES)
    yield HEADER
    for height, width in sizes:
        report = with_default_kernels(reports_step(height, width, device))
        side = 256 if options.small else MATRIX
        product = matrix_product(torch.bfloat16, device, side)
        for count in batches:
            try:
                yield from _rows(height, width, count, device, report, product, 2 * side**3)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                yield f"| training, {height}x{width}, batch {count} | out of memory | | | |"
                torch.cuda.empty_cache()
                break
    height, width, count = (36, 64, 2) if options.small else (360, 480, 8)
    yield str(_cost_of_determinism(height, width, count, device))


def _rows(
    height: int,
    width: int,
    count: int,
    device: str,
    report: Callable,
    product: Callable,
    product_flop: int,
) -> Iterator[str]:
    accelerator = select_accelerator(device, "auto")
    batch = on_device(random_batch(height, width, count), device)
    step = prepare_step(accelerator, batch)
    ours, theirs, of_product = time_steps(step, report, product, device=device)
    name, wide = f"{height}x{width}, batch {count}", count >= _TARGET_BATCH
    rates = count / ours, 1 / theirs
    yield str(
        Row(
            name=f"training, {name}",
            sides="ours / the report's implementation, batch 1",
            seconds=rates,
            ratio=rates[0] / rates[1],
            at_least=10 if wide else None,
            unit="images/s",
        )
    )
    rates = count * FLOP_PER_PIXEL * height * width / ours, product_flop / of_product
    yield str(
        Row(
            name=f"fraction of the bf16 matrix rate, {name}",
            sides="arithmetic of a step / of a matrix product",
            seconds=(rates[0] / 1e12, rates[1] / 1e12),
            ratio=rates[0] / rates[1],
            at_least=0.4 if wide else None,
            unit="TFLOP/s",
        )
    )


def _cost_of_determinism(height: int, width: int, count: int, device: str) -> Row:
    step = our_step(height, width, device, count)
    free = with_default_kernels(step, search=True)
    exact, any_kernel = time_steps(step, free, device=device)
    return Row(
        name=f"cost of determinism, {height}x{width}, batch {count}",
        sides="deterministic kernels / any kernels",
        seconds=(exact, any_kernel),
        ratio=exact / any_kernel,
    )
