"""Comparison of two dvc.lock files, and the copy in which the commit is rerun."""

import copy
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from roadseg.commands.main import main
from roadseg.commands.verify import format_rows
from roadseg.experiments import verification
from roadseg.experiments.lock_file import read_lock
from roadseg.experiments.revisions import hash_files_at_revision
from roadseg.experiments.verification import (
    compare_locks,
    copy_commit,
    find_first_difference,
)
from roadseg.prepare.layout import TRAIN_MASKS
from roadseg.system.errors import InputError
from tests.dvc_repository import commit, create_repository, succeeds
from tests.factories import write_images, write_params


def stage(outs: dict[str, str], deps: dict[str, str], params: dict[str, Any]) -> dict[str, Any]:
    return {
        "cmd": "python",
        "deps": [{"path": path, "md5": md5} for path, md5 in deps.items()],
        "params": {"params.yaml": params},
        "outs": [{"path": path, "md5": md5} for path, md5 in outs.items()],
    }


LOCK = {
    "stages": {
        "fetch": stage({"data/raw": "1.dir"}, {"src/fetch.py": "2"}, {"data": {"source": "x"}}),
        "train": stage(
            {"models/best.safetensors": "3", "metrics/train.json": "4"},
            {"data/raw": "1.dir", "src/train.py": "5"},
            {"train.epochs": 7},
        ),
        "card": stage({"models/README.md": "6"}, {"metrics": "7.dir"}, {}),
    }
}


def change_output(lock: dict[str, Any], name: str, path: str) -> None:
    (out,) = (out for out in lock["stages"][name]["outs"] if out["path"] == path)
    out["md5"] = "changed"


@pytest.fixture
def new() -> dict[str, Any]:
    return copy.deepcopy(LOCK)


def test_equal_locks_have_identical_outputs_and_no_inputs(new: dict[str, Any]):
    rows = compare_locks(LOCK, new)
    assert [line.split() for line in format_rows(rows)] == [
        ["stage", "output", "result"],
        ["fetch", "data/raw", "identical"],
        ["train", "models/best.safetensors", "identical"],
        ["train", "metrics/train.json", "identical"],
        ["card", "models/README.md", "identical"],
    ]
    assert find_first_difference(rows) is None


def test_changed_data_are_the_first_difference(new: dict[str, Any]):
    change_output(new, "fetch", "data/raw")
    change_output(new, "train", "metrics/train.json")
    new["stages"]["train"]["deps"][0]["md5"] = "changed"
    rows = compare_locks(LOCK, new)
    assert [row.name for row in rows if row.difference] == ["data/raw", "metrics/train.json"]
    assert find_first_difference(rows) == (
        "first stage that differs: fetch (data/raw); its code and parameters are the same, so the "
        "data of data.source have changed"
    )


def test_equal_inputs_with_another_model_point_to_the_machine(new: dict[str, Any]):
    change_output(new, "train", "models/best.safetensors")
    problem = find_first_difference(compare_locks(LOCK, new))
    assert problem is not None
    assert problem.startswith("first stage that differs: train (models/best.safetensors); its ")
    assert "the processor, the number of threads or the version of a package" in problem


def test_numbers_that_were_measured_again_are_the_cause(new: dict[str, Any]):
    plan = stage({"data/plan.json": "8"}, {}, {"train.minutes": 10})
    new["stages"] = {"plan": copy.deepcopy(plan), **new["stages"]}
    change_output(new, "plan", "data/plan.json")
    committed = {"stages": {**LOCK["stages"], "plan": plan}}
    assert find_first_difference(compare_locks(committed, new)) == (
        "first stage that differs: plan (data/plan.json); train.minutes or batch_size: auto was "
        "measured again; commit the measured numbers"
    )


def test_changed_code_and_parameters_are_reported_before_the_outputs(new: dict[str, Any]):
    train = new["stages"]["train"]
    train["deps"][1]["md5"] = "changed"
    train["params"]["params.yaml"] = {"train.epochs": 8, "train.new": 1}
    change_output(new, "train", "metrics/train.json")
    new["stages"]["card"]["deps"][0]["md5"] = "changed"  # contains an output of train
    rows = compare_locks(LOCK, new)
    assert [(row.name, str(row.difference)) for row in rows if row.difference] == [
        ("inputs", "different (train.epochs, train.new, src/train.py)"),
        ("metrics/train.json", "different"),
    ]
    problem = find_first_difference(rows)
    assert problem is not None
    assert problem.startswith(
        "first stage that differs: train (inputs: train.epochs, train.new, src/train.py); first "
        "output: metrics/train.json; dvc.lock was committed with other inputs"
    )
    new["stages"]["train"]["outs"] = LOCK["stages"]["train"]["outs"]
    assert "; all outputs are identical; " in str(find_first_difference(compare_locks(LOCK, new)))


def test_stage_that_has_not_run_is_reported_as_that(new: dict[str, Any]):
    del new["stages"]["train"]["outs"][1], new["stages"]["card"]
    rows = compare_locks(LOCK, new)
    assert format_rows(rows)[-2:] == [
        "train  metrics/train.json       different (not written by this run)",
        "card   models/README.md         different (not written by this run)",
    ]
    problem = find_first_difference(rows)
    assert problem is not None
    assert problem.endswith("the stage did not run or failed; see its message above")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository in a folder of its own, with params.yaml and dvc.lock; no DVC."""
    folder = tmp_path / "parent/repository"
    folder.mkdir(parents=True)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.chdir(folder)
    write_params(folder / "params.yaml", data__source="../own")
    (folder / "dvc.lock").write_text("stages: {}\n")
    commit(folder, "start")
    return folder


def test_copy_has_the_committed_files_and_links_to_relative_data(repository: Path, tmp_path: Path):
    (repository.parent / "own").mkdir()
    (repository / "dvc.lock").write_text("edited")
    (repository / "result").touch()
    with copy_commit("HEAD") as folder:
        assert (folder / "dvc.lock").read_text() == "stages: {}\n"
        assert not (folder / "result").exists()
        assert (folder / "../own").resolve() == repository.parent / "own"
        assert folder.is_relative_to(tmp_path / "temporary")
    assert list((tmp_path / "temporary").iterdir()) == []
    assert (repository.parent / "own").is_dir()


def test_commit_without_a_lock_and_folder_without_git_are_errors(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (repository / "dvc.lock").unlink()
    commit(repository, "no lock")
    with pytest.raises(InputError, match=r"^dvc.lock is not in commit [0-9a-f]{7}; run dvc repro"):
        main(["verify"])
    (repository / "docs").mkdir()
    monkeypatch.chdir(repository / "docs")
    with pytest.raises(InputError, match=r"^this is not the root of the Git .* cd \.\./$"):
        main(["verify"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^git rev-parse: .*not a git repository"):
        main(["verify"])


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "1", "a: [", "<<<<<<< HEAD\n", "\0", "schema: '2.0'\nstages: 1"),
        "schema: '2.0'\nstages: {a: {}}",
        "schema: '2.0'\nstages: {a: {cmd: x, outs: [{md5: '1'}]}}",
        "schema: '2.0'\nstages: {a: {cmd: x, params: {params.yaml: {1: 2}}}}",
    ],
)
def test_lock_that_dvc_would_refuse_is_one_line(tmp_path: Path, text: str):
    (tmp_path / "dvc.lock").write_text(text)
    with pytest.raises(InputError, match=r"dvc.lock: not a lock file of DVC: .*; restore it with"):
        read_lock(tmp_path / "dvc.lock")


def test_errors_name_files_as_in_the_repository_and_no_link_leaves_the_copy(
    repository: Path, tmp_path: Path
):
    with pytest.raises(InputError, match=r"^dvc.lock: not a lock file of DVC: required key"):
        main(["verify"])
    outside = "/".join([".."] * len(repository.parts)) + str(tmp_path / "own")
    (tmp_path / "own").mkdir()
    write_params(repository / "params.yaml", data__source=outside)
    commit(repository, "outside")
    with copy_commit("HEAD"):
        assert [path.name for path in (tmp_path / "temporary").iterdir()] != []
        assert len(list((tmp_path / "temporary").iterdir())) == 1
    (repository / "params.yaml").write_text("data: 1\n")
    commit(repository, "no parameters")
    with pytest.raises(InputError, match=r"^params.yaml: data: should be keys with values, got 1"):
        main(["verify"])


@pytest.mark.slow
def test_changed_mask_is_named_and_nothing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """The first three stages, with the real dvc."""
    own = write_images(tmp_path / "own", num_train=4, num_test=1)
    folder = create_repository(tmp_path / "repository", data__source="../own")
    succeeds(folder, "dvc", "repro", "remap")
    commit(folder, "run")
    name = f"{TRAIN_MASKS}/000003_10.png"
    label_ids = np.array(Image.open(own / name))
    label_ids[tuple(np.argwhere(label_ids == 7)[0])] ^= 16  # road -> sky
    Image.fromarray(label_ids).save(own / name)

    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(verification, "RERUN", (*verification.RERUN, "remap"))
    monkeypatch.chdir(folder)
    with pytest.raises(
        InputError, match=r"^first stage that differs: fetch \(data/raw\); .*data\."
    ):
        main(["verify"])
    results = dict(re.findall(r"^\w+ +(\S+) +(\S+.*)$", capfd.readouterr().out, re.MULTILINE))
    assert results["data/params.checked"] == "identical"
    assert results["data/raw"].startswith("different (")
    assert name in results["data/raw"]
    assert "masks/000003_10.npy" in results["data/prepared"]
    assert succeeds(folder, "git", "status", "--porcelain") == ""
    assert list((tmp_path / "temporary").iterdir()) == []
    succeeds(folder, "git", "clone", "-q", ".", "../clone")  # its DVC cache is empty
    monkeypatch.chdir(tmp_path / "clone")
    assert hash_files_at_revision("data/raw", "HEAD") is None
