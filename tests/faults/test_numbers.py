"""Training with invalid numbers stops with a reason and saves none of them."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from roadseg.data.prepared import PreparedDataset
from roadseg.runtime import accelerator
from roadseg.training.errors import DivergenceError
from roadseg.training.train_state import TrainState
from roadseg.training.trainer import Trainer
from tests.factories import (
    EVERY_STEP,
    ODD,
    RARELY,
    make_params,
    make_trainer,
    read_outputs,
    run_training,
)

pytestmark = pytest.mark.usefixtures("without_histograms")


@pytest.fixture(autouse=True)
def use_bf16_on_any_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerator, "_has_native_bf16", lambda _: True)


def require_finite_files(folder: Path) -> None:
    files = list(folder.rglob("*.safetensors"))
    assert files
    for path in files:
        for name, value in load_file(path).items():
            assert not value.is_floating_point() or value.isfinite().all(), (path, name)


@pytest.mark.parametrize(
    ("precision", "optimizer", "clip"),
    [
        (precision, optimizer, clip)
        for precision in ("fp32", "bf16")
        for optimizer in ("sgd", "rmsprop", "adamw", "muon")
        for clip in ("none", "value", "norm")
    ],
)
def test_enormous_learning_rate_is_reported_and_not_saved(
    prepared, tmp_path, precision: str, optimizer: str, clip: str
):
    """The rate is above the limit of params.yaml, so that training diverges within steps."""
    params = make_params(tmp_path, precision=precision)
    changes = {"optimizer": optimizer, "clip": clip, "clip_limit": 0.5, "schedule": "constant"}
    trainer = make_trainer(prepared, params, **changes, **ODD)
    for rate in ("learning_rate", "rest_learning_rate"):
        object.__setattr__(trainer.recipe, rate, 1e30)
    trainer.metadata.provenance.recipe["learning_rate"] = 1e30
    with pytest.raises(DivergenceError) as caught:
        run_training(trainer, tmp_path / "a", resume=EVERY_STEP)
    message = str(caught.value)
    assert re.search(r"(at|after) step [1-6], epoch [12]", message)
    assert "lower the recipe's learning_rate (1e+30)" in message
    assert ("clip the gradients" in message) == (clip == "none")
    assert ("set train.precision to fp32" in message) == (precision == "bf16")
    assert "\n" not in message
    require_finite_files(tmp_path / "a")


def first_parameter(state: TrainState) -> torch.Tensor:
    return state.optimizer.param_groups[0]["params"][0]


PLACES: dict[str, Callable[[TrainState], torch.Tensor]] = {
    "a weight": lambda state: next(state.network.parameters()),
    "a bias": lambda state: state.network.out.bias,
    "a norm's mean": lambda state: dict(state.network.named_buffers())["inc.1.running_mean"],
    "a norm's variance": lambda state: dict(state.network.named_buffers())["inc.1.running_var"],
    "the average": lambda state: state.average.out.bias,
    "the average's norm": lambda state: dict(state.average.named_buffers())["inc.1.running_var"],
    "the optimizer": lambda state: next(
        value for value in state.optimizer.state[first_parameter(state)].values() if value.dim()
    ),
}


def poison(trainer: Trainer, place: str, value: float, after: int) -> Trainer:
    """Write `value` to the first number at `place` after the step `after`."""
    step = trainer.train_step

    def poisoning_step(state: TrainState, batch):
        result = step(state, batch)
        if state.step == after:
            with torch.no_grad():
                PLACES[place](state).view(-1)[0] = value
        return result

    trainer.train_step = poisoning_step
    return trainer


@pytest.mark.parametrize(
    ("place", "value", "after"),
    [
        ("a weight", float("nan"), 2),
        ("a weight", 3e38, 5),
        ("a bias", float("-inf"), 6),
        ("a norm's mean", float("nan"), 1),
        ("a norm's variance", float("inf"), 4),
        ("the average", float("nan"), 3),
        ("the average's norm", float("inf"), 6),
        ("the optimizer", float("nan"), 2),
        ("the optimizer", -1e30, 6),
    ],
)
@pytest.mark.parametrize("resume", [EVERY_STEP, RARELY])
def test_training_resumes_from_before_an_invalid_number(
    prepared: PreparedDataset, undisturbed, tmp_path, place, value, after, resume
):
    """As from defective memory; the next run ends in the bytes of an undisturbed one."""
    trainer = make_trainer(prepared, make_params(tmp_path), **ODD)
    with pytest.raises(DivergenceError, match=rf"(at|after) step [{after}-6], epoch [12]"):
        run_training(poison(trainer, place, value, after), tmp_path / "a", resume=resume)
    require_finite_files(tmp_path / "a")
    run_training(
        make_trainer(prepared, make_params(tmp_path), **ODD), tmp_path / "a", resume=resume
    )
    assert read_outputs(tmp_path / "a") == undisturbed


@pytest.fixture(scope="module")
def undisturbed(
    prepared: PreparedDataset, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed")
    run_training(make_trainer(prepared, make_params(folder), **ODD), folder / "a", resume=RARELY)
    return read_outputs(folder / "a")
