"""Prepared arrays and tables that were changed without DVC: one line says how to repair them."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from roadseg.system.errors import InputError
from tests.stage_runner import run_stage


@pytest.fixture
def finished(done: Path, tmp_path: Path) -> Path:
    """A copy of the finished pipeline, to be damaged."""
    unread = shutil.ignore_patterns(".ckpt", "runs", "pictures", "metrics")
    return shutil.copytree(done, tmp_path / "finished", ignore=unread)


def npy_bytes(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version, allow_pickle=True)
    return file.getvalue()


def replace_header(content: bytes, header: str) -> bytes:
    """Replace the header by one that numpy's own reader would accept or evaluate."""
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
    "int16": lambda content, array: npy_bytes(array.astype(np.int16)),
    "int8": lambda content, array: npy_bytes(array.astype(np.int8)),
    "float32": lambda content, array: npy_bytes(array.astype(np.float32)),
    "bool": lambda content, array: npy_bytes(array > 0),
    "objects": lambda content, array: npy_bytes(np.array([{"a": 1}], dtype=object)),
    "records": lambda content, array: npy_bytes(np.zeros(3, dtype=[("a", "u1")])),
    "Fortran's order": lambda content, array: npy_bytes(np.asfortranarray(array)),
    "version 2": lambda content, array: npy_bytes(array, (2, 0)),
    "version 3": lambda content, array: npy_bytes(array, (3, 0)),
    "one dimension": lambda content, array: npy_bytes(array.reshape(-1)),
    "one more dimension": lambda content, array: npy_bytes(array[None]),
    "no dimension": lambda content, array: npy_bytes(np.uint8(3)),
    "no row": lambda content, array: npy_bytes(array[:0]),
    "another size in the header": lambda content, array: replace_header(
        content, header(array, shape=(array.shape[0] * 2, *array.shape[1:]))
    ),
    "an enormous size": lambda content, array: replace_header(
        content, header(array, shape=(10**8, 10**8, *array.shape[2:]))
    ),
    "a negative size": lambda content, array: replace_header(
        content, header(array, shape=(-1, *array.shape[1:]))
    ),
    "code as the header": lambda content, array: replace_header(
        content, "__import__('os').abort()"
    ),
}


def first_array(finished: Path, folder: str) -> Path:
    """The array of the first training image, its mask or the first test image."""
    split = json.loads((finished / "data/split.json").read_text())
    part = {"images": "train", "masks": "train", "test_images": "test"}[folder]
    return finished / f"data/prepared/{folder}/{split[part][0]}.npy"


def require_error(finished: Path, stage: str, name: Path, *texts: str) -> None:
    """`stage` fails with one line that begins with `name` and recommends dvc repro."""
    with pytest.raises(InputError) as caught:
        run_stage(stage, finished, finished.parent / "outs")
    line = str(caught.value)
    assert line.startswith(f"{name}"), line
    assert "\n" not in line
    assert "dvc repro" in line, line
    for text in texts:
        assert text in line, line


@pytest.mark.parametrize("damage", ARRAYS)
@pytest.mark.parametrize("folder", ["images", "masks"])
def test_damaged_array_is_refused(finished: Path, folder: str, damage: str):
    path = first_array(finished, folder)
    path.write_bytes(ARRAYS[damage](path.read_bytes(), np.load(path)))
    require_error(finished, "train", path)
    assert not (finished.parent / "outs/models").exists()


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
def test_each_stage_checks_the_arrays_that_it_reads(
    finished, stage: str, part: str, folder: str, damage: str
):
    split = json.loads((finished / "data/split.json").read_text())
    path = finished / f"data/prepared/{folder}/{split[part][0]}.npy"
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(ARRAYS[damage](path.read_bytes(), np.load(path)))
    require_error(finished, stage, path)


def test_image_and_mask_of_different_size_are_refused(finished: Path):
    path = first_array(finished, "images")
    path.write_bytes(npy_bytes(np.ascontiguousarray(np.load(path)[:, :-1])))
    require_error(finished, "train", path, "and its mask have")


@pytest.mark.parametrize("class_id", [12, 254])
@pytest.mark.parametrize("stage", ["train", "evaluate"])
def test_class_id_outside_the_map_is_refused(finished: Path, stage: str, class_id: int):
    split = json.loads((finished / "data/split.json").read_text())
    part = "train" if stage == "train" else "val"
    path = finished / f"data/prepared/masks/{split[part][0]}.npy"
    mask = np.load(path)
    mask[0, 0] = class_id
    path.write_bytes(npy_bytes(mask))
    require_error(
        finished, stage, path, f"class id {class_id} is not one of the 12 classes (1 invalid"
    )


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
    "data/plan.json": "train",
}
READ_AGAIN = [
    (stage, name, text)
    for stage in ("evaluate", "render")
    for name in ("data/prepared/classes.json", "data/split.json")
    for text in ("gone", "no JSON", "other keys")
]


@pytest.mark.parametrize(
    ("stage", "name", "text"),
    [(stage, name, text) for name, stage in READ_FIRST.items() for text in TEXTS] + READ_AGAIN,
)
def test_damaged_table_is_refused(finished: Path, stage: str, name: str, text: str):
    path = finished / name
    if TEXTS[text] is None:
        path.unlink()
    else:
        path.write_bytes(TEXTS[text].encode(errors="surrogateescape"))
    require_error(finished, stage, path)


@pytest.mark.parametrize("stage", ["split", "train", "evaluate", "render"])
def test_missing_prepared_folder_is_reported(finished: Path, stage: str):
    shutil.rmtree(finished / "data/prepared")
    require_error(finished, stage, finished / "data/prepared")


@pytest.mark.parametrize("stage", ["train", "evaluate", "render"])
def test_split_with_unknown_images_is_refused(finished: Path, stage: str):
    path = finished / "data/split.json"
    split = json.loads(path.read_text())
    for part in ("train", "val"):
        split[part][0] = f"elsewhere {part}"
    path.write_text(json.dumps(split))
    require_error(finished, stage, finished / "data/prepared/")
