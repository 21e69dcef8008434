"""Training by the clock: measure what params.yaml leaves open, and choose the epochs."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from roadseg.config.params import MAX_EPOCHS, Params
from roadseg.config.plan_file import Plan
from roadseg.config.recipe import MAX_BATCH_SIZE, Recipe, TrainingRecipe
from roadseg.data.prepared import PreparedDataset
from roadseg.data.split_file import Split
from roadseg.runtime.accelerator import Accelerator
from roadseg.runtime.distributed import SINGLE_PROCESS
from roadseg.training.batch_size import fit_batch_size
from roadseg.training.errors import explain_out_of_memory
from roadseg.training.setup import build_trainer
from roadseg.training.timing import Timing, measure_timing
from roadseg.training.trainer import Trainer

_TOLERANCE = 0.1
"""Largest deviation from `train.minutes` that is not reported, as a fraction of it."""


def measure_plan(
    params: Params,
    prepared: PreparedDataset,
    split: Split,
    accelerator: Accelerator,
    import_seconds: float = 0.0,
) -> Plan:
    """Measure the numbers that `params` does not state; all ranks return the same plan.

    Args:
        import_seconds: duration of the imports, which training needs too.

    Raises:
        InputError: memory is too small, or training with these parameters is not possible.
    """
    train, recipe = params.train, params.recipes[params.train.recipe]
    build, changes = partial(_build, params, prepared, split), []
    with explain_out_of_memory(train, recipe, params.model.network_options):
        if recipe.batch_size == "auto":
            batch_size = _fit_batch_size(build, accelerator, len(split.train))
            changes = [f"-S recipes.{train.recipe}.batch_size={batch_size}"]
        else:
            batch_size = recipe.batch_size
        epochs = train.epochs
        if train.minutes is not None:
            started = time.perf_counter() - import_seconds
            timing = measure_timing(build(accelerator, batch_size), 60 * train.minutes, started)
            epochs = timing.choose_epochs(recipe, 60 * train.minutes)
            changes = ["-S train.minutes=null", f"-S train.epochs={epochs}", *changes]
            print(_describe(timing, recipe, batch_size, train.minutes, epochs))
    print(f"plan: to repeat this run without measuring: {' '.join(changes)}")
    return Plan(epochs=epochs, batch_size=batch_size)


def _build(
    params: Params,
    prepared: PreparedDataset,
    split: Split,
    accelerator: Accelerator,
    batch_size: int,
) -> Trainer:
    """Build a trainer of random weights, for as many epochs as are possible."""
    model = params.model.model_copy(update={"weights": "none"})
    train = params.train.model_copy(update={"epochs": MAX_EPOCHS, "start": None})
    values = params.recipes[params.train.recipe].model_dump() | {"batch_size": batch_size}
    return build_trainer(
        prepared, split, model, train, TrainingRecipe(**values), code={}, accelerator=accelerator
    )


def _fit_batch_size(
    build: Callable[[Accelerator, int], Trainer], accelerator: Accelerator, num_images: int
) -> int:
    """Find the largest batch size that fits in memory, on all ranks.

    Rank 0 runs the steps alone, because the others would wait forever for one that failed.
    """
    group, alone = accelerator.process_group, replace(accelerator, process_group=SINGLE_PROCESS)
    print("plan: measuring the memory of training steps", flush=True)
    batch_size = group.broadcast_object(
        lambda: fit_batch_size(build(alone, 1), group.size, min(MAX_BATCH_SIZE, num_images))
    )
    print(f"plan: {batch_size} is the largest batch size that fits in memory", flush=True)
    return batch_size


def _describe(timing: Timing, recipe: Recipe, batch_size: int, minutes: float, epochs: int) -> str:
    """Describe the chosen epochs, and how far their duration is from `minutes`."""
    seconds = timing.seconds(recipe, epochs)
    whole_minutes, rest = divmod(round(seconds), 60)
    step = batch_size * max(timing.image.values())
    text = (
        f"plan: {minutes:g} minutes: {epochs} epochs (step {step:.2g} s, validation "
        f"{timing.validation:.2g} s, about {whole_minutes} min {rest} s)"
    )
    deviation = seconds / (60 * minutes) - 1
    if abs(deviation) > _TOLERANCE:
        text += (
            f"\nplan: this is {abs(deviation):.0%} {'more' if deviation > 0 else 'less'} than "
            f"train.minutes, because epochs are whole, at least 1 and at most {MAX_EPOCHS}"
        )
    return text
