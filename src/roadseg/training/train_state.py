"""State of a training run: everything that changes, and how it is saved."""

import copy
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from roadseg.config.params import Train
from roadseg.config.recipe import Recipe
from roadseg.models.encoder_weights import load_encoder_weights
from roadseg.models.layers.norm import set_process_group
from roadseg.models.network import Network
from roadseg.models.pretrained import load_pretrained
from roadseg.models.registry import build_network
from roadseg.provenance.model_metadata import ModelMetadata
from roadseg.runtime.accelerator import Accelerator
from roadseg.runtime.determinism import make_deterministic
from roadseg.runtime.distributed import ProcessGroup, wrap_ddp
from roadseg.system.files import repository_path
from roadseg.system.memory import keep_freed_memory
from roadseg.training.metrics import EpochSum, HistoryRow, Validation
from roadseg.training.optimizer import build_optimizer
from roadseg.training.schedule import reduce_on_plateau, set_learning_rate

_NETWORK, _AVERAGE, _OPTIMIZER, _RANDOM = "network/", "average/", "optimizer/", "random/"


class StepResult(NamedTuple):
    """Results of one training step, summed over all ranks: detached scalars on the device."""

    loss: Tensor
    """Loss of the batch, which training minimizes."""
    cross_entropy: Tensor
    """Unweighted cross-entropy, summed over the counted pixels; nats."""
    pixels: Tensor
    """Number of counted pixels."""


@dataclass(kw_only=True)
class Progress:
    """The part of the state that is saved as JSON."""

    epoch: int = 0
    """Number of finished epochs."""
    step: int = 0
    """Number of finished steps."""
    loss: float = 0.0
    """Loss of the last fetched step."""
    epoch_sum: EpochSum = field(default_factory=EpochSum)
    validation_due: bool = False
    """True until the validation that follows the last step is finished."""
    validation: Validation = field(default_factory=Validation)
    history: list[HistoryRow] = field(default_factory=list)
    draws: list[list[float]] = field(default_factory=list)
    """Bootstrap draws of the mIoU of each epoch in the history."""
    machines: list[dict[str, Any]] = field(default_factory=list)
    """Hardware that trained, each with its first epoch."""
    run: str = ""
    """Name of the TensorBoard run."""


@dataclass(kw_only=True)
class TrainState(Progress):
    """Everything that changes while training."""

    network: Network
    average: Network | None
    """Exponential moving average of the weights, or None."""
    optimizer: Optimizer
    plateau: ReduceLROnPlateau | None
    ddp: nn.Module | None = None
    """`network` wrapped in DistributedDataParallel; None in a single process."""
    pending: list[tuple[int, float, StepResult]] = field(default_factory=list)
    """(step, learning rate, result) of each step since the last fetch."""

    @property
    def eval_network(self) -> Network:
        """The network that is validated and saved: the average if there is one."""
        return self.network if self.average is None else self.average

    @property
    def learning_rate(self) -> float:
        """Current learning rate of the optimizer; the encoder's may be a fraction of it."""
        rate: float = self.optimizer.param_groups[-1]["lr"]
        return rate

    @property
    def device(self) -> torch.device:
        """The device of the network."""
        return next(self.network.parameters()).device

    def record_machine(self, machine: Mapping[str, str | int]) -> None:
        """Record the hardware that trains from now on; warn if it has changed."""
        last = {**self.machines[-1]} if self.machines else {}
        since = last.pop("from_epoch", None)
        if machine == last:
            return
        self.machines.append({"from_epoch": self.epoch + 1, **machine})
        if since is not None:
            print(
                f"warning: resuming on different hardware ({last}; now {machine}): results will "
                "not be bit-identical to a run on one machine",
                file=sys.stderr,
            )

    def fetch_losses(self) -> list[tuple[int, float, float]]:
        """Fetch all pending results from the device at once, and add them to the epoch's sum.

        Returns:
            (step, learning rate, loss) of each pending step.
        """
        if not self.pending:
            return []
        steps, rates, results = zip(*self.pending, strict=True)
        self.pending = []
        losses, sums, pixels = torch.stack([torch.stack(r) for r in results]).T.tolist()
        for cross_entropy, count in zip(sums, pixels, strict=True):
            self.epoch_sum.add(cross_entropy, count)
        self.loss = losses[-1]
        return list(zip(steps, rates, losses, strict=True))

    def live_tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the networks and the optimizer by name, without copying them."""
        named = {_NETWORK + name: value for name, value in self.network.state_dict().items()}
        if self.average is not None:
            named |= {_AVERAGE + name: v for name, v in self.average.state_dict().items()}
        for index, averages in self.optimizer.state_dict()["state"].items():
            named |= {f"{_OPTIMIZER}{index}/{key}": value for key, value in averages.items()}
        return named

    def tensors(self) -> dict[str, Tensor]:
        """Return contiguous CPU copies of `live_tensors` and of the random generators' states."""
        random = {_RANDOM + kind: value for kind, value in _random_state(self.device).items()}
        return {name: _copy_to_cpu(value) for name, value in (self.live_tensors() | random).items()}

    def weights(self) -> dict[str, Tensor]:
        """Return contiguous CPU copies of the weights of `eval_network`."""
        return {name: _copy_to_cpu(value) for name, value in self.eval_network.state_dict().items()}

    def progress(self) -> dict[str, Any]:
        """Return a copy of everything else as JSON, which may contain infinity."""
        saved = Progress(**{item.name: getattr(self, item.name) for item in fields(Progress)})
        return {
            **TypeAdapter(Progress).dump_python(saved),
            "learning_rate": self.learning_rate,
            "plateau": self.plateau and self.plateau.state_dict(),
        }

    def restore(self, tensors: dict[str, Tensor], progress: dict[str, Any]) -> None:
        """Restore the state that `tensors()` and `progress()` returned."""
        self.network.load_state_dict(_with_prefix(_NETWORK, tensors))
        if self.average is not None:
            self.average.load_state_dict(_with_prefix(_AVERAGE, tensors))
        self._restore_optimizer(tensors)
        set_learning_rate(self.optimizer, progress["learning_rate"])
        if self.plateau is not None:
            self.plateau.load_state_dict(progress["plateau"])
        for name, value in vars(TypeAdapter(Progress).validate_python(progress)).items():
            setattr(self, name, value)
        _restore_random_state(self.device, _with_prefix(_RANDOM, tensors))

    def _restore_optimizer(self, tensors: dict[str, Tensor]) -> None:
        averages: dict[int, dict[str, Tensor]] = {}
        for name, value in _with_prefix(_OPTIMIZER, tensors).items():
            index, key = name.split("/")
            averages.setdefault(int(index), {})[key] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": averages, "param_groups": groups})


def create_state(
    metadata: ModelMetadata,
    train: Train,
    recipe: Recipe,
    accelerator: Accelerator,
    weights: Path | None = None,
) -> TrainState:
    """Create the state before the first step, with random weights or those of `train.start`.

    Args:
        weights: folder with the weights of a pretrained encoder; None: there are none.
    """
    make_deterministic()
    keep_freed_memory()
    torch.manual_seed(train.seed)
    network = build_network(metadata.architecture, metadata.network)
    if weights is not None:
        load_encoder_weights(weights, network)
    if train.start is not None:
        loaded = load_pretrained(repository_path(train.start), network, metadata.classes)
        print(f"train: starting from {loaded}")
    accelerator.to_device(network)
    optimizer = build_optimizer(network, recipe, accelerator.precision)
    on_plateau = recipe.schedule == "plateau"
    return TrainState(
        network=network,
        average=copy.deepcopy(network) if recipe.ema else None,
        optimizer=optimizer,
        plateau=reduce_on_plateau(optimizer, recipe.patience) if on_plateau else None,
    )


def synchronize_state(state: TrainState, process_group: ProcessGroup) -> None:
    """Copy the state of rank 0 to all ranks, and let them train one network together."""
    if process_group.size > 1:
        state.restore(*process_group.broadcast_object(lambda: (state.tensors(), state.progress())))
        wrap_network(state)
        set_process_group(state.network, process_group)


def wrap_network(state: TrainState) -> None:
    """Let the ranks sum the gradients of the parameters that are trained now."""
    side = 2 * state.network.stride
    example = torch.zeros(1, 3, side, side, device=state.device)
    state.ddp = wrap_ddp(state.network, example)


def _copy_to_cpu(value: Tensor) -> Tensor:
    return value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _with_prefix(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names start with `prefix`, without the prefix."""
    return {n.removeprefix(prefix): value for n, value in tensors.items() if n.startswith(prefix)}


def _random_state(device: torch.device) -> dict[str, Tensor]:
    """Return the states of the random generators that dropout uses."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":  # of this device, which need not be the current one
        states["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type != "cpu":
        states[device.type] = torch.get_device_module(device).get_rng_state()
    return states


def _restore_random_state(device: torch.device, states: dict[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
    elif device.type != "cpu":
        torch.get_device_module(device).set_rng_state(states[device.type])
