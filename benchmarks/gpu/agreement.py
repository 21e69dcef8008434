"""Loss, gradients and predictions of one step on the GPU, compared with those on the CPU."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.gpu.options import Options
from benchmarks.step import CLASSES, prepare_training, random_batch
from roadseg.config.params import load_params
from roadseg.data.collate import Batch
from roadseg.models.layers.convolution import use_conv3x3
from roadseg.provenance.source_code import ROOT
from roadseg.runtime.accelerator import Accelerator
from roadseg.runtime.determinism import make_deterministic


class _Step(NamedTuple):
    loss: float
    gradients: dict[str, Tensor]
    weights: dict[str, Tensor]
    """After the step."""
    predicted: Tensor
    """Logits of the network after the step, with the statistics of the batch."""


def lines(options: Options) -> Iterator[str]:
    """Compare fp32 and bf16 on the device with fp32 on the CPU, for each recipe."""
    make_deterministic()
    height, width = (36, 64) if options.small else (96, 320)
    recipes = list(load_params(ROOT / "params.yaml").recipes)
    cpu, device = torch.device("cpu"), torch.device(options.device)
    yield (
        "Relative differences, |a - b| / |b|, from fp32 on the CPU after one step. Rounding grows "
        "from the last layer to the first one, so that bf16 on the CPU is the standard of bf16.\n"
    )
    columns = ("recipe", "on", "loss", "gradient of the last layer", "all gradients", "weights")
    yield f"| {' | '.join(columns)} | predicted class ids |\n|{'---|' * 7}"
    for recipe in recipes[-1:] if options.small else recipes:
        expected = _step(Accelerator(cpu, "fp32"), recipe, height, width)
        for place, precision in ((device, "fp32"), (device, "bf16"), (cpu, "bf16")):
            found = _step(Accelerator(place, precision), recipe, height, width)
            last = next(reversed(expected.gradients))
            cells = (
                f"{abs(found.loss - expected.loss) / abs(expected.loss):.1e}",
                f"{_difference(found.gradients[last], expected.gradients[last]):.1e}",
                f"{_difference(_join(found.gradients), _join(expected.gradients)):.1e}",
                f"{_difference(_join(found.weights), _join(expected.weights)):.1e}",
                f"{(found.predicted != expected.predicted).float().mean():.2%} differ",
            )
            yield f"| {recipe} | {place.type}, {precision} | {' | '.join(cells)} |"


def _striped_batch(height: int, width: int) -> Batch:
    """Return noisy images with a stripe of each class; random masks would give random gradients."""
    batch = random_batch(height, width, 2)
    stripes = torch.arange(width) * CLASSES // width  # (W,)
    images = (batch.images // 4 + (16 * stripes).byte()).contiguous(
        memory_format=torch.channels_last
    )
    masks = stripes.byte().expand(2, height, width).contiguous()
    return batch._replace(images=images, masks=masks)


def _step(accelerator: Accelerator, recipe: str, height: int, width: int) -> _Step:
    trainer, state = prepare_training(accelerator, recipe)
    use_conv3x3(state.network, "torch")  # not this project's own kernels for CPUs
    batch = _striped_batch(height, width)
    loss = trainer.train_step(state, batch).loss.item()
    parameters = dict(state.network.named_parameters())
    with torch.inference_mode():
        logits = accelerator.logits(state.network, accelerator.images(batch.images))
    return _Step(
        loss,
        {name: value.grad.float().cpu() for name, value in parameters.items()},
        {name: value.detach().float().cpu() for name, value in parameters.items()},
        logits.argmax(1).cpu(),
    )


def _join(tensors: dict[str, Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors.values()])


def _difference(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm().clamp(min=1e-30))
