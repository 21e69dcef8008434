"""Parallel-coordinates plot: one line per experiment, through its value on each axis.

pandas.plotting.parallel_coordinates exists; this one gives each axis its own scale, and allows
categories, logarithmic axes and missing values.
"""

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator

from roadseg.reporting.figures import DPI, FONT, PAGE_WIDTH

_MISSING = -0.1  # position of missing values; an axis spans 0 to 1
_MIN_TICK_GAP = 0.055  # fraction of the axis
_LETTER_WIDTH = 0.063  # inches
_MAX_NAMES = 10  # lines; of more, only the best are named
_NUM_HIGHLIGHTED = 3  # lines
_MAX_LABEL_LENGTH = 16  # characters


class Axis(NamedTuple):
    """A parameter or metric."""

    name: str
    values: Sequence[Any]
    """Numbers or categories, one per line; None, NaN and infinity count as missing."""
    allow_log: bool
    """Use a logarithmic scale where all values are positive and span a decade or more."""


class ScaledAxis(NamedTuple):
    positions: np.ndarray
    """(N,) float64 in 0..1, or below 0 for missing values."""
    ticks: list[tuple[float, str]]
    """Position and label."""


def scale_axis(axis: Axis) -> ScaledAxis:
    """Scale the values of `axis` to 0..1; the lowest number or first category is at 0."""
    known = [value for value in axis.values if not is_missing(value)]
    if all(_is_number(value) for value in known):
        positions, ticks = _scale_numbers(np.array(known, dtype=np.float64), axis.allow_log)
    else:
        positions, ticks = _scale_categories([_category_label(value) for value in known])
    places = np.full(len(axis.values), _MISSING)
    places[[not is_missing(value) for value in axis.values]] = positions
    if len(known) < len(axis.values):
        ticks = [(_MISSING, "none"), *ticks]
    return ScaledAxis(places, ticks)


def plot_parallel_coordinates(
    axes: Sequence[Axis], names: Sequence[str], color_axis: Axis, higher_is_better: bool
) -> Figure:
    """Plot all `axes` in one figure, which is at least as wide as a page.

    Args:
        names: names of the lines, the best first.
        color_axis: colours the lines, the best darkest; grey where the value is missing.
    """
    space = [_LETTER_WIDTH * max(map(len, _title(axis.name).split("\n"))) + 0.25 for axis in axes]
    with rc_context({"font.size": FONT, "axes.titlesize": FONT}):
        size = (max(PAGE_WIDTH, max(space) * len(axes) + 1.2), 3.6)
        figure = Figure(figsize=size, dpi=DPI, layout="constrained")
        canvas = figure.subplots()
        colors = ScalarMappable(_norm(color_axis.values), _colormap(higher_is_better))
        lines = _draw_lines(canvas, axes, color_axis, colors)
        _draw_axes(canvas, axes)
        figure.colorbar(colors, ax=canvas, label=color_axis.name, pad=0.01, aspect=30)
        _add_legend(figure, lines, names)
    return figure


def is_missing(value: Any) -> bool:
    """Return True for None, NaN and infinity."""
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _scale_numbers(
    values: np.ndarray, allow_log: bool
) -> tuple[np.ndarray, list[tuple[float, str]]]:
    if values.size == 0:
        return values, []
    low, high = values.min(), values.max()
    if low == high:
        return np.full(len(values), 0.5), [(0.5, _format_number(low))]
    log = allow_log and low > 0 and high / low >= 10
    norm = LogNorm(low, high) if log else Normalize(low, high)
    distinct = np.unique(values)
    if np.diff(norm(distinct)).min() < _MIN_TICK_GAP:
        inner = (LogLocator(10) if log else MaxNLocator(5)).tick_values(low, high)
        far = [t for t in inner if low < t < high and _MIN_TICK_GAP < norm(t) < 1 - _MIN_TICK_GAP]
        distinct = np.array([low, *far, high])
    return np.asarray(norm(values)), [(float(norm(t)), _format_number(t)) for t in distinct]


def _format_number(number: float) -> str:
    return f"{number:.0f}" if number == round(number) else f"{number:.4g}"


def _scale_categories(labels: list[str]) -> tuple[np.ndarray, list[tuple[float, str]]]:
    distinct = sorted(set(labels))
    steps = max(1, len(distinct) - 1)
    height = {label: i / steps if len(distinct) > 1 else 0.5 for i, label in enumerate(distinct)}
    rare = max(1, math.ceil(len(distinct) * _MIN_TICK_GAP))  # label only some of very many
    ticks = [(height[label], _shorten(label)) for label in distinct[::rare]]
    return np.array([height[label] for label in labels]), ticks


def _category_label(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _shorten(label: str) -> str:
    """Keep the end of a long label; paths usually differ there."""
    return label if len(label) <= _MAX_LABEL_LENGTH else f"…{label[1 - _MAX_LABEL_LENGTH :]}"


def _norm(values: Sequence[Any]) -> Normalize:
    known = [value for value in values if not is_missing(value)] or [0]
    low, high = min(known), max(known)
    return Normalize(low, high if high > low else low + 1e-9)


def _colormap(higher_is_better: bool) -> Colormap:
    # Yellow, the end of the colormap, is hard to see on white.
    dark_to_light = colormaps["viridis"](np.linspace(0, 0.88, 256))
    return ListedColormap(dark_to_light[::-1] if higher_is_better else dark_to_light)


def _draw_lines(
    canvas: Axes, axes: Sequence[Axis], color_axis: Axis, colors: ScalarMappable
) -> list[Line2D]:
    positions = np.stack([scale_axis(axis).positions for axis in axes])  # (axes, lines)
    many = positions.shape[1] > _MAX_NAMES
    lines = []
    for row, value in enumerate(color_axis.values):
        best = many and row < _NUM_HIGHLIGHTED
        color = "silver" if is_missing(value) else colors.to_rgba(value)
        width, alpha = (2.2, 1.0) if best else (1.0, 0.6) if many else (1.6, 0.9)
        style = {"lw": width, "alpha": alpha, "zorder": 3 - row / len(color_axis.values)}
        lines += canvas.plot(positions[:, row], color=color, solid_joinstyle="round", **style)
    return lines


def _draw_axes(canvas: Axes, axes: Sequence[Axis]) -> None:
    box = {"facecolor": "white", "alpha": 0.75, "pad": 0.6, "linewidth": 0}
    for x, axis in enumerate(axes):
        canvas.plot([x, x], [0, 1], color="black", lw=0.8, zorder=4)
        for height, label in scale_axis(axis).ticks:
            canvas.plot([x - 0.015, x], [height, height], color="black", lw=0.8, zorder=4)
            place = {"va": "center", "fontsize": FONT - 1.5, "bbox": box, "zorder": 5}
            text = canvas.annotate(label, (x, height), (3, 0), textcoords="offset points", **place)
            text.set_parse_math(False)
    canvas.set_xticks(range(len(axes)), [_title(axis.name) for axis in axes])
    canvas.tick_params(length=0, labeltop=True, labelbottom=False)
    for text in canvas.get_xticklabels():
        text.set_parse_math(False)
    canvas.set_yticks([])
    canvas.set_xlim(-0.15, len(axes) - 0.6)
    canvas.spines[:].set_visible(False)


def _title(name: str) -> str:
    """Break a dotted name into two lines."""
    section, dot, key = name.rpartition(".")
    return f"{section}{dot}\n{key}" if dot else name


def _add_legend(figure: Figure, lines: list[Line2D], names: Sequence[str]) -> None:
    few = len(names) <= _MAX_NAMES
    labels = list(names) if few else [f"{name} ({i})" for i, name in enumerate(names, start=1)]
    count = len(names) if few else _NUM_HIGHLIGHTED
    fit = max(1, int(figure.get_figwidth() / (0.5 + _LETTER_WIDTH * max(map(len, labels[:count])))))
    legend = figure.legend(
        lines[:count],
        labels[:count],
        loc="outside lower center",
        ncols=fit,
        frameon=False,
        title="best first" if few else f"best of {len(names)}",
        title_fontsize=FONT - 1,
        fontsize=FONT - 1,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
