"""Figures of predictions: rows of pictures under column titles, with a legend of the classes.

Shapes: H, W pixels of a picture; they may differ from row to row.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.patches import Patch

from src.files import replaced_file
from src.labels import ClassMap

_COLUMN_WIDTH = 4.0  # inches
_DPI = 100
_LEGEND_HEIGHT = 0.3  # inches a line
_LEGEND_ENTRY = 1.35  # inches
_TITLE_HEIGHT = 0.65  # inches, title and column titles
_GAP = 0.06  # inches between pictures


def save_picture_grid(
    path: Path,
    title: str,
    rows: Sequence[dict[str, np.ndarray]],
    class_map: ClassMap,
) -> None:
    """Write a PNG of pictures; the same arguments give the same bytes.

    Args:
        rows: pictures (H, W, 3) uint8, RGB, by the title of their column; the same titles in each
            row, and one size in a row.
    """
    columns = list(rows[0])
    shapes = [next(iter(row.values())).shape for row in rows]
    heights = [_COLUMN_WIDTH * shape[0] / shape[1] for shape in shapes]
    lines = math.ceil(class_map.num_classes * _LEGEND_ENTRY / (len(columns) * _COLUMN_WIDTH))
    figure, grid = _figure_with_grid(heights, len(columns), _LEGEND_HEIGHT * lines + 0.15)
    for i, row in enumerate(rows):
        for j, (column, picture) in enumerate(row.items()):
            axes = figure.add_subplot(grid[i, j])
            axes.imshow(picture, interpolation="nearest", aspect="auto")
            axes.set_axis_off()
            if i == 0:
                axes.set_title(column, fontsize=11, pad=4)
    figure.suptitle(title, fontsize=13, y=1 - 0.1 / figure.get_figheight(), va="top")
    _add_legend(figure, class_map, lines)
    with replaced_file(path) as temporary:  # Software: None keeps matplotlib's version out
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _figure_with_grid(
    heights: list[float], num_columns: int, legend: float
) -> tuple[Figure, GridSpec]:
    """A figure with a cell of `_COLUMN_WIDTH` a column and `heights` a row; all in inches.

    Titles go above the cells, and below them there is room for a legend of height `legend`.
    """
    width = num_columns * _COLUMN_WIDTH
    height = sum(heights) + _GAP * len(heights) + _TITLE_HEIGHT + legend
    figure = Figure(figsize=(width, height), dpi=_DPI)
    grid = figure.add_gridspec(
        len(heights),
        num_columns,
        height_ratios=heights,
        left=_GAP / width,
        right=1 - _GAP / width,
        top=1 - _TITLE_HEIGHT / height,
        bottom=legend / height,
        wspace=_GAP / _COLUMN_WIDTH,
        hspace=_GAP * len(heights) / sum(heights),
    )
    return figure, grid


def _add_legend(figure: Figure, class_map: ClassMap, lines: int) -> None:
    patches = [
        Patch(facecolor=color / 255, edgecolor="black", linewidth=0.5, label=name)
        for name, color in zip(class_map.names, class_map.colors, strict=True)
    ]
    figure.legend(
        handles=patches,
        ncols=math.ceil(len(patches) / lines),
        loc="lower center",
        frameon=False,
        fontsize=10,
        handlelength=1.2,
        columnspacing=1.2,
    )
