"""The real dvc in a temporary repository: what a user types, on a small sample."""

import csv
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
    STAGES,
    commit,
    create_repository,
    results,
    run,
    stages_run,
    succeeds,
)
from tests.factories import write_images, write_params


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with this working tree's files and small parameters, and the pipeline run."""
    folder = create_repository(tmp_path_factory.mktemp("clone") / "repository")
    assert stages_run(succeeds(folder, "dvc", "repro")) == STAGES
    commit(folder, "run")
    return folder


@pytest.fixture
def repository(finished: Path) -> Iterator[Path]:
    """The repository with its committed results; what a test does to it is undone."""
    yield finished
    succeeds(finished, "git", "reset", "-q", "--hard")
    succeeds(finished, "dvc", "checkout", "--force", "-q")


def test_what_is_done_is_not_done_again(repository: Path):
    assert stages_run(succeeds(repository, "dvc", "repro")) == []
    assert "up to date" in succeeds(repository, "dvc", "status")
    assert succeeds(repository, "git", "status", "--porcelain") == ""


def test_dvc_sees_every_file_that_a_stage_writes_into_a_folder(repository: Path):
    """.dvcignore hides all others, so that DVC deletes no file of a user."""
    lock = read_yaml(repository / "dvc.lock")["stages"].values()
    counts = {out["path"]: out.get("nfiles") for stage in lock for out in stage["outs"]}
    for name in ("data/raw", "data/prepared", "models/epochs"):
        assert counts[name] == sum(path.is_file() for path in (repository / name).rglob("*"))


def test_a_report_for_a_pull_request(repository: Path):
    succeeds(repository, "dvc", "exp", "run", "-S", "train.seed=5")
    url = "https://example.invalid/blob/1"
    report = succeeds(repository, ".ci/report", "HEAD", url)
    assert report.startswith("## Against ")
    figures, parameters, pictures = re.split(r"^### .*$", report, flags=re.MULTILINE)[1:]
    assert re.search(r"^\| metrics.train.json +\| val_ce +\| [\d.]+", figures, re.MULTILINE)
    assert re.search(r"^\| params.yaml +\| train.seed +\| 0 +\| 5", parameters, re.MULTILINE)
    shown = re.findall(rf"\]\({url}/(.*)\?raw=true\)", pictures)
    assert "plots/figures/curves.png" in shown
    tracked = succeeds(repository, "git", "ls-files", "plots").splitlines()
    assert set(shown) <= set(tracked)
    assert run(repository, ".ci/report", "nowhere").returncode == 1


def test_the_table_of_experiments_fits_120_columns(repository: Path):
    for seed in (6, 7):
        succeeds(repository, "dvc", "exp", "run", "-n", f"seed-{seed}", "-S", f"train.seed={seed}")
    table = succeeds(repository, "python", "-m", "roadseg", "experiments").splitlines()
    assert {"experiment", "state", "seed", "miou"} <= set(table[0].split())
    assert sum(line.startswith("seed-") and " finished " in line for line in table) == 2
    assert max(map(len, table)) <= 120
    assert succeeds(repository, "git", "status", "--porcelain", "experiments") == ""


def test_a_second_repository_computes_the_same_lock(repository: Path, tmp_path: Path):
    clone = tmp_path / "clone"
    succeeds(tmp_path, "git", "clone", "-q", str(repository), str(clone))
    lock = (clone / "dvc.lock").read_bytes()
    assert stages_run(succeeds(clone, "dvc", "repro", "--force")) == STAGES
    assert (clone / "dvc.lock").read_bytes() == lock


def test_experiments_metrics_and_plots(repository: Path):
    output = succeeds(repository, "dvc", "exp", "run", "-n", "longer", "-S", "train.epochs=3")
    assert stages_run(output) == ["check", "train", "evaluate", "render", "card"]
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


def test_relative_sources_count_from_the_root_also_in_a_copy(repository: Path):
    pictures = write_images(repository.parent / "own")
    with zipfile.ZipFile(repository.parent / "own.zip", "w") as archive:
        for path in sorted(pictures.rglob("*.png")):
            archive.write(path, path.relative_to(pictures))
    changes = ("-S", "data.source=../own.zip", "-S", "train.epochs=1", "-S", "render.epochs=[last]")
    succeeds(repository, "dvc", "exp", "run", "--temp", "-n", "own", *changes)
    table = csv.DictReader(succeeds(repository, "dvc", "exp", "show", "--csv").splitlines())
    (row,) = (row for row in table if row["Experiment"] == "own")
    assert row["data.source"] == "../own.zip"
    assert float(row["cross_entropy"]) > 0


def test_remap_with_earlier_parameters_is_restored_and_not_run(repository: Path):
    def repro(scale: float) -> tuple[str, dict[str, bytes]]:
        write_params(repository / "params.yaml", **SMALL, remap__scale=scale)
        output = succeeds(repository, "dvc", "repro", "remap")
        outs = ("data/prepared/", "plots/class_frequency")
        return output, {n: v for n, v in results(repository).items() if n.startswith(outs)}

    before = repro(1.0)[1]
    output, smaller = repro(0.9)
    assert "remap" in stages_run(output)
    assert smaller != before
    output, after = repro(1.0)
    assert "remap" not in stages_run(output)
    assert after == before


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
        ({"trian": {}}, "params.yaml: trian: unknown key; did you mean 'train'?"),
        ({"train__device": "cuda:7"}, "train.device: cuda:7: this computer has"),
        ({"data__source": "nowhere.zip"}, "data.source: 'nowhere.zip': no such file or directory"),
        ({"data__source": no_masks}, "training/semantic: no masks"),
        ({"data__source": unknown_id}, "000002_10.png: label id 200 (6 pixels) has no class"),
    ],
)
def test_bad_input_is_one_line_and_the_results_stay(repository, tmp_path, changes, message):
    before = results(repository)
    source = changes.get("data__source")
    if callable(source):
        pictures = write_images(tmp_path / "pictures")
        source(pictures)
        archive = shutil.make_archive(str(tmp_path / "bad"), "zip", pictures)
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
    # A data set that is whole but has an unknown label id is fetched, and says so in the lock.
    # DVC removes the outs of remap before it runs; its cache and git have them.
    fetched = ("data/raw/", "data/prepared/", "data/.prepared.lock", "plots/class_freq", "dvc.lock")
    allowed = fetched if "label id 200" in message else ("dvc.lock",)
    assert {name for name in changed if not name.startswith(allowed)} == set()
