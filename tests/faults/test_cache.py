"""The cache and the tables beside it, changed behind DVC's back: one line that says what mends."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.faults.limited_process import one_line, staged


@pytest.fixture
def world(done: Path, tmp_path: Path) -> Path:
    """What all stages have left, to be damaged."""
    shutil.copytree(done, tmp_path / "world")
    return tmp_path / "world"


def saved(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version, allow_pickle=True)
    return file.getvalue()


def with_header(content: bytes, header: str) -> bytes:
    """A header that numpy's own reader would take, or evaluate."""
    return content[:10] + header.encode().ljust(117) + b"\n" + content[128:]


def header(array: np.ndarray, **changes: object) -> str:
    values = {"descr": "|u1", "fortran_order": False, "shape": array.shape, **changes}
    return "{" + "".join(f"'{key}': {value!r}, " for key, value in values.items()) + "}"


ARRAYS: dict[str, Callable[[bytes, np.ndarray], bytes]] = {
    "empty": lambda content, array: b"",
    "cut in the header": lambda content, array: content[:64],
    "without pixels": lambda content, array: content[:128],
    "cut": lambda content, array: content[:-1],
    "grown": lambda content, array: content + b"\0",
    "no array": lambda content, array: b"\x89PNG" + content,
    "int16": lambda content, array: saved(array.astype(np.int16)),
    "int8": lambda content, array: saved(array.astype(np.int8)),
    "float32": lambda content, array: saved(array.astype(np.float32)),
    "bool": lambda content, array: saved(array > 0),
    "objects": lambda content, array: saved(np.array([{"a": 1}], dtype=object)),
    "records": lambda content, array: saved(np.zeros(3, dtype=[("a", "u1")])),
    "Fortran's order": lambda content, array: saved(np.asfortranarray(array)),
    "version 2": lambda content, array: saved(array, (2, 0)),
    "version 3": lambda content, array: saved(array, (3, 0)),
    "one dimension": lambda content, array: saved(array.reshape(-1)),
    "one more dimension": lambda content, array: saved(array[None]),
    "no dimension": lambda content, array: saved(np.uint8(3)),
    "no row": lambda content, array: saved(array[:0]),
    "another size in the header": lambda content, array: with_header(
        content, header(array, shape=(array.shape[0] * 2, *array.shape[1:]))
    ),
    "a size beyond all": lambda content, array: with_header(
        content, header(array, shape=(10**8, 10**8, *array.shape[2:]))
    ),
    "a negative size": lambda content, array: with_header(
        content, header(array, shape=(-1, *array.shape[1:]))
    ),
    "code for a header": lambda content, array: with_header(content, "__import__('os').abort()"),
}


def first(world: Path, folder: str) -> Path:
    """An array that train and evaluate read: of the first training or validation picture."""
    parts = json.loads((world / "data/split.json").read_text())
    part = {"images": "train", "masks": "train", "test_images": "test"}[folder]
    return world / f"data/prepared/{folder}/{parts[part][0]}.npy"


def fails(world: Path, stage: str, name: Path, *texts: str) -> None:
    line = one_line(staged(stage, world, world.parent / "outs"))
    assert line.startswith(f"{name}"), line
    assert "dvc repro" in line, line
    for text in texts:
        assert text in line, line


@pytest.mark.parametrize("damage", ARRAYS)
@pytest.mark.parametrize("folder", ["images", "masks"])
def test_a_damaged_array(world: Path, folder: str, damage: str):
    path = first(world, folder)
    path.write_bytes(ARRAYS[damage](path.read_bytes(), np.load(path)))
    fails(world, "train", path)
    assert not (world.parent / "outs/models").exists()


@pytest.mark.parametrize("damage", ["cut", "float32", "gone"])
@pytest.mark.parametrize(
    ("stage", "part", "folder"),
    [
        ("evaluate", "val", "images"),
        ("evaluate", "val", "masks"),
        ("render", "val", "images"),
        ("render", "train", "masks"),
        ("render", "test", "test_images"),
        ("train", "val", "masks"),
    ],
)
def test_each_stage_looks_at_what_it_reads(world, stage: str, part: str, folder: str, damage: str):
    parts = json.loads((world / "data/split.json").read_text())
    path = world / f"data/prepared/{folder}/{parts[part][0]}.npy"
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(ARRAYS[damage](path.read_bytes(), np.load(path)))
    fails(world, stage, path)


def test_a_picture_and_a_mask_of_different_size(world: Path):
    path = first(world, "images")
    path.write_bytes(saved(np.ascontiguousarray(np.load(path)[:, :-1])))
    fails(world, "train", path, "and its mask have")


@pytest.mark.parametrize("class_id", [12, 254])
@pytest.mark.parametrize("stage", ["train", "evaluate"])
def test_a_class_id_beyond_the_map(world: Path, stage: str, class_id: int):
    parts = json.loads((world / "data/split.json").read_text())
    part = "train" if stage == "train" else "val"
    path = world / f"data/prepared/masks/{parts[part][0]}.npy"
    mask = np.load(path)
    mask[0, 0] = class_id
    path.write_bytes(saved(mask))
    fails(world, stage, path, f"class id {class_id} (1 pixels beyond the map's 12 classes)")


TEXTS = {
    "gone": None,
    "empty": "",
    "no JSON": "{",
    "another value": "[]",
    "null": "null",
    "a number": "1e400",
    "NaN": "NaN",
    "text": '"a"',
    "nested": "[" * 100_000,
    "no UTF-8": "\udcff",
    "other keys": '{"a": 1}',
    "wrong inside": '{"train": [1], "val": [[]], "test": null, "classes": 1, "0": [1, "a"]}',
}


READ_FIRST = {
    "data/prepared/sizes.json": "split",
    "data/prepared/classes.json": "train",
    "data/prepared/scale.json": "train",
    "data/prepared/index.jsonl": "train",
    "data/split.json": "train",
}
READ_LATER = [
    (stage, name, text)
    for stage in ("evaluate", "render")
    for name in ("data/prepared/classes.json", "data/split.json")
    for text in ("gone", "no JSON", "other keys")
]


@pytest.mark.parametrize(
    ("stage", "name", "text"),
    [(stage, name, text) for name, stage in READ_FIRST.items() for text in TEXTS] + READ_LATER,
)
def test_a_damaged_table(world: Path, stage: str, name: str, text: str):
    path = world / name
    if TEXTS[text] is None:
        path.unlink()
    else:
        path.write_bytes(TEXTS[text].encode(errors="surrogateescape"))
    fails(world, stage, path)


@pytest.mark.parametrize("stage", ["split", "train", "evaluate", "render"])
def test_no_cache_at_all(world: Path, stage: str):
    shutil.rmtree(world / "data/prepared")
    fails(world, stage, world / "data/prepared")


@pytest.mark.parametrize("stage", ["train", "evaluate", "render"])
def test_a_split_of_pictures_that_are_not_there(world: Path, stage: str):
    path = world / "data/split.json"
    parts = json.loads(path.read_text())
    for part in ("train", "val"):
        parts[part][0] = f"elsewhere {part}"
    path.write_text(json.dumps(parts))
    fails(world, stage, world / "data/prepared/")
