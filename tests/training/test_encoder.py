"""Fine-tuning: rates of the encoder, epochs in which it is frozen, and frozen statistics."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from roadseg.config.params import Params
from roadseg.models.network import Network
from roadseg.runtime.distributed import wrap_ddp
from roadseg.training.encoder import freeze_encoder
from roadseg.training.train_state import TrainState, wrap_network
from roadseg.training.trainer import Trainer
from tests.factories import (
    ODD,
    StopAfter,
    epoch_batches,
    make_params,
    make_trainer,
    read_outputs,
    run_paths,
    run_training,
)

pytestmark = pytest.mark.usefixtures("without_histograms")
FROZEN_EPOCH = {"encoder_frozen": 1}


def make_small_params(folder: Path, recipe: str = "modern", **changes: object) -> Params:
    params = make_params(folder, recipe, **changes)
    unet = params.model.unet.model_copy(update={"base_channels": 2})
    return params.model_copy(update={"model": params.model.model_copy(update={"unet": unet})})


@pytest.fixture
def params(tmp_path: Path) -> Params:
    return make_small_params(tmp_path)


def train_steps(trainer: Trainer, state: TrainState, count: int) -> None:
    batches = epoch_batches(trainer, 1)
    for _ in range(count):
        trainer.train_step(state, next(batches))


def copy_tensors(network: Network) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """Return the names of the tensors that differ in any bit."""
    return {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}


def is_encoder(name: str) -> bool:
    return name.startswith(("inc.", "down"))


@pytest.mark.parametrize("optimizer", ["rmsprop", "adamw", "sgd", "muon"])
def test_frozen_encoder_keeps_its_weights_and_statistics(prepared, params, tmp_path, optimizer):
    """Also with weight decay, momentum, clipping and the moving average, which is what is saved."""
    trainer = make_trainer(
        prepared, params, optimizer=optimizer, weight_decay=0.1, ema=0.5, **FROZEN_EPOCH
    )
    initial = trainer.initial_state().network.state_dict()
    run_training(trainer, tmp_path)
    first, second = (
        load_file(run_paths(tmp_path).epochs / f"epoch_00{epoch}.safetensors") for epoch in (1, 2)
    )
    assert changed(initial, first) == {name for name in initial if not is_encoder(name)}
    assert changed(first, second) == set(initial)


def test_frozen_encoder_has_no_gradients_and_computes_as_in_evaluation(prepared, params):
    trainer = make_trainer(prepared, params, **FROZEN_EPOCH)
    state = trainer.initial_state()
    freeze_encoder(state, trainer.recipe)
    train_steps(trainer, state, 1)
    for name, parameter in state.network.named_parameters():
        assert (parameter.grad is None) == is_encoder(name), name
    for name, module in state.network.named_modules():
        assert module.training != is_encoder(name + "."), name
    state.epoch = 1
    freeze_encoder(state, trainer.recipe)
    train_steps(trainer, state, 1)
    assert all(parameter.grad is not None for parameter in state.network.parameters())
    assert all(module.training for module in state.network.modules())


def test_frozen_norms_keep_their_statistics_but_are_trained(prepared, params):
    trainer = make_trainer(prepared, params, encoder_norm="frozen")
    state = trainer.initial_state()
    before = copy_tensors(state.network)
    freeze_encoder(state, trainer.recipe)
    train_steps(trainer, state, 2)
    kept = set(before) - changed(before, state.network.state_dict())
    statistics = {name for name in before if "running" in name or "num_batches" in name}
    assert kept == {name for name in statistics if is_encoder(name)}
    assert state.network.down4.training


@pytest.mark.parametrize("schedule", ["constant", "one_cycle"])
def test_encoder_is_trained_at_a_fraction_of_the_rate(prepared, params, schedule):
    trainer = make_trainer(
        prepared, params, optimizer="sgd", momentum=0.0, weight_decay=0.0, clip="none",
        schedule=schedule, encoder_rate=0.3,
    )  # fmt: skip
    state = trainer.initial_state()
    train_steps(trainer, state, 1)
    before = copy_tensors(state.network)
    train_steps(trainer, state, 1)
    for name, parameter in state.network.named_parameters():
        rate = state.learning_rate * (0.3 if is_encoder(name) else 1.0)
        torch.testing.assert_close(parameter.detach(), before[name] - rate * parameter.grad)


@pytest.mark.parametrize("optimizer", ["rmsprop", "adamw", "sgd", "muon"])
def test_same_rate_gives_one_group_and_another_gives_two_in_the_same_order(
    prepared, params, optimizer
):
    for rate, num_groups in ((1.0, 1), (0.1, 2)):
        trainer = make_trainer(prepared, params, optimizer=optimizer, encoder_rate=rate)
        state = trainer.initial_state()
        groups = state.optimizer.param_groups
        views = [view for group in groups for view in group["params"]]
        assert len(groups) == num_groups
        for view, parameter in zip(views, state.network.parameters(), strict=True):
            assert view.data_ptr() == parameter.data_ptr()


def test_plateau_keeps_the_ratio_of_the_rates_exactly(prepared, tmp_path):
    """Resuming computes the rate of the encoder from the other one."""
    params = make_small_params(tmp_path, "report")
    trainer = make_trainer(prepared, params, encoder_rate=0.3, patience=0)
    assert (0.001 * 0.3) * 0.1 != (0.001 * 0.1) * 0.3  # each rate reduced on its own
    state, restored = trainer.initial_state(), trainer.initial_state()
    for _ in range(2):
        trainer.validate(state)
    assert state.learning_rate == 0.001 * 0.1
    restored.restore(state.tensors(), state.progress())
    for each in (state, restored):
        rates = [group["lr"] for group in each.optimizer.param_groups]
        assert rates == [0.001 * 0.1 * 0.3, 0.001 * 0.1]


def test_resume_in_frozen_epochs_gives_identical_outputs(prepared, tmp_path):
    params = make_small_params(tmp_path, "finetune", epochs=3)
    changes = {**ODD, "encoder_frozen": 2, "encoder_norm": "frozen"}
    run_training(make_trainer(prepared, params, **changes), tmp_path / "uninterrupted")
    for count in (1, 4, 2, 8, 5):
        with contextlib.suppress(KeyboardInterrupt):
            trainer = make_trainer(prepared, params, **changes)
            run_training(trainer, tmp_path / "a", stop=StopAfter(count))
    history = run_training(make_trainer(prepared, params, **changes), tmp_path / "a")
    assert len(history) == 3
    assert read_outputs(tmp_path / "a") == read_outputs(tmp_path / "uninterrupted")


def test_longer_training_resumes_right_after_the_frozen_epochs(prepared, tmp_path, capsys):
    changes = {"encoder_rate": 0.1, "batch_size": 2, "encoder_frozen": 2}
    for folder, epochs in (("a", 2), ("a", 3), ("uninterrupted", 3)):
        params = make_small_params(tmp_path, "report", epochs=epochs)
        run_training(make_trainer(prepared, params, **changes), tmp_path / folder)
    assert "resuming after step 6 (epoch 3 of 3)" in capsys.readouterr().out
    assert read_outputs(tmp_path / "a") == read_outputs(tmp_path / "uninterrupted")


@pytest.fixture
def lone_process_group() -> Iterator[None]:
    """A process group of this process only, for DistributedDataParallel."""
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("lone_process_group")
def test_ddp_trains_the_encoder_after_its_frozen_epoch(prepared, params):
    trainer = make_trainer(prepared, params, **FROZEN_EPOCH)
    plain, distributed = trainer.initial_state(), trainer.initial_state()
    wrap_network(distributed)
    for state in (plain, distributed):
        for epoch in (0, 1):
            state.epoch = epoch
            freeze_encoder(state, trainer.recipe)
            before = copy_tensors(state.network)
            train_steps(trainer, state, 2)
            encoder = {n for n in changed(before, state.network.state_dict()) if is_encoder(n)}
            assert bool(encoder) == (epoch == 1)
    assert not changed(plain.network.state_dict(), distributed.network.state_dict())


@pytest.mark.usefixtures("lone_process_group")
def test_ddp_does_not_wait_for_parameters_that_no_output_depends_on():
    network = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Conv2d(2, 2, 1))
    network[0].register_parameter("unused", nn.Parameter(torch.ones(1)))
    wrapped = wrap_ddp(network, torch.zeros(1, 3, 2, 2))
    for _ in range(2):  # the second forward pass would fail
        wrapped(torch.ones(1, 3, 2, 2)).sum().backward()
    assert network[0].weight.grad is not None
    assert network[0].unused.grad is None
