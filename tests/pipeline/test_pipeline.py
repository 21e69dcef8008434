"""The real dvc in a temporary repository, with the commands that a user types."""

import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from roadseg.config.schema import read_yaml
from roadseg.prepare.layout import TRAIN_MASKS
from tests.dvc_repository import (
    SMALL,
    copy_finished,
    results,
    run,
    stages_run,
    succeeds,
)
from tests.factories import write_images, write_params


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    return copy_finished(tmp_path_factory, worker_id, tmp_path_factory.mktemp("clone") / "repo")


@pytest.fixture
def repository(finished: Path) -> Iterator[Path]:
    """The repository with its committed results; changes are undone after each test."""
    yield finished
    succeeds(finished, "git", "reset", "-q", "--hard")
    succeeds(finished, "dvc", "checkout", "--force", "-q")


def test_finished_stages_do_not_run_again(repository: Path):
    assert stages_run(succeeds(repository, "dvc", "repro")) == []
    assert "up to date" in succeeds(repository, "dvc", "status")
    assert succeeds(repository, "git", "status", "--porcelain") == ""


def test_dvc_sees_every_file_that_a_stage_writes_into_a_folder(repository: Path):
    """.dvcignore hides all others, so that DVC deletes no file of a user."""
    lock = read_yaml(repository / "dvc.lock")["stages"].values()
    counts = {out["path"]: out.get("nfiles") for stage in lock for out in stage["outs"]}
    for name in ("data/raw", "data/prepared", "models/epochs"):
        assert counts[name] == sum(path.is_file() for path in (repository / name).rglob("*"))


@pytest.fixture(scope="module")
def own_experiment(finished: Path) -> None:
    """An experiment in DVC's temporary copy of the repository, with data from a relative source."""
    images = write_images(finished.parent / "own")
    with zipfile.ZipFile(finished.parent / "own.zip", "w") as archive:
        for path in sorted(images.rglob("*.png")):
            archive.write(path, path.relative_to(images))
    change = ("-S", "data.source=../own.zip")
    succeeds(finished, "dvc", "exp", "run", "--temp", "-n", "own", *change, "remap")


@pytest.mark.usefixtures("own_experiment")
def test_relative_source_counts_from_the_repository_also_in_a_copy(repository: Path):
    succeeds(repository, "dvc", "exp", "apply", "own")
    name = "training/image_2/000000_10.png"
    own = repository.parent / "own"
    assert (repository / "data/raw" / name).read_bytes() == (own / name).read_bytes()


@pytest.mark.usefixtures("own_experiment")
def test_experiment_in_metrics_plots_report_and_table(repository: Path):
    output = succeeds(repository, "dvc", "exp", "run", "-n", "longer", "-S", "train.epochs=3")
    assert stages_run(output) == ["check", "plan", "train", "evaluate", "render", "card"]
    diff = json.loads(succeeds(repository, "dvc", "metrics", "diff", "--json"))
    assert diff["metrics/train.json"]["val_ce"]["diff"] != 0
    assert diff["metrics/evaluate.json"]["cross_entropy"]["diff"] != 0
    page = repository / "dvc_plots" / "index.html"
    for command in (("plots", "show"), ("plots", "diff", "HEAD", "longer")):
        page.unlink(missing_ok=True)
        succeeds(repository, "dvc", *command)
        text = page.read_text()
        titles = ("Cross-entropy", "Validation mIoU", "IoU by class", "Confusion", "Class freq")
        titles += ("Reliability",)
        for title in titles:
            assert title in text, (command, title)
        assert "epoch_002_training.png" in text
    assert "longer" in succeeds(repository, "dvc", "exp", "show", "--csv")
    require_report_for_a_pull_request(repository)
    require_table_of_experiments(repository)


def require_report_for_a_pull_request(repository: Path) -> None:
    url = "https://example.invalid/blob/1"
    table = repository / "plots/image_confusions.csv"
    written = table.read_text()
    table.write_text(re.sub(r"\d+$", "1", written, count=1, flags=re.MULTILINE))
    report = succeeds(repository, ".ci/report", "HEAD", url)
    table.write_text(written)
    assert report.startswith("## Against ")
    metrics, comparison, parameters, images = re.split(r"^### .*$", report, flags=re.MULTILINE)[1:]
    assert re.search(r"^\| metrics.train.json +\| val_ce +\| [\d.]+", metrics, re.MULTILINE)
    assert "paired by image (" in comparison
    assert "significant" in comparison
    assert re.search(r"^\| params.yaml +\| train.epochs +\| 2 +\| 3", parameters, re.MULTILINE)
    shown = re.findall(rf"\]\({url}/(.*)\?raw=true\)", images)
    assert "plots/figures/curves.png" in shown
    tracked = succeeds(repository, "git", "ls-files", "plots").splitlines()
    assert set(shown) <= set(tracked)
    assert run(repository, ".ci/report", "nowhere").returncode == 1


def require_table_of_experiments(repository: Path) -> None:
    table = succeeds(repository, "python", "-m", "roadseg", "experiments").splitlines()
    assert {"experiment", "state", "epochs", "miou"} <= set(table[0].split())
    assert sum(line.startswith(("own", "longer")) and " finished " in line for line in table) == 2
    assert max(map(len, table)) <= 120
    assert succeeds(repository, "git", "status", "--porcelain", "experiments") == ""


def test_remap_with_earlier_parameters_is_restored_from_the_run_cache(repository: Path):
    def outs() -> dict[str, bytes]:
        names = ("data/prepared/", "plots/class_frequency")
        return {n: v for n, v in results(repository).items() if n.startswith(names)}

    def stages_run_at(scale: float) -> list[str]:
        write_params(repository / "params.yaml", **SMALL, remap__scale=scale)
        return stages_run(succeeds(repository, "dvc", "repro", "remap"))

    before = outs()
    assert "remap" in stages_run_at(0.9)
    assert outs() != before
    assert "remap" not in stages_run_at(1.0)
    assert outs() == before


def no_masks(raw_images: Path) -> None:
    shutil.rmtree(raw_images / TRAIN_MASKS)


def unknown_id(raw_images: Path) -> None:
    path = raw_images / TRAIN_MASKS / "000002_10.png"
    mask = np.array(Image.open(path))
    mask[:2, :3] = 200
    Image.fromarray(mask).save(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train__device": "cuda:7"}, "train.device: cuda:7: this computer has"),
        ({"data__source": no_masks}, "training/semantic: no masks"),
        ({"data__source": unknown_id}, "000002_10.png: label id 200 (6 pixels) has no class"),
    ],
)
def test_bad_input_is_one_line_and_keeps_the_results(repository, tmp_path, changes, message):
    before = results(repository)
    source = changes.get("data__source")
    if callable(source):
        images = write_images(tmp_path / "images")
        source(images)
        archive = shutil.make_archive(str(tmp_path / "bad"), "zip", images)
        changes = {"data__source": archive}
    write_params(repository / "params.yaml", **SMALL, **changes)
    result = run(repository, "dvc", "repro")
    assert result.returncode != 0
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in result.stderr
    after = results(repository)
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    # A complete data set with an unknown label id is fetched, which dvc.lock records.
    # DVC removes the outs of remap before it runs; its cache and git still have them.
    fetched = ("data/raw/", "data/prepared/", "data/.prepared.lock", "plots/class_freq", "dvc.lock")
    allowed = fetched if "label id 200" in message else ("dvc.lock",)
    assert {name for name in changed if not name.startswith(allowed)} == set()
