"""The recipe `report` gives the same losses as a transcription of the report's listings 5 and 9.

The transcription shares no code with src: NCHW, no autocast, torch's cross-entropy over all 12
classes, RMSprop, clipping by value.
"""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from roadseg.config.class_map import read_class_map
from roadseg.config.params import load_params
from roadseg.config.recipe import Recipe
from roadseg.data.prepared import PreparedDataset
from roadseg.data.sampler import epoch_order
from roadseg.data.split_file import Split
from roadseg.prepare.fetch.file_patterns import KITTI
from roadseg.prepare.fetch.source import fetch
from roadseg.prepare.remap import remap_dataset
from roadseg.training.setup import build_trainer
from roadseg.training.trainer import Trainer
from tests.factories import LIMITS, ROOT, STORE, epoch_batches, write_params

NUM_STEPS = 20


def double_conv(i: int, m: int, o: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(i, m, 3, padding=1), nn.BatchNorm2d(m), nn.ReLU(),
        nn.Conv2d(m, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(),
    )  # fmt: skip


class ReportUNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inc = double_conv(3, 64, 64)
        self.down = nn.ModuleList(
            double_conv(i, o, o) for i, o in ((64, 128), (128, 256), (256, 512), (512, 512))
        )
        self.up = nn.ModuleList(
            double_conv(i, i // 2, o) for i, o in ((1024, 256), (512, 128), (256, 64), (128, 64))
        )
        self.outc = nn.Conv2d(64, 12, 1)

    def forward(self, x):
        levels = [self.inc(x)]
        for down in self.down:
            levels.append(down(F.max_pool2d(levels[-1], 2)))
        x = levels.pop()
        for up in self.up:
            skip = levels.pop()
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            dy, dx = skip.size(2) - x.size(2), skip.size(3) - x.size(3)
            x = F.pad(x, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
            x = up(torch.cat([skip, x], dim=1))
        return self.outc(x)


def transcription_losses(weights: list[torch.Tensor], pairs) -> list[float]:
    net = ReportUNet()
    with torch.no_grad():
        for parameter, weight in zip(net.parameters(), weights, strict=True):
            parameter.copy_(weight)
    optimizer = torch.optim.RMSprop(net.parameters(), lr=0.001, weight_decay=1e-8, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    losses = []
    net.train()
    for image, mask in pairs:
        tensor = torch.from_numpy(image.transpose(2, 0, 1) / 255).type(torch.FloatTensor)
        imgs = torch.stack([tensor])  # like the report's loader: (1, 3, H, W), NCHW in memory
        true_masks = torch.from_numpy(mask[None].astype(np.int64))
        loss = criterion(net(imgs), true_masks)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_value_(net.parameters(), 0.1)
        optimizer.step()
    return losses


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    folder = tmp_path_factory.mktemp("report")
    sample = {"num_train": NUM_STEPS, "num_test": 0, "height": 36, "width": 64, "seed": 0}
    fetch("sample", None, KITTI, LIMITS, sample, folder / "raw", STORE, set())
    class_map = read_class_map(ROOT / "classes/kitti12.yaml")
    remap_dataset(folder / "raw", folder / "prepared", class_map, 1.0)
    changes = {"train__recipe": "report", "train__precision": "fp32"}
    changes |= {"model__unet__base_channels": 64}
    params = load_params(write_params(folder / "params.yaml", **changes))
    prepared = PreparedDataset(folder / "prepared")
    ids = prepared.train_ids()
    split = Split.model_construct(train=ids, val=ids[:1], test=[])  # not valid: ids[0] is in both
    return build_trainer(prepared, split, params.model, params.train, params.recipe, code={})


def test_twenty_steps_give_the_losses_of_the_transcription(trainer: Trainer):
    state = trainer.initial_state()
    weights = [parameter.detach().clone() for parameter in state.network.parameters()]
    batches = epoch_batches(trainer, 1)
    losses = [trainer.train_step(state, batch).loss.item() for batch in batches]
    prepared, ids = trainer.dataset.prepared, trainer.dataset.ids
    order = [ids[i] for i in epoch_order(trainer.train.seed, 1, len(ids))]
    expected = transcription_losses(weights, [(prepared.image(n), prepared.mask(n)) for n in order])
    assert len(losses) == NUM_STEPS
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert losses[-1] < losses[0]


def test_compared_recipe_is_the_one_in_params_yaml(trainer: Trainer):
    report = load_params(ROOT / "params.yaml").recipes["report"]
    assert trainer.recipe.model_dump() == report.model_dump()
    assert isinstance(trainer.recipe, Recipe)
