"""Operators that raise or warn in deterministic mode, and steps that wait for the device."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch.nn import functional as F

from benchmarks.gpu.options import Options
from benchmarks.gpu.timing import failure
from benchmarks.step import CLASSES, prepare_step, random_batch
from roadseg.config.class_map import read_class_map
from roadseg.config.params import load_params
from roadseg.evaluation.accumulators import Accumulators
from roadseg.evaluation.metrics import confusion_matrix
from roadseg.models.losses import log_probabilities, lovasz_loss, nll_sum
from roadseg.provenance.source_code import ROOT
from roadseg.runtime.accelerator import select_accelerator
from roadseg.runtime.determinism import make_deterministic

Case = Callable[[], object]


def lines(options: Options) -> Iterator[str]:
    """Run a step of each recipe, and single operators, and list what raises or warns."""
    make_deterministic()
    height, width = (36, 64) if options.small else (96, 320)
    recipes = list(load_params(ROOT / "params.yaml").recipes)
    steps: dict[str, Case] = {}
    yield "| operation | in deterministic mode |\n|---|---|"
    for recipe in recipes[-1:] if options.small else recipes:
        for precision in ("fp32", "bf16"):

            def prepare(recipe: str = recipe, precision: str = precision) -> None:
                accelerator = select_accelerator(options.device, precision)
                batch = random_batch(height, width, 2)
                step = prepare_step(accelerator, batch, recipe)
                steps[f"{recipe}, {precision}"] = step
                step()

            yield f"| a step of the recipe {recipe}, {precision} | {try_case(prepare)} |"
    for name, case in _cases(options.device, height, width).items():
        yield f"| {name} | {try_case(case)} |"
    if options.device != "cpu":
        for name, step in steps.items():
            yield f"| waits for the device: a step of {name} | {_waits(step)} |"


def try_case(case: Case) -> str:
    """Return "ok", or the error or the warnings of `case`, with their places."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        error = failure(case)
    texts = sorted(
        {
            f"{Path(warning.filename).name}:{warning.lineno}: {str(warning.message).strip()[:150]}"
            for warning in caught
        }
    )
    return error or " ".join("; ".join(texts).replace("|", "/").split()) or "ok"


def _waits(step: Case) -> str:
    """Name the operations of `step` for which the processor waits for the GPU."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        return try_case(step)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def _cases(device: str, height: int, width: int) -> dict[str, Case]:
    """Return operators of losses, metrics, augmentation and networks by name."""
    torch.manual_seed(0)
    class_map = read_class_map(ROOT / "classes/kitti12.yaml")
    logits = torch.randn(2, CLASSES, height, width, device=device, requires_grad=True)
    class_ids = torch.randint(0, CLASSES, (2, height, width), device=device)
    weights, image = torch.rand(CLASSES, device=device), logits.detach()
    theta = torch.tensor([[0.9, 0.1, 0.0], [-0.1, 0.9, 0.1]], device=device).expand(2, 2, 3)
    grid = F.affine_grid(theta, [2, 3, height, width], align_corners=False)
    predicted = logits.argmax(1)

    def backward(value: torch.Tensor) -> None:
        value.sum().backward()

    return {
        "nll_loss of (P, K) and backward": lambda: backward(
            nll_sum(log_probabilities(logits), class_ids, weights)[0]
        ),
        "Lovász loss and backward": lambda: backward(
            lovasz_loss(log_probabilities(logits), class_ids, 0)
        ),
        "confusion matrix (bincount)": lambda: confusion_matrix(class_ids, predicted, CLASSES),
        "boundaries and calibration": lambda: Accumulators(class_map, torch.device(device)).add(
            image, class_ids, predicted
        ),
        "grid_sample bilinear, forward": lambda: F.grid_sample(image, grid, align_corners=False),
        "grid_sample nearest, forward": lambda: F.grid_sample(
            class_ids[:, None].float(), grid, mode="nearest", align_corners=False
        ),
        "interpolate bilinear, align_corners, and backward": lambda: backward(
            F.interpolate(logits, scale_factor=2, mode="bilinear", align_corners=True)
        ),
        "interpolate antialias, forward": lambda: F.interpolate(
            image, (height // 2, width // 2), mode="bilinear", antialias=True
        ),
        "gather and backward": lambda: backward(logits.gather(1, class_ids[:, None])),
        "max_pool2d and backward": lambda: backward(F.max_pool2d(logits, 2)),
        "dropout2d and backward": lambda: backward(F.dropout2d(logits, 0.5)),
        "cumsum of float32": lambda: image.cumsum(1),
        "conv_transpose2d and backward": lambda: backward(
            F.conv_transpose2d(logits, torch.rand(CLASSES, 4, 2, 2, device=device), stride=2)
        ),
    }
