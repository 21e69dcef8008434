"""The training loop on eight generated images: golden losses, outputs, errors."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from roadseg.config.class_map import IGNORE_INDEX
from roadseg.config.params import Params
from roadseg.data.prepared import PreparedDataset
from roadseg.data.split_file import Split
from roadseg.models.model_file import load_network
from roadseg.runtime.accelerator import select_accelerator
from roadseg.system.errors import InputError
from roadseg.system.files import file_sha256, write_json
from roadseg.system.tables import round_significant
from roadseg.training.metrics import HistoryRow, best_epoch, training_metrics
from roadseg.training.optimizer import to_memory_order
from roadseg.training.setup import build_trainer
from roadseg.training.trainer import Trainer
from tests.factories import (
    CODE,
    epoch_batches,
    make_params,
    make_red_dataset,
    make_trainer,
    run_paths,
    run_training,
)

GOLDEN = Path(__file__).parent.parent / "golden" / "losses.json"


@pytest.mark.parametrize("recipe", ["report", "modern"])
def test_golden_losses(prepared: PreparedDataset, tmp_path: Path, recipe: str):
    """Refactoring must not change the losses; REWRITE_GOLDEN=1 rewrites the golden values.

    Other processors sum in another order, and training amplifies the rounding: hence the tolerance.
    """
    trainer = make_trainer(prepared, make_params(tmp_path, recipe))
    state, losses = trainer.initial_state(), []
    for epoch in (1, 2):
        batches = epoch_batches(trainer, epoch)
        losses += [trainer.train_step(state, batch).loss.item() for batch in batches]
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("REWRITE_GOLDEN") == "1":
        write_json(GOLDEN, {**golden, recipe: [round(loss, 6) for loss in losses]})
        return
    np.testing.assert_allclose(losses, golden[recipe], rtol=2e-3)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_optimizer_updates_contiguous_views(prepared, tmp_path, precision):
    """Fused optimizers of torch on a CPU copy other tensors, or silently mix up their entries."""
    if precision == "bf16" and select_accelerator("cpu", "auto").precision != "bf16":
        pytest.skip("no native bf16")
    trainer = make_trainer(prepared, make_params(tmp_path, precision=precision))
    state = trainer.initial_state()
    trainer.train_step(state, next(epoch_batches(trainer, 1, 2)))
    saved = tmp_path / "saved"
    save_file(state.tensors(), saved)
    restored = trainer.initial_state()
    restored.restore(load_file(saved), state.progress())
    for each in (state, restored):
        views = each.optimizer.param_groups[0]["params"]
        for view, weight in zip(views, each.network.parameters(), strict=True):
            assert view.data_ptr() == weight.data_ptr()  # no copy
            averages = [a for a in each.optimizer.state[view].values() if a.dim()]
            assert averages
            for tensor in (view, *averages):
                assert tensor.is_contiguous()
                assert tensor.shape == view.shape
    views = state.optimizer.param_groups[0]["params"]
    for view, weight in zip(views, state.network.parameters(), strict=True):
        assert view.grad.is_contiguous()
        assert torch.equal(to_memory_order(weight.grad, weight), view.grad)


def test_to_memory_order_permutes_to_the_order_of_the_parameter():
    weight = torch.rand(3, 4, 5, 6).to(memory_format=torch.channels_last)
    assert torch.equal(to_memory_order(weight, weight), weight.permute(0, 2, 3, 1))
    other = torch.rand(3, 4, 5, 6)  # not in channels_last
    assert torch.equal(to_memory_order(other, weight), other.permute(0, 2, 3, 1))
    assert torch.equal(to_memory_order(weight, other), weight)
    assert to_memory_order(weight, other).is_contiguous()


def test_train_step_never_waits_for_the_device(prepared, params, monkeypatch):
    trainer = make_trainer(prepared, params)
    state, batch = trainer.initial_state(), next(epoch_batches(trainer, 1, 2))
    trainer.train_step(state, batch)

    def fail(*_: object) -> None:
        raise AssertionError("a value was fetched from the device")

    for name in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__"):
        monkeypatch.setattr(torch.Tensor, name, fail)
    trainer.train_step(state, batch)
    monkeypatch.undo()
    assert [step for step, _, _ in state.fetch_losses()] == [1, 2]


def test_output_files_agree_with_the_history(
    prepared: PreparedDataset, params: Params, tmp_path: Path
):
    out = run_paths(tmp_path)
    trainer = make_trainer(prepared, params, learning_rate=0.02)
    history = run_training(trainer, tmp_path)
    table = pd.read_csv(out.history)
    assert list(table.columns) == ["epoch", "train_ce", "val_ce", "val_miou", "lr"]
    assert table["epoch"].tolist() == [1, 2]
    assert table["val_miou"].tolist() == [round_significant(row.val_miou) for row in history]
    metrics = json.loads(out.metrics.read_text())
    assert metrics["best_epoch"] == best_epoch(history)
    assert metrics["val_ce"] == table["val_ce"].iloc[-1]
    best, metadata = load_network(out.best, prepared.class_map())
    assert metadata.epoch == metrics["best_epoch"]
    epoch, _ = load_network(
        out.epochs / f"epoch_{best_epoch(history):03d}.safetensors", prepared.class_map()
    )
    for name, value in epoch.state_dict().items():
        assert torch.equal(value, best.state_dict()[name])


def test_training_cross_entropy_is_the_mean_over_all_pixels(
    prepared: PreparedDataset, params: Params, tmp_path: Path
):
    """Not the loss of the last batch, nor a mean of means: the images have two sizes."""
    changes = {"clip": "none", "void": "class"}
    trainer = make_trainer(prepared, params, **changes)
    state, total, pixels = trainer.initial_state(), 0.0, 0
    for batch in epoch_batches(trainer, 1):
        result = trainer.train_step(state, batch)
        total += result.cross_entropy.item()
        pixels += int((batch.masks != IGNORE_INDEX).sum())
        assert result.pixels.item() == (batch.masks != IGNORE_INDEX).sum()
    history = run_training(make_trainer(prepared, params, **changes), tmp_path)
    assert history[0].train_ce == pytest.approx(total / pixels, rel=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("without_histograms")
def test_training_learns_the_stripes(prepared: PreparedDataset, params: Params, tmp_path: Path):
    """The color determines the class, so a few epochs must get far above chance (1/12)."""
    train = params.train.model_copy(update={"epochs": 30})
    params = params.model_copy(update={"train": train})
    trainer = make_trainer(prepared, params, rest_learning_rate=0.03, augmentation=None)
    history = run_training(trainer, tmp_path)
    assert history[-1].val_ce < history[0].val_ce
    assert history[-1].val_miou > 0.5


def test_loss_that_is_not_finite_stops_the_training_with_step_and_epoch(prepared, params, tmp_path):
    trainer = make_trainer(
        prepared,
        params,
        learning_rate=10.0,
        clip="none",
        optimizer="sgd",
        schedule="constant",
        class_weights="none",
    )
    step = trainer.train_step

    def broken_step(state, batch):
        with torch.no_grad():
            state.network.out.weight.fill_(float("inf"))
        return step(state, batch)

    trainer.train_step = broken_step
    with pytest.raises(InputError, match=r"the loss is nan at step 1, epoch 1; lower .* \(10\)"):
        run_training(trainer, tmp_path)
    assert not (tmp_path / "best.safetensors").exists()


def test_validation_that_is_not_finite_stops_the_training_and_saves_nothing(
    prepared, params, tmp_path, monkeypatch
):
    """Also if the weights are finite, because logits may overflow."""
    monkeypatch.setattr("roadseg.training.trainer.require_finite_state", lambda *_: None)
    trainer = make_trainer(prepared, params)
    state, step = trainer.initial_state(), trainer.train_step

    def diverging_step(state, batch):
        result = step(state, batch)
        with torch.no_grad():
            state.eval_network.out.bias.fill_(float("nan"))
        return result

    trainer.dataset.ids = trainer.dataset.ids[:2]  # one step
    trainer.steps_per_epoch, trainer.validate_after = 1, {1}
    trainer.initial_state, trainer.train_step = lambda: state, diverging_step
    with pytest.raises(InputError, match=r"validation cross-entropy is nan at step 1, epoch 1"):
        run_training(trainer, tmp_path)
    assert not (tmp_path / "epochs").exists()


def test_tensorboard_contains_everything_that_the_report_logged(
    prepared: PreparedDataset, params: Params, tmp_path: Path
):
    trainer = make_trainer(prepared, make_params(tmp_path, "report"), batch_size=2)
    run_training(trainer, tmp_path)
    (run,) = (tmp_path / "runs").iterdir()
    board, epochs = (
        EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
        for folder in (run, run / "epochs")
    )
    tags = board.Tags()
    by_step = {"loss/train", "learning_rate", "loss/val", "miou/val"}
    by_epoch = {f"epoch/{name}" for name in ("train_ce", "val_ce", "val_miou", "lr")}
    metrics = json.loads((tmp_path / "train.json").read_text())
    assert set(tags["scalars"]) == by_step | {f"final/{name}" for name in metrics}
    assert set(epochs.Tags()["scalars"]) == by_epoch
    assert [event.step for event in epochs.Scalars("epoch/val_miou")] == [1, 2]
    assert board.Scalars("final/val_miou")[0].value == pytest.approx(metrics["val_miou"])
    parameters = HParamsPluginData.FromString(
        board.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    ).session_start_info.hparams
    assert parameters["recipe.name"].string_value == "report"
    assert parameters["recipe.batch_size"].number_value == 2
    assert parameters["train.seed"].number_value == 0
    assert [event.step for event in board.Scalars("loss/train")] == [1, 2, 3, 4, 5, 6]
    assert [event.step for event in board.Scalars("loss/val")] == [2, 3, 5, 6]  # twice an epoch
    assert {"weights/out/bias", "grads/out/bias"} <= set(tags["histograms"])
    assert set(tags["images"]) == {
        f"val/{name}" for name in ("image", "mask", "prediction", "overlay", "errors")
    }


def test_best_epoch_is_the_first_with_the_highest_miou():
    rows = [
        HistoryRow(epoch=e, val_miou=m, train_ce=1.0, val_ce=2.0, lr=0.1)
        for e, m in ((1, 0.1), (2, 0.4), (3, 0.4), (4, 0.3))
    ]
    assert best_epoch(rows) == 2
    metrics = training_metrics(rows, [[0.1, 0.2], [0.4, 0.5], [0.4, 0.4], [0.3, 0.6]])
    assert metrics.best_epoch_share == 0.5  # the second draw would choose the last epoch
    assert (metrics.best_epoch, metrics.best_val_miou, metrics.val_miou) == (2, 0.4, 0.3)


def test_train_start_loads_the_weights_of_another_training(
    prepared: PreparedDataset, tmp_path: Path
):
    run_training(make_trainer(prepared, make_params(tmp_path)), tmp_path / "first")
    best = tmp_path / "first/best.safetensors"
    finetuned = make_trainer(prepared, make_params(tmp_path, start=str(best)))
    fresh = make_trainer(prepared, make_params(tmp_path))
    weights, _ = load_network(best, prepared.class_map())
    for name, weight in finetuned.initial_state().network.named_parameters():
        assert torch.equal(weight, weights.get_parameter(name))
    differences = finetuned.metadata.provenance.differences_from(fresh.metadata.provenance)
    assert differences == [f"train.start None -> {file_sha256(best)}"]
    losses = [run_training(t, tmp_path / "then")[0].train_ce for t in (fresh, finetuned)]
    assert losses[1] < losses[0]


def test_missing_file_of_train_start_is_named(prepared: PreparedDataset, tmp_path: Path):
    with pytest.raises(InputError, match=r"train.start: nowhere.pt: No such file"):
        make_trainer(prepared, make_params(tmp_path, start="nowhere.pt"))


def test_batch_size_larger_than_the_data_set_is_an_error(prepared: PreparedDataset, params: Params):
    with pytest.raises(InputError, match=r"recipes.modern.batch_size: 7 is more than the 6 train"):
        make_trainer(prepared, params, batch_size=7)


VALID, VOID, IGNORED = [[1, 2]], [[0, 0]], [[IGNORE_INDEX, IGNORE_INDEX]]
REASON = "masks are ignored (255) or void:"


@pytest.mark.parametrize(
    ("train_mask", "val_mask", "message"),
    [
        (
            VALID,
            VOID,
            f"validation {REASON} 2, 3, 4, 5, 6 and 1 more; change the split",
        ),
        (VALID, IGNORED, f"validation {REASON} 2, 3, 4, 5, 6 and 1 more; change the split"),
        (VOID, VALID, f"training {REASON} 0, 1; change the split"),
        (
            IGNORED,
            VALID,
            f"training {REASON} 0, 1; change the split",
        ),
    ],
)
def test_masks_without_counted_pixels_are_reported_before_training(
    params: Params, tmp_path: Path, train_mask: list, val_mask: list, message: str
):
    prepared = make_red_dataset(tmp_path, [(VALID, train_mask)] * 2 + [(VALID, val_mask)] * 6)
    write_json(tmp_path / "scale.json", 1.0)
    ids = prepared.train_ids()
    split = Split(train=ids[:2], val=ids[2:], test=[])

    def build(void: str) -> Trainer:
        recipe = params.recipe.model_copy(update={"batch_size": 2, "void": void})
        return build_trainer(prepared, split, params.model, params.train, recipe, CODE)

    with pytest.raises(InputError, match=re.escape(message)):
        build(void="ignored")
    if train_mask == VOID:
        assert build(void="class").criterion.ignored_class is None
