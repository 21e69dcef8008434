"""Alternatives to parts of a training step, each compared with the present way in one run.

They exist only here; the present way is the first side of each row.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch

from benchmarks import sample
from benchmarks.epoch import epoch_batches, make_trainer
from benchmarks.gpu import operator_alternatives
from benchmarks.gpu.operator_alternatives import Case
from benchmarks.gpu.options import Options
from benchmarks.gpu.timing import Work, failure, on_device, time_steps
from benchmarks.step import prepare_step, prepare_training, random_batch
from benchmarks.table import HEADER, Row
from roadseg.data.collate import Batch
from roadseg.data.prepared import PreparedDataset
from roadseg.models.layers.convolution import use_conv3x3
from roadseg.runtime.accelerator import Accelerator, select_accelerator
from roadseg.runtime.determinism import make_deterministic
from roadseg.system.errors import InputError

_WARM_UPS = 3
"""Steps before a CUDA graph is captured, as in torch's documentation."""


class _Nchw(Accelerator):
    memory_format = torch.contiguous_format


class _Nhwc(Accelerator):
    memory_format = torch.channels_last


def lines(options: Options) -> Iterator[str]:
    """Compare the alternatives; one that fails has the error in its row."""
    make_deterministic()
    case = Case(options.device, *((2, 36, 64) if options.small else (8, 360, 480)))
    accelerator = select_accelerator(options.device, "auto")
    dtype = torch.bfloat16 if accelerator.precision == "bf16" else torch.float32
    size = f"{case.height}x{case.width}, batch {case.count}"
    base_channels = 8 if options.small else 64
    backend = "aot_eager" if options.small else "inductor"  # a rehearsal needs no C++ compiler
    groups: dict[str, Callable[[], dict[str, Work]]] = {
        f"nll_loss and gradient, {size}": partial(operator_alternatives.nll_loss, case),
        f"counts of the Lovász loss, {size}": partial(operator_alternatives.histogram, case),
        f"upsampling and gradient, {size}": partial(operator_alternatives.upsampling, case),
        "Muon": partial(operator_alternatives.muon, options.device, dtype, base_channels),
        f"step, {size}, memory format": partial(_memory_formats, accelerator, case),
        f"step, {size}, place of the batch": partial(_places, accelerator, case),
        "loading an epoch": partial(_loading, options),
        f"step, {size}": partial(_compiled, accelerator, case, backend),
        # last, because a capture that fails leaves torch on another stream
        "step, batch 1": partial(_graph, accelerator, case._replace(count=1)),
        "step, batch 2": partial(_graph, accelerator, case._replace(count=2)),
    }
    yield HEADER
    for name, group in groups.items():
        yield from _rows(name, group, options.device)


def _rows(name: str, group: Callable[[], dict[str, Work]], device: str) -> Iterator[str]:
    """Compare the first side of `group` with each of the others."""
    sides: dict[str, Work] = {}
    if error := failure(lambda: sides.update(group())):
        yield f"| {name} | {error} | | | |"
        return
    for side, work in list(sides.items()):
        if error := failure(work):
            yield f"| {name} | {side}: {error} | | | |"
            del sides[side]
    times: list[float] = []
    if error := failure(lambda: times.extend(time_steps(*sides.values(), device=device))):
        yield f"| {name} | timing: {error} | | | |"
        return
    results = list(zip(sides, times, strict=True))
    for other, seconds in results[1:]:
        first, present = results[0]
        yield str(
            Row(
                name=name,
                sides=f"{first} / {other}",
                seconds=(1000 * present, 1000 * seconds),
                ratio=present / seconds,
                unit="ms",
            )
        )


def _batch(case: Case) -> Batch:
    return on_device(random_batch(case.height, case.width, case.count), case.device)


def _memory_formats(accelerator: Accelerator, case: Case) -> dict[str, Work]:
    """A step with images and weights in either memory format."""
    batch = _batch(case)
    other = _Nchw if accelerator.memory_format is torch.channels_last else _Nhwc
    changed = other(accelerator.device, accelerator.precision)
    return {
        str(accelerator.memory_format): prepare_step(accelerator, batch),
        str(other.memory_format): prepare_step(changed, batch),
    }


def _places(accelerator: Accelerator, case: Case) -> dict[str, Work]:
    """A step whose batch is on the device, or is copied to it."""
    batch = random_batch(case.height, case.width, case.count)
    sides = {"batch on the device": on_device(batch, case.device), "copied from the CPU": batch}
    if case.device != "cpu":
        pinned = {"images": batch.images.pin_memory(), "masks": batch.masks.pin_memory()}
        sides["copied from pinned memory"] = batch._replace(**pinned)
    return {name: prepare_step(accelerator, its) for name, its in sides.items()}


def _loading(options: Options) -> dict[str, Work]:
    """The batches of an epoch of 24 images, which are on the device or in memory-mapped files."""
    size = {"height": 36, "width": 64} if options.small else sample.SMALL
    folder = tempfile.TemporaryDirectory()  # removed when the functions are
    prepared = PreparedDataset(sample.write_prepared(Path(folder.name), 24, **size).root)
    files, resident = make_trainer(prepared, 1), make_trainer(prepared, 1)
    resident.dataset.move_to(torch.device(options.device), 2**40)
    return {
        "from the device": lambda: list(epoch_batches(resident)),
        "from files": lambda: (folder, list(epoch_batches(files))),
    }


def _graph(accelerator: Accelerator, case: Case) -> dict[str, Work]:
    """A step without augmentation, its kernels launched one by one, or as one CUDA graph."""
    if case.device == "cpu":
        raise InputError("a CUDA graph needs a GPU")
    batch = Batch(*_batch(case)[:2])
    captured = _capture(prepare_step(accelerator, batch))
    return {"kernel by kernel": prepare_step(accelerator, batch), "CUDA graph": captured}


def _capture(step: Work) -> Work:
    """Capture `step`, which reads and writes the same memory each time, as a CUDA graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UPS):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return lambda: (step, graph.replay())  # the graph does not keep the memory of the step


def _compiled(accelerator: Accelerator, case: Case, backend: str) -> dict[str, Work]:
    """A step with the network compiled by torch.compile."""
    batch = _batch(case)
    trainer, state = prepare_training(accelerator)
    use_conv3x3(state.network, "torch")  # this project's own kernels for CPUs cannot be traced
    state.network.compile(backend=backend)
    started = time.perf_counter()
    trainer.train_step(state, batch)
    name = f"compiled by {backend} within {time.perf_counter() - started:.0f} s"
    return {
        "network not compiled": prepare_step(accelerator, batch),
        name: lambda: trainer.train_step(state, batch),
    }
