"""`roadseg gallery` from the command line, on prepared images and an untrained model."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from roadseg.commands.main import main
from roadseg.data.split_file import Split
from roadseg.evaluation.evaluate import evaluate
from roadseg.evaluation.tables import per_image
from roadseg.inference.tta import IDENTITY, View
from roadseg.models.model_file import load_network
from roadseg.reporting.gallery import SUFFIXES
from roadseg.system.errors import InputError
from roadseg.system.files import write_json
from tests.factories import CPU, THREE_CLASSES, make_red_dataset, save_model, write_params

ARGUMENTS = ["gallery", "--model", "model.safetensors", "--prepared", "prepared"]


def test_page_has_the_metrics_of_the_stage_evaluate_and_all_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prepared").mkdir()
    rng = np.random.default_rng(0)
    pairs = [(rng.integers(0, 3, (16, 16 + i // 2)),) * 2 for i in range(4)]
    prepared = make_red_dataset(tmp_path / "prepared", pairs)
    ids = ["1", "2", "3"]
    write_json(tmp_path / "split.json", Split(train=["0"], val=ids, test=[]).model_dump())
    write_params(tmp_path / "params.yaml", evaluate__flip=True, train__precision="fp32")
    save_model(tmp_path / "model.safetensors", THREE_CLASSES)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").touch()
    with pytest.raises(InputError, match=r"^--out: mine is neither empty nor a gallery"):
        main([*ARGUMENTS, "--out", "mine"])
    with pytest.raises(InputError, match=r"^--out: \.\. is or contains the working directory"):
        main([*ARGUMENTS, "--out", ".."])
    for _ in range(2):  # the second replaces the first
        main([*ARGUMENTS, "--split", "split.json"])
    assert "gallery: 3 validation images; open gallery/index.html" in capsys.readouterr().out

    network, _ = load_network(tmp_path / "model.safetensors", prepared.class_map())
    views = [IDENTITY, View(1.0, flip=True)]
    evaluation = evaluate(network, prepared, ids, 1, CPU, ignored=None, views=views)
    table = per_image(prepared.class_map(), ids, evaluation.confusions)
    expected = dict(zip(table["picture"], table["miou"].round(4), strict=True))
    text = (tmp_path / "gallery/index.html").read_text()
    images = json.loads(re.search(r'id="data">(.*?)</script>', text)[1])["images"]
    assert {image["id"]: image["errors"]["miou"] for image in images} == expected
    files = {p.relative_to("gallery").as_posix() for p in Path("gallery").rglob("*.*")}
    expected_files = {f"{n}/{i}.{suffix}" for n, suffix in SUFFIXES.items() for i in range(3)}
    assert files == {"index.html", *expected_files}
