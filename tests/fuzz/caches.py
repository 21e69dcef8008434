"""Hostile caches and splits, for every stage that reads them."""

import io
import json
import pickle
import random
import shutil
from pathlib import Path

import numpy as np

from src.model.weights import epoch_file
from tests.fuzz.case import Case, Make
from tests.fuzz.mutation import cut_bytes, mutated_bytes, mutated_text, mutated_value
from tests.fuzz.starts import Calls
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
    require_counted,
    require_trained,
    require_whole_cache,
)

ARRAYS = ("images/000000_10", "images/000002_10", "masks/000000_10", "masks/000002_10")
ARRAYS += ("test_images/000000_10",)
FACTS = ("classes.json", "sizes.json", "scale.json")
CODE = "open('evil.txt', 'w').write('ran')"


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
            require_whole_cache(work)
            require_trained(work)
        if renders:
            assert (work / "out/figures/hardest.png").stat().st_size > 1000

    names = (CACHE, SPLIT_FILE, MODEL, "split", "out/pictures.csv")
    return Case(steps, names, check)


def _array(rng: random.Random, work: Path) -> Path:
    bring(work, CACHE, SPLIT_FILE)
    return work / CACHE / f"{rng.choice(ARRAYS)}.npy"


def mutated(rng: random.Random, work: Path) -> Case:
    path = _array(rng, work)
    data = path.read_bytes()
    if rng.random() < 0.6:
        path.write_bytes(mutated_bytes(rng, data[:128]) + data[128:])
    else:
        path.write_bytes(mutated_bytes(rng, data))
    return case_of(rng, work)


def cut(rng: random.Random, work: Path) -> Case:
    path = _array(rng, work)
    path.write_bytes(cut_bytes(rng, path.read_bytes()))
    return case_of(rng, work)


def arrays(rng: random.Random, work: Path) -> Case:
    """Other types, shapes and orders, objects, and headers that are more than data."""
    path = _array(rng, work)
    array = np.load(path)
    kind = rng.randrange(6)
    if kind == 0:
        kinds = ("u2", ">u2", "i1", "f4", "f8", "?", "i8", "c8", "S1", "U1", "V1", "M8[s]", "O")
        array = array.astype(rng.choice(kinds))
    elif kind == 1:
        shapes = (
            (array.size,),
            (1, *array.shape),
            (*array.shape, 1),
            array.shape[::-1],
            (0, 48, 3),
            (),
        )
        array = np.resize(array, rng.choice(shapes))
    elif kind == 2:
        array = np.asfortranarray(array)
    elif kind == 3:
        height = rng.choice((1, 2, 16, 31, 33, 64))
        array = np.resize(array, (height, *array.shape[1:]))
    elif kind == 4:
        array = np.zeros((2, 2), dtype=[("a", "u1"), ("b", "O")])
    buffer = io.BytesIO()
    version = rng.choice(((1, 0), (1, 0), (2, 0), (3, 0)))
    np.lib.format.write_array(buffer, array, version, allow_pickle=True)
    data = buffer.getvalue()
    if kind == 5:
        data = _with_odd_header(rng, data)
    path.write_bytes(data)
    return case_of(rng, work)


def _with_odd_header(rng: random.Random, data: bytes) -> bytes:
    """Instead of the array's: numpy's reader evaluates what stands there."""
    texts = (
        *("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", f"exec({CODE!r})", ""),
        *("(" * 5000, "{'descr': '|u1', 'fortran_order': False, 'shape': (10**9,) * 3, }"),
        *("{'descr': '|u1', 'fortran_order': True, 'shape': (32, 48), }", "[]", "1" * 9000),
        *("{'descr': '|u1', 'fortran_order': False, 'shape': (32, 48, 3, 1), }", "\0" * 100),
        *("{'descr': '|u1', 'fortran_order': False, 'shape': (-1, -4608), }", "{'descr': '|u1'}"),
        "{'descr': '|u1', 'fortran_order': False, 'shape': (999999999, 999999999, 3), }",
    )
    text = rng.choice(texts).encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    body = rng.choice((data[128:], b"", pickle.dumps(Calls(exec, CODE)), bytes(5000)))
    return b"\x93NUMPY\x01\0" + (len(text) % 65536).to_bytes(2, "little") + text + body


def ids(rng: random.Random, work: Path) -> Case:
    """Masks with class ids of the map, beyond it and ignored ones."""
    bring(work, CACHE, SPLIT_FILE)
    path = work / CACHE / f"masks/{rng.choice(('000000_10', '000002_10'))}.npy"
    mask = np.load(path).copy()
    some = rng.choice(((0,), (11,), (255,), (12,), (254,), (0, 11, 255), range(256)))
    if rng.random() < 0.5:
        mask.flat[rng.randrange(mask.size)] = rng.choice(list(some))
    else:
        mask[:] = np.array(some, dtype=np.uint8)[np.arange(mask.size) % len(some)].reshape(
            mask.shape
        )
    np.save(path, mask)
    return case_of(rng, work)


def facts(rng: random.Random, work: Path) -> Case:
    """classes.json, sizes.json and scale.json with other values, or other texts."""
    bring(work, CACHE, SPLIT_FILE)
    path = work / CACHE / rng.choice(FACTS)
    text = path.read_text()
    kind = rng.randrange(5)
    if kind == 0:
        path.write_bytes(mutated_text(rng, text))
    elif kind == 1:
        path.write_bytes(rng.choice((cut_bytes, mutated_bytes))(rng, text.encode()))
    else:
        path.write_bytes(as_yaml(rng, mutated_value(rng, json.loads(text))))
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
    "cache mutated": mutated,
    "cache cut": cut,
    "cache arrays": arrays,
    "cache ids": ids,
    "cache facts": facts,
    "cache splits": splits,
    "cache layout": layout,
}
