"""A source in an output, which DVC would delete with it, is refused and left untouched."""

import shutil
from pathlib import Path

import pytest

from roadseg.config.pipeline import require_not_written, stage_outputs
from roadseg.prepare.fetch.file_patterns import FilePatterns
from roadseg.prepare.fetch.source import fetch
from roadseg.system.errors import InputError
from stages import check
from stages import fetch as fetch_stage
from tests.dvc_repository import SMALL, commit, create_repository, run, succeeds
from tests.factories import LIMITS, ROOT, STORE, write_images, write_params
from tests.prepare.test_source import SAMPLE, make_zip, tree

OUTPUTS = stage_outputs(ROOT / "dvc.yaml")
PIPELINE = ["--params", "params.yaml", "--pipeline", str(ROOT / "dvc.yaml")]
MINE = "data/raw/mine"
ADVICE = "which the pipeline deletes and writes again; move or copy it elsewhere, for example to"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    """A working directory with symbolic links into the outputs."""
    monkeypatch.delenv("DVC_ROOT", raising=False)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    (work / "link").symlink_to("data/raw/mine")
    (work / "other").symlink_to("data")
    return work


FORMS = {
    "data/raw": "data/raw",
    "data/raw/mine": "data/raw",
    "data/raw/set.zip": "data/raw",
    "./data//cache/../raw/mine": "data/raw",
    "data/prepared/x": "data/prepared",
    "data/split.json": "data/split.json",
    "models/epochs/mine": "models/epochs",
    "plots/predictions/mine": "plots/predictions",
    "metrics/train.json": "metrics/train.json",
    "link": "data/raw",
    "link/deeper": "data/raw",
    "other/raw/mine": "data/raw",
    "{absolute}/data/raw/mine": "data/raw",
}


@pytest.mark.parametrize("form", FORMS)
def test_check_and_fetch_refuse_a_source_in_an_output(folder: Path, form: str):
    source = form.replace("{absolute}", str(folder))
    write_images(folder / "data/raw/mine")
    write_params(folder / "params.yaml", data__source=source)
    before = tree(folder)
    message = rf"data.source: \S+ lies in {FORMS[form]}, {ADVICE} datasets/"
    with pytest.raises(InputError, match=message):
        check.main([*PIPELINE, "--out", "data/params.checked"])
    with pytest.raises(InputError, match=message):
        fetch_stage.main(
            [*PIPELINE, "--splits", "splits", "--out", "data/raw", "--downloads", ".downloads"]
        )
    assert tree(folder) == before


SMP = {"model__architecture": "smp/Unet", "model__encoder": "resnet18"}


@pytest.mark.parametrize("key", ["train__start", "remap__classes", "model__weights"])
def test_check_refuses_weights_and_class_maps_in_an_output(folder: Path, key: str):
    name = key.replace("__", ".")
    write_params(folder / "params.yaml", **SMP, **{key: "models/epochs/mine"})
    with pytest.raises(InputError, match=rf"{name}: models/epochs/mine lies in models/epochs, "):
        check.main([*PIPELINE, "--out", "checked"])
    write_params(folder / "params.yaml", train__start="nowhere.pt")
    with pytest.raises(InputError, match=r"train.start: nowhere.pt: no such file"):
        check.main([*PIPELINE, "--out", "checked"])
    write_params(folder / "params.yaml", **SMP, model__weights="nowhere.pt")
    with pytest.raises(InputError, match=r"model.weights: nowhere.pt: no such file"):
        check.main([*PIPELINE, "--out", "checked"])
    assert not (folder / "checked").exists()


@pytest.mark.parametrize(
    "source",
    [
        "sample",
        "kitti",
        "https://example.invalid/data/raw",
        "datasets/x",
        "data/rawer",
        "data/mine",
    ],
)
def test_check_accepts_a_source_elsewhere(folder: Path, source: str):
    write_params(folder / "params.yaml", data__source=source)
    check.main([*PIPELINE, "--out", "checked"])
    assert (folder / "checked").is_file()


def test_link_in_an_output_is_refused_wherever_it_points(folder: Path):
    """DVC would delete the link itself."""
    write_images(folder / "elsewhere")
    (folder / "data/raw").mkdir(parents=True)
    (folder / "data/raw/mine").symlink_to(folder / "elsewhere")
    with pytest.raises(InputError, match="data/raw/mine lies in data/raw"):
        require_not_written("data.source", "data/raw/mine", OUTPUTS)


def test_target_of_an_output_that_is_a_link_is_refused(folder: Path):
    write_images(folder / "disk/mine")
    (folder / "data").mkdir()
    (folder / "data/raw").symlink_to(folder / "disk")
    with pytest.raises(InputError, match="disk/mine lies in data/raw"):
        require_not_written("data.source", "disk/mine", OUTPUTS)


def test_source_in_an_output_of_the_main_repository_is_refused(folder: Path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(folder / "main"))
    for source in ("data/raw/mine", str(folder / "data/raw/mine")):
        with pytest.raises(InputError, match="data/raw/mine lies in data/raw, "):
            require_not_written("data.source", source, OUTPUTS)


def test_source_may_contain_outputs_but_none_of_its_images_may_lie_in_them(folder: Path):
    """`data` is harmless as long as the patterns find no images in outputs, which fetch deletes."""
    write_images(folder / "data/mine/set")
    mine = FilePatterns(
        images="mine/set/training/image_2/{id}.png",
        masks="mine/set/training/semantic/{id}.png",
        test_images=None,
    )
    arguments = (LIMITS, SAMPLE, Path("data/raw"), STORE, OUTPUTS)
    assert fetch("data", None, mine, *arguments).num_train == 8
    raw = FilePatterns(
        images="{raw,r}/training/image_2/{id}.png",
        masks="*/training/semantic/{id}.png",
        test_images=None,
    )
    before = tree(folder)
    with pytest.raises(InputError, match=r"data.source: data/raw/training/\w+ lies in"):
        fetch("data", None, raw, *arguments)
    assert tree(folder) == before


def add_originals(folder: Path) -> dict[str, bytes]:
    """Write images of a user, and an archive of them, into an output of fetch."""
    images = write_images(folder / "data/raw/mine")
    make_zip(images, folder / "data/raw/set.zip")
    return originals(folder)


def originals(folder: Path) -> dict[str, bytes]:
    return {n: d for n, d in tree(folder / "data/raw").items() if n.startswith(("mine", "set"))}


def test_dvc_never_deletes_originals_in_an_output(tmp_path: Path):
    """`dvc exp run` checks out outputs before any stage runs; .dvcignore hides foreign files."""
    folder = create_repository(tmp_path / "repository")
    succeeds(folder, "dvc", "repro", "fetch")
    commit(folder, "run")
    clone = tmp_path / "clone"
    succeeds(tmp_path, "git", "clone", "-q", str(folder), str(clone))
    assert not (clone / ".dvc/cache").exists()
    for repository in (folder, clone):
        before = add_originals(repository)
        assert len(before) == 8 + 8 + 2 + 1
        for options in ((), ("--temp",)):
            require_refusal(repository, "dvc", "exp", "run", *options, "-S", f"data.source={MINE}")
            assert originals(repository) == before
        write_params(repository / "params.yaml", **SMALL, data__source=MINE)
        require_refusal(repository, "dvc", "repro")
        assert originals(repository) == before
        succeeds(repository, "git", "checkout", "-q", "params.yaml")
    shutil.move(folder / MINE, folder / "datasets")
    succeeds(folder, "dvc", "exp", "run", "-S", "data.source=datasets", "fetch")


def require_refusal(folder: Path, *command: str) -> None:
    result = run(folder, *command)
    assert result.returncode != 0
    assert f"{MINE} lies in data/raw, {ADVICE} datasets/" in result.stderr, result.stderr
    assert "Running stage 'fetch'" not in result.stdout
