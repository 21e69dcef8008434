"""The command `roadseg`: its subcommands, its help, and the wheel that installs it."""

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


def test_optional_dependencies_and_setuptools_match_the_requirements():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    pins = {name: f"-{name}" for name in ("demo", "export", "models", "video")} | {"pipeline": ""}
    optional = project["project"]["optional-dependencies"]
    assert optional.keys() == pins.keys()
    for extra, suffix in pins.items():
        lines = (ROOT / f"requirements{suffix}.txt").read_text().splitlines()
        pinned = {line.split("==")[0] for line in lines if "==" in line}
        assert {dependency.split(">=")[0] for dependency in optional[extra]} <= pinned
    (setuptools,) = project["build-system"]["requires"]
    assert setuptools in (ROOT / "requirements.txt").read_text().splitlines()


def run(*command: object, cwd: Path) -> str:
    result = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.slow
def test_wheel_predicts_in_an_environment_without_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source, environment, work = (tmp_path / name for name in ("source", "environment", "work"))
    work.mkdir()
    copy_working_tree(source)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    options = ("--no-deps", "--no-build-isolation", "--wheel-dir", work)
    run(*pip, "wheel", *options, ".", cwd=source)
    (wheel,) = work.glob("*.whl")
    page = "roadseg/commands/demo/page.html"
    run(sys.executable, "-m", "venv", "--without-pip", environment, cwd=work)
    python = environment / "bin/python"
    (installed,) = environment.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read(page) == (ROOT / "src" / page).read_bytes()
        archive.extractall(installed)  # as pip does, which then writes the script
    # Python reads the .pth files of this directory only, so no editable install is found.
    dependencies = [path for path in sys.path if path.endswith("site-packages")]
    (installed / "dependencies.pth").write_text("\n".join(dependencies))
    found = run(python, "-c", "import roadseg; print(roadseg.__file__)", cwd=work)
    assert Path(found.strip()) == installed / "roadseg/__init__.py"

    save_model(work / "a.safetensors")
    Image.fromarray(make_striped_pair(40, 60, shift=1)[0]).save(work / "image.png")
    options = ("image.png", "--model", "a.safetensors", "--device", "cpu")
    output = run(python, "-c", SCRIPT, "predict", *options, "--out", "out", cwd=work)
    assert output.startswith("predict: 1 images by a.safetensors on cpu, in out\n")
    monkeypatch.chdir(work)
    main(["predict", *options, "--out", "expected"])
    for name in ("color/image.png", "label_ids/image.png"):
        label_ids, expected = (np.asarray(Image.open(work / d / name)) for d in ("out", "expected"))
        assert label_ids.shape[:2] == (40, 60)
        assert (label_ids == expected).all()
