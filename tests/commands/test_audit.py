"""`roadseg audit` from the command line, on a model that `train` would write."""

import csv
import subprocess
from pathlib import Path

import pytest
import torch

from roadseg.commands.main import main
from roadseg.config.params import load_params
from roadseg.data.prepared import PreparedDataset
from roadseg.evaluation import audit
from roadseg.experiments.model_files import open_models
from roadseg.models.model_file import save_weights
from roadseg.models.unet import UNet
from roadseg.prepare.split import split_dataset
from roadseg.provenance.model_metadata import TrainedModelMetadata
from roadseg.system.errors import InputError
from roadseg.system.files import write_json
from roadseg.training.setup import build_trainer
from tests.factories import CODE, make_prepared, write_params


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight prepared images of half the height and a third of the width, and a model of fold 1."""
    monkeypatch.chdir(tmp_path)
    prepared = make_prepared(tmp_path)
    prepared_sizes = {name: prepared.size(name) for name in prepared.train_ids()}
    sizes = {name: [2 * height, 3 * width] for name, (height, width) in prepared_sizes.items()}
    write_json(prepared.root / "sizes.json", sizes)
    params = load_params(write_params(tmp_path / "params.yaml", split__fold=1))
    split = split_dataset(prepared.recorded_sizes(), [], **params.split.model_dump())
    trainer = build_trainer(prepared, split, params.model, params.train, params.recipe, CODE)
    metadata = {**dict(trainer.metadata), "epoch": 1, "val_miou": 0.0}
    torch.manual_seed(0)
    weights = UNet(**trainer.metadata.network).state_dict()
    save_weights(tmp_path / "model.safetensors", weights, TrainedModelMetadata(**metadata))
    return tmp_path


def test_tables_list_regions_in_original_pixels_and_the_rest_is_counted(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    found = []

    def audit_and_keep(*arguments: object) -> audit.Audit:
        found.append(audit_labels(*arguments))
        return found[-1]

    audit_labels = audit.audit_labels
    monkeypatch.setattr(audit, "audit_labels", audit_and_keep)
    main(["audit", "model.safetensors", "--prepared", "prepared", "--top", "3"])
    output = capsys.readouterr().out
    assert "audit: 2 of 8 images, each predicted by models that did not train on it" in output
    assert "audit: 6 images left out: each of the models trained on them" in output
    with (folder / "audit/images.csv").open() as file:
        images = list(csv.DictReader(file))
    with (folder / "audit/regions.csv").open() as file:
        regions = list(csv.DictReader(file))
    assert [row["rank"] for row in images] == ["1", "2"]
    assert [row["rank"] for row in regions] == [str(i + 1) for i in range(len(regions))]
    scores = [float(row["score"]) for row in regions]
    assert scores == sorted(scores, reverse=True)
    assert {row["image"] for row in regions} <= {row["image"] for row in images}
    assert all(row["class"] != row["suggested"] for row in regions)
    for row, region in zip(regions, found[0].regions, strict=True):
        top, left, bottom, right = region.box
        box = [int(row[side]) for side in ("top", "left", "bottom", "right")]
        assert box == [2 * top, 3 * left, 2 * bottom, 3 * right]
        assert (row["image"], int(row["pixels"])) == (region.image, region.pixels)
    assert (folder / "audit/index.html").read_text().count("<article>") == 3


def test_validation_images_in_a_file_are_those_of_the_model(
    folder: Path, capsys: pytest.CaptureFixture[str]
):
    params = load_params(folder / "params.yaml").split
    sizes = PreparedDataset(folder / "prepared").recorded_sizes()
    val = split_dataset(sizes, [], **params.model_dump()).val
    (folder / "mine.txt").write_text("\n".join(val))
    write_params(folder / "params.yaml", split__val_ids="mine.txt")
    for _ in range(2):  # the second replaces the first
        main(["audit", "model.safetensors", "--prepared", "prepared", "--top", "1"])
        assert "audit: 2 of 8 images" in capsys.readouterr().out


def test_other_files_in_the_output_folder_are_not_replaced(folder: Path):
    (folder / "audit").touch()
    with pytest.raises(InputError, match=r"^--out: audit is not a directory"):
        main(["audit", "model.safetensors"])
    (folder / "site").mkdir()
    for name in ("images.csv", "index.html"):
        (folder / "site" / name).write_text("mine")
        with pytest.raises(
            InputError, match=rf"^--out: site/{name} exists, but is not of an audit"
        ):
            main(["audit", "model.safetensors", "--out", "site"])
        assert (folder / "site" / name).read_text() == "mine"


def test_experiment_without_a_model_is_an_error_with_the_reason(monkeypatch: pytest.MonkeyPatch):
    def fail(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert command[-1] == "--rev=nothing"
        return subprocess.CompletedProcess(command, 255, "", "noise\nERROR: unknown revision\n")

    monkeypatch.setattr(subprocess, "run", fail)
    with (
        pytest.raises(InputError, match=r"^nothing: neither a model .*\(unknown revision\)"),
        open_models(["nothing"]),
    ):
        pass


def test_missing_model_file_is_not_taken_for_an_experiment(folder: Path):
    with pytest.raises(InputError, match=r"^a\.safetensors: no such model"):
        main(["audit", "a.safetensors", "--prepared", "prepared"])
