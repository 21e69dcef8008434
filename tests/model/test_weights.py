import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from src.files import InputError
from src.labels import ClassMap, read_class_map
from src.model.unet import UNet
from src.model.weights import load_network, save_weights
from tests.conftest import ROOT

TWELVE = read_class_map(ROOT / "classes/kitti12.yaml")
UNET = {"num_classes": 12, "base_channels": 2, "bilinear": True, "norm": "batch", "dropout": 0.0}


def facts(class_map: ClassMap) -> dict[str, object]:
    return {"classes": class_map.to_json(), "ignored_class": None, "scale": 1.0}


def saved(path: Path, class_map: ClassMap = TWELVE, **unet: object) -> UNet:
    torch.manual_seed(3)
    network = UNet(**{**UNET, **unet})
    network.inc[1].running_mean.fill_(0.25)  # a buffer, not a parameter
    description = {**facts(class_map), "unet": {**UNET, **unet}}
    save_weights(path, network.state_dict(), description)
    return network


def test_a_model_comes_back_whole(tmp_path: Path):
    network = saved(tmp_path / "a.safetensors", norm="batch", bilinear=False)
    loaded, description = load_network(tmp_path / "a.safetensors", TWELVE)
    assert description["unet"]["bilinear"] is False
    assert not loaded.training
    expected = network.state_dict()
    assert list(loaded.state_dict()) == list(expected)
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_the_same_weights_give_the_same_bytes(tmp_path: Path):
    for name in ("a", "another_name"):
        saved(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "another_name").read_bytes()


def test_other_classes_are_refused(tmp_path: Path):
    saved(tmp_path / "a.safetensors")
    eleven = read_class_map(ROOT / "classes/kitti11.yaml")
    with pytest.raises(InputError, match=r"a.safetensors: was trained on other classes"):
        load_network(tmp_path / "a.safetensors", eleven)


def test_what_is_no_model_is_named(tmp_path: Path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(InputError, match=r"a.safetensors: no such model"):
        load_network(path, TWELVE)
    network = saved(path)
    whole = path.read_bytes()
    damaged = {
        "cut": whole[:-100],
        "empty": b"",
        "pickle": pickle.dumps({"weights": [1, 2, 3]}),
    }
    for data in damaged.values():
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"a.safetensors: not a whole safetensors file"):
            load_network(path, TWELVE)
    save_file(network.state_dict(), path)
    with pytest.raises(InputError, match=r"a.safetensors: not a model of this project"):
        load_network(path, TWELVE)
    for wrong, reason in (
        ({"scale": "big"}, "TypeError"),
        ({"scale": 1e5}, "scale 100000.0 is not above 0, at most 1"),
        ({"unet": {**UNET, "num_classes": 5}}, "12 classes for a network of another number"),
    ):
        save_weights(path, network.state_dict(), {**facts(TWELVE), "unet": UNET, **wrong})
        with pytest.raises(InputError, match=f"a.safetensors: not a model of .*{reason}"):
            load_network(path, TWELVE)
    wide = {**facts(TWELVE), "unet": {**UNET, "base_channels": 3}}
    save_weights(path, network.state_dict(), wide)
    with pytest.raises(InputError, match=r"a.safetensors: the weights do not fit") as caught:
        load_network(path, TWELVE)
    assert "\n" not in str(caught.value)
