"""`roadseg compare` on tables, folders, revisions and models."""

import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from roadseg.commands import compare
from roadseg.commands.main import main
from roadseg.config.class_map import ClassMap
from roadseg.data.split_file import Split
from roadseg.evaluation.image_confusions import read_image_confusions, write_image_confusions
from roadseg.system.errors import InputError
from roadseg.system.files import write_json
from tests.factories import THREE_CLASSES, make_prepared, save_model, write_params

HEADER = "image,actual,predicted,pixels\n"


def write_table(path: Path, wrong: int, class_map: ClassMap = THREE_CLASSES) -> None:
    """Write a table of 12 images; `wrong` percent of their road pixels are predicted as sky."""
    confusions = np.zeros((12, 3, 3), dtype=int)
    sizes = np.arange(5, 17)
    confusions[:, 0, 1] = confusions[:, 2, 2] = 100
    confusions[:, 1, 2] = wrong * sizes + wrong * np.arange(12) % 7
    confusions[:, 1, 1] = 100 * sizes - confusions[:, 1, 2]
    path.parent.mkdir(exist_ok=True)
    write_image_confusions(path, class_map, [f"i{n}" for n in range(12)], confusions)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder outside of any workspace, with two tables."""
    monkeypatch.chdir(tmp_path)
    write_table(Path("a/image_confusions.csv"), 40)
    write_table(Path("b.csv"), 10)
    return tmp_path


def test_folder_and_table_are_compared_with_the_given_void_class(capsys):
    main(["compare", "a", "b.csv", "--void", "rest"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "A: a",
        "B: b.csv",
        "paired by image (12); true pixels of the class rest are excluded",
    ]
    assert lines[3].split() == ["A", "B", "B", "-", "A", "low", "high"]
    rows = {line.split()[0]: line.split()[1:] for line in lines[4:7]}
    assert rows.keys() == {"mIoU", "road", "sky"}
    assert float(rows["road"][2]) == pytest.approx(0.3, abs=1e-3)
    assert [row[-1] for row in rows.values()] == ["*"] * 3
    assert lines[-2].startswith("B is significantly better than A: mIoU +0.")
    assert lines[-1].startswith("the interval covers the choice of images, not the seed")


def test_table_and_plot_are_written(folder: Path, capsys):
    main(["compare", "b.csv", "b.csv", "--out", "new/out"])
    assert "no significant difference: mIoU +0.0000" in capsys.readouterr().out
    table = pd.read_csv(folder / "new/out/comparison.csv")
    assert list(table) == ["metric", "a", "b", "difference", "low", "high"]
    assert table["metric"].tolist() == ["mIoU", "rest", "road", "sky"]
    assert (folder / "new/out/comparison.png").read_bytes().startswith(b"\x89PNG")


def test_several_seeds_are_paired_in_order(capsys):
    write_table(Path("c.csv"), 20)
    main(["compare", "a", "b.csv", "--with", "b.csv", "c.csv"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["A: a, b.csv", "B: b.csv, c.csv"]
    assert lines[-1] == "the interval covers the choice of images and of the 2 seeds"
    for models in (["a"], ["a", "b.csv", "c.csv"]):
        with pytest.raises(InputError, match=f"^expected two models, got {len(models)}; for sev"):
            main(["compare", *models])
    with pytest.raises(InputError, match=r"^a: given twice on one side; give one model for each"):
        main(["compare", "a", "a", "--with", "b.csv", "c.csv"])


def test_invalid_tables_and_unknown_revisions_give_one_line(capsys):
    Path("bad.csv").write_text(HEADER + "i0,road,road,0\n")
    with pytest.raises(InputError, match=r"^bad.csv: not a table .*: line 2: pixels '0'"):
        main(["compare", "a", "bad.csv"])
    Path("bad.csv").write_text("\ufeff" + Path("b.csv").read_text())  # as Excel saves it
    main(["compare", "b.csv", "bad.csv"])
    with pytest.raises(InputError, match=r"^--void: no table has 'typo', only rest, road, sky"):
        main(["compare", "a", "b.csv", "--void", "typo"])
    with pytest.raises(InputError, match=r"^m.safetensors: a model is evaluated on .* params.yaml"):
        main(["compare", "a", "m.safetensors"])
    with pytest.raises(InputError, match=r"^none.csv: no such file"):
        main(["compare", "a", "none.csv"])
    with pytest.raises(InputError, match=r"^main: no such file or folder, nor DVC experiment or G"):
        main(["compare", "a", "main"])
    Path("odd.csv").write_text(HEADER + "i0,\x1b[31mroad,sky\x9b,3\n")
    main(["compare", "odd.csv", "odd.csv"])
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert "\\x1b[31mroad" in printed


def test_revisions_are_read_from_git(folder: Path, capsys):
    """Also where the table was not valid, or not yet there."""
    git = ("git", "-c", "user.name=test", "-c", "user.email=test@localhost")
    subprocess.run([*git, "init", "-q", "-b", "main"], check=True)
    (folder / ".dvc").mkdir()
    (folder / ".dvc/config").touch()
    for tag, text in (("empty", None), ("invalid", HEADER), ("first", Path("b.csv").read_text())):
        if text is not None:
            Path("plots").mkdir(exist_ok=True)
            Path(compare.OUTPUT).write_text(text)
        for command in (("add", "-A"), ("commit", "-qm", tag), ("tag", tag)):
            subprocess.run([*git, *command], check=True)
    main(["compare", "a", "first"])
    revision = capsys.readouterr().out
    main(["compare", "a", "b.csv"])
    assert revision == capsys.readouterr().out.replace("b.csv", "first")
    message = r"^empty: plots/image_confusions.csv is not in the cache; run dvc pull in that "
    with pytest.raises(InputError, match=message):
        main(["compare", "a", "empty"])
    message = r"^invalid: plots/image_confusions.csv: not a table of confusion .*: it has no rows"
    with pytest.raises(InputError, match=message):
        main(["compare", "a", "invalid"])


def test_model_file_is_evaluated_on_the_validation_images(folder: Path, capsys):
    prepared = make_prepared(folder / "data")
    ids = prepared.train_ids()
    write_json(folder / "data/split.json", Split(train=ids[2:], val=ids[:2], test=[]).model_dump())
    write_params(folder / "params.yaml", train__precision="fp32")
    (folder / "classes").symlink_to(Path(compare.__file__).parents[3] / "classes")
    save_model(folder / "m.safetensors")
    main(["compare", "m.safetensors", "m.safetensors"])
    assert "paired by image (2); true pixels of the class void are excl" in capsys.readouterr().out
    computed = compare._evaluate(folder / "m.safetensors")
    assert computed.ids == ids[:2]
    class_map = prepared.class_map()
    write_image_confusions(folder / "m.csv", class_map, computed.ids, computed.confusions)
    read = read_image_confusions(folder / "m.csv")
    assert read.confusions.sum() == sum(prepared.pair(name)[1].size for name in ids[:2])
