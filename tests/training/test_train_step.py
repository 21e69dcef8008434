"""One training step: its batch, its criterion, the moving average, dropout."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import nn

from roadseg.config.class_map import IGNORE_INDEX, read_class_map
from roadseg.config.params import load_params
from roadseg.data.collate import Batch
from roadseg.models.model_file import load_network
from roadseg.runtime.accelerator import Accelerator
from roadseg.runtime.distributed import ProcessGroup
from roadseg.training.batch import prepare_batch
from roadseg.training.criterion import build_criterion
from roadseg.training.optimizer import update_average
from tests.factories import ROOT, make_trainer, run_paths, run_training

CPU = Accelerator(torch.device("cpu"), "fp32")
TWELVE = read_class_map(ROOT / "classes/kitti12.yaml")
ELEVEN = read_class_map(ROOT / "classes/kitti11.yaml")
VOID = TWELVE.void_id


def make_batch(height: int, width: int) -> Batch:
    images = torch.arange(height * width * 3).remainder(251).to(torch.uint8)
    images = images.reshape(1, height, width, 3).permute(0, 3, 1, 2)
    masks = torch.arange(height * width).remainder(12).to(torch.uint8).reshape(1, height, width)
    return Batch(images, masks)


def test_batch_that_is_not_halved_keeps_its_pixels():
    batch = make_batch(64, 65)
    images, class_ids = prepare_batch(batch, CPU, halved=False, ignored_class=None)
    assert torch.equal(images, batch.images / 255)
    assert torch.equal(class_ids, batch.masks.long())


def test_halved_images_are_averaged_and_halved_masks_are_subsampled():
    batch = make_batch(65, 67)
    images, class_ids = prepare_batch(batch, CPU, halved=True, ignored_class=None)
    assert images.shape == (1, 3, 32, 33)
    four = batch.images[0, :, 2:4, 64:66].float().mean((1, 2)) / 255
    torch.testing.assert_close(images[0, :, 1, 32], four)
    assert torch.equal(class_ids[0], batch.masks[0, :64:2, :66:2].long())


def test_images_that_would_become_too_small_are_not_halved():
    images, _ = prepare_batch(make_batch(63, 200), CPU, halved=True, ignored_class=None)
    assert images.shape == (1, 3, 63, 200)


def test_pixels_of_the_ignored_class_become_ignore_index():
    batch = make_batch(64, 64)
    _, class_ids = prepare_batch(batch, CPU, halved=False, ignored_class=VOID)
    assert torch.equal(class_ids == IGNORE_INDEX, batch.masks == VOID)
    assert not (class_ids == VOID).any()


def make_criterion(class_map=TWELVE, pixels=None, **changes):
    recipe = load_params(ROOT / "params.yaml").recipe.model_copy(update=changes)
    if pixels is None:
        pixels = np.ones(class_map.num_classes, dtype=np.int64)
    return build_criterion(recipe, class_map, pixels, torch.device("cpu"))


def test_recipe_decides_whether_void_is_a_class_or_ignored():
    assert make_criterion(void="class").ignored_class is None
    assert make_criterion(void="ignored").ignored_class == VOID
    assert make_criterion(void="class").void_id == make_criterion(void="ignored").void_id == VOID
    assert make_criterion(ELEVEN, void="ignored").ignored_class is None  # the map has no void class


def test_ignored_class_does_not_change_the_class_weights():
    few, many = np.ones(12, dtype=np.int64), np.ones(12, dtype=np.int64)
    many[VOID] = 1000
    ignored = [
        make_criterion(pixels=pixels, void="ignored").class_weights for pixels in (few, many)
    ]
    assert torch.equal(*ignored)
    assert ignored[0][VOID] == 0
    assert not torch.equal(
        *[make_criterion(pixels=p, void="class").class_weights for p in (few, many)]
    )


def test_moving_average_follows_weights_and_statistics():
    average, network = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    with torch.no_grad():
        network.weight.fill_(3.0)
    network.running_mean.fill_(10.0)
    network.num_batches_tracked.fill_(7)
    update_average(average, network, step=1000, decay=0.9)
    assert average.weight.tolist() == pytest.approx([1.2, 1.2])  # 0.9 * 1 + 0.1 * 3
    assert average.running_mean.tolist() == pytest.approx([1.0, 1.0])
    assert average.num_batches_tracked == 7
    update_average(average, network, step=1, decay=0.9)  # warm-up: the decay is 2/11
    assert average.weight.tolist() == pytest.approx([1.2 * 2 / 11 + 3 * 9 / 11] * 2)


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_saved_model_is_the_moving_average_if_there_is_one(prepared, params, tmp_path, ema):
    trainer = make_trainer(prepared, params, ema=ema)
    state = trainer.initial_state()
    trainer.initial_state = lambda: state
    run_training(trainer, tmp_path)
    saved, _ = load_network(run_paths(tmp_path).epochs / "epoch_002.safetensors", TWELVE)
    last, average = state.network.state_dict(), (state.average or state.network).state_dict()
    for name, weight in saved.state_dict().items():
        assert torch.equal(weight, average[name])
    assert torch.equal(saved.out.weight, last["out.weight"]) == (ema == 0)


def test_moving_average_has_the_decay_of_the_recipe(prepared, params, tmp_path, monkeypatch):
    decays = []
    monkeypatch.setattr(
        "roadseg.training.trainer.update_average", lambda _, __, *values: decays.append(values)
    )
    run_training(make_trainer(prepared, params, ema=0.5), tmp_path)
    assert decays == [(step, 0.5) for step in range(1, len(decays) + 1)]
    assert len(decays) > 1


def test_first_fraction_of_the_steps_is_halved(prepared, params, monkeypatch):
    trainer = make_trainer(prepared, params, halved=0.5)
    sizes, state = [], trainer.initial_state()
    hook = state.network.register_forward_hook(
        lambda _, inputs, __: sizes.append(inputs[0].shape[2:])
    )
    monkeypatch.setattr("roadseg.training.batch._MIN_HALVED_SIDE", 16)
    batches = trainer.batches(state)
    for _ in range(trainer.total_steps):
        trainer.train_step(state, next(batches))
    hook.remove()
    assert len(sizes) == 6
    assert max(min(size) for size in sizes[:3]) <= min(min(size) for size in sizes[3:]) / 2 + 1


def test_each_rank_drops_other_channels(prepared, params, monkeypatch):
    """Also after resuming, although checkpoints contain the generator of rank 0 only."""

    class DrawnError(Exception):
        """Stops the step where the network would draw its dropout masks."""

    def draw(*_: object) -> None:
        raise DrawnError(torch.rand(8).tolist())

    monkeypatch.setattr(Accelerator, "logits", draw)
    trainer = make_trainer(prepared, params)
    state = trainer.initial_state()

    def draws(rank: int, restored_seed: int) -> list[float]:
        torch.manual_seed(restored_seed)
        state.step = 2
        trainer.accelerator = replace(trainer.accelerator, process_group=ProcessGroup(rank, size=3))
        with pytest.raises(DrawnError) as error:
            trainer.train_step(state, make_batch(32, 32))
        return error.value.args[0]

    ranks = [draws(rank, restored_seed=0) for rank in range(3)]
    assert all(a != b for a, b in combinations(ranks, 2))
    assert [draws(rank, restored_seed=1) for rank in (1, 2)] == ranks[1:]
    assert draws(0, restored_seed=1) != ranks[0]
