"""`roadseg new`: a project with all files that the pipeline needs, or nothing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from roadseg.commands.main import main
from roadseg.commands.new import project_files
from roadseg.config.schema import read_yaml
from roadseg.experiments import git
from roadseg.system.errors import InputError
from tests.factories import ROOT


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parent") / "my project"
    main(["new", str(folder)])
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """Content of the files in `folder` by relative path, without caches and Git's own files."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not {".git", "__pycache__"} & set(path.parts)
    }


def test_project_has_the_code_and_data_that_the_stages_depend_on(project: Path):
    code = ("src/", "stages/", "classes", "splits")
    for stage in read_yaml(project / "dvc.yaml")["stages"].values():
        for dep in stage["deps"]:
            if dep.startswith(code):
                path = ROOT / dep
                expected = path.read_bytes() if path.is_file() else files(path)
                assert expected
                copy = project / dep
                assert (copy.read_bytes() if path.is_file() else files(copy)) == expected


def test_project_has_no_results_and_no_tests(project: Path):
    found = files(project)
    written = {
        name for name in found if name.startswith(("metrics/", "plots/", "models/", "data/"))
    }
    assert written == {
        "metrics/test.json",
        "plots/test/confusion.csv",
        "plots/test/per_class.csv",
        "plots/test/predictions/none.json",
    }
    for name in written:
        assert found[name].count(b"\n") == 1
        if name.endswith(".csv"):  # the columns are those that `make final` writes
            assert found[name] in (ROOT / name).read_bytes()
    top = {name.split("/")[0] for name in found}
    assert not {"dvc.lock", "development.mk", "tests", "benchmarks", "requirements-dev.txt"} & top
    assert found["params.yaml"] == (ROOT / "params.yaml").read_bytes()
    assert found["README.md"].startswith(b"# Road scene segmentation\n")


@pytest.mark.skipif(sys.platform == "win32", reason="the Makefile needs a Unix shell")
def test_every_make_target_of_the_project_has_its_files(project: Path):
    make = ["make", "--no-print-directory"]  # which a make that runs the tests would print
    listed = subprocess.run([*make, "help"], cwd=project, capture_output=True, text=True)
    targets = [line.split()[0] for line in listed.stdout.splitlines()]
    assert {"repro", "final", "demo"} <= set(targets)
    assert not {"test", "bench", "gpu", "fuzz", "lint"} & set(targets)
    for target in targets:
        plan = subprocess.run(
            [*make, "--dry-run", target], cwd=project, capture_output=True, text=True
        )
        assert (plan.returncode, plan.stderr) == (0, ""), target


def test_git_tracks_every_file_of_the_project(project: Path):
    command = ["git", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True).stdout
    assert set(listed.split("\0")[:-1]) == set(files(project))
    if sys.platform != "win32":
        assert os.access(project / "stages/python", os.X_OK)


def test_an_empty_directory_is_used_and_the_next_commands_are_printed(
    tmp_path: Path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my project").mkdir()
    main(["new", "my project"])
    output = capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["my project"]
    count = len(files(tmp_path / "my project"))
    assert output == (
        f"new: created my project with {count} files\n"
        "new: next, run:\n"
        "  cd 'my project'\n"
        '  git commit -m "New project"\n'
        "  make repro\n"
    )


def test_without_git_the_project_is_created_and_the_commands_are_printed(
    tmp_path: Path, capsys, monkeypatch
):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.chdir(tmp_path)
    main(["new", "a"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == (
        "new: DVC needs git, which is not installed; run: install git with the package manager of "
        "this system"
    )
    assert lines[3:] == [
        "  cd a",
        "  git init",
        "  git add --all",
        '  git commit -m "New project"',
        "  make repro",
    ]
    assert not (tmp_path / "a/.git").exists()
    assert (tmp_path / "a/dvc.yaml").is_file()


@pytest.mark.parametrize("kind", ["file", "filled", "link"])
def test_an_existing_path_is_refused_and_unchanged(kind: str, tmp_path: Path):
    target = tmp_path / "a"
    if kind == "file":
        target.write_text("mine")
    elif kind == "filled":
        target.mkdir()
        (target / "b").write_text("mine")
    else:
        target.symlink_to(tmp_path / "elsewhere")
    before = (list(tmp_path.rglob("*")), files(tmp_path))
    with pytest.raises(InputError) as caught:
        main(["new", str(target)])
    assert str(caught.value) == (
        f"{target}: exists and is not an empty directory; choose a new name"
    )
    assert (list(tmp_path.rglob("*")), files(tmp_path)) == before


def test_the_working_directory_is_refused(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^\.: is the working directory; run: cd \.\. && "):
        main(["new", "."])
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch):
    def fail(*arguments: str, folder: Path) -> None:
        assert (folder / "dvc.yaml").is_file()
        raise InputError("git init: disk full")

    monkeypatch.setattr(git, "run_git", fail)
    with pytest.raises(InputError, match="git init: disk full"):
        main(["new", str(tmp_path / "a")])
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_the_build_lacks_is_an_error_with_its_name(project: Path, tmp_path: Path):
    incomplete = shutil.copytree(project, tmp_path / "a")
    (incomplete / ".dvc/config").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        project_files.project_files(incomplete)
    assert caught.value.filename == str(incomplete / ".dvc/config")


def test_a_project_creates_the_same_project_again(project: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(project_files, "PACKAGES", project / "src")
    names = project_files.project_files(project_files.project_root())
    written = ("src/", "metrics/", "plots/", "README.md")  # from elsewhere
    assert {path.as_posix() for path in names} == {
        name for name in files(project) if not name.startswith(written)
    }
