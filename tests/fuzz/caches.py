"""Hostile caches and splits, for every stage that reads them (arrays.py has their arrays)."""

import json
import random
import shutil
from pathlib import Path

from roadseg.models.model_file import epoch_file
from tests.fuzz.case import Case, Make
from tests.fuzz.mutation import cut_bytes, mutated_bytes, mutated_text, mutated_value
from tests.fuzz.oracles import require_counted, require_pairs, require_trained
from tests.fuzz.texts import as_yaml
from tests.fuzz.workspace import (
    CACHE,
    EVALUATE,
    MODEL,
    MODEL_OUT,
    RENDER,
    SPLIT,
    SPLIT_FILE,
    TRAIN,
    bring,
    old_out,
)

ARRAYS = ("images/000000_10", "images/000002_10", "masks/000000_10", "masks/000002_10")
ARRAYS += ("test_images/000000_10",)
FACTS = ("classes.json", "sizes.json", "scale.json", "index.jsonl")


def case_of(rng: random.Random, work: Path, again: bool = True) -> Case:
    """evaluate, and for some of the cases train and render, on the cache as it stands.

    Args:
        again: split first.
    """
    bring(work, "params.yaml", MODEL)
    steps = [SPLIT] if again else []
    if again:
        old_out(work, SPLIT_FILE)
    old_out(work, "out/evaluate.json", "out/confusion.csv")
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
        assert not again or sorted(both) == ids, "other pictures than there are"
        assert len(set(both)) == len(both), "a picture stands twice"
        require_counted(work)
        if trains:
            require_pairs(work, both)
            require_trained(work)
        if renders:
            assert (work / "out/figures/hardest.png").stat().st_size > 1000

    names = (CACHE, SPLIT_FILE, MODEL, "split", "out/pictures.csv")
    return Case(steps, names, check)


def facts(rng: random.Random, work: Path) -> Case:
    """The files beside the arrays with other values, or other texts."""
    bring(work, CACHE, SPLIT_FILE)
    path = work / CACHE / rng.choice(FACTS)
    text = path.read_text()
    kind = rng.randrange(5)
    if kind == 0:
        path.write_bytes(mutated_text(rng, text))
    elif kind == 1:
        path.write_bytes(rng.choice((cut_bytes, mutated_bytes))(rng, text.encode()))
    else:
        lines = text.splitlines() if path.suffix == ".jsonl" else [text]
        place = rng.randrange(len(lines))
        changed = as_yaml(rng, mutated_value(rng, json.loads(lines[place])))
        others = [line.encode() for line in lines]
        path.write_bytes(b"\n".join([*others[:place], changed, *others[place + 1 :]]))
    return case_of(rng, work)


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


def splits(rng: random.Random, work: Path) -> Case:
    """Splits that others wrote: ids that are none, twice, of both parts, or no ids at all."""
    bring(work, CACHE, SPLIT_FILE)
    path = work / SPLIT_FILE
    split = json.loads(path.read_text())
    kind = rng.randrange(4)
    if kind == 0:
        path.write_bytes(rng.choice((cut_bytes, mutated_bytes))(rng, path.read_bytes()))
    elif kind == 1:
        path.write_bytes(as_yaml(rng, mutated_value(rng, split)))
    else:
        part = rng.choice(("train", "val", "test"))
        if kind == 2 or not split[part]:
            split[part].append(rng.choice((*ODD_IDS, *split["train"], *split["val"])))
        else:
            split[part][rng.randrange(len(split[part]))] = rng.choice((*ODD_IDS, *split["val"]))
        path.write_text(json.dumps(split))
    return case_of(rng, work, again=False)


def layout(rng: random.Random, work: Path) -> Case:
    """Files that are missing, more than there should be, or no files."""
    bring(work, CACHE, SPLIT_FILE)
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
    return case_of(rng, work, again=rng.random() < 0.5)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


KINDS: dict[str, Make] = {
    "cache facts": facts,
    "cache splits": splits,
    "cache layout": layout,
}
