import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from roadseg.commands.main import main
from roadseg.system.errors import InputError
from tests.factories import make_prepared, write_params


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    prepared = make_prepared(tmp_path)
    ids = prepared.train_ids()
    split = {"train": ids[1:], "val": ids[:1], "test": []}
    (tmp_path / "split.json").write_text(json.dumps(split))
    changes = {"train__recipe": "modern", "recipes__modern__class_uniform": 0.5}
    paths = {
        "params": write_params(tmp_path / "params.yaml", **changes),
        "prepared": prepared.root,
        "split": tmp_path / "split.json",
        "out": tmp_path / "sheet.png",
    }
    return [word for name, path in paths.items() for word in (f"--{name}", str(path))]


def test_contact_sheet_differs_between_recipes_and_not_between_runs(arguments, tmp_path, capsys):
    sheets = []
    for recipe in ("modern", "modern", "report"):
        main(["augment", recipe, *arguments, "--images", "2", "--epochs", "3"])
        with Image.open(tmp_path / "sheet.png") as image:
            sheets.append(np.asarray(image.convert("RGB")))
    assert np.array_equal(sheets[0], sheets[1])
    assert not np.array_equal(sheets[0], sheets[2])
    assert "augment: recipe report, 3 epochs, in " in capsys.readouterr().out


def test_unknown_recipe_is_refused_with_the_known_ones(arguments):
    with pytest.raises(InputError, match=r"params\.yaml: no recipe 'strong'; recipes has report, "):
        main(["augment", "strong", *arguments])
