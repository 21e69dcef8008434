"""Figures of predictions: rows of pictures under column titles, with a legend of the classes.

As wide as a page's text, so that what is printed at that size has letters of the size given here.
Shapes: H, W pixels of a picture; they may differ from row to row.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.patches import Patch

from roadseg.config.class_map import ClassMap
from roadseg.inference.colors import IGNORED_COLOR, WRONG_COLOR
from roadseg.system.files import atomic_file

PAGE_WIDTH = 7.0  # inches
DPI = 200
FONT = 8  # points
_LEGEND_HEIGHT = 0.19  # inches a line
_LEGEND_PATCH = 0.3  # inches, with the gap before the next entry
_LETTER = 0.062  # inches, of the legend's size, on the wide side
_TITLE_HEIGHT = 0.40  # inches, title and column titles
_GAP = 0.035  # inches between pictures


class ImageRow(NamedTuple):
    pictures: dict[str, np.ndarray]
    """(H, W, 3) uint8, RGB, by the title of their column."""
    caption: str = ""
    """Stands in the first picture."""


def save_image_grid(
    path: Path,
    title: str,
    rows: Sequence[ImageRow],
    class_map: ClassMap,
) -> None:
    """Write a PNG of pictures; the same arguments give the same bytes.

    Args:
        rows: the same column titles in each row, and one size in a row. A column `errors` adds its
            colours to the legend.
    """
    columns = list(rows[0].pictures)
    width = (PAGE_WIDTH - _GAP * (len(columns) + 1)) / len(columns)
    shapes = [next(iter(row.pictures.values())).shape for row in rows]
    heights = [width * shape[0] / shape[1] for shape in shapes]
    entries = list(zip(class_map.names, class_map.colors, strict=True))
    if "errors" in columns:
        entries += [("wrong", WRONG_COLOR), ("not judged", IGNORED_COLOR)]
    longest = max(len(name) for name, _ in entries)
    fit = max(1, int(PAGE_WIDTH / (_LEGEND_PATCH + _LETTER * longest)))
    lines = math.ceil(len(entries) / fit)
    figure, grid = _figure_with_grid(heights, len(columns), _LEGEND_HEIGHT * lines + 0.06)
    for i, row in enumerate(rows):
        for j, (column, picture) in enumerate(row.pictures.items()):
            axes = figure.add_subplot(grid[i, j])
            _show(axes, picture, column, row.caption if j == 0 else "")
            if i == 0:
                axes.set_title(column, fontsize=FONT, pad=2.5)
    figure.suptitle(title, fontsize=FONT + 1, y=1 - 0.06 / figure.get_figheight(), va="top")
    _add_legend(figure, entries, lines)
    save_figure(figure, path)


def save_figure(figure: Figure, path: Path) -> None:
    """Write `figure` as PNG; it is whole or not there, and nothing in it tells versions."""
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI, metadata={"Software": None})


def _show(axes: Axes, picture: np.ndarray, column: str, caption: str) -> None:
    # a photograph is resampled; the colours of classes stay as they are
    interpolation = "antialiased" if column in ("image", "overlay") else "nearest"
    axes.imshow(picture, interpolation=interpolation, aspect="auto")
    axes.set_axis_off()
    if caption:
        box = {"facecolor": "black", "alpha": 0.6, "pad": 1.2, "linewidth": 0}
        place = {"transform": axes.transAxes, "va": "bottom", "ha": "left"}
        text = axes.text(0.015, 0.035, caption, color="white", fontsize=FONT - 2, bbox=box, **place)
        text.set_parse_math(False)


def _figure_with_grid(
    heights: list[float], num_columns: int, legend: float
) -> tuple[Figure, GridSpec]:
    """A figure of PAGE_WIDTH with a row of cells for each of `heights`, in inches.

    Titles go above the cells, and below them there is room for a legend of height `legend`.
    """
    height = sum(heights) + _GAP * len(heights) + _TITLE_HEIGHT + legend
    figure = Figure(figsize=(PAGE_WIDTH, height), dpi=DPI)
    cell = (PAGE_WIDTH - _GAP * (num_columns + 1)) / num_columns
    grid = figure.add_gridspec(
        len(heights),
        num_columns,
        height_ratios=heights,
        left=_GAP / PAGE_WIDTH,
        right=1 - _GAP / PAGE_WIDTH,
        top=1 - _TITLE_HEIGHT / height,
        bottom=legend / height,
        wspace=_GAP / cell,
        hspace=_GAP * len(heights) / sum(heights),
    )
    return figure, grid


def _add_legend(figure: Figure, entries: list[tuple[str, Sequence]], lines: int) -> None:
    patches = [
        Patch(facecolor=np.divide(color, 255), edgecolor="black", linewidth=0.4, label=name)
        for name, color in entries
    ]
    legend = figure.legend(
        handles=patches,
        ncols=math.ceil(len(patches) / lines),
        loc="lower center",
        bbox_to_anchor=(0.5, 0),
        borderpad=0.1,
        frameon=False,
        fontsize=FONT - 0.5,
        handlelength=1.1,
        handletextpad=0.4,
        columnspacing=1.0,
        labelspacing=0.3,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # a $ in a name is a $
