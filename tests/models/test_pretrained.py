"""Weights of other U-Nets as a start: by name, by position, and everything that does not fit."""

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
from tests.models.test_model_file import UNET, facts
from tests.training.test_report_recipe import ReportUNet

TWELVE = read_class_map(ROOT / "classes/kitti12.yaml")
REVERSED = TWELVE.model_copy(update={"classes": TWELVE.classes[::-1]})


def network(seed: int, **changes: object) -> UNet:
    torch.manual_seed(seed)
    return UNet(**{**UNET, **changes})


def without_counts(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: t for name, t in state.items() if not name.endswith("num_batches_tracked")}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in without_counts(b))


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
@pytest.mark.parametrize("wrapper", ["", "module.", "module._orig_mod."])
def test_by_name(tmp_path: Path, ending: str, wrapper: str):
    source, target = network(1), network(2)
    source.inc[1].running_var.fill_(3.0)
    state = {wrapper + name: tensor for name, tensor in source.state_dict().items()}
    path = tmp_path / f"a.{ending}"
    if ending == "pth":
        torch.save({"epoch": 3, "model": state, "optimizer": {"lr": torch.ones(1)}}, path)
    else:
        save_file(state, path)
    entry = " (model)" if ending == "pth" else ""
    assert load_pretrained(path, target, TWELVE) == f"110 of 110 tensors of {path}{entry}, by name"
    assert equal(target.state_dict(), source.state_dict())


def test_by_position_another_implementation_gives_the_same_logits(tmp_path: Path):
    """The report's own network, written down independently, with names of its own."""
    torch.manual_seed(0)
    source, target = ReportUNet().eval(), network(2, base_channels=64).eval()
    torch.save(source.state_dict(), tmp_path / "report.pt")
    assert load_pretrained(tmp_path / "report.pt", target, TWELVE).endswith("by position")
    image = torch.rand(1, 3, 32, 48)
    with torch.inference_mode():
        torch.testing.assert_close(target(image), source(image), rtol=1e-4, atol=1e-5)


def test_convolutions_without_biases_get_zeros(tmp_path: Path):
    source, target = network(1, bilinear=False), network(2, bilinear=False)
    convolutions = [n for n, m in source.named_modules() if isinstance(m, torch.nn.Conv2d)]
    with torch.no_grad():
        for name in convolutions[:-1]:
            source.get_submodule(name).bias.zero_()
    dropped = {f"{name}.bias" for name in convolutions[:-1]}
    kept = [tensor for name, tensor in source.state_dict().items() if name not in dropped]
    torch.save({f"layer{i}": tensor for i, tensor in enumerate(kept)}, tmp_path / "a.pt")
    load_pretrained(tmp_path / "a.pt", target, TWELVE)
    assert equal(target.state_dict(), source.state_dict())


def test_the_last_layer_starts_anew_where_the_classes_are_others(tmp_path: Path):
    wide, target = network(1, num_classes=19), network(2)
    drawn = target.out.weight.clone()
    torch.save(wide.state_dict(), tmp_path / "a.pt")
    said = load_pretrained(tmp_path / "a.pt", target, TWELVE)
    assert said.startswith("108 of 110 tensors")
    assert said.endswith("by name; the last layer starts anew, for the classes are others")
    assert torch.equal(target.out.weight, drawn)
    assert torch.equal(target.inc[0].weight, wide.inc[0].weight)


@pytest.mark.parametrize(("classes", "anew"), [(TWELVE, False), (REVERSED, True)])
def test_a_model_of_this_project_tells_its_classes(tmp_path: Path, classes, anew):
    source, path = network(1), tmp_path / "a.safetensors"
    save_weights(path, source.state_dict(), ModelMetadata(**facts(classes), unet=UNET))
    assert ("anew" in load_pretrained(path, network(2), TWELVE)) == anew


class Attack:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("attacked",)


def broken(change) -> dict[str, torch.Tensor]:
    state = network(1).state_dict()
    change(state)
    return state


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        ({"a": Attack()}, "holds more than weights, which is not loaded because it could run code"),
        ({"a": 1}, "holds no weights; expected a state dict"),
        ([1, 2], "holds no weights"),
        (network(1, base_channels=4).state_dict(), r"inc.0.weight would be 4x3x3x3, .* 2x3x3x3"),
        (broken(lambda state: state.pop("up1.conv.0.weight")), "109 tensors, a U-Net .* 110 "),
        (network(1, norm="batch").state_dict() | {"inc.9.weight": torch.ones(3)},
         "has inc.9.weight, which this network has not; check the section model"),
        (broken(lambda state: state.update({"out.bias": torch.ones(12, dtype=torch.int64)})),
         r"out.bias is torch.int64 \(torch.strided\); expected a dense tensor of one of float16, "),
        (broken(lambda state: state.update({"out.bias": torch.ones(12).to_sparse()})),
         r"out.bias is torch.float32 \(torch.sparse_coo\); expected a dense tensor"),
        (broken(lambda state: state["inc.0.bias"].fill_(float("nan"))), "inc.0.bias .* not finite"),
        (broken(lambda s: s.update({"out.bias": torch.full((12,), 1e300, dtype=torch.double)})),
         "out.bias holds values that are not finite in float32"),
        (broken(lambda state: state.update({"out.bias": torch.ones(12).to(torch.float8_e4m3fn)})),
         "out.bias is torch.float8_e4m3fn "),
        ({"net": network(1).state_dict(), "ema": network(3).state_dict()},
         r"holds 2 state dicts of 128 tensors, \(net\) and \(ema\); save the one that is meant"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_and_nothing_runs(tmp_path, monkeypatch, saved, message):
    monkeypatch.chdir(tmp_path)
    torch.save(saved, "a.pt")
    with pytest.raises(InputError, match=message) as caught:
        load_pretrained(Path("a.pt"), network(2), TWELVE)
    assert "a.pt: " in str(caught.value)
    assert not Path("attacked").exists()


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
def test_files_that_cannot_be_read_are_named(tmp_path: Path, name: str):
    path = tmp_path / name
    with pytest.raises(InputError, match=r"train.start: .*: no such file"):
        load_pretrained(path, network(2), TWELVE)
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
            load_pretrained(path, network(2), TWELVE)


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04cposix\nsystem\n(Vx\ntR.",  # torch warns of its protocol, the 4
        b"\x80\x02G\x00\x00.",  # of a number's 8 bytes there are 3
        b"ctorch\nTensor\n(tR.",  # torch compares the empty tensor with its magic number
    ],
)
def test_pickles_of_other_kinds_are_named_without_a_word_beside(tmp_path: Path, data: bytes):
    """Warnings are errors here."""
    (tmp_path / "a.pt").write_bytes(data)
    with pytest.raises(InputError, match=r"a.pt: not a file of weights"):
        load_pretrained(tmp_path / "a.pt", network(2), TWELVE)


@pytest.mark.parametrize("packed", [False, True])
def test_pickles_cut_within_a_number_are_named(tmp_path: Path, packed: bool):
    """Pickle's struct.error, which no documentation of torch.load mentions."""
    path, data = tmp_path / "a.pt", b"\x80\x02G\x00"
    path.write_bytes(data)
    if packed:
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in (("a/data.pkl", data), ("a/version", b"3\n")):
                archive.writestr(name, content)
    with pytest.raises(InputError, match=r"a.pt: not a file of weights \(.*(4 bytes|8)"):
        load_pretrained(path, network(2), TWELVE)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_taken_as_float32(tmp_path: Path, dtype: torch.dtype):
    source, target = network(1), network(2)
    state = {name: t.to(dtype) if t.dim() else t for name, t in source.state_dict().items()}
    torch.save(state, tmp_path / "a.pt")
    load_pretrained(tmp_path / "a.pt", target, TWELVE)
    found = target.state_dict()
    for name, tensor in without_counts(state).items():
        assert torch.equal(found[name], tensor.float()), name


def test_safetensors_with_other_names_say_what_to_do(tmp_path: Path):
    state = {f"x.{name}": tensor for name, tensor in network(1).state_dict().items()}
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=r"no weight named inc.0.weight; .* torch.save wrote"):
        load_pretrained(tmp_path / "a.safetensors", network(2), TWELVE)
