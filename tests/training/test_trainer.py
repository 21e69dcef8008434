"""The loop on eight made-up pictures: golden losses, determinism, what it writes."""

import json
import os
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
from roadseg.models.model_file import load_network
from roadseg.runtime.accelerator import select_accelerator
from roadseg.system.errors import InputError
from roadseg.system.files import file_sha256, write_json
from roadseg.system.tables import round_significant
from roadseg.training.metrics import HistoryRow, best_epoch, training_metrics
from roadseg.training.optimizer import to_memory_order
from tests.factories import (
    epoch_batches,
    make_params,
    make_trainer,
    run_paths,
    run_training,
)

GOLDEN = Path(__file__).parent.parent / "golden" / "losses.json"


@pytest.mark.parametrize("recipe", ["report", "modern"])
def test_golden_losses(prepared: PreparedDataset, tmp_path: Path, recipe: str):
    """A refactor must not change what is computed.

    Rewritten only by REWRITE_GOLDEN=1. The tolerance is for other processors: they sum in another
    order, and training amplifies what that rounds off.
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
def test_the_optimizer_sees_contiguous_arrays(prepared, tmp_path, precision):
    """torch's fused optimizers on a CPU copy all others, or mix their entries up in silence."""
    if precision == "bf16" and select_accelerator("cpu", "auto").precision != "bf16":
        pytest.skip("no native bf16")
    trainer = make_trainer(prepared, make_params(tmp_path, precision=precision))
    state = trainer.initial_state()
    trainer.train_step(state, next(epoch_batches(trainer, 1, 2)))
    kept = tmp_path / "kept"
    save_file(state.tensors(), kept)
    again = trainer.initial_state()
    again.restore(load_file(kept), state.progress())
    for one in (state, again):
        views = one.optimizer.param_groups[0]["params"]
        for view, weight in zip(views, one.network.parameters(), strict=True):
            assert view.data_ptr() == weight.data_ptr()  # no copy
            averages = [a for a in one.optimizer.state[view].values() if a.dim()]
            assert averages
            for array in (view, *averages):
                assert array.is_contiguous()
                assert array.shape == view.shape
    views = state.optimizer.param_groups[0]["params"]
    for view, weight in zip(views, state.network.parameters(), strict=True):
        assert view.grad.is_contiguous()
        assert torch.equal(to_memory_order(weight.grad, weight), view.grad)


def test_the_order_of_memory_is_the_parameters():
    weight = torch.rand(3, 4, 5, 6).to(memory_format=torch.channels_last)
    assert torch.equal(to_memory_order(weight, weight), weight.permute(0, 2, 3, 1))
    other = torch.rand(3, 4, 5, 6)  # not in channels_last
    assert torch.equal(to_memory_order(other, weight), other.permute(0, 2, 3, 1))
    assert torch.equal(to_memory_order(weight, other), weight)
    assert to_memory_order(weight, other).is_contiguous()


def test_a_step_never_waits_for_the_device(prepared, params, monkeypatch):
    trainer = make_trainer(prepared, params)
    state, batch = trainer.initial_state(), next(epoch_batches(trainer, 1, 2))
    trainer.train_step(state, batch)

    def waits(*_: object) -> None:
        raise AssertionError("this fetches a value from the device")

    for name in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__"):
        monkeypatch.setattr(torch.Tensor, name, waits)
    trainer.train_step(state, batch)
    monkeypatch.undo()
    assert [step for step, _, _ in state.fetch_losses()] == [1, 2]


def test_what_is_written_agrees_with_the_history(
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
    same, _ = load_network(
        out.epochs / f"epoch_{best_epoch(history):03d}.safetensors", prepared.class_map()
    )
    for name, value in same.state_dict().items():
        assert torch.equal(value, best.state_dict()[name])


def test_the_train_curve_is_the_mean_over_all_pixels(
    prepared: PreparedDataset, params: Params, tmp_path: Path
):
    """Not the last batch's loss, nor a mean of means: pictures here have two sizes."""
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


def test_it_learns_the_stripes(prepared: PreparedDataset, params: Params, tmp_path: Path):
    """Colour tells the class, so a few epochs must get far above chance (1/12)."""
    train = params.train.model_copy(update={"epochs": 30})
    params = params.model_copy(update={"train": train})
    trainer = make_trainer(prepared, params, rest_learning_rate=0.03, jitter=0.0)
    history = run_training(trainer, tmp_path)
    assert history[-1].val_ce < history[0].val_ce
    assert history[-1].val_miou > 0.5


def test_a_loss_that_is_not_finite_stops_with_step_and_epoch(prepared, params, tmp_path):
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


def test_a_validation_that_is_not_finite_stops_and_saves_nothing(
    prepared, params, tmp_path, monkeypatch
):
    """Also where the weights are, as logits that overflow leave them."""
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


def test_tensorboard_has_what_the_report_logged(
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
    figures = json.loads((tmp_path / "train.json").read_text())
    assert set(tags["scalars"]) == by_step | {f"final/{name}" for name in figures}
    assert set(epochs.Tags()["scalars"]) == by_epoch
    assert [event.step for event in epochs.Scalars("epoch/val_miou")] == [1, 2]
    assert board.Scalars("final/val_miou")[0].value == pytest.approx(figures["val_miou"])
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


def test_the_best_epoch_is_the_first_of_the_highest():
    rows = [
        HistoryRow(epoch=e, val_miou=m, train_ce=1.0, val_ce=2.0, lr=0.1)
        for e, m in ((1, 0.1), (2, 0.4), (3, 0.4), (4, 0.3))
    ]
    assert best_epoch(rows) == 2
    metrics = training_metrics(rows, [[0.1, 0.2], [0.4, 0.5], [0.4, 0.4], [0.3, 0.6]])
    assert metrics.best_epoch_share == 0.5  # the second draw would have chosen the last
    assert (metrics.best_epoch, metrics.best_val_miou, metrics.val_miou) == (2, 0.4, 0.3)


def test_a_training_starts_from_the_weights_of_another(prepared: PreparedDataset, tmp_path: Path):
    run_training(make_trainer(prepared, make_params(tmp_path)), tmp_path / "first")
    best = tmp_path / "first/best.safetensors"
    tuned = make_trainer(prepared, make_params(tmp_path, start=str(best)))
    fresh = make_trainer(prepared, make_params(tmp_path))
    weights, _ = load_network(best, prepared.class_map())
    for name, weight in tuned.initial_state().network.named_parameters():
        assert torch.equal(weight, weights.get_parameter(name))
    differ = tuned.provenance.differences_from(fresh.provenance)
    assert differ == [f"train.start None -> {file_sha256(best)}"]
    losses = [run_training(t, tmp_path / "then")[0].train_ce for t in (fresh, tuned)]
    assert losses[1] < losses[0]


def test_a_start_that_is_not_there_is_named(prepared: PreparedDataset, tmp_path: Path):
    with pytest.raises(InputError, match=r"train.start: nowhere.pt: No such file"):
        make_trainer(prepared, make_params(tmp_path, start="nowhere.pt"))


def test_batches_larger_than_the_data_set_are_refused(prepared: PreparedDataset, params: Params):
    with pytest.raises(InputError, match=r"recipes.modern.batch_size: 7 is more than the 6 train"):
        make_trainer(prepared, params, batch_size=7)
