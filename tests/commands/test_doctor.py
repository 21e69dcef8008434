"""`roadseg doctor`: one line per finding, with the command that fixes it."""

import shutil
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

from roadseg.commands import doctor
from roadseg.commands.main import main
from roadseg.runtime import accelerator
from roadseg.system.errors import InputError

REQUIRES = [
    "numpy>=2",
    "torch>=2.9",
    'av>=18; extra == "video"',
    'uvicorn>=0.34; extra == "demo"',
    'starlette>=0.45; extra == "demo"',
]
VERSIONS = {"roadseg": "1.2", "numpy": "2.4", "torch": "2.14.1+cpu", "av": "18.1", "dvc": "3.67.1"}


@pytest.fixture
def versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Installed packages, which the test may change; the working directory is empty."""
    found = dict(VERSIONS)

    def version(package: str) -> str:
        if package not in found:
            raise metadata.PackageNotFoundError(package)
        return found[package]

    class Metadata:
        def get_all(self, key: str) -> list[str]:
            assert key == "Provides-Extra"
            return ["video", "demo"]

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(metadata, "requires", lambda package: REQUIRES)
    monkeypatch.setattr(metadata, "metadata", lambda package: Metadata())
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.chdir(tmp_path)
    return found


def report(capsys) -> dict[str, tuple[str, str]]:
    """Run the command; return state and text of each line by its item."""
    main(["doctor"])
    return lines(capsys)


def lines(capsys) -> dict[str, tuple[str, str]]:
    rows = [line.split(None, 2) for line in capsys.readouterr().out.splitlines()]
    return {item: (state, text) for state, item, text in rows}


def make_project(folder: Path, requirements: str = "numpy==2.4\n") -> None:
    for name in ("stages", ".dvc", ".git"):
        (folder / name).mkdir()
    (folder / "dvc.yaml").touch()
    (folder / "requirements.txt").write_text(requirements)


def test_outside_of_a_project_the_pipeline_is_optional(versions, capsys, monkeypatch):
    del versions["dvc"]
    monkeypatch.setattr(shutil, "which", lambda name: None)
    found = report(capsys)
    assert found["roadseg"] == ("ok", "1.2 with the packages it needs")
    install = "install git with the package manager of this system"
    assert found["git"] == ("optional", f"not installed; run: {install}")
    assert found["DVC"] == ("optional", 'not installed; run: pip install "roadseg[pipeline]"')
    assert "project" not in found
    assert found["[video]"] == ("ok", "installed")
    assert found["[demo]"] == (
        "optional",
        'lacks uvicorn>=0.34, starlette>=0.45; run: pip install "roadseg[demo]"',
    )


def test_in_a_project_dvc_and_git_are_necessary(versions, tmp_path: Path, capsys, monkeypatch):
    make_project(tmp_path)
    assert report(capsys)["project"] == ("ok", str(tmp_path))
    del versions["dvc"]
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "git" else f"/bin/{name}")
    (tmp_path / ".git").rmdir()
    with pytest.raises(InputError, match="needed: DVC, git, project"):
        main(["doctor"])
    found = lines(capsys)
    pip = "pip install -r requirements.txt -c constraints.txt"
    assert found["DVC"] == ("missing", f"not installed; run: {pip}")
    assert found["git"] == ("missing", "not installed; run: sudo apt-get install git")
    assert found["project"] == (
        "missing",
        "not a Git repository; run: git init && git add --all",
    )


def test_torch_that_cannot_be_imported_is_missing(versions, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match="not as needed: torch"):
        main(["doctor"])
    found = lines(capsys)
    assert found["torch"][0] == "missing"
    assert found["torch"][1].endswith('; run: pip install "torch"')
    assert "device" not in found


def test_a_package_that_is_missing_or_too_old_has_its_own_command(versions, capsys):
    versions["numpy"] = "1.26"
    del versions["torch"]
    with pytest.raises(InputError, match="roadseg"):
        main(["doctor"])
    assert lines(capsys)["roadseg"] == (
        "missing",
        '1.2 lacks numpy>=2, torch>=2.9; run: pip install "numpy>=2" "torch>=2.9"',
    )


@pytest.mark.parametrize(
    ("requirements", "expected"),
    [
        (
            b"# comment\n-r b.txt\nnumpy==2.4\ntorch==2.14.1\n",
            "2 packages as in requirements.txt",
        ),
        (b"numpy==2.5\nonnx==1.23\n", "numpy 2.4 (pinned: 2.5), onnx none (pinned: 1.23)"),
        (b"\xff==\xfe\n==\nnumpy==\n", "0 packages as in requirements.txt"),
    ],
)
def test_pins_are_compared_without_the_build_of_torch(
    requirements: bytes, expected: str, versions, tmp_path: Path, capsys
):
    make_project(tmp_path)
    (tmp_path / "requirements.txt").write_bytes(requirements)
    state, text = report(capsys)["pins"]
    fix = "; run: pip install -r requirements.txt -c constraints.txt"
    assert (state, text) == (
        ("optional", expected + fix) if "pinned:" in expected else ("ok", expected)
    )


def test_another_environment_than_that_of_the_project_is_reported(versions, tmp_path, capsys):
    make_project(tmp_path)
    assert "environment" not in report(capsys)
    (tmp_path / ".venv").mkdir()
    assert report(capsys)["environment"] == (
        "optional",
        "not .venv of this project; run: source .venv/bin/activate",
    )


@pytest.mark.parametrize(
    ("cuda", "advice"), [(None, "install the CUDA build"), ("13.0", "update its driver")]
)
def test_a_gpu_that_torch_does_not_see_is_reported(
    cuda: str | None, advice: str, versions, capsys, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(doctor, "_has_nvidia_gpu", lambda: True)
    found = report(capsys)
    assert found["torch"][1].endswith(f", {f'CUDA {cuda}' if cuda else 'CPU'} build")
    assert (
        found["device"][1].split("; ")[1].startswith(f"torch does not see the NVIDIA GPU: {advice}")
    )


def test_a_device_that_fails_is_reported(versions, capsys, monkeypatch):
    def fail(*arguments: str) -> None:
        raise RuntimeError("CUDA error: no kernel image is available")

    monkeypatch.setattr(accelerator, "select_accelerator", fail)
    with pytest.raises(InputError, match="not as needed: device"):
        main(["doctor"])
    advice = "update the driver of the GPU, or use --device cpu"
    assert lines(capsys)["device"] == (
        "missing",
        f"CUDA error: no kernel image is available; {advice}",
    )


def test_little_memory_and_disk_are_reported(versions, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "available_bytes", lambda: 1 << 30)
    usage = shutil.disk_usage(".")._replace(free=1 << 29)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    found = report(capsys)
    assert found["memory"][1].startswith("1.0 of ")
    assert found["disk"][1].startswith("0.5 GiB free in ")
    assert [found[item][0] for item in ("memory", "disk")] == ["optional", "optional"]


@pytest.mark.parametrize(
    ("platform", "programs", "expected"),
    [
        ("darwin", [], "xcode-select --install"),
        ("win32", [], "winget install Git.Git"),
        ("linux", ["sudo", "apt-get"], "sudo apt-get install git"),
        ("linux", ["apk"], "apk add git"),  # a container, as root
        ("linux", [], "install git with the package manager of this system"),
    ],
)
def test_install_command_is_that_of_the_system(
    platform: str, programs: list[str], expected: str, monkeypatch
):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(shutil, "which", lambda name: name if name in programs else None)
    assert doctor.install_command("git") == expected
