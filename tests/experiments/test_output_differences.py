"""Equal digits of metrics, tables and model files."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from roadseg.experiments.output_differences import compare_files, equal_digits
from roadseg.provenance.model_metadata import KEY, ModelMetadata, read_metadata
from tests.factories import save_model


@pytest.mark.parametrize(
    ("a", "b", "digits"),
    [
        (0.758175, 0.758176, 5),
        (0.758175, 0.758, 3),
        (100, 101, 2),
        (1.0, 0.999, 3),
        (1.0, 0.5, 0),
        (-0.7, 0.7, 0),
        (0.0, 1e-9, 0),
        (float("inf"), 1.0, 0),
        (float("nan"), 1.0, 0),
        (float("nan"), float("nan"), None),
        (3, 3.0, None),
    ],
)
def test_equal_digits(a: float, b: float, digits: int | None):
    assert equal_digits(a, b) == equal_digits(b, a) == digits


def texts(tmp_path: Path, suffix: str, committed: str, new: str) -> list[str]:
    paths = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    for path, text in zip(paths, (committed, new), strict=True):
        path.write_text(text)
    return [f"{row.metric}: {row}".removeprefix(": ") for row in compare_files(*paths)]


def test_json_file_has_the_fewest_digits_of_its_metrics(tmp_path: Path):
    a, b = {"best": 7, "miou": 0.5, "name": "x", "ce": 1}, {"best": 7, "miou": 0.5001, "name": "x"}
    assert texts(tmp_path, ".json", json.dumps(a), json.dumps({**b, "ce": 1.1})) == [
        "equal to 1 digit (2 of 4 values differ)",
        "miou: equal to 3 digits (0.5 -> 0.5001)",
        "ce: equal to 1 digit (1 -> 1.1)",
    ]
    assert texts(tmp_path, ".json", json.dumps(a), json.dumps(b)) == ["different (other keys: ce)"]
    assert texts(tmp_path, ".json", '{"a": 1}', '{"a":1}') == ["equal values, other bytes"]
    assert texts(tmp_path, ".json", '{"a": [1]}', '{"a": [2]}')[1] == "a: different"


@pytest.mark.parametrize(
    ("new", "result"),
    [
        (
            "class,iou,ce\nroad,0.5,2.00001\nsky,,1\n",
            "equal to 5 digits (1 of 6 values differ, the",
        ),
        (
            "class,iou,ce\nroad,0.5,2.00001\nsky,,2\n",
            "different (2 of 6 values differ, the largest in ce)",
        ),
        (
            "class,iou,ce\nroad,0.5,2\nsky,0.1,1\n",
            "different (1 of 6 values differ, the largest in iou)",
        ),
        (
            "class,iou,ce\nroad,0.5,2\ncar,,1\n",
            "different (1 of 6 values differ, the largest in class)",
        ),
        ("class,iou,ce\nroad,0.50,2\nsky,,1\n", "equal values, other bytes"),
        ("class,iou,ce\nroad,0.5,2\n", "different (1 rows; committed: 2)"),
    ],
)
def test_table_has_the_fewest_digits_of_its_cells(tmp_path: Path, new: str, result: str):
    (text,) = texts(tmp_path, ".csv", "class,iou,ce\nroad,0.5,2\nsky,,1\n", new)
    assert text.startswith(result)


def test_weights_are_compared_relative_to_the_largest_of_their_tensor(tmp_path: Path):
    a, b = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_model(a)
    metadata, state = read_metadata(a, ModelMetadata), load_file(a)
    name = next(n for n, tensor in state.items() if tensor.dtype == torch.float32 and tensor.any())
    state[name].view(-1)[0] += 0.0011 * state[name].abs().max()
    save_file(state, b, metadata={KEY: metadata.to_json()})
    (row,) = compare_files(a, b)
    assert row.digits == 2
    assert row.detail == "weights differ by 1.1e-03; metadata: same"


def test_model_with_other_metadata_only_has_equal_weights(tmp_path: Path):
    a, b = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_model(a)
    metadata = read_metadata(a, ModelMetadata)
    changed = metadata.model_copy(update={"scale": metadata.scale / 2})
    save_file(load_file(a), b, metadata={KEY: changed.to_json()})
    assert [str(row) for row in compare_files(a, b)] == [
        "equal values, other bytes (equal weights; metadata: scale)"
    ]


def test_other_types_are_different(tmp_path: Path):
    assert texts(tmp_path, ".png", "1", "2") == ["different"]
