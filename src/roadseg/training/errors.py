"""Training errors that the user can fix: divergence and too little memory."""

import contextlib
import math
import re
from collections.abc import Iterator, Mapping

import torch

from roadseg.config.params import Train
from roadseg.config.recipe import Recipe
from roadseg.models.layers.norm import unsynchronized_norm
from roadseg.models.network import Network
from roadseg.provenance.model_metadata import Scalar, TrainingProvenance
from roadseg.system.errors import InputError
from roadseg.system.memory import is_out_of_memory
from roadseg.training.train_state import TrainState

_LARGEST = 1e18
"""The square of a larger number, and with it any variance, is infinite in float32."""
_WORKER_LOST = re.compile(r"DataLoader worker \(pid.*(exited unexpectedly|is killed by signal)")
_NO_SHARED_MEMORY = re.compile(r"shared memory|</torch_\d+|Bus error|'/dev/shm'")
"""Found in torch's errors about its workers, which have no class of their own."""
_SAVED = "saved checkpoints are kept"


class DivergenceError(InputError):
    """A value is NaN, infinite or too large; it was not saved, and earlier checkpoints are good."""


def require_finite(
    name: str, value: float, step: int, epoch: int, provenance: TrainingProvenance
) -> None:
    """Raise DivergenceError if `value`, measured after `step` in `epoch`, is not finite."""
    if not math.isfinite(value):
        raise DivergenceError(
            f"train: the {name} is {value} at step {step}, epoch {epoch}; {_advice(provenance)}"
        )


def require_finite_state(state: TrainState, epoch: int, provenance: TrainingProvenance) -> None:
    """Raise DivergenceError if a weight, a statistic or an optimizer's average is not finite.

    A finite loss does not imply finite weights, because it was computed before the update. Waits
    for the device once, however many tensors there are.
    """
    tensors = {n: v for n, v in state.live_tensors().items() if v.is_floating_point() and v.dim()}
    # aminmax propagates NaN, and allocates no memory of the size of the tensor
    extremes = torch.stack([torch.stack(value.detach().aminmax()) for value in tensors.values()])
    finite = (extremes.abs() <= _LARGEST).all(1).tolist()  # False for NaN
    wrong = [name for name, is_finite in zip(tensors, finite, strict=True) if not is_finite]
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise DivergenceError(
            f"train: {wrong[0]}{more}: NaN, infinite or beyond {_LARGEST:g} after step "
            f"{state.step}, epoch {epoch}, and not saved; {_advice(provenance)}"
        )


def require_shared_batches(network: Network, smallest: int, num_processes: int) -> None:
    """Require that several processes can share each batch.

    Args:
        smallest: number of images of the smallest batch.

    Raises:
        InputError: a batch norm would not be synchronized, or a process gets no image of the
            smallest batch although the network needs one.
    """
    if num_processes == 1:
        return
    if name := unsynchronized_norm(network):
        raise InputError(
            f"train.processes: {num_processes}, but {name} of the network ("
            f"{type(network.get_submodule(name)).__name__}) cannot be synchronized between "
            "processes; set it to 1, or choose another model.encoder"
        )
    if smallest >= num_processes:
        return
    side = 2 * network.stride
    try:
        with torch.inference_mode():
            network.eval()(torch.empty(0, 3, side, side, device=next(network.parameters()).device))
    except RuntimeError:
        raise InputError(
            f"train.processes: {num_processes}, but the last batch of an epoch has {smallest} "
            "images, and this network needs one in each process; change the recipe's batch_size "
            "or train.processes"
        ) from None


def _advice(provenance: TrainingProvenance) -> str:
    """Return what is likely to help, given the recipe and the precision."""
    recipe = provenance.recipe
    advice = [f"lower the recipe's learning_rate ({recipe['learning_rate']:g})"]
    if recipe["clip"] == "none":
        advice.append("clip the gradients (clip: norm)")
    else:
        advice.append(f"lower its clip_limit ({recipe['clip_limit']:g})")
    if provenance.machine["precision"] == "bf16":
        advice.append("set train.precision to fp32")
    return ", or ".join(advice)


@contextlib.contextmanager
def explain_out_of_memory(
    train: Train, recipe: Recipe, network: Mapping[str, Scalar]
) -> Iterator[None]:
    """Turn out-of-memory errors into an InputError that names the parameters to lower.

    Args:
        network: the options of the network.
    """
    try:
        yield
    except Exception as error:
        workers, text = f"train.num_workers ({train.num_workers})", str(error)
        lower = f"lower recipes.{train.recipe}.batch_size ({recipe.batch_size})"
        if train.num_workers and _NO_SHARED_MEMORY.search(text):
            message = (
                f"no room in shared memory (/dev/shm) for batches; set {workers} to 0, or {lower}"
            )
        elif _WORKER_LOST.search(text):
            message = (
                "a loader process was killed, probably because the computer ran out of memory; "
                f"lower {workers}; {_SAVED}"
            )
        elif is_out_of_memory(error):
            more = f", {workers}" if train.num_workers else ""
            if channels := network.get("base_channels"):
                more += f" or model.unet.base_channels ({channels})"
            message = f"out of memory; {lower}{more}; {_SAVED}"
        else:
            raise
        raise InputError(f"train: {message}") from None
