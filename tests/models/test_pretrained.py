"""Initial weights of other U-Nets, matched by name or by position, and invalid files."""

import os
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from roadseg.config.class_map import read_class_map
from roadseg.models.model_file import save_weights
from roadseg.models.pretrained import load_pretrained
from roadseg.models.unet import UNet
from roadseg.provenance.model_metadata import ModelMetadata
from roadseg.system.errors import InputError
from tests.factories import ROOT
from tests.models.test_model_file import UNET, make_facts
from tests.training.test_report_recipe import ReportUNet

TWELVE = read_class_map(ROOT / "classes/kitti12.yaml")
REVERSED = TWELVE.model_copy(update={"classes": TWELVE.classes[::-1]})


def make_network(seed: int, **changes: object) -> UNet:
    torch.manual_seed(seed)
    return UNet(**{**UNET, **changes})


def drop_counts(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: t for name, t in state.items() if not name.endswith("num_batches_tracked")}


def states_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in drop_counts(b))


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
@pytest.mark.parametrize("wrapper", ["", "module.", "module._orig_mod."])
def test_tensors_are_matched_by_name(tmp_path: Path, ending: str, wrapper: str):
    source, target = make_network(1), make_network(2)
    source.inc[1].running_var.fill_(3.0)
    state = {wrapper + name: tensor for name, tensor in source.state_dict().items()}
    path = tmp_path / f"a.{ending}"
    if ending == "pth":
        torch.save({"epoch": 3, "model": state, "optimizer": {"lr": torch.ones(1)}}, path)
    else:
        save_file(state, path)
    entry = " (model)" if ending == "pth" else ""
    assert load_pretrained(path, target, TWELVE) == f"110 of 110 tensors of {path}{entry}, by name"
    assert states_equal(target.state_dict(), source.state_dict())


def test_tensors_of_another_implementation_are_matched_by_position(tmp_path: Path):
    """ReportUNet is an independent implementation of the network, with other names."""
    torch.manual_seed(0)
    source, target = ReportUNet().eval(), make_network(2, base_channels=64).eval()
    torch.save(source.state_dict(), tmp_path / "report.pt")
    assert load_pretrained(tmp_path / "report.pt", target, TWELVE).endswith("by position")
    image = torch.rand(1, 3, 32, 48)
    with torch.inference_mode():
        torch.testing.assert_close(target(image), source(image), rtol=1e-4, atol=1e-5)


def test_missing_biases_are_set_to_zero(tmp_path: Path):
    source, target = make_network(1, bilinear=False), make_network(2, bilinear=False)
    convolutions = [n for n, m in source.named_modules() if isinstance(m, torch.nn.Conv2d)]
    with torch.no_grad():
        for name in convolutions[:-1]:
            source.get_submodule(name).bias.zero_()
    dropped = {f"{name}.bias" for name in convolutions[:-1]}
    kept = [tensor for name, tensor in source.state_dict().items() if name not in dropped]
    torch.save({f"layer{i}": tensor for i, tensor in enumerate(kept)}, tmp_path / "a.pt")
    load_pretrained(tmp_path / "a.pt", target, TWELVE)
    assert states_equal(target.state_dict(), source.state_dict())


def test_the_last_layer_keeps_its_random_weights_if_the_classes_differ(tmp_path: Path):
    wide, target = make_network(1, num_classes=19), make_network(2)
    initial = target.out.weight.clone()
    torch.save(wide.state_dict(), tmp_path / "a.pt")
    summary = load_pretrained(tmp_path / "a.pt", target, TWELVE)
    assert summary.startswith("108 of 110 tensors")
    assert summary.endswith(
        "by name; the last layer keeps its random weights, because the classes differ"
    )
    assert torch.equal(target.out.weight, initial)
    assert torch.equal(target.inc[0].weight, wide.inc[0].weight)


@pytest.mark.parametrize(("classes", "differ"), [(TWELVE, False), (REVERSED, True)])
def test_classes_of_a_model_of_this_project_are_compared(tmp_path: Path, classes, differ):
    source, path = make_network(1), tmp_path / "a.safetensors"
    save_weights(path, source.state_dict(), ModelMetadata(**make_facts(classes), network=UNET))
    assert ("classes differ" in load_pretrained(path, make_network(2), TWELVE)) == differ


class Attack:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("attacked",)


def make_broken(change) -> dict[str, torch.Tensor]:
    state = make_network(1).state_dict()
    change(state)
    return state


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        ({"a": Attack()}, "contains other objects, which are not loaded because they could ex"),
        ({"a": 1}, "contains no weights; expected a state dict"),
        ([1, 2], "contains no weights"),
        (make_network(1, base_channels=4).state_dict(), "inc.0.weight has shape 4x3x3x3, but 2x3"),
        (make_broken(lambda state: state.pop("up1.conv.0.weight")),
         r"109 tensors, but this U-Net has 110 \(or "),
        (make_network(1, norm="batch").state_dict() | {"inc.9.weight": torch.ones(3)},
         "has inc.9.weight, but this network does not; check the section `model`"),
        (make_broken(lambda state: state.update({"out.bias": torch.ones(12, dtype=torch.int64)})),
         r"out.bias is torch.int64 \(torch.strided\); expected a dense tensor of one of float16, "),
        (make_broken(lambda state: state.update({"out.bias": torch.ones(12).to_sparse()})),
         r"out.bias is torch.float32 \(torch.sparse_coo\); expected a dense tensor"),
        (make_broken(lambda state: state["inc.0.bias"].fill_(torch.nan)), "inc.0.bias .* not fini"),
        (make_broken(lambda s: s.update({"out.bias": torch.ones(12, dtype=torch.double) * 1e300})),
         "out.bias contains values that are not finite in float32"),
        (make_broken(lambda s: s.update({"out.bias": torch.ones(12).to(torch.float8_e4m3fn)})),
         "out.bias is torch.float8_e4m3fn "),
        ({"net": make_network(1).state_dict(), "ema": make_network(3).state_dict()},
         r"contains 2 state dicts of 128 tensors, \(net\) and \(ema\); save only the one"),
    ],
)  # fmt: skip
def test_unusable_files_raise_an_error_and_execute_nothing(tmp_path, monkeypatch, saved, message):
    monkeypatch.chdir(tmp_path)
    torch.save(saved, "a.pt")
    with pytest.raises(InputError, match=message) as caught:
        load_pretrained(Path("a.pt"), make_network(2), TWELVE)
    assert "a.pt: " in str(caught.value)
    assert not Path("attacked").exists()


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
def test_unreadable_files_raise_an_error_that_names_them(tmp_path: Path, name: str):
    path = tmp_path / name
    with pytest.raises(InputError, match=r"train.start: .*: no such file"):
        load_pretrained(path, make_network(2), TWELVE)
    contents = [
        b"",
        b"nothing of the kind",
        b"epoch,1\n",
        b"\x89PNG\r\n",
        b"PK\x03\x04" + b"x" * 40,
    ]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(InputError, match=f"{name}: not a file of weights"):
            load_pretrained(path, make_network(2), TWELVE)


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04cposix\nsystem\n(Vx\ntR.",  # torch warns about protocol 4
        b"\x80\x02G\x00\x00.",  # 3 of the 8 bytes of a float
        b"ctorch\nTensor\n(tR.",  # torch compares the empty tensor with its magic number
    ],
)
def test_other_pickles_raise_an_error_without_warnings(tmp_path: Path, data: bytes):
    (tmp_path / "a.pt").write_bytes(data)
    with pytest.raises(InputError, match=r"a.pt: not a file of weights"):
        load_pretrained(tmp_path / "a.pt", make_network(2), TWELVE)


@pytest.mark.parametrize("packed", [False, True])
def test_truncated_pickles_raise_an_error(tmp_path: Path, packed: bool):
    """torch.load raises an undocumented struct.error."""
    path, data = tmp_path / "a.pt", b"\x80\x02G\x00"
    path.write_bytes(data)
    if packed:
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in (("a/data.pkl", data), ("a/version", b"3\n")):
                archive.writestr(name, content)
    with pytest.raises(InputError, match=r"a.pt: not a file of weights \(.*(4 bytes|8)"):
        load_pretrained(path, make_network(2), TWELVE)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_are_converted_to_float32(tmp_path: Path, dtype: torch.dtype):
    source, target = make_network(1), make_network(2)
    state = {name: t.to(dtype) if t.dim() else t for name, t in source.state_dict().items()}
    torch.save(state, tmp_path / "a.pt")
    load_pretrained(tmp_path / "a.pt", target, TWELVE)
    found = target.state_dict()
    for name, tensor in drop_counts(state).items():
        assert torch.equal(found[name], tensor.float()), name


def test_safetensors_with_other_names_raise_an_error_with_the_fix(tmp_path: Path):
    state = {f"x.{name}": tensor for name, tensor in make_network(1).state_dict().items()}
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=r"no tensor named inc.0.weight; .* written by torch.save"):
        load_pretrained(tmp_path / "a.safetensors", make_network(2), TWELVE)
