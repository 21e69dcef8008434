"""The options of a recipe reach its optimizer."""

import pytest

from roadseg.config.params import Params
from roadseg.models.unet import UNet
from roadseg.training.optimizer import build_optimizer
from tests.factories import make_params

RATES = {"learning_rate": 0.5, "rest_learning_rate": 0.125, "momentum": 0.7, "weight_decay": 0.25}


@pytest.fixture
def params(tmp_path) -> Params:
    return make_params(tmp_path)


@pytest.mark.parametrize("name", ["rmsprop", "adamw", "sgd", "muon"])
def test_rates_momentum_and_weight_decay_are_those_of_the_recipe(params: Params, name: str):
    network = UNet(num_classes=3, base_channels=1, bilinear=True, norm="batch", dropout=0.0)
    changes = {"optimizer": name, **RATES, "encoder_rate": 0.5}
    recipe = params.recipes["modern"].model_copy(update=changes)
    optimizer = build_optimizer(network, recipe, "fp32")
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.5]
    for group in optimizer.param_groups:
        assert group["weight_decay"] == 0.25
        assert (group["betas"][0] if name == "adamw" else group["momentum"]) == 0.7
    if name == "muon":
        assert optimizer.rest_ratio == 0.25
