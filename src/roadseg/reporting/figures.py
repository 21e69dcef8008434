"""Figures of predictions: a grid of images under column titles, with a legend of the classes.

Figures are as wide as the text of a page, so that font sizes are those of the printed page.
Shapes: H, W pixels of an image; they may differ from row to row.
"""

import math
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.patches import Patch

from roadseg.config.class_map import ClassMap
from roadseg.inference.colors import IGNORED_COLOR, WRONG_COLOR
from roadseg.reporting.fonts import make_text_literal
from roadseg.system.files import atomic_file

PAGE_WIDTH = 7.0  # inches
DPI = 200
FONT = 8  # points
LONGEST_NAME = 32  # characters; the middle of longer class names is left out
MANY_CLASSES = 25  # do not fit a page with all labels
_LEGEND_HEIGHT = 0.19  # inches per line, with a margin
_LEGEND_LINE = 0.14  # inches per line, without
_LEGEND_PATCH = 0.3  # inches, with the gap before the next entry
_LETTER = 0.062  # inches; a wide letter in the legend
_TITLE_HEIGHT = 0.40  # inches, title and column titles
_GAP = 0.035  # inches between images


class ImageRow(NamedTuple):
    """One row of an image grid."""

    images: Mapping[str, np.ndarray]
    """(H, W, 3) uint8, RGB, by column title."""
    caption: str = ""
    """Text in the first image."""


def save_image_grid(
    path: Path,
    title: str,
    rows: Sequence[ImageRow],
    class_map: ClassMap,
) -> None:
    """Write a grid of images as PNG; the same arguments give the same bytes.

    Args:
        rows: the same column titles in each row, and images of one size within a row. A column
            `errors` adds its colors to the legend.
    """
    columns = list(rows[0].images)
    width = (PAGE_WIDTH - _GAP * (len(columns) + 1)) / len(columns)
    shapes = [next(iter(row.images.values())).shape for row in rows]
    heights = [width * shape[0] / shape[1] for shape in shapes]
    entries = _legend_entries(class_map, rows)
    if "errors" in columns:
        entries += [("wrong", WRONG_COLOR), ("ignored", IGNORED_COLOR)]
    longest = max(display_width(name) for name, _ in entries)
    fit = max(1, int(PAGE_WIDTH / (_LEGEND_PATCH + _LETTER * longest)))
    lines = math.ceil(len(entries) / fit)
    legend = min(_LEGEND_HEIGHT * lines, _LEGEND_LINE * lines + 0.25) + 0.06
    figure, grid = _figure_with_grid(heights, len(columns), legend)
    for i, row in enumerate(rows):
        for j, (column, image) in enumerate(row.images.items()):
            axes = figure.add_subplot(grid[i, j])
            _show(axes, image, column, row.caption if j == 0 else "")
            if i == 0:
                axes.set_title(column, fontsize=FONT, pad=2.5)
    figure.suptitle(title, fontsize=FONT + 1, y=1 - 0.06 / figure.get_figheight(), va="top")
    _add_legend(figure, entries, lines)
    save_figure(figure, path)


def save_figure(figure: Figure, path: Path) -> None:
    """Write `figure` as PNG, atomically, with literal text, without the version of matplotlib."""
    make_text_literal(figure)
    with atomic_file(path) as temporary, warnings.catch_warnings():
        # make_text_literal prints its own warning
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")
        figure.savefig(temporary, format="png", metadata={"Software": None})


def display_width(text: str) -> int:
    """Return the width of `text` in letters; Chinese, Japanese and Korean ones count as two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def shorten(name: str) -> str:
    """Return `name`, without its middle if it is longer than LONGEST_NAME."""
    half = LONGEST_NAME // 2
    return name if len(name) <= LONGEST_NAME else f"{name[: half - 1]}…{name[-half:]}"


def _legend_entries(
    class_map: ClassMap, rows: Sequence[ImageRow]
) -> list[tuple[str, Sequence[int]]]:
    """List names and colors of the classes; of many, only those that the images of `rows` show."""
    entries: list[tuple[str, Sequence[int]]] = [
        (shorten(entry.name), entry.color) for entry in class_map.classes
    ]
    if len(entries) < MANY_CLASSES:
        return entries
    # the other columns are photographs, in which colors occur by chance
    images = [row.images[column] for row in rows for column in row.images if _is_mask(column)]
    shown = {tuple(color) for image in images for color in np.unique(image.reshape(-1, 3), axis=0)}
    return [entry for entry in entries if tuple(entry[1]) in shown] or entries[:1]


def _is_mask(column: str) -> bool:
    return column not in ("image", "overlay", "errors")


def _show(axes: Axes, image: np.ndarray, column: str, caption: str) -> None:
    # a photograph is resampled; the colors of classes stay as they are
    interpolation = "antialiased" if column in ("image", "overlay") else "nearest"
    axes.imshow(image, interpolation=interpolation, aspect="auto")
    axes.set_axis_off()
    if caption:
        axes.text(
            *(0.015, 0.035, caption),
            transform=axes.transAxes,
            va="bottom",
            ha="left",
            color="white",
            fontsize=FONT - 2,
            bbox={"facecolor": "black", "alpha": 0.6, "pad": 1.2, "linewidth": 0},
        )


def _figure_with_grid(
    heights: list[float], num_columns: int, legend: float
) -> tuple[Figure, GridSpec]:
    """Create a figure of PAGE_WIDTH with a row of cells for each of `heights`, in inches.

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


def _add_legend(figure: Figure, entries: list[tuple[str, Sequence[int]]], lines: int) -> None:
    patches = []
    for name, (red, green, blue) in entries:
        color = (red / 255, green / 255, blue / 255)
        patches.append(Patch(facecolor=color, edgecolor="black", linewidth=0.4, label=name))
    figure.legend(
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
