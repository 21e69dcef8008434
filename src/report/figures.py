"""Figures of predictions: rows of pictures under column titles, with a legend of the classes.

Shapes: H, W pixels of a picture; they may differ from row to row.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
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
    columns: Sequence[str],
    rows: Sequence[Sequence[np.ndarray]],
    class_map: ClassMap,
) -> None:
    """Write a PNG of pictures; the same arguments give the same bytes.

    Args:
        columns: title of each column.
        rows: for each row as many (H, W, 3) uint8 RGB pictures, all of that row of one size.
    """
    width = len(columns) * _COLUMN_WIDTH
    heights = [_COLUMN_WIDTH * row[0].shape[0] / row[0].shape[1] for row in rows]
    lines = math.ceil(class_map.num_classes * _LEGEND_ENTRY / width)
    legend = _LEGEND_HEIGHT * lines + 0.15
    height = sum(heights) + _GAP * len(rows) + _TITLE_HEIGHT + legend
    figure = Figure(figsize=(width, height), dpi=_DPI)
    grid = figure.add_gridspec(
        len(rows),
        len(columns),
        height_ratios=heights,
        left=_GAP / width,
        right=1 - _GAP / width,
        top=1 - _TITLE_HEIGHT / height,
        bottom=legend / height,
        wspace=_GAP / _COLUMN_WIDTH,
        hspace=_GAP * len(rows) / sum(heights),
    )
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            axes = figure.add_subplot(grid[i, j])
            axes.imshow(picture, interpolation="nearest", aspect="auto")
            axes.set_axis_off()
            if i == 0:
                axes.set_title(columns[j], fontsize=11, pad=4)
    figure.suptitle(title, fontsize=13, y=1 - 0.1 / height, va="top")
    _add_legend(figure, class_map, lines)
    with replaced_file(path) as temporary:  # Software: None keeps matplotlib's version out
        figure.savefig(temporary, format="png", metadata={"Software": None})


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
