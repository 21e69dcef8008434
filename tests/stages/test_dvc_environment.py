import subprocess
import sys
from pathlib import Path

import pytest

from tests.dvc_repository import create_repository, environment
from tests.factories import ROOT

BASE_PYTHON = Path(sys._base_executable)  # without the packages of the environment
SYSTEM_PATH = "/usr/bin:/bin"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = create_repository(tmp_path_factory.mktemp("dvc") / "repository")
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


@pytest.mark.parametrize("is_python_on_path", [False, True])
def test_dvc_of_an_environment_that_is_not_active_uses_its_python(
    repository: Path, tmp_path: Path, is_python_on_path: bool
):
    if is_python_on_path:
        (tmp_path / "python").symlink_to(BASE_PYTHON)
    variables = {**environment(), "PATH": f"{tmp_path}:{SYSTEM_PATH}"}
    command = [".venv/bin/dvc", "repro", "--force", "check"]
    result = subprocess.run(
        command, cwd=repository, env=variables, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "check: params.yaml is valid" in result.stdout


def test_python_without_the_packages_prints_how_to_activate_the_environment():
    command = [sys.executable, "-S", "-m", "stages.check", "--help"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr == (
        f"error: {sys.executable} lacks the packages of this project; activate its environment: "
        "source .venv/bin/activate\n"
    )
