"""Weights of encoders from a loopback server with the paths and headers of the Hub, and files."""

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save, save_file
from torch import Tensor, nn

from roadseg.config.params import load_params
from roadseg.data.split_file import Split
from roadseg.models.encoder_weights import load_encoder_weights
from roadseg.models.tensor_files import write_tensors
from roadseg.provenance.encoder_weights import ENCODER, RECORD, read_weights_record
from roadseg.system.errors import InputError
from roadseg.training.setup import build_trainer
from stages import weights
from tests.factories import ROOT, make_prepared, write_params
from tests.prepare.http_server import Answer, Server
from tests.prepare.test_download import server, status

__all__ = ["server"]
SMALL = "mobilenet_v2"  # 9 MB
REVISION = "e67aa804e17f7b404b629127eabbd224c4e0690b"
HUB_PATH = f"/smp-hub/{SMALL}.imagenet/resolve/{REVISION}/model.safetensors"


def new_encoder(name: str) -> nn.Module:
    from segmentation_models_pytorch.encoders import get_encoder

    return get_encoder(name, weights=None)


@cache
def published(name: str = SMALL) -> tuple[dict[str, Tensor], bytes]:
    """Random weights with the names and shapes of those on the Hub, and their safetensors file."""
    torch.manual_seed(1)
    state = new_encoder(name).state_dict()
    extra = {"classifier.1.weight": torch.ones(10, 8), "classifier.1.bias": torch.ones(10)}
    return state, save({**state, **extra})


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def hub_answers(data: bytes, sent: bytes | None = None) -> list[Answer]:
    """The redirect of the Hub, which has the SHA-256 of `data`, and what its storage sends."""
    location = "/storage/model?Signature=s3cret"
    headers = {"Location": location, "X-Linked-ETag": f'"{sha256_of(data)}"'}
    headers |= {"X-Linked-Size": str(len(data)), "X-Repo-Commit": REVISION}
    return [Answer(status=302, headers=headers, body=b""), Answer(body=sent or data)]


@pytest.fixture
def hub(server: Server, monkeypatch) -> Server:
    template = (
        f"http://127.0.0.1:{server.server_port}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    )
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    return server


def run(folder: Path, source: str, encoder: str = SMALL, **changes: object) -> Path:
    """Run the stage, and return its output."""
    changes = {f"model__{name}": value for name, value in changes.items()}
    changes |= {"model__architecture": "smp/Unet", "model__encoder": encoder}
    params = write_params(folder / "params.yaml", model__weights=source, **changes)
    out = folder / "weights"
    arguments = {"params": params, "out": out, "downloads": folder / "downloads"}
    weights.main([word for name, path in arguments.items() for word in (f"--{name}", str(path))])
    return out


def require_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def test_stage_without_weights_writes_the_record_and_imports_no_torch(tmp_path: Path):
    code = (
        "import sys; from stages import weights; weights.main(sys.argv[1:]); "
        "assert not {'torch', 'segmentation_models_pytorch', 'requests'} & sys.modules.keys()"
    )
    paths = ["--params", "params.yaml", "--out", str(tmp_path / "out"), "--downloads", "no"]
    subprocess.run([sys.executable, "-c", code, *paths], cwd=ROOT, check=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [RECORD]
    assert json.loads((tmp_path / "out" / RECORD).read_text()) == {"source": "none"}


def test_imagenet_weights_are_those_of_the_pinned_revision_and_are_downloaded_once(
    hub: Server, tmp_path: Path, capsys
):
    state, data = published()
    hub.answers = hub_answers(data)
    out = run(tmp_path, "imagenet")
    assert hub.paths == [HUB_PATH, "/storage/model?Signature=s3cret"]
    require_equal(load_file(out / ENCODER), state)
    assert json.loads((out / RECORD).read_text()) == {
        "source": "imagenet",
        "encoder": SMALL,
        "sha256": sha256_of(data),
        "license": "BSD-3-Clause (torchvision)",
        "repository": f"smp-hub/{SMALL}.imagenet",
        "revision": REVISION,
    }
    assert "312 of 314 tensors, left out 2 (classifier.1.bias, " in capsys.readouterr().out
    before = [(out / name).read_bytes() for name in (ENCODER, RECORD)]
    hub.answers = [status(404)]
    run(tmp_path, "imagenet", weights_sha256=sha256_of(data))
    assert [(out / name).read_bytes() for name in (ENCODER, RECORD)] == before
    assert len(hub.paths) == 2


def test_interrupted_download_is_resumed(hub: Server, tmp_path: Path):
    state, data = published()
    redirect, whole = hub_answers(data)
    hub.answers = [redirect, replace(whole, sent=10**6), redirect, whole]
    require_equal(load_file(run(tmp_path, "imagenet") / ENCODER), state)
    assert hub.requests[3]["Range"] == "bytes=1000000-"


SHORT = save({"a": torch.zeros(100)})
FLIPPED = SHORT[:-1] + b"\1"
FAILURES: dict[str, tuple[list[Answer], str | None, str]] = {
    "flipped byte": (hub_answers(SHORT, FLIPPED), None, f"{sha256_of(FLIPPED)}, but the server"),
    "wrong hash": (hub_answers(SHORT), "0" * 64, "^model.weights_sha256: .* expected 0000"),
    "missing file": ([status(404)], None, "answered 404; .* set model.weights to its path"),
    "no such repository": ([status(401)], None, "answered 401, permission denied"),
    "truncated": ([Answer(body=SHORT, sent=20)], None, "failed 5 times, last with: .*resumes"),
    "HTML": ([Answer(body=b"<html>")], None, "not a file of weights .safetensors or torch.save"),
    "too large": ([Answer(body=SHORT, length="9" * 12)], None, "data.max_gigabytes allows 100,"),
    "short file": (hub_answers(SHORT), None, f"has no features.0.0.weight, which {SMALL} needs"),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_failed_download_is_one_line_and_keeps_the_earlier_weights(
    hub: Server, tmp_path: Path, kind: str
):
    hub.answers, sha256, message = FAILURES[kind]
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/old").touch()
    with pytest.raises(InputError, match=message) as caught:
        run(tmp_path, "imagenet", weights_sha256=sha256)
    assert f"127.0.0.1:{hub.server_port}{HUB_PATH}" in str(caught.value)
    assert "data.source" not in str(caught.value)
    assert [path.name for path in (tmp_path / "weights").iterdir()] == ["old"]
    kept = [path.stem for path in (tmp_path / "downloads").glob("*.safetensors")]
    assert kept == [sha256_of(SHORT)] * (kind == "short file")


def test_damaged_download_is_not_used_again(hub: Server, tmp_path: Path):
    state, data = published()
    flipped = data[:-1] + bytes([data[-1] ^ 1])
    hub.answers = [*hub_answers(data, flipped), *hub_answers(data)]
    with pytest.raises(InputError, match="but the server states"):
        run(tmp_path, "imagenet")
    require_equal(load_file(run(tmp_path, "imagenet") / ENCODER), state)
    assert hub.requests[3].get("Range") is None


def test_url_is_recorded_without_credentials(hub: Server, tmp_path: Path, capfd):
    state, data = published()
    hub.answers = [Answer(body=data)]
    url = f"http://127.0.0.1:{hub.server_port}/a.bin"
    out = run(tmp_path, f"{url.replace('//', '//alice:s3cret@')}?token=s3cret")
    require_equal(load_file(out / ENCODER), state)
    record = read_weights_record(out)
    assert (record.source, record.license) == (url, "not stated")
    assert record.repository is record.revision is None
    assert "s3cret" not in "".join(capfd.readouterr())


def test_weights_for_research_only_are_reported(hub: Server, tmp_path: Path, capsys):
    hub.answers = hub_answers(published("mit_b0")[1])
    out = run(tmp_path, "imagenet", "mit_b0")
    license_ = read_weights_record(out).license
    assert license_ is not None
    assert "research only" in license_
    untested, warning = capsys.readouterr().err.splitlines()
    assert untested.startswith("warning: encoder mit_b0 is untested; images are normalized with")
    assert warning == f"warning: weights of mit_b0: {license_}"


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        ("tu-resnet34", "an encoder of timm, whose weights have no fixed version; use an encoder"),
        ("resnet43", "there are no imagenet weights of an encoder resnet43; .* has resnet34"),
        ("resnext101_32x4d", r"use the URL of others \(ssl: https?:.*/b39796c8.*, swsl: http"),
    ],
)
def test_encoders_without_imagenet_weights_are_refused(tmp_path: Path, encoder: str, message: str):
    with pytest.raises(InputError, match=f"^model.weights: .*{message}"):
        run(tmp_path, "imagenet", encoder)


def test_missing_package_is_named(tmp_path: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(InputError, match=r"segmentation_models_pytorch is not .*-models.txt -c"):
        run(tmp_path, "imagenet")


def test_weights_of_torchvision_fit(tmp_path: Path, capsys):
    """Its published files are older than the counters of batch norms."""
    from torchvision.models import resnet18

    state = {n: t for n, t in resnet18().state_dict().items() if "num_batches" not in n}
    path = tmp_path / "resnet18.pth"
    torch.save(state, path)
    out = run(tmp_path, str(path), "resnet18")
    assert "100 of 102 tensors, left out 2 (fc.bias, fc.weight) of " in capsys.readouterr().out
    network = nn.ModuleDict({"encoder": new_encoder("resnet18")})
    load_encoder_weights(out, network)
    record = read_weights_record(out)
    assert (record.source, record.sha256) == (str(path), sha256_of(path.read_bytes()))
    loaded = network["encoder"].state_dict()
    assert loaded.keys() == load_file(out / ENCODER).keys()
    assert all(torch.equal(loaded[name], state[name]) for name in loaded.keys() & state.keys())


def test_training_starts_with_the_weights_and_records_them(tmp_path: Path):
    state, data = published()
    path = tmp_path / "encoder.safetensors"
    path.write_bytes(data)
    out = run(tmp_path, str(path))
    params, prepared = load_params(tmp_path / "params.yaml"), make_prepared(tmp_path)
    split = Split(train=prepared.train_ids()[:6], val=prepared.train_ids()[6:], test=[])
    model, options = params.model, (params.train, params.recipe, {}, None, out)
    trainer = build_trainer(prepared, split, model, *options)
    assert trainer.metadata.weights == read_weights_record(out)
    assert trainer.metadata.provenance.train["weights"] == sha256_of((out / ENCODER).read_bytes())
    require_equal(trainer.initial_state().network.encoder.state_dict(), state)
    other = model.model_copy(update={"encoder": "resnet34"})
    with pytest.raises(InputError, match=r"has weights of mobilenet_v2, but .* is resnet34; run"):
        build_trainer(prepared, split, other, *options)


def test_weights_of_another_encoder_are_not_loaded(tmp_path: Path):
    out = tmp_path / "weights"
    write_tensors(out / ENCODER, published()[0], {})
    with pytest.raises(InputError, match=r"encoder.safetensors: the weights do not fit"):
        load_encoder_weights(out, nn.ModuleDict({"encoder": nn.Linear(1, 1)}))


def test_encoder_of_a_whole_network_is_found(tmp_path: Path, capsys):
    state, _ = published()
    network = {f"module.encoder.{name}": tensor.double() for name, tensor in state.items()}
    network["module.decoder.blocks.0.weight"] = torch.ones(2)
    path = tmp_path / "network.pt"
    torch.save({"epoch": 3, "state_dict": network}, path)
    require_equal(load_file(run(tmp_path, str(path)) / ENCODER), state)
    assert "312 of 313 tensors (state_dict), left out 1 (decoder.bl" in capsys.readouterr().out


def test_tensors_may_share_memory(tmp_path: Path):
    norm, path = "features.0.1", tmp_path / "a.pth"
    both = torch.rand(32)
    state = {**published()[0], f"{norm}.weight": both, f"{norm}.bias": both}
    torch.save(state, path)
    require_equal(load_file(run(tmp_path, str(path)) / ENCODER), state)


def change(name: str, value: Tensor) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda state: {**state, name: value}


FIRST = "features.0.0.weight"
INVALID: dict[str, tuple[Callable[[dict[str, Tensor]], dict[str, Tensor]], str]] = {
    "another encoder": (
        lambda _: published("mit_b0")[0], rf"has no {FIRST}, which {SMALL} needs; set model.encoder"
    ),
    "another shape": (
        change(FIRST, torch.ones(64, 3, 7, 7)),
        rf"{FIRST} has shape 64x3x7x7, but 32x3x3x3 in this network; set model.encoder to",
    ),
    "a missing tensor": (
        lambda state: {n: t for n, t in state.items() if n != "features.18.1.bias"},
        f"has no features.18.1.bias, which {SMALL} needs",
    ),
    "another tensor": (change("blocks.9", torch.ones(1)), f"has blocks.9, but {SMALL} does not"),
    "not finite": (
        change(FIRST, torch.full((32, 3, 3, 3), torch.inf)), f"{FIRST} contains values that are not"
    ),
    "integers": (
        change(FIRST, torch.ones(32, 3, 3, 3, dtype=torch.int8)), f"{FIRST} is torch.int8"
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", INVALID)
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, kind: str):
    edit, message = INVALID[kind]
    path = tmp_path / "a.safetensors"
    save_file(edit(published()[0]), path)
    with pytest.raises(InputError, match=f"^{path}: {message}"):
        run(tmp_path, str(path))
    assert not (tmp_path / "weights").exists()


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
@pytest.mark.parametrize("size", [0, 5, 300, -1000])
def test_incomplete_file_is_refused(tmp_path: Path, suffix: str, size: int):
    path = tmp_path / f"a.{suffix}"
    if suffix == "pth":
        torch.save(published()[0], path)
    data = path.read_bytes() if suffix == "pth" else published()[1]
    path.write_bytes(data[:size])
    with pytest.raises(InputError, match=f"^{path}: not a file of weights"):
        run(tmp_path, str(path))


def test_missing_file_and_wrong_hash_of_a_file_are_refused(tmp_path: Path):
    path = tmp_path / "a.pth"
    with pytest.raises(InputError, match=f"^model.weights: {path}: no such file"):
        run(tmp_path, str(path))
    path.write_bytes(b"PK")
    with pytest.raises(InputError, match=f"^model.weights_sha256: {path} has the SHA-256 "):
        run(tmp_path, str(path), weights_sha256="0" * 64)
