"""`roadseg inspect` on a model of this working tree."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from roadseg.commands import inspect
from roadseg.commands.main import main
from roadseg.provenance.model_metadata import KEY, ModelMetadata, read_metadata
from roadseg.provenance.source_code import blob_id, import_closure, source_blobs
from roadseg.system.errors import InputError
from roadseg.system.files import file_sha256
from tests.factories import ROOT, make_params, make_prepared, make_trainer, run_training


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    prepared = make_prepared(folder / "cached")
    trainer = make_trainer(prepared, make_params(folder, seed=3))
    trainer.provenance.code.update(source_blobs(ROOT / "stages/train.py"))
    run_training(trainer, folder)
    return folder / "best.safetensors"


def test_a_blob_id_is_gits(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"what git hashes\n")
    command = ["git", "hash-object", str(tmp_path / "a")]
    expected = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert blob_id(tmp_path / "a") == expected


def test_the_closure_has_what_is_imported_anywhere():
    closure = import_closure(ROOT / "stages/check.py")
    assert {"stages/check.py", "src/roadseg/system/cli.py", "src/roadseg/config/schema.py"} <= set(
        closure
    )
    assert "src/roadseg/runtime/accelerator.py" in closure  # imported inside a function
    assert closure == sorted(closure)


def test_it_tells_everything_that_decides_the_weights(model: Path, capsys):
    main(["inspect", str(model)])
    text = capsys.readouterr().out
    for part in (
        "epoch       ",
        "recipe      batch_size 2, class_weights sqrt",
        "train       epochs 2, seed 3",
        "train data  pictures 6, sha256 ",
        "val data    pictures 2, sha256 ",
        "device cpu, precision fp32",
        "from_epoch 1, processor ",
        "versions    numpy ",
        "modules; ",
        "the working tree's",
        f"sha256      {file_sha256(model)}",
    ):
        assert part in text


def test_json_is_what_the_file_holds(model: Path, capsys):
    main(["inspect", str(model), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["provenance"]["train"] == {"seed": 3, "epochs": 2}
    assert found["machines"][0]["threads"] >= 1
    assert found["provenance"]["code"]["src/roadseg/provenance/source_code.py"] == blob_id(
        ROOT / "src/roadseg/provenance/source_code.py"
    )


def test_code_that_has_changed_is_named(model: Path, capsys, monkeypatch):
    monkeypatch.setattr(inspect, "blob_id", lambda p: "0" if p.name == "trainer.py" else blob_id(p))
    main(["inspect", str(model)])
    assert "the working tree differs in src/roadseg/training/trainer.py" in capsys.readouterr().out


def test_the_commit_with_that_code_is_found(tmp_path: Path, monkeypatch):
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True)

    monkeypatch.setattr(inspect, "ROOT", tmp_path)
    assert inspect._commit_with({"a.py": "0"}) is None  # no repository
    git("init", "-q")
    blobs = []
    for text in ("first", "second"):
        (tmp_path / "a.py").write_text(text)
        blobs.append(blob_id(tmp_path / "a.py"))
        git("add", ".")
        git("commit", "-qm", text)
    for blob, text in zip(blobs, ("first", "second"), strict=True):
        assert inspect._commit_with({"a.py": blob}).endswith(f"({text})")
    assert inspect._commit_with({"a.py": "0"}) is None


def test_what_is_no_model_is_one_line(tmp_path: Path):
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    command = [sys.executable, "-m", "roadseg", "inspect", str(tmp_path / "a.safetensors")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: {tmp_path}/a.safetensors: damaged or not a safe")
    assert result.stderr.count("\n") == 1
    with pytest.raises(InputError, match="no such model"):
        main(["inspect", str(tmp_path / "none.safetensors")])


@pytest.mark.parametrize(
    "changes",
    [
        {"provenance": None},
        {"provenance": {}},
        {"provenance": {"recipe": 1}},
        {"machines": [1]},
        {"machines": [{"processor": "one"}]},
        {"epoch": None},
        {"val_miou": "\x1b[2J"},
        {"provenance": ["recipe"]},
    ],
)
def test_a_model_that_does_not_say_it_is_one_line(model: Path, tmp_path: Path, changes: dict):
    path = changed(model, tmp_path / "a.safetensors", changes)
    with pytest.raises(InputError, match=r"a.safetensors: not a model of .*: \w+.*") as caught:
        main(["inspect", str(path)])
    assert next(iter(changes)) in str(caught.value)


def test_what_a_file_says_cannot_write_on_the_terminal(model: Path, tmp_path: Path, capsys):
    changes = {"machines": [{"from_epoch": 1, "processor": "\x1b[2J\n"}]}
    main(["inspect", str(changed(model, tmp_path / "a.safetensors", changes))])
    lines = capsys.readouterr().out.splitlines()
    assert all(line.isprintable() for line in lines)
    assert any(line.endswith("processor \\x1b[2J\\n") for line in lines)


def changed(model: Path, path: Path, changes: dict) -> Path:
    """The model with other metadata, which `save_weights` need not take."""
    metadata = json.loads(read_metadata(model, ModelMetadata).to_json())
    save_file(load_file(model), path, metadata={KEY: json.dumps({**metadata, **changes})})
    return path
