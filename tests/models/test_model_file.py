import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from roadseg.config.class_map import ClassMap, read_class_map
from roadseg.models.model_file import load_network, save_weights
from roadseg.models.unet import UNet
from roadseg.provenance.model_metadata import ModelMetadata
from roadseg.system.errors import InputError
from roadseg.system.memory import peak_bytes
from tests.factories import ROOT

TWELVE = read_class_map(ROOT / "classes/kitti12.yaml")
UNET = {"num_classes": 12, "base_channels": 2, "bilinear": True, "norm": "batch", "dropout": 0.0}


def make_facts(class_map: ClassMap) -> dict[str, object]:
    return {"classes": class_map.model_dump(), "ignored_class": None, "scale": 1.0}


def save_network(path: Path, class_map: ClassMap = TWELVE, **unet: object) -> UNet:
    torch.manual_seed(3)
    network = UNet(**{**UNET, **unet})
    network.inc[1].running_mean.fill_(0.25)  # a buffer
    metadata = ModelMetadata(**make_facts(class_map), network={**UNET, **unet})
    save_weights(path, network.state_dict(), metadata)
    return network


def save_with(path: Path, network: UNet, /, **metadata: object) -> None:
    """Save `network` with metadata that `save_weights` would refuse."""
    text = json.dumps({**make_facts(TWELVE), "network": UNET, **metadata})
    save_file(network.state_dict(), path, metadata={"model": text})


def test_load_network_restores_weights_and_metadata(tmp_path: Path):
    network = save_network(tmp_path / "a.safetensors", norm="batch", bilinear=False)
    loaded, metadata = load_network(tmp_path / "a.safetensors", TWELVE)
    assert metadata.network["bilinear"] is False
    assert metadata.classes == TWELVE
    assert (metadata.provenance, metadata.epoch) == (None, None)
    assert not loaded.training
    expected = network.state_dict()
    assert list(loaded.state_dict()) == list(expected)
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_equal_weights_give_equal_files(tmp_path: Path):
    for name in ("a", "another_name"):
        save_network(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "another_name").read_bytes()


def test_other_classes_raise_an_error(tmp_path: Path):
    save_network(tmp_path / "a.safetensors")
    eleven = read_class_map(ROOT / "classes/kitti11.yaml")
    with pytest.raises(InputError, match=r"a.safetensors: was trained on other classes"):
        load_network(tmp_path / "a.safetensors", eleven)


def test_invalid_model_files_raise_an_error_that_names_them(tmp_path: Path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(InputError, match=r"a.safetensors: no such model"):
        load_network(path, TWELVE)
    network = save_network(path)
    whole = path.read_bytes()
    damaged = {
        "cut": whole[:-100],
        "empty": b"",
        "pickle": pickle.dumps({"weights": [1, 2, 3]}),
    }
    for data in damaged.values():
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"a.safetensors: damaged or not a safetensors file"):
            load_network(path, TWELVE)
    save_file(network.state_dict(), path)
    with pytest.raises(InputError, match=r"a.safetensors: not a model of this project"):
        load_network(path, TWELVE)
    for wrong, reason in (
        ({"scale": "big"}, "scale: should be a valid number, got 'big'"),
        ({"scale": 1e5}, "scale: should be less than or equal to 1, got 100000.0"),
        ({"ignored_class": 12}, "ignored_class: 12 is not one of the 12 classes"),
        ({"ignored_class": "void"}, "ignored_class: should be a valid integer, got 'void'"),
        ({"classes": {"classes": []}}, "classes.void: missing"),
        (
            {"network": {**UNET, "num_classes": 5}},
            "network.num_classes: 5, but there are 12 classes",
        ),
        ({"network": {**UNET, "norm": "none"}}, "network.norm: should be 'batch' or 'group'"),
        (
            {"network": {**UNET, "base_channels": 0}},
            "network.base_channels: should be greater than or equal to 1",
        ),
        (
            {"network": {**UNET, "base_channels": 10**30}},
            "network.base_channels: should be less than or equal to 1024",
        ),
        ({"network": {**UNET, "dropout": 2}}, "network.dropout: should be less than 1, got 2"),
        (
            {"network": {**UNET, "bilinear": 1}},
            "network.bilinear: should be a valid boolean, got 1",
        ),
        ({"network": None}, "network: should be keys with values"),
    ):
        save_with(path, network, **wrong)
        with pytest.raises(InputError, match=f"a.safetensors: .*{reason}"):
            load_network(path, TWELVE)
    save_with(path, network, network={**UNET, "base_channels": 3})
    with pytest.raises(InputError, match=r"a.safetensors: the weights do not fit") as caught:
        load_network(path, TWELVE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[" * 10**5, "[]", "null", "{", '{"unet": {}}', "9" * 5000])
def test_malformed_metadata_raise_an_error(tmp_path: Path, text: str):
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors", metadata={"model": text})
    with pytest.raises(InputError, match=r"a.safetensors: not a model of this project"):
        load_network(tmp_path / "a.safetensors", TWELVE)


def test_oversized_network_in_metadata_allocates_no_memory(tmp_path: Path):
    """1024 channels would take 17 GB; the shapes are compared before the weights are allocated."""
    network = save_network(tmp_path / "a.safetensors")
    save_with(tmp_path / "a.safetensors", network, network={**UNET, "base_channels": 1024})
    before = peak_bytes()
    with pytest.raises(InputError, match=r"do not fit the network: .* is \(\[.*, expected \(\["):
        load_network(tmp_path / "a.safetensors", TWELVE)
    assert peak_bytes() - before < 100 << 20


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("out.weight", torch.nan, "out.weight contains values that are not finite"),
        ("inc.1.running_mean", torch.inf, "inc.1.running_mean contains .* not finite"),
    ],
)
def test_weights_that_are_not_finite_raise_an_error(
    tmp_path: Path, name: str, value: float, message: str
):
    weights = save_network(tmp_path / "a.safetensors").state_dict()
    weights[name].reshape(-1)[-1] = value
    save_weights(
        tmp_path / "a.safetensors", weights, ModelMetadata(**make_facts(TWELVE), network=UNET)
    )
    with pytest.raises(InputError, match=message):
        load_network(tmp_path / "a.safetensors", TWELVE)


def test_weights_with_other_names_or_dtypes_raise_an_error(tmp_path: Path):
    weights = save_network(tmp_path / "a.safetensors").state_dict()
    bias = weights.pop("out.bias")
    for changes, message in (
        ({}, "do not fit the network: out.bias is missing, expected"),
        (
            {"out.bias": bias, "x": bias.clone()},
            "do not fit the network: x is .*, expected no such tensor",
        ),
        ({"out.bias": bias.double()}, r"out.bias is \(\[12\], 'F64'\), expected .*'F32'\)"),
    ):
        path = tmp_path / "a.safetensors"
        save_weights(
            path, {**weights, **changes}, ModelMetadata(**make_facts(TWELVE), network=UNET)
        )
        with pytest.raises(InputError, match=message):
            load_network(path, TWELVE)


def test_metadata_of_earlier_and_later_versions_are_read(tmp_path: Path):
    save_with(tmp_path / "a.safetensors", save_network(tmp_path / "b.safetensors"), later=[1])
    found = [load_network(path, TWELVE)[1] for path in sorted(tmp_path.iterdir())]
    assert found[0] == found[1]
    assert "later" not in found[0].to_json()
