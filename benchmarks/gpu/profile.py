"""Profile of training steps: operators, kernels, phases, and the time in which the GPU is idle."""

import contextlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.gpu.options import Options
from benchmarks.gpu.timing import on_device, time_steps
from benchmarks.step import prepare_step, random_batch
from roadseg.runtime.accelerator import select_accelerator
from roadseg.runtime.determinism import make_deterministic
from roadseg.training import trainer

_PHASES = {
    "data": "prepare_batch",
    "forward: log-softmax": "log_probabilities",
    "clipping": "clip_gradients",
    "optimizer": "step_optimizer",
    "moving average": "update_average",
}
"""Functions that a training step calls, by the name of the phase."""
_OPERATORS = {
    "convolutions": r"(?i)conv(?!ert)",
    "normalization": r"batch_norm|group_norm|native_norm",
    "indexing, scatter and gather": r"index|scatter|gather",
    "matrix products": r"::(mm|addmm|bmm|matmul|baddbmm)$",
    "losses": r"nll_loss|log_softmax",
    "copies and conversions": r"copy_|::to$|contiguous|clone|::cat$",
}
_STEPS, _ROWS = 3, 20


def lines(options: Options) -> Iterator[str]:
    """Profile batches of 1 and 8 images of CamVid's size, or of tiny ones."""
    make_deterministic()
    sizes = [(36, 64, 2)] if options.small else [(360, 480, 1), (360, 480, 8)]
    for height, width, count in sizes:
        batch = on_device(random_batch(height, width, count), options.device)
        step = prepare_step(select_accelerator(options.device, "auto"), batch)
        (wall,) = time_steps(step, device=options.device)
        yield f"Recipe modern, {height}x{width}, batch {count}: {1000 * wall:.2f} ms per step."
        yield from _profile(step, wall, options.device)


def _profile(step: Callable[[], object], wall: float, device: str) -> Iterator[str]:
    activities = [ProfilerActivity.CPU]
    if device != "cpu":
        activities.append(ProfilerActivity.CUDA)
    with _phases(), profile(activities=activities) as run:
        for _ in range(_STEPS):
            step()
        if device != "cpu":
            torch.cuda.synchronize()
    events = list(run.key_averages())
    operators = [event for event in events if event.device_type == DeviceType.CPU]
    kernels = [
        event
        for event in events
        if event.device_type != DeviceType.CPU and not event.is_user_annotation
    ]
    # without a GPU, the operators are what is busy
    own = _own_device_ms if device != "cpu" else _own_cpu_ms
    busy = sum(map(own, kernels or operators))
    idle = 1 - busy / (1000 * wall)
    yield f"\nBusy {busy:.2f} ms per step, so that {max(0.0, idle):.0%} of the time is idle.\n"
    yield "| group of operators | ms per step | of the busy time |\n|---|---|---|"
    for name, pattern in _OPERATORS.items():
        total = sum(own(event) for event in operators if re.search(pattern, event.key))
        yield f"| {name} | {total:.2f} | {total / busy:.0%} |"
    for name in _PHASES:
        whole = "device_time_total" if device != "cpu" else "cpu_time_total"
        times = [getattr(event, whole) for event in operators if event.key == name]
        total = max(times, default=0.0) / 1000 / _STEPS
        yield f"| phase: {name} | {total:.2f} | {total / busy:.0%} |"
    for title, found in (("operator", operators), ("kernel", kernels)):
        if found:
            yield f"\n| {title} | calls per step | ms per step | of the busy time |"
            yield "|---|---|---|---|"
        for event in sorted(found, key=own, reverse=True)[:_ROWS]:
            name = event.key[:90].replace("|", "/")
            cells = f"{event.count / _STEPS:.0f} | {own(event):.3f} | {own(event) / busy:.1%}"
            yield f"| `{name}` | {cells} |"
    yield ""


def _own_device_ms(event: Any) -> float:
    return float(event.self_device_time_total) / 1000 / _STEPS


def _own_cpu_ms(event: Any) -> float:
    return float(event.self_cpu_time_total) / 1000 / _STEPS


@contextlib.contextmanager
def _phases() -> Iterator[None]:
    """Record the functions of `_PHASES` as events while the trainer calls them."""
    before = {name: getattr(trainer, name) for name in _PHASES.values()}

    def recorded(phase: str, function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> object:
            with record_function(phase):
                return function(*arguments)

        return call

    try:
        for phase, name in _PHASES.items():
            setattr(trainer, name, recorded(phase, before[name]))
        yield
    finally:
        for name, function in before.items():
            setattr(trainer, name, function)
