"""Damaged splits and files of the prepared data, except its arrays (see arrays.py)."""

import json
import random
import shutil
from pathlib import Path

from roadseg.models.model_file import epoch_file
from tests.fuzz.case import Case, CaseBuilder
from tests.fuzz.checks import (
    check_evaluation_tables,
    check_images_and_masks,
    check_training_outputs,
)
from tests.fuzz.mutation import mutate_bytes, mutate_text, mutate_value, truncate_bytes
from tests.fuzz.texts import encode_yaml
from tests.fuzz.workspace import (
    CACHE,
    EVALUATE,
    MODEL,
    MODEL_OUT,
    PLAN_FILE,
    RENDER,
    SPLIT,
    SPLIT_FILE,
    TRAIN,
    copy_in,
    write_old_outputs,
)

ARRAYS = ("images/000000_10", "images/000002_10", "masks/000000_10", "masks/000002_10")
ARRAYS += ("test_images/000000_10",)
FACTS = ("classes.json", "sizes.json", "scale.json", "index.jsonl")


def make_case(rng: random.Random, work: Path, again: bool = True) -> Case:
    """Build a case of split (if `again` is set), evaluate and, sometimes, train or render."""
    copy_in(work, "params.yaml", MODEL, PLAN_FILE)
    steps = [SPLIT] if again else []
    if again:
        write_old_outputs(work, SPLIT_FILE)
    write_old_outputs(work, "out/evaluate.json", "out/confusion.csv")
    steps.append(EVALUATE)
    trains = rng.random() < 0.2
    renders = not trains and rng.random() < 0.1
    if trains:
        (work / "models").mkdir()
        steps.append(TRAIN)
    if renders:
        for path in (epoch_file(work / "models/epochs", 1), work / MODEL_OUT):
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(work / MODEL, path)
        (work / "out/figures").mkdir()
        steps.append(RENDER)

    def check() -> None:
        split = json.loads((work / SPLIT_FILE).read_text())
        both = split["train"] + split["val"]
        ids = sorted(path.stem for path in (work / CACHE / "masks").iterdir())
        assert not again or sorted(both) == ids, "the split does not hold all images"
        assert len(set(both)) == len(both), "the split holds an image twice"
        check_evaluation_tables(work)
        if trains:
            check_images_and_masks(work, both)
            check_training_outputs(work)
        if renders:
            assert (work / "out/figures/hardest.png").stat().st_size > 1000

    names = (CACHE, SPLIT_FILE, MODEL, "split", "out/pictures.csv")
    return Case(steps, names, check)


def change_metadata(rng: random.Random, work: Path) -> Case:
    """Change values or bytes of the files that describe the arrays."""
    copy_in(work, CACHE, SPLIT_FILE)
    path = work / CACHE / rng.choice(FACTS)
    text = path.read_text()
    kind = rng.randrange(5)
    if kind == 0:
        path.write_bytes(mutate_text(rng, text))
    elif kind == 1:
        path.write_bytes(rng.choice((truncate_bytes, mutate_bytes))(rng, text.encode()))
    else:
        lines = text.splitlines() if path.suffix == ".jsonl" else [text]
        place = rng.randrange(len(lines))
        changed = encode_yaml(rng, mutate_value(rng, json.loads(lines[place])))
        others = [line.encode() for line in lines]
        path.write_bytes(b"\n".join([*others[:place], changed, *others[place + 1 :]]))
    return make_case(rng, work)


ODD_IDS = (
    *(
        "../masks/000000_10",
        "../../../../../../etc/hostname",
        "",
        ".",
        "a\0b",
        "\ud800",
        "é",
        "a/b",
    ),
    *(
        "\x1b[31mred",
        "a\nb",
        "x" * 300,
        "000000_10.npy",
        " 000000_10",
        "*",
        "000000_10",
        "./000000_10",
    ),
)


def change_split(rng: random.Random, work: Path) -> Case:
    """Write a split with invalid, repeated or misplaced ids, or one that is not a split."""
    copy_in(work, CACHE, SPLIT_FILE)
    path = work / SPLIT_FILE
    split = json.loads(path.read_text())
    kind = rng.randrange(4)
    if kind == 0:
        path.write_bytes(rng.choice((truncate_bytes, mutate_bytes))(rng, path.read_bytes()))
    elif kind == 1:
        path.write_bytes(encode_yaml(rng, mutate_value(rng, split)))
    else:
        part = rng.choice(("train", "val", "test"))
        if kind == 2 or not split[part]:
            split[part].append(rng.choice((*ODD_IDS, *split["train"], *split["val"])))
        else:
            split[part][rng.randrange(len(split[part]))] = rng.choice((*ODD_IDS, *split["val"]))
        path.write_text(json.dumps(split))
    return make_case(rng, work, again=False)


def change_layout(rng: random.Random, work: Path) -> Case:
    """Remove, add or rename files, or replace them by directories and links."""
    copy_in(work, CACHE, SPLIT_FILE)
    names = [f"{name}.npy" for name in ARRAYS] + [*FACTS, "masks", "images", "test_images"]
    for _ in range(rng.randint(1, 2)):
        path = work / CACHE / rng.choice(names)
        if not path.exists():
            continue
        kind = rng.randrange(6)
        if kind == 0:
            _remove(path)
        elif kind == 1:
            odd = ("x", "a\nb", "\x1b[31m", "é", "0", "z" * 200, "\udcff")
            target = path.with_name(f"{rng.choice(odd)}{path.suffix}")
            shutil.copytree(path, target) if path.is_dir() else shutil.copyfile(path, target)
        elif kind == 2:
            _remove(path)
            path.mkdir()
        elif kind == 3:
            _remove(path)
            path.symlink_to(rng.choice(("nowhere", path.name, "/dev/null", "..", "/etc/hostname")))
        elif kind == 4:
            _remove(path)
            path.write_bytes(b"")
        else:
            path.rename(path.with_name(f"{path.name}.old"))
    return make_case(rng, work, again=rng.random() < 0.5)


def change_plan(rng: random.Random, work: Path) -> Case:
    """Change values or bytes of data/plan.json, for train."""
    copy_in(work, "params.yaml", CACHE, SPLIT_FILE, PLAN_FILE)
    (work / "models").mkdir()
    path = work / PLAN_FILE
    if rng.random() < 0.4:
        path.write_bytes(rng.choice((truncate_bytes, mutate_bytes))(rng, path.read_bytes()))
    else:
        path.write_bytes(encode_yaml(rng, mutate_value(rng, json.loads(path.read_text()))))
    return Case([TRAIN], (PLAN_FILE,), lambda: check_training_outputs(work, identical=True))


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


KINDS: dict[str, CaseBuilder] = {
    "cache facts": change_metadata,
    "cache splits": change_split,
    "cache layout": change_layout,
    "cache plans": change_plan,
}
