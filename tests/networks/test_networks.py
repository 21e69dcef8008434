"""Guarantees of the networks of segmentation_models_pytorch; `python -m tests.networks` has all."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

pytest.importorskip("segmentation_models_pytorch")

import torchvision

from roadseg.config.class_map import read_class_map
from roadseg.data.prepared import PreparedDataset
from roadseg.models.export import rounding_error
from roadseg.models.model_file import load_model
from roadseg.models.network import Network
from roadseg.models.pretrained import load_pretrained
from roadseg.system.errors import InputError
from roadseg.training.errors import require_shared_batches
from stages import check
from tests.factories import ROOT, make_prepared, write_params
from tests.networks import cases
from tests.networks.cases import CASES, NONDETERMINISTIC, Case

RESNET18, RESNET34 = Case("smp/Unet", "resnet18"), Case("smp/Unet", "resnet34")
MOBILENET = Case("smp/DeepLabV3Plus", "mobilenet_v2")
TWELVE = read_class_map(ROOT / "classes/kitti12.yaml")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return make_prepared(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def network() -> Network:
    """A network for tests that do not change it."""
    return cases.normalize(RESNET18.build())


@pytest.mark.usefixtures("without_histograms")
@pytest.mark.parametrize("case", [RESNET34, MOBILENET])
def test_second_and_resumed_trainings_give_identical_outputs(
    prepared, tmp_path: Path, case: Case, capsys
):
    params = cases.load_case(case, tmp_path, "fp32")
    uninterrupted, resumed = cases.train_and_resume(prepared, params, tmp_path)
    assert "resuming after step " in capsys.readouterr().out
    assert len(uninterrupted) == 1 + 3
    assert resumed == uninterrupted


def test_exported_files_of_any_image_size_agree_with_the_network(tmp_path: Path, network):
    limit = max(1e-4, 2 * rounding_error(network))
    assert cases.export_difference(network, tmp_path / "a.onnx") <= limit


def test_operators_without_a_deterministic_kernel_are_those_of_the_documentation():
    assert cases.documented_operations() == NONDETERMINISTIC.keys()


def test_operators_without_a_deterministic_kernel_are_found():
    def build() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(3), nn.ReflectionPad2d(1))

    found = {"_adaptive_avg_pool2d_backward", "reflection_pad2d_backward"}
    assert cases.nondeterministic_operators(build) == found


@pytest.mark.parametrize("case", CASES)
def test_all_operators_of_training_have_deterministic_kernels(case: Case):
    assert cases.nondeterministic_operators(case.build) == set()


def make_state(case: Case, prefix: str = "") -> dict[str, Tensor]:
    return {prefix + name: t + 1 for name, t in case.build().state_dict().items() if t.dim()}


@pytest.mark.parametrize("prefix", ["", "model._orig_mod."])
def test_weights_of_the_same_network_are_loaded(tmp_path: Path, prefix: str):
    target, path = RESNET18.build(), tmp_path / "a.ckpt"
    torch.save({"state_dict": make_state(RESNET18, prefix), "epoch": 3}, path)
    summary = load_pretrained(path, target, TWELVE)
    assert summary == f"154 of 154 tensors of {path} (state_dict), by name"
    for name, tensor in make_state(RESNET18).items():
        assert torch.equal(target.state_dict()[name], tensor), name


def test_weights_of_a_torchvision_model_become_the_encoder(tmp_path: Path):
    source, target, path = torchvision.models.resnet18(), RESNET18.build(), tmp_path / "a.pth"
    decoder = target.decoder.blocks[0].conv1[0].weight.clone()
    torch.save(source.state_dict(), path)
    summary = load_pretrained(path, target, TWELVE)
    assert summary.startswith(f"100 of 152 tensors of {path}, by name; 52 tensors keep their rand")
    assert summary.endswith("2 tensors of the file are not used (fc.weight, fc.bias)")
    assert torch.equal(target.encoder.layer4[1].conv2.weight, source.layer4[1].conv2.weight)
    assert torch.equal(target.decoder.blocks[0].conv1[0].weight, decoder)
    assert target.std[0, 0, 0, 0] == pytest.approx(0.229)


def test_last_layer_keeps_its_random_weights_if_the_classes_differ(tmp_path: Path):
    target, path = RESNET18.build(), tmp_path / "a.safetensors"
    initial = target.segmentation_head[0].weight.clone()
    state = make_state(RESNET18)
    state["segmentation_head.0.weight"] = torch.ones(3, 16, 3, 3)
    state["segmentation_head.0.bias"] = torch.ones(3)
    save_file(state, path)
    summary = load_pretrained(path, target, TWELVE)
    assert summary.endswith("; the last layer keeps its random weights, because the classes differ")
    assert torch.equal(target.segmentation_head[0].weight, initial)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {f"x.{name}": t for name, t in state.items()},
         r"a.pth: 100 tensors of the encoder are missing \(encoder.conv1.weight, .*; it has x\..*; "
         "set model.architecture and model.encoder to those of the file"),
        (lambda state: {n: t for n, t in state.items() if "layer4" not in n},
         r"25 tensors of the encoder are missing \(encoder.layer4.0.conv1.weight, "),
        (lambda state: {**state, "encoder.bn1.bias": torch.ones(32)},
         "a.pth: encoder.bn1.bias has shape 32, but 64 in this network; set the section `model`"),
        (lambda state: {"encoder.x\x1b[31m" + "y" * 10**5: torch.ones(2)}, "it has encoder.x.x1b"),
    ],
)  # fmt: skip
def test_weights_of_other_networks_are_an_error(tmp_path: Path, network, change, message):
    torch.save(change(make_state(RESNET18)), tmp_path / "a.pth")
    with pytest.raises(InputError, match=message) as caught:
        load_pretrained(tmp_path / "a.pth", network, TWELVE)
    assert len(str(caught.value)) < 1000


def save_model(path: Path, network: Network, **options: object) -> None:
    """Save `network`, with metadata that `save_weights` would refuse."""
    facts = {"classes": TWELVE.model_dump(), "ignored_class": None, "scale": 1.0}
    options = {"num_classes": 12, "encoder": "resnet18", "kernels": "auto", **options}
    architecture = options.pop("architecture", "smp/Unet")
    metadata = {**facts, "architecture": architecture, "network": options}
    state = {name: t.contiguous() for name, t in network.state_dict().items()}
    save_file(state, path, metadata={"model": json.dumps(metadata)})


def test_model_file_restores_the_network(tmp_path: Path, network):
    save_model(tmp_path / "a.safetensors", network)
    loaded, metadata = load_model(tmp_path / "a.safetensors")
    assert metadata.architecture == "smp/Unet"
    image = torch.rand(1, 3, 33, 50)
    with torch.inference_mode():
        assert torch.equal(loaded(image), network(image))


def test_encoder_that_cannot_be_built_without_values_is_restored(tmp_path: Path):
    network = Case("smp/Segformer", "mit_b0").build()
    path = tmp_path / "a.safetensors"
    save_model(path, network, architecture="smp/Segformer", encoder="mit_b0")
    state = load_model(path)[0].state_dict()
    assert all(torch.equal(state[name], t) for name, t in network.state_dict().items())


@pytest.mark.parametrize(
    "changes",
    [
        {"encoder": "hub:x"},
        {"encoder": "x" * 10**5},
        {"encoder": "resnet19"},
        {"encoder": "tu-resnet19"},
        {"encoder": "tu-hf-hub:timm/resnet18"},
        {"encoder": "tu-hf_hub.a"},
        {"encoder": "../resnet18"},
        {"encoder": ""},
        {"encoder": None},
        {"encoder": 18},
        {"encoder": "resnet50"},
        {"encoder": "mit_b0"},
        {"kernels": "cuda"},
        {"architecture": "smp/unet"},
        {"architecture": "smp/PSPNet"},
        {"architecture": "smp/Linknet"},
        {"depth": 5},
    ],
)
def test_other_networks_in_a_model_file_are_an_error_of_one_line(tmp_path, network, changes):
    save_model(tmp_path / "a.safetensors", network, **changes)
    with pytest.raises(InputError, match=r"a.safetensors: ") as caught:
        load_model(tmp_path / "a.safetensors")
    assert len(str(caught.value).splitlines()) == 1


def test_several_processes_need_synchronized_norms_and_an_image_each(network):
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    require_shared_batches(network.train(), 0, num_processes=1)
    require_shared_batches(network.train(), 1, num_processes=2)
    assert all(torch.equal(tensor, state[n]) for n, tensor in network.eval().state_dict().items())
    with pytest.raises(InputError, match="processes: 2, but the last batch of an epoch has 1"):
        require_shared_batches(Case("smp/Segformer", "resnet18").build(), 1, num_processes=2)
    other = Case("smp/Unet", "tu-resnet18").build()
    other.encoder.model.bn1 = nn.BatchNorm3d(3)
    with pytest.raises(InputError, match=r"encoder.model.bn1 of the network \(BatchNorm3d\)"):
        require_shared_batches(other, 2, num_processes=2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "smp/PSPNet"}, "no architecture 'smp/PSPNet'; use unet, smp/Unet, "),
        ({"encoder": "resnet19"}, r"resnet19 cannot be used with smp/Unet: .*tested are resnet18"),
        ({"architecture": "smp/Linknet", "encoder": "mit_b0"}, "mit_b0 cannot be used with smp/Li"),
    ],
)
def test_unusable_networks_fail_before_dvc_removes_any_output(tmp_path: Path, changes, message):
    named = {
        f"model__{name}": value
        for name, value in {"architecture": "smp/Unet", "encoder": "resnet18", **changes}.items()
    }
    params = write_params(tmp_path / "params.yaml", **named)
    arguments = ["--params", params, "--pipeline", ROOT / "dvc.yaml", "--out", tmp_path / "checked"]
    with pytest.raises(InputError, match=message):
        check.main([str(word) for word in arguments])
    assert not (tmp_path / "checked").exists()
