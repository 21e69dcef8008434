"""`roadseg inspect` on a model of this working tree."""

import json
import os
import shutil
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
    trainer.metadata.provenance.code.update(source_blobs(ROOT / "stages/train.py"))
    run_training(trainer, folder)
    return folder / "best.safetensors"


def test_blob_id_equals_git_hash_object(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"what git hashes\n")
    command = ["git", "hash-object", str(tmp_path / "a")]
    expected = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert blob_id(tmp_path / "a") == expected


def test_import_closure_includes_imports_inside_functions():
    closure = import_closure(ROOT / "stages/check.py")
    assert {"stages/check.py", "src/roadseg/system/cli.py", "src/roadseg/config/schema.py"} <= set(
        closure
    )
    assert "src/roadseg/runtime/accelerator.py" in closure  # imported inside a function
    assert closure == sorted(closure)


def test_inspect_prints_everything_that_determines_the_weights(model: Path, capsys):
    main(["inspect", str(model)])
    text = capsys.readouterr().out
    for part in (
        "epoch       ",
        "recipe      augmentation.blur 0.0, augmentation.crop 1.0",
        "train       epochs 2, seed 3",
        "train data  pictures 6, sha256 ",
        "val data    pictures 2, sha256 ",
        "device cpu, precision fp32",
        "from_epoch 1, processor ",
        "versions    numpy ",
        "modules; ",
        "the working tree is identical",
        f"sha256      {file_sha256(model)}",
    ):
        assert part in text


def test_several_models_are_printed_one_after_the_other(model: Path, capsys):
    main(["inspect", str(model)])
    once = capsys.readouterr().out
    main(["inspect", str(model), str(model)])
    assert capsys.readouterr().out == 2 * once


def test_json_output_equals_the_metadata_of_the_file(model: Path, capsys):
    main(["inspect", str(model), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["provenance"]["train"] == {"seed": 3, "epochs": 2}
    assert found["machines"][0]["threads"] >= 1
    assert found["provenance"]["code"]["src/roadseg/provenance/source_code.py"] == blob_id(
        ROOT / "src/roadseg/provenance/source_code.py"
    )


def test_changed_modules_are_listed(model: Path, capsys, monkeypatch):
    monkeypatch.setattr(inspect, "blob_id", lambda p: "0" if p.name == "trainer.py" else blob_id(p))
    main(["inspect", str(model)])
    assert "the working tree differs in src/roadseg/training/trainer.py" in capsys.readouterr().out


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True)


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Blob ids after each of two commits to ROOT, which is a new repository."""
    folder = tmp_path / "repository"
    (folder / "src/roadseg").mkdir(parents=True)
    monkeypatch.setattr(inspect, "ROOT", folder)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    git(folder, "init", "-q")
    commits = []
    for text in ("first", "second"):
        (folder / "a.py").write_text(text)
        commits.append({"a.py": blob_id(folder / "a.py")})
        git(folder, "add", ".")
        git(folder, "commit", "-qm", text)
    return commits


def test_commit_with_the_modules_is_found(history: list[dict[str, str]]):
    for blobs, subject in zip(history, ("first", "second"), strict=True):
        assert inspect._find_commit(blobs).endswith(f"({subject})")
    assert inspect._code({"a.py": "0"}) == (
        "1 modules; no commit of this repository contains exactly these; "
        "the working tree differs in a.py"
    )


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        (
            "other owner",
            "git: fatal: detected dubious ownership in repository at '{root}' To add an exception "
            "for this directory, call: git config --global --add safe.directory {root}",
        ),
        ("no git", "git cannot be run (No such file or directory)"),
        ("no repository", "git: fatal: not a git repository (or any of the parent directories)"),
        ("damaged", "git: error: "),
    ],
)
def test_reason_is_printed_if_git_cannot_answer(
    history: list[dict[str, str]], monkeypatch: pytest.MonkeyPatch, problem: str, reason: str
):
    root = inspect.ROOT
    if problem == "other owner":
        if os.getuid() == 0:
            os.chown(root / ".git", 12345, 12345)
            os.chown(root, 12345, 12345)
        else:
            monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    elif problem == "no git":
        monkeypatch.setenv("PATH", str(root))
    elif problem == "no repository":
        shutil.rmtree(root / ".git")
    else:
        for path in (root / ".git/objects").glob("??/*"):
            path.chmod(0o600)
            path.write_bytes(b"damaged")
    text = inspect._code(history[1])
    assert text.startswith(f"1 modules; commit unknown: {reason.format(root=root)}")
    assert text.endswith("; the working tree is identical")


def test_shallow_clone_is_mentioned(
    history: list[dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "-q", "--depth=1", inspect.ROOT.as_uri(), str(shallow))
    (shallow / "src/roadseg").mkdir(parents=True)
    monkeypatch.setattr(inspect, "ROOT", shallow)
    text = inspect._code(history[0])
    assert "contains exactly these (a shallow clone: older commits are missing; git fetch" in text


def test_installed_package_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(inspect, "ROOT", tmp_path)
    assert inspect._code({"a.py": "0"}) == "1 modules"


def test_invalid_model_file_is_an_error_of_one_line(tmp_path: Path):
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
def test_invalid_metadata_is_an_error_of_one_line(model: Path, tmp_path: Path, changes: dict):
    path = write_changed_metadata(model, tmp_path / "a.safetensors", changes)
    with pytest.raises(InputError, match=r"a.safetensors: not a model of .*: \w+.*") as caught:
        main(["inspect", str(path)])
    assert next(iter(changes)) in str(caught.value)


def test_control_characters_in_metadata_are_escaped(model: Path, tmp_path: Path, capsys):
    changes = {"machines": [{"from_epoch": 1, "processor": "\x1b[2J\n"}]}
    main(["inspect", str(write_changed_metadata(model, tmp_path / "a.safetensors", changes))])
    lines = capsys.readouterr().out.splitlines()
    assert all(line.isprintable() for line in lines)
    assert any(line.endswith("processor \\x1b[2J\\n") for line in lines)


def write_changed_metadata(model: Path, path: Path, changes: dict) -> Path:
    """Write the model with changed metadata, which may be invalid."""
    metadata = json.loads(read_metadata(model, ModelMetadata).to_json())
    save_file(load_file(model), path, metadata={KEY: json.dumps({**metadata, **changes})})
    return path
