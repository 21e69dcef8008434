"""The arithmetic of a step on tensors that claim to be on a GPU.

torch's fake tensors have a device, a shape and no values: an operation that mixes devices is an
error, and so is one that reads a value, for which the host would wait for a real GPU.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from roadseg.evaluation.accumulators import Accumulators
from roadseg.evaluation.metrics import confusion_matrix
from roadseg.models.losses import log_probabilities
from roadseg.models.unet import UNet
from roadseg.training.criterion import build_criterion
from roadseg.training.optimizer import (
    build_optimizer,
    clip_gradients,
    step_optimizer,
    update_average,
)
from tests.factories import THREE_CLASSES, make_params

GPU = torch.device("cuda:0")


@pytest.fixture
def fake_gpu() -> Iterator[None]:
    with FakeTensorMode(allow_non_fake_inputs=True), GPU:
        yield


def build_network() -> UNet:
    return UNet(num_classes=3, base_channels=4, bilinear=True, norm="batch", dropout=0.0)


@pytest.mark.parametrize("recipe", ["report", "modern"])
def test_step_neither_waits_for_the_gpu_nor_mixes_devices(fake_gpu, tmp_path: Path, recipe: str):
    options = make_params(tmp_path, recipe).recipe
    network, average = build_network(), build_network()
    optimizer = build_optimizer(network, options, "bf16")
    criterion = build_criterion(options, THREE_CLASSES, np.ones(3, dtype=np.int64), GPU)
    log_probs = log_probabilities(network(torch.rand(2, 3, 32, 48)))
    assert criterion.loss(log_probs, torch.randint(0, 3, (2, 32, 48))).device == GPU
    for parameter in network.parameters():
        parameter.grad = torch.rand_like(parameter)
    clip_gradients(list(network.parameters()), options)
    step_optimizer(optimizer, network)
    update_average(average, network, 1, 0.9)
    assert {value.device for value in average.state_dict().values()} == {GPU}


def test_metrics_of_a_batch_do_not_wait_for_the_gpu(fake_gpu):
    logits, class_ids = torch.rand(2, 3, 32, 48), torch.randint(0, 3, (2, 32, 48))
    predicted = logits.argmax(1)
    Accumulators(THREE_CLASSES, GPU).add(logits, class_ids, predicted)
    assert confusion_matrix(class_ids, predicted, 3).device == GPU
