"""A GPU computes what the CPU does, and the same bits each time; `make gpu` runs these tests.

ROADSEG_TEST_DEVICE=cpu runs them without a GPU, to test the tests.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from roadseg.config.params import Params
from roadseg.data.prepared import PreparedDataset
from roadseg.evaluation.accumulators import Accumulators
from roadseg.evaluation.evaluate import evaluate
from roadseg.evaluation.metrics import confusion_matrix
from roadseg.models.losses import bincount
from roadseg.runtime.accelerator import Accelerator, select_accelerator
from roadseg.system.errors import InputError
from roadseg.training.errors import explain_out_of_memory
from roadseg.training.train_state import TrainState
from roadseg.training.trainer import Trainer
from tests.factories import CPU, THREE_CLASSES, make_params, make_prepared, make_trainer
from tests.models.test_norm import compute_both

DEVICE = os.environ.get("ROADSEG_TEST_DEVICE", "cuda")
pytestmark = pytest.mark.skipif(
    DEVICE != "cpu" and not torch.cuda.is_available(), reason="no CUDA GPU"
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return make_prepared(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def params(tmp_path: Path) -> Params:
    return make_params(tmp_path, device=DEVICE)


def start(
    prepared: PreparedDataset, params: Params, **recipe: object
) -> tuple[Trainer, TrainState]:
    trainer = make_trainer(prepared, params, **recipe)
    return trainer, trainer.initial_state()


def train(trainer: Trainer, state: TrainState, steps: int) -> list[float]:
    batches = trainer.batches(state)
    return [trainer.train_step(state, next(batches)).loss.item() for _ in range(steps)]


def predictions(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    class_ids = torch.randint(0, 3, (2, 40, 60))
    class_ids[:, :5] = 255
    return torch.randn(2, 3, 40, 60), class_ids


def test_counts_are_those_of_the_cpu():
    values = torch.randint(0, 50, (100_000,)) // 7
    on_device = bincount(values.to(DEVICE), 50)
    assert torch.equal(on_device.cpu(), torch.bincount(values, minlength=50))
    logits, class_ids = predictions(0)
    expected = confusion_matrix(class_ids, logits.argmax(1), 3)
    found = confusion_matrix(class_ids.to(DEVICE), logits.to(DEVICE).argmax(1), 3)
    assert torch.equal(found.cpu(), expected)


def test_boundary_and_calibration_metrics_are_those_of_the_cpu():
    logits, class_ids = predictions(1)
    found = []
    for device in (DEVICE, "cpu"):
        accumulators = Accumulators(THREE_CLASSES, torch.device(device))
        tensors = (logits, class_ids, logits.argmax(1))
        accumulators.add(*(tensor.to(device) for tensor in tensors))
        found.append(accumulators)
    np.testing.assert_array_equal(found[0].boundary_f, found[1].boundary_f)
    assert found[0].metrics()["ece"] == pytest.approx(found[1].metrics()["ece"], abs=1e-5)


@pytest.mark.parametrize("optimizer", ["rmsprop", "adamw", "sgd", "muon"])
def test_first_step_has_the_loss_and_the_weights_of_the_cpu(prepared, params, tmp_path, optimizer):
    found = []
    for its in (params, make_params(tmp_path)):
        trainer, state = start(prepared, its, optimizer=optimizer, learning_rate=1e-3)
        loss = train(trainer, state, 1)
        weights = torch.cat([p.detach().flatten().cpu() for p in state.network.parameters()])
        found.append((loss, weights))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-4)
    # rmsprop and adamw divide by the gradient, so that rounding decides the sign of tiny ones
    agree = (found[0][1] - found[1][1]).abs() < 1e-4
    assert agree.float().mean() > 0.97


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_batch_norm_over_two_ranks_equals_that_over_all_images(dtype: torch.dtype):
    tolerance = 1e-4 if dtype == torch.float32 else 0.02
    for ours, theirs in compute_both(dtype, 1, DEVICE):
        torch.testing.assert_close(ours.float(), theirs.float(), rtol=tolerance, atol=tolerance)


def test_losses_do_not_depend_on_where_the_images_are_kept(prepared, params, monkeypatch):
    losses = []
    for free in (0, 2**40):
        monkeypatch.setattr(Accelerator, "free_bytes", lambda _, free=free: free)
        trainer, state = start(prepared, params)
        losses.append(train(trainer, state, 4))
        assert (trainer.dataset.resident is not None) == bool(free)
    assert losses[0] == losses[1]


def test_restored_state_continues_with_the_same_random_numbers(prepared, params):
    unet = params.model.unet.model_copy(update={"dropout": 0.5})
    params = params.model_copy(update={"model": params.model.model_copy(update={"unet": unet})})
    trainer, state = start(prepared, params)
    train(trainer, state, 1)
    tensors, progress = state.tensors(), state.progress()
    expected = train(trainer, state, 3)
    trainer, state = start(prepared, params)
    state.restore(tensors, progress)
    assert train(trainer, state, 3) == expected


def test_evaluation_agrees_with_the_cpu(prepared, params):
    trainer, state = start(prepared, params)
    train(trainer, state, 2)
    found = []
    for accelerator in (select_accelerator(DEVICE, "fp32"), CPU):
        network, ids = accelerator.to_device(state.network), trainer.val_ids
        found.append(evaluate(network, prepared, ids, 2, accelerator, ignored=None))
    assert found[0].cross_entropy == pytest.approx(found[1].cross_entropy, rel=1e-4)
    moved = abs(found[0].confusions - found[1].confusions).sum() / found[1].confusions.sum()
    assert moved < 0.01


def test_full_memory_is_explained(params):
    message = r"out of memory; lower recipes\.modern\.batch_size"
    with (
        pytest.raises(InputError, match=message),
        explain_out_of_memory(params.train, params.recipe, {}),
    ):
        torch.empty(2**50, dtype=torch.uint8, device=DEVICE)
