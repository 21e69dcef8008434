"""All that changes while training, and the form in which it is saved."""

import copy
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from roadseg.models.unet import UNet
from roadseg.system.errors import InputError
from roadseg.training.train_step import StepResult

HistoryRow = dict[str, float]
"""One epoch: epoch, train_ce, val_ce (nats a pixel), val_miou (0..1), lr (of its last step)."""

_NETWORK, _AVERAGE, _OPTIMIZER, _RANDOM = "network/", "average/", "optimizer/", "random/"
_GRADIENT = "gradient/"


@dataclass
class EpochSum:
    """Cross-entropy of the training pictures over an epoch, each as it was when it was seen."""

    cross_entropy: float = 0.0
    pixels: float = 0.0

    def add(self, cross_entropy: float, pixels: float) -> None:
        self.cross_entropy += cross_entropy
        self.pixels += pixels

    def mean(self) -> float:
        if not self.pixels:
            raise InputError("train: no pixel of the training masks counts; check the class map")
        return self.cross_entropy / self.pixels


@dataclass
class Validation:
    """What a validation gave."""

    cross_entropy: float
    miou: float
    draws: list[float]
    """`miou_draws` of its pictures."""
    learning_rate: float
    """Of the step before it; the plateau may have lowered it since."""


@dataclass(kw_only=True)
class TrainState:
    """All that changes while training: what is not here is a function of the parameters."""

    network: UNet
    average: UNet | None
    """The average of the network's weights over the last steps, where the recipe wants one."""
    optimizer: Optimizer
    plateau: ReduceLROnPlateau | None
    shared: nn.Module | None = None
    """What to call in place of `network` to train it beside other processes."""
    epoch: int = 0
    """Finished epochs."""
    step: int = 0
    """Finished steps."""
    loss: float = 0.0
    """Of the last step's batch, as far as it was read."""
    unread: list[tuple[int, float, StepResult]] = field(default_factory=list)
    """Steps since then, their learning rates and what they gave; still on the device."""
    epoch_sum: EpochSum = field(default_factory=EpochSum)
    validation_due: bool = False
    """The last step is to be followed by a validation that is not finished."""
    validation: Validation | None = None
    history: list[HistoryRow] = field(default_factory=list)
    draws: list[list[float]] = field(default_factory=list)
    """Of the validation that each row of the history tells."""
    machines: list[dict[str, Any]] = field(default_factory=list)
    """Where it was trained: each machine, and the epoch that was the first it worked on."""
    run: str = ""
    """Folder of its TensorBoard events."""

    @property
    def judged(self) -> UNet:
        """The network that is validated and kept."""
        return self.network if self.average is None else self.average

    @property
    def learning_rate(self) -> float:
        return self.optimizer.param_groups[0]["lr"]

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def read(self) -> list[tuple[int, float, float]]:
        """Fetch what the unread steps gave, all at once: (step, learning rate, loss) of each."""
        if not self.unread:
            return []
        steps, rates, results = zip(*self.unread, strict=True)
        self.unread = []
        losses, sums, pixels = torch.stack([torch.stack(r) for r in results]).T.tolist()
        for cross_entropy, count in zip(sums, pixels, strict=True):
            self.epoch_sum.add(cross_entropy, count)
        self.loss = losses[-1]
        return list(zip(steps, rates, losses, strict=True))

    def named(self) -> dict[str, Tensor]:
        """Weights and the optimizer's averages, as they are; what changes them changes these.

        Also the last gradients, where a validation is due that shows them.
        """
        named = {_NETWORK + name: value for name, value in self.network.state_dict().items()}
        if self.average is not None:
            named |= {_AVERAGE + name: v for name, v in self.average.state_dict().items()}
        for index, averages in self.optimizer.state_dict()["state"].items():
            named |= {f"{_OPTIMIZER}{index}/{key}": value for key, value in averages.items()}
        if self.validation_due:
            named |= {_GRADIENT + name: p.grad for name, p in self.network.named_parameters()}
        return named

    def tensors(self) -> dict[str, Tensor]:
        """What is `named`, and the generators; copies, contiguous, on the CPU."""
        drawn = {_RANDOM + kind: value for kind, value in _random_state(self.device).items()}
        return {name: _copied(value) for name, value in (self.named() | drawn).items()}

    def weights(self) -> dict[str, Tensor]:
        """The judged network's state_dict; copies, as in `tensors`."""
        return {name: _copied(value) for name, value in self.judged.state_dict().items()}

    def facts(self) -> dict[str, Any]:
        """Everything else that was read, as JSON (with infinities); a copy."""
        facts = {
            "epoch": self.epoch,
            "step": self.step,
            "loss": self.loss,
            "learning_rate": self.learning_rate,
            "plateau": self.plateau and self.plateau.state_dict(),
            "epoch_sum": asdict(self.epoch_sum),
            "validation_due": self.validation_due,
            "validation": self.validation and asdict(self.validation),
            "history": self.history,
            "machines": self.machines,
            "run": self.run,
        }
        # what an epoch has drawn never changes; copying it would take longer with each epoch
        return {**copy.deepcopy(facts), "draws": list(self.draws)}

    def restore(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Become the state that `tensors()` and `facts()` described."""
        self.network.load_state_dict(_below(_NETWORK, tensors))
        if self.average is not None:
            self.average.load_state_dict(_below(_AVERAGE, tensors))
        gradients = _below(_GRADIENT, tensors)
        for name, parameter in self.network.named_parameters():
            if name in gradients:
                parameter.grad = torch.empty_like(parameter).copy_(gradients[name])
        self._restore_optimizer(tensors)
        for group in self.optimizer.param_groups:
            group["lr"] = facts["learning_rate"]
        if self.plateau is not None:
            self.plateau.load_state_dict(facts["plateau"])
        self.epoch, self.step, self.loss = facts["epoch"], facts["step"], facts["loss"]
        self.epoch_sum = EpochSum(**facts["epoch_sum"])
        self.validation_due = facts["validation_due"]
        self.validation = facts["validation"] and Validation(**facts["validation"])
        self.history, self.draws = facts["history"], facts["draws"]
        self.machines, self.run = facts["machines"], facts["run"]
        _restore_random_state(self.device, _below(_RANDOM, tensors))

    def _restore_optimizer(self, tensors: dict[str, Tensor]) -> None:
        averages: dict[int, dict[str, Tensor]] = {}
        for name, value in _below(_OPTIMIZER, tensors).items():
            index, key = name.split("/")
            averages.setdefault(int(index), {})[key] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": averages, "param_groups": groups})


def _copied(value: Tensor) -> Tensor:
    like = {"device": "cpu", "memory_format": torch.contiguous_format}
    return torch.empty_like(value.detach(), **like).copy_(value.detach())


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those whose name begins with `prefix`, without it."""
    return {n.removeprefix(prefix): value for n, value in tensors.items() if n.startswith(prefix)}


def _random_state(device: torch.device) -> dict[str, Tensor]:
    """State of each generator that dropout may draw from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    if device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def _restore_random_state(device: torch.device, states: dict[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
    if device.type == "mps":
        torch.mps.set_rng_state(states["mps"])
