from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from src.labels import IGNORE_INDEX, read_class_map
from src.report.figures import save_picture_grid
from src.report.palette import IGNORED_COLOR, colorized, overlaid
from src.report.predictions import spaced
from src.report.tables import class_frequency, rounded, write_table
from tests.conftest import ROOT

TWELVE = read_class_map(ROOT / "classes/kitti12.yaml")


def test_a_class_has_one_colour_everywhere():
    class_ids = np.array([[1, 7], [0, IGNORE_INDEX]], dtype=np.uint8)
    colors = colorized(class_ids, TWELVE.colors)
    assert colors.tolist() == [
        [[128, 64, 128], [70, 130, 180]],
        [[0, 0, 0], list(IGNORED_COLOR)],
    ]


def test_an_overlay_is_half_picture_half_colour():
    image = np.full((1, 1, 3), 200, dtype=np.uint8)
    shown = overlaid(image, np.array([[1]], dtype=np.uint8), TWELVE.colors)
    assert shown.tolist() == [[[164, 132, 164]]]


def test_a_grid_shows_every_picture_and_has_the_same_bytes_twice(tmp_path: Path):
    fills = [[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (255, 255, 0)]]
    sizes = [(20, 60), (30, 60)]
    rows = [
        {
            name: np.full((*size, 3), color, dtype=np.uint8)
            for name, color in zip(("left", "right"), row, strict=True)
        }
        for size, row in zip(sizes, fills, strict=True)
    ]
    for name in ("a.png", "b.png"):
        save_picture_grid(tmp_path / name, "title", rows, TWELVE)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as picture:
        assert "Software" not in picture.info
        pixels = np.asarray(picture.convert("RGB"))
    areas = [(pixels == color).all(axis=2).sum() for row in fills for color in row]
    for area, (height, width) in zip(areas, [s for s in sizes for _ in range(2)], strict=True):
        expected = 400 * 400 * height / width  # a column is 4 inches of 100 dots
        assert area == pytest.approx(expected, rel=0.05)
    for color in TWELVE.colors:  # the legend has a patch of each class
        assert (pixels == color).all(axis=2).sum() > 30


def test_class_frequency_leaves_ignored_pixels_out():
    pixels = np.zeros(256, dtype=np.int64)
    pixels[[1, 7, IGNORE_INDEX]] = 30, 10, 60
    table = pd.DataFrame(class_frequency(TWELVE, pixels)).set_index("class")
    assert table.loc["road", "share"] == 0.75
    assert table["share"].sum() == 1
    assert pd.api.types.is_integer_dtype(table["pixels"])


def test_spaced_takes_the_first_and_the_last():
    ids = [str(i) for i in range(20)]
    assert spaced(ids, 5) == ["0", "5", "10", "14", "19"]
    assert spaced(ids[:3], 5) == ["0", "1", "2"]
    assert spaced([], 5) == []


def test_tables_hold_six_significant_digits(tmp_path: Path):
    values = [1 / 3, 2e-7 / 3, 12345678.0]
    write_table(tmp_path / "t.csv", pd.DataFrame({"epoch": [1, 2, 3], "lr": values}))
    lines = (tmp_path / "t.csv").read_text().splitlines()
    assert lines == ["epoch,lr", "1,0.333333", "2,6.66667e-08", "3,1.23457e+07"]
    assert [rounded(value) for value in values] == pd.read_csv(tmp_path / "t.csv")["lr"].tolist()
