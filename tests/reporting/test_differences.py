"""The plot of the differences between two models."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from roadseg.reporting.charts import save_differences

BLUE, ORANGE = (0x4C, 0x78, 0xA8), (0xF5, 0x85, 0x18)


def pixels(path: Path, differences: list[float], low: list[float], high: list[float]) -> np.ndarray:
    """Plot the differences and return the image above the legend, (.., 3) uint8."""
    names = [f"class $x_{i}$" for i in range(len(low))]
    columns = {"metric": names, "difference": differences, "low": low, "high": high}
    save_differences(path, pd.DataFrame(columns), "$a$", "b")
    with Image.open(path) as file:
        image = np.asarray(file.convert("RGB"))
    return image[: int(0.8 * len(image))].reshape(-1, 3)


@pytest.mark.parametrize(
    ("low", "high", "colors"),
    [
        (0.1, 0.3, {BLUE}),
        (-0.3, -0.1, {ORANGE}),
        (-0.1, 0.2, set()),
        (np.nan, np.nan, set()),
    ],
)
def test_only_significant_differences_are_colored(
    tmp_path: Path, low: float, high: float, colors: set
):
    differences = [(low + high) / 2 if low == low else 0.2] * 4 + [np.nan]
    shown = pixels(tmp_path / "a.png", differences, [low] * 4 + [np.nan], [high] * 4 + [np.nan])
    assert {color for color in (BLUE, ORANGE) if (shown == color).all(1).any()} == colors


def test_plot_of_many_classes_is_taller_and_reproducible(tmp_path: Path):
    few, many, again = (tmp_path / name for name in ("few.png", "many.png", "again.png"))
    for path, count in ((few, 12), (again, 12), (many, 150)):
        pixels(path, [0.1] * count, [0.0] * count, [0.2] * count)
    with Image.open(few) as small, Image.open(many) as large:
        assert large.width == 700
        assert large.height > 2 * small.height
    assert few.read_bytes() == again.read_bytes()
