"""The state of a training before its first step."""

import copy

import torch

from roadseg.config.class_map import ClassMap
from roadseg.config.params import Recipe, Train
from roadseg.models.layers.norm import set_process_group
from roadseg.models.pretrained import load_pretrained
from roadseg.models.unet import SMALLEST_SIDE, UNet
from roadseg.provenance.model_metadata import UNetOptions
from roadseg.runtime.accelerator import Accelerator
from roadseg.runtime.ddp import wrap_ddp
from roadseg.runtime.determinism import make_deterministic
from roadseg.runtime.distributed import ProcessGroup
from roadseg.system.files import repository_path
from roadseg.system.memory import keep_freed_memory
from roadseg.training.optimizer import build_optimizer
from roadseg.training.schedule import reduce_on_plateau
from roadseg.training.train_state import TrainState


def create_state(
    unet: UNetOptions,
    class_map: ClassMap,
    train: Train,
    recipe: Recipe,
    accelerator: Accelerator,
) -> TrainState:
    """Create a state with random weights, or with those of `train.start`."""
    make_deterministic()
    keep_freed_memory()
    torch.manual_seed(train.seed)
    network = UNet(**unet.model_dump())
    if train.start is not None:
        weights = load_pretrained(repository_path(train.start), network, class_map)
        print(f"train: starting from {weights}")
    accelerator.placed(network)
    optimizer = build_optimizer(network.parameters(), recipe, accelerator.precision)
    on_plateau = recipe.schedule == "plateau"
    return TrainState(
        network=network,
        average=copy.deepcopy(network) if recipe.ema else None,
        optimizer=optimizer,
        plateau=reduce_on_plateau(optimizer, recipe.patience) if on_plateau else None,
    )


def synchronize_state(state: TrainState, process_group: ProcessGroup) -> None:
    """Copy the state of rank 0 to all ranks, and let them train one network."""
    if process_group.size > 1:
        state.restore(*process_group.of_first(lambda: (state.tensors(), state.facts())))
        example = torch.zeros(1, 3, 2 * SMALLEST_SIDE, 2 * SMALLEST_SIDE, device=state.device)
        state.ddp = wrap_ddp(state.network, example)
        set_process_group(state.network, process_group)
