"""Hostile data sets for `roadseg init`, and class tables."""

import os
import random
import shutil
from pathlib import Path
from unittest import mock

from roadseg.commands.main import main as roadseg
from roadseg.config.class_map import find_class_map, read_class_map
from roadseg.config.params import load_params
from roadseg.prepare.discovery.classes.class_tables import read_class_table
from tests.factories import ROOT
from tests.fuzz.case import Case, CaseBuilder, Step
from tests.fuzz.mutation import mutate_bytes, mutate_text, truncate_bytes
from tests.fuzz.workspace import CLASSES
from tests.layouts import LAYOUTS

SET = "street"
WRITTEN = ("params.yaml", "classes", "splits", f"contact-sheet-{SET}.png")
ODD_NAMES = ("a\nb.png", "é.png", "e\u0301.json", "{id}.png", "*.jpg", "#", "a.png.png")
TABLES = {
    "class_dict.csv": "name,r,g,b\nroad,128,64,128\ncar,0,0,142\n",
    "labelmap.txt": "# label:color_rgb:parts:actions\nroad:128,64,128::\ncar:0,0,142::\n",
    "label_colors.txt": "128 64 128\troad\n0 0 142\tcar\n",
    "objectInfo150.txt": "Idx\tRatio\tName\n1\t0.1\twall, brick\n2\t0.2\troad\n",
    "data.yaml": "train: images\nnames:\n  0: road\n  1: car\n",
}


def init(argv: list[str]) -> None:
    """Run `roadseg init` without the contact sheet, which takes a second."""
    with mock.patch("roadseg.reporting.contact_sheet.save_contact_sheet") as save:
        save.side_effect = lambda path, *_: path.write_bytes(b"")
        roadseg(argv)


def damage_data_set(rng: random.Random, work: Path) -> Case:
    """Damage, remove, rename or copy some files of a public layout; it may be in an archive."""
    LAYOUTS[rng.choice(list(LAYOUTS))](work / SET)
    shutil.copy(ROOT / "params.yaml", work)
    shutil.copy(ROOT / "dvc.yaml", work)
    shutil.copytree(CLASSES, work / "classes")
    files = sorted(path for path in (work / SET).rglob("*") if path.is_file())
    suffix = rng.choice(sorted({path.suffix for path in files}))
    same = [path for path in files if path.suffix == suffix]
    for path in rng.sample(same, rng.choice((1, len(same)))):
        _damage(rng, path, files)
    source = SET
    if rng.random() < 0.3:
        for path in (work / SET, *(work / SET).rglob("*")):
            os.utime(path, (1e9, 1e9))  # zip files contain it
        kind = rng.choice(("zip", "gztar"))
        path = Path(shutil.make_archive(str(work / SET), kind, work, SET))
        source = path.name
        if kind == "zip" and rng.random() < 0.5:
            path.write_bytes(mutate_bytes(rng, path.read_bytes()))
    step = Step(init, ["init", source], WRITTEN)
    return Case([step], (SET,), lambda: _check_configuration(work, source))


def _damage(rng: random.Random, path: Path, files: list[Path]) -> None:
    change = rng.randrange(6)
    if change == 0:
        path.write_bytes(mutate_bytes(rng, path.read_bytes()))
    elif change == 1:
        path.write_bytes(truncate_bytes(rng, path.read_bytes()))
    elif change == 2 and path.suffix in (".json", ".txt", ".xml", ".yaml", ".csv"):
        path.write_bytes(mutate_text(rng, path.read_text()))
    elif change == 3:
        path.rename(
            path.with_name(rng.choice(("a\nb", "é", "e\u0301", "{id}", "*", "#", path.stem)))
        )
    elif change == 4:
        source = rng.choice([other for other in files if other.is_file()])
        shutil.copyfile(source, path.with_name(f"{path.stem}x{path.suffix}"))
    else:
        path.unlink()


def _check_configuration(work: Path, source: str) -> None:
    params = load_params(work / "params.yaml")
    assert params.data.source == source, "another data.source"
    read_class_map(find_class_map(params.remap.classes, work / "classes"))


def damage_class_table(rng: random.Random, work: Path) -> Case:
    name = rng.choice(list(TABLES))
    text = TABLES[name]
    path = work / name
    path.write_bytes(
        mutate_text(rng, text) if rng.random() < 0.7 else mutate_bytes(rng, text.encode())
    )

    def read(_argv: list[str]) -> None:
        table = read_class_table(name, path.read_bytes())
        names = [entry.name for entry in table.classes]
        assert names, "no classes"
        assert len(names) == len(set(names)), "a name twice"

    return Case([Step(read, [], ())], (name,))


KINDS: dict[str, CaseBuilder] = {
    "init": damage_data_set,
    "class table": damage_class_table,
}
