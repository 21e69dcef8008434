"""Changes of params.yaml that keep everything else."""

from pathlib import Path

from roadseg.config.params import load_params
from roadseg.config.params_update import update_params
from tests.factories import ROOT

TEXT = (ROOT / "params.yaml").read_text()


def test_nothing_changes_without_changes():
    assert update_params(TEXT, {}) == TEXT


def test_only_the_lines_of_new_values_change(tmp_path: Path):
    changes = {
        "data.source": "datasets/my set: a",
        "data.images": "{split:train,val}/{id}.jpg",
        "data.masks": "{split:train,val}/{id}.json",
        "data.test_images": None,
        "remap.scale": 0.5,
        "split.group_by": "^([^_]+)_",
        "split.val_ids": "splits/" + "long" * 99 + ".txt",
    }
    text = update_params(TEXT, changes)
    lines = zip(TEXT.splitlines(), text.splitlines(), strict=True)
    changed = [(old, new) for old, new in lines if old != new]
    assert len(changed) == len(changes)
    for old, new in changed:
        assert new.partition(" # ")[2] == old.partition(" # ")[2]
    (tmp_path / "params.yaml").write_text(text)
    found = load_params(tmp_path / "params.yaml").model_dump()
    for key, value in changes.items():
        section, name = key.split(".")
        assert found[section][name] == value
