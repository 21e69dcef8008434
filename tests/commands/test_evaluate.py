"""`roadseg evaluate`, on images that the stages have evaluated too."""

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from roadseg.commands import evaluate as command
from roadseg.commands.main import main
from roadseg.config.schema import read_yaml
from roadseg.evaluation import model_evaluation
from roadseg.system.errors import InputError
from tests.factories import ROOT, save_model, write_images, write_params
from tests.stage_runner import run_stage

TABLES = ("confusion", "per_class", "calibration", "pictures")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the outputs of the stages, and the validation images in own/."""
    folder = tmp_path_factory.mktemp("stages")
    source = write_images(folder / "source", 8, 0, sizes=((48, 64), (52, 68)))
    changes = {"data__source": str(source), "data__test_images": None}
    write_params(folder / "params.yaml", **changes, remap__scale=0.75, train__precision="fp32")
    for stage in ("fetch", "remap", "split"):
        run_stage(stage, folder)
    (folder / "models").mkdir()
    save_model(folder / "models/best.safetensors", scale=0.75)
    run_stage("evaluate", folder)
    for name in ("photos", "labels"):
        (folder / "own/set" / name).mkdir(parents=True)
    for name in json.loads((folder / "data/split.json").read_text())["val"]:
        shutil.copy(source / f"training/image_2/{name}.png", folder / f"own/set/photos/{name}.png")
        mask = folder / f"own/set/labels/{name}_mask.png"
        shutil.copy(source / f"training/semantic/{name}.png", mask)
    return folder


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, empty."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def run(outputs: Path, *options: object, data: Path | None = None, models: int = 1) -> None:
    model = ["--model", str(outputs / "models/best.safetensors")] * models
    patterns = ["--images", "set/photos/{id}.png", "--masks", "set/labels/{id}_mask.png"]
    fixed = ["--data", str(data or outputs / "own"), "--device", "cpu", "--precision", "fp32"]
    main(["evaluate", *model, *patterns, *fixed, *map(str, options)])


def write_classes(folder: Path, **changes: object) -> Path:
    """Write kitti12 with `changes` as the class map own.yaml."""
    with (folder / "own.yaml").open("w") as file:
        YAML().dump({**read_yaml(ROOT / "classes/kitti12.yaml"), **changes}, file)
    return folder / "own.yaml"


def require_files_of_the_stage(outputs: Path, out: Path) -> None:
    assert (out / "evaluate.json").read_bytes() == (outputs / "metrics/evaluate.json").read_bytes()
    for name in TABLES:
        assert (out / f"{name}.csv").read_bytes() == (outputs / f"plots/{name}.csv").read_bytes()
    by_image = (outputs / "plots/image_confusions.csv").read_bytes()
    assert (out / "image_confusions.csv").read_bytes() == by_image


def test_validation_images_give_the_bytes_of_the_stage(
    outputs: Path, tmp_path: Path, temporary: Path, capsys
):
    run_stage("evaluate", outputs)
    printed = capsys.readouterr().out.splitlines()
    run(outputs, "--out", tmp_path / "out")
    require_files_of_the_stage(outputs, tmp_path / "out")
    output = capsys.readouterr().out.splitlines()
    model = outputs / "models/best.safetensors"
    assert output[0] == f"evaluate: {model} on 2 images; metrics in {tmp_path / 'out'}"
    assert output[1:] == printed[1:]
    assert len({path.name for path in (tmp_path / "out").iterdir()}) == len(TABLES) + 3
    (record,) = json.loads((tmp_path / "out/models.json").read_text())
    assert (record["model"], record["epoch"], record["val_miou"]) == (str(model), 3, 0.25)
    assert list(temporary.iterdir()) == []


def test_archive_gives_the_bytes_of_the_stage(outputs: Path, tmp_path: Path, temporary: Path):
    archive = shutil.make_archive(str(tmp_path / "own"), "zip", outputs / "own")
    run(outputs, "--out", tmp_path / "out", data=Path(archive))
    require_files_of_the_stage(outputs, tmp_path / "out")
    assert list(temporary.iterdir()) == []


def test_json_is_the_file_of_the_stage_and_nothing_else(outputs: Path, capsys):
    run(outputs, "--json")
    assert capsys.readouterr().out == (outputs / "metrics/evaluate.json").read_text()


def test_ensemble_of_equal_models_has_the_metrics_of_one(outputs: Path, tmp_path: Path, capsys):
    run(outputs, "--json", "--tta", "--out", tmp_path / "out", models=2)
    twice = json.loads(capsys.readouterr().out)
    run(outputs, "--json", "--tta")
    assert twice == pytest.approx(json.loads(capsys.readouterr().out), abs=1e-5)
    plain = json.loads((outputs / "metrics/evaluate.json").read_text())
    assert twice["cross_entropy"] != pytest.approx(plain["cross_entropy"], abs=1e-3)  # two views
    assert len(json.loads((tmp_path / "out/models.json").read_text())) == 2


def test_class_map_with_other_label_ids_and_the_names_of_the_model_is_used(
    outputs: Path, tmp_path: Path, capsys
):
    """Label id 7 is void here, not road."""
    classes = read_yaml(ROOT / "classes/kitti12.yaml")["classes"]
    classes[0]["label_ids"].append(7)
    classes[1]["label_ids"] = []
    run(outputs, "--classes", write_classes(tmp_path, classes=classes), "--out", tmp_path / "out")
    by_image = (tmp_path / "out/image_confusions.csv").read_text()
    assert ",road,road," in (outputs / "plots/image_confusions.csv").read_text()
    assert ",road,road," not in by_image
    run(outputs, "--json", "--classes", ROOT / "classes/kitti12.yaml")
    expected = (outputs / "metrics/evaluate.json").read_text()
    assert capsys.readouterr().out.endswith(expected)


def test_class_maps_of_the_package_are_found_outside_of_a_project(
    outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"kitti11\.yaml: classes\.0\.name is 'road', not 'void'"):
        run(outputs, "--classes", "kitti11")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "none.safetensors"], "none.safetensors: no such model"),
        (["--data", "nowhere"], "--data: nowhere: no such file or directory"),
        (["--images", "photos/*.png"], "--images: should "),
        (["--images", "a/{id}.png", "--masks", "b/{id}.png"], "no file matches a/{id}.png or b/"),
        (["--masks", "b/{id}.png"], "b/{id}.png: no masks; every image needs one"),
        (["--images", "b/{id}.png"], "b/{id}.png: no images"),
        (["--color-tolerance", "3"], "--color-tolerance: should be 0, or mask_values should be"),
        (["--classes", "nothing"], "--classes: no class map 'nothing'; use "),
        (["--classes", "kitti11"], "classes/kitti11.yaml: classes.0.name is 'road', not 'void'"),
        (["--out", "README.md"], "--out: README.md is not a directory"),
        (["--device", "cuda:99"], "--device: cuda:99: this computer has"),
    ],
)
def test_invalid_option_gives_one_line_and_leaves_nothing(
    outputs: Path,
    tmp_path: Path,
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    message: str,
):
    monkeypatch.chdir(ROOT)
    with pytest.raises(InputError) as caught:
        run(outputs, "--out", tmp_path / "out", *options)
    assert message in str(caught.value)
    assert str(temporary) not in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert list(temporary.iterdir()) == []


def test_unknown_label_id_is_reported_with_the_name_of_the_users_file(
    outputs: Path, tmp_path: Path, temporary: Path
):
    classes = [
        {**entry, "label_ids": []} for entry in read_yaml(ROOT / "classes/kitti12.yaml")["classes"]
    ]
    own = write_classes(tmp_path, classes=classes, unknown_label_ids="error")
    with pytest.raises(InputError) as caught:
        run(outputs, "--classes", own)
    file = f"{outputs}/own/set/labels/000003_10_mask.png"
    assert str(caught.value).startswith(f"{file}: label id 0 (208 pixels) has no class; ")
    patterns = [f"{{part:set}}/{name}.png" for name in ("photos/{id}", "labels/{id}_mask")]
    with pytest.raises(InputError) as caught:
        run(outputs, "--classes", own, "--images", patterns[0], "--masks", patterns[1])
    file = f"{outputs}/own/{patterns[1]}, image set_000003_10: label id 0 "
    assert str(caught.value).startswith(file)
    own = write_classes(tmp_path, classes=classes, unknown_label_ids="ignore")
    with pytest.raises(InputError, match=f"^{outputs / 'own'}: all pixels are void or ignored"):
        run(outputs, "--classes", own)
    assert list(temporary.iterdir()) == []


def test_images_without_a_mask_are_left_out_and_counted_on_request(
    outputs: Path, tmp_path: Path, capsys
):
    own = shutil.copytree(outputs / "own", tmp_path / "own")
    first, second = sorted((own / "set/labels").iterdir())
    second.unlink()
    with pytest.raises(InputError, match=r"_10.png has no mask .* set --unmasked to skip to"):
        run(outputs, data=own)
    run(outputs, "--unmasked", "skip", "--out", tmp_path / "out", data=own)
    assert "evaluate: left out 1 images without a mask" in capsys.readouterr().err
    images = (tmp_path / "out/pictures.csv").read_text().splitlines()[1:]
    assert [row.split(",")[1] for row in images] == [first.name.removesuffix("_mask.png")]


def test_interrupt_leaves_nothing(outputs: Path, tmp_path: Path, temporary: Path, monkeypatch):
    def interrupt(*_: object, **__: object) -> None:
        assert list(temporary.iterdir()) != []
        raise KeyboardInterrupt

    monkeypatch.setattr(model_evaluation, "evaluate_model", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(outputs, "--out", tmp_path / "out")
    assert list(temporary.iterdir()) == []
    assert not (tmp_path / "out").exists()


def test_defaults_are_those_of_the_pipeline():
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    args = parser.parse_args(["--images", "i", "--masks", "m"])
    params = read_yaml(ROOT / "params.yaml")
    assert {name: params["data"][name] for name in command.LIMITS} == command.LIMITS
    for name in ("mask_values", "color_tolerance", "unmasked"):
        assert vars(args)[name] == params["data"][name]
    assert args.batch_size == params["evaluate"]["batch_size"]
    assert (args.tta, [1.0]) == (params["evaluate"]["flip"], params["evaluate"]["scales"])
