"""The command `roadseg`: its subcommands, its help, and the wheel that installs it."""

import ast
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from roadseg.commands.main import SUBCOMMANDS, VERSION, main
from roadseg.provenance.source_code import import_closure
from roadseg.system.errors import InputError
from tests.dvc_repository import copy_working_tree
from tests.factories import ROOT, make_striped_pair, save_model

SLOW_IMPORTS = ("torch", "numpy", "pandas", "matplotlib")
HELP = f"""
import sys
from roadseg.commands.main import main
try:
    main(sys.argv[1:])
finally:
    print("imported:", *({set(SLOW_IMPORTS)} & sys.modules.keys()))
"""


SCRIPT = """
import sys
from importlib.metadata import entry_points
(script,) = entry_points(group="console_scripts", name="roadseg")
sys.exit(script.load()())
"""
"""The command that pip writes for the entry point."""


def test_general_help_lists_each_command_with_one_line(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    for name, subcommand in SUBCOMMANDS.items():
        assert [line.split(None, 1) for line in lines].count([name, subcommand.help]) == 1
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("arguments", [[], *([name] for name in SUBCOMMANDS)])
def test_help_imports_no_slow_package(arguments: list[str]):
    command = [sys.executable, "-c", HELP, *arguments, "--help"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    usage, *_, imported = result.stdout.splitlines()
    assert usage.startswith(" ".join(["usage: roadseg", *arguments]))
    assert imported == "imported:"


def test_unknown_command_is_an_error_that_lists_the_commands(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["predcit", "--out", "x"])
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("roadseg: error: argument COMMAND: invalid choice: 'predcit'")
    assert all(name in error for name in SUBCOMMANDS)


def test_version_is_printed_and_a_missing_command_is_an_error(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"roadseg {VERSION}\n"
    for arguments in ([], ["--unknown"]):
        with pytest.raises(SystemExit, match="2"):
            main(arguments)
        assert "arguments are required: COMMAND" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "package", "requirements"),
    [
        ("demo", "uvicorn", "requirements-demo.txt"),
        ("experiments", "matplotlib", "requirements.txt"),
    ],
)
def test_missing_optional_package_is_an_error_with_the_install_command(
    name: str, package: str, requirements: str
):
    with mock.patch.dict(sys.modules):
        for module in list(sys.modules):
            if module.split(".")[0] == package or module.startswith("roadseg."):
                del sys.modules[module]
        sys.modules[package] = None
        with pytest.raises(InputError) as caught:
            main([name])
    extra = SUBCOMMANDS[name].extra
    assert str(caught.value) == (
        f'the package {package} is not installed; run: pip install "roadseg[{extra}]", or in the '
        f"repository: pip install -r {requirements} -c constraints.txt"
    )


def pinned(suffix: str) -> set[str]:
    """Packages that a requirements file pins."""
    lines = (ROOT / f"requirements{suffix}.txt").read_text().splitlines()
    return {line.split("==")[0] for line in lines if "==" in line}


def names(requirements: list[str]) -> set[str]:
    return {requirement.split(">=")[0] for requirement in requirements}


def test_dependencies_and_setuptools_match_the_requirements():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    files = {name: f"-{name}" for name in ("demo", "export", "models", "video")} | {"pipeline": ""}
    optional = project["project"]["optional-dependencies"]
    assert optional.keys() == files.keys()
    for extra, suffix in files.items():
        assert names(optional[extra]) <= pinned(suffix)
    (setuptools,) = project["build-system"]["requires"]
    assert setuptools in (ROOT / "requirements.txt").read_text().splitlines()
    base = names(project["project"]["dependencies"])
    assert base | names(optional["pipeline"]) | {"setuptools"} == pinned("")


def test_commands_without_an_extra_import_what_the_base_installation_has():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    parts = {
        "PIL": "pillow",
        "ruamel": "ruamel.yaml",
        "pydantic_core": "pydantic",
        "urllib3": "requests",
        "llvmlite": "numba",
        "charset_normalizer": "charset-normalizer",
    }
    modules = {
        name
        for subcommand in SUBCOMMANDS.values()
        if not subcommand.extra
        for name in import_closure(ROOT / f"src/{subcommand.module.replace('.', '/')}.py")
    }
    imported = set()
    for module in modules:
        for node in ast.parse((ROOT / module).read_text()).body:  # not inside functions
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(str(node.module).split(".")[0])
    imported -= {*sys.stdlib_module_names, "roadseg", "streetscenes", "winograd"}
    late = {"av"}  # predict imports the video modules late, and names their extra
    packages = {parts.get(name, name) for name in imported - late}
    imported_late = {"packaging", "pycocotools"}
    assert packages | imported_late == names(project["dependencies"])


def run(*command: object, cwd: Path, **environment: str) -> str:
    result = subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment in which the wheel is installed, and no other copy is found."""
    folder = tmp_path_factory.mktemp("wheel")
    source, environment = folder / "source", folder / "environment"
    copy_working_tree(source)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    options = ("--no-deps", "--no-build-isolation", "--wheel-dir", folder)
    run(*pip, "wheel", *options, ".", cwd=source)
    (wheel,) = folder.glob("*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=folder)
    (installed,) = environment.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)  # as pip does, which then writes the script
    # Python reads the .pth files of this directory only, so no editable install is found.
    dependencies = [path for path in sys.path if path.endswith("site-packages")]
    (installed / "dependencies.pth").write_text("\n".join(dependencies))
    found = run(
        environment / "bin/python", "-c", "import roadseg; print(*roadseg.__path__)", cwd=folder
    )
    assert Path(found.strip()) == installed / "roadseg"
    return environment / "bin/python"


@pytest.mark.slow
def test_wheel_predicts_without_the_repository(
    python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    save_model(Path("a.safetensors"))
    Image.fromarray(make_striped_pair(40, 60, shift=1)[0]).save("image.png")
    options = ("image.png", "--model", "a.safetensors", "--device", "cpu")
    output = run(python, "-c", SCRIPT, "predict", *options, "--out", "out", cwd=tmp_path)
    assert output.startswith("predict: 1 images by a.safetensors on cpu, in out\n")
    main(["predict", *options, "--out", "expected"])
    for name in ("color/image.png", "label_ids/image.png"):
        label_ids, expected = (np.asarray(Image.open(Path(d, name))) for d in ("out", "expected"))
        assert label_ids.shape[:2] == (40, 60)
        assert (label_ids == expected).all()


@pytest.mark.slow
def test_wheel_creates_the_same_project_as_the_repository(python: Path, tmp_path: Path):
    output = run(python, "-c", SCRIPT, "new", "wheel", cwd=tmp_path, PATH="")
    assert output.startswith("new: created wheel with ")
    main(["new", str(tmp_path / "repository")])
    shutil.rmtree(tmp_path / "repository/.git")  # PATH was empty
    (tmp_path / "repository/src/winograd/README.md").unlink()  # documentation
    found, expected = (
        {
            path.relative_to(folder): (path.read_bytes(), path.stat().st_mode)
            for path in folder.rglob("*")
            if path.is_file()
        }
        for folder in (tmp_path / "wheel", tmp_path / "repository")
    )
    assert found.keys() == expected.keys()
    assert [name for name in found if found[name] != expected[name]] == []
