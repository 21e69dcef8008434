"""Numbers that are NaN or infinite: they end a training before anything of them is saved."""

import math

import torch

from roadseg.provenance.fingerprint import Provenance
from roadseg.system.errors import InputError
from roadseg.training.train_state import TrainState

_LARGEST = 1e18
"""Beyond it a number's square, and so any variance that it has a part in, is infinite."""


class DivergenceError(InputError):
    """The training has diverged; what was saved before is whole."""


def require_finite(name: str, value: float, step: int, epoch: int, origin: Provenance) -> None:
    """`value`, after `step` in `epoch`, must be finite, or NotFiniteError tells what may help."""
    if not math.isfinite(value):
        where = f"at step {step}, epoch {epoch}"
        raise DivergenceError(f"train: the {name} is {value} {where}; {_remedies(origin)}")


def require_finite_state(state: TrainState, epoch: int, origin: Provenance) -> None:
    """So must all weights, the norms' statistics and the optimizer's averages.

    They may be anything although every loss was finite: it tells of the weights before its step.
    Waits for the device, once, however many tensors there are.
    """
    tensors = {n: v for n, v in state.named().items() if v.is_floating_point() and v.dim()}
    # aminmax hands NaN on, and allocates nothing of the tensor's size
    extremes = torch.stack([torch.stack(value.detach().aminmax()) for value in tensors.values()])
    finite = (extremes.abs() <= _LARGEST).all(1).tolist()  # NaN is not
    wrong = [name for name, is_finite in zip(tensors, finite, strict=True) if not is_finite]
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise DivergenceError(
            f"train: {wrong[0]}{more}: NaN, infinite or beyond {_LARGEST:g} after step "
            f"{state.step}, epoch {epoch}, and not saved; {_remedies(origin)}"
        )


def _remedies(origin: Provenance) -> str:
    """What is likely to help, by what was chosen."""
    recipe = origin["recipe"]
    helps = [f"lower the recipe's learning_rate ({recipe['learning_rate']:g})"]
    if recipe["clip"] == "none":
        helps.append("clip the gradients (clip: norm)")
    else:
        helps.append(f"lower its clip_limit ({recipe['clip_limit']:g})")
    if origin["machine"]["precision"] == "bf16":
        helps.append("set train.precision to fp32")
    return ", or ".join(helps)
