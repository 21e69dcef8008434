"""Parallel coordinates: a line for each experiment, through its value on each axis."""

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

from src.report.figures import DPI, FONT, PAGE_WIDTH

_MISSING = -0.1
"""Height of what has no value on an axis, below its 0 to 1."""
_GAP = 0.055
"""Between ticks."""
_LETTER = 0.063
"""Inches."""
_MOST_NAMES = 10
_NAMED_OF_MANY = 3
_LONGEST_LABEL = 16


class Axis(NamedTuple):
    """What the lines pass through."""

    name: str
    values: Sequence[Any]
    """One a line. None, NaN and infinity are missing; the others are numbers or categories."""
    may_be_log: bool
    """Of numbers above 0 that span a decade."""


class PlacedAxis(NamedTuple):
    heights: np.ndarray
    """(N,) float64, 0..1, or below 0 for what is missing."""
    ticks: list[tuple[float, str]]
    """Height and label."""


def placed(axis: Axis) -> PlacedAxis:
    """Where the values stand on `axis`, the lowest number or the first category at 0."""
    known = [value for value in axis.values if not is_missing(value)]
    if all(_is_number(value) for value in known):
        heights, ticks = _numbers(np.array(known, dtype=np.float64), axis.may_be_log)
    else:
        heights, ticks = _categories([_label(value) for value in known])
    places = np.full(len(axis.values), _MISSING)
    places[[not is_missing(value) for value in axis.values]] = heights
    if len(known) < len(axis.values):
        ticks = [(_MISSING, "none"), *ticks]
    return PlacedAxis(places, ticks)


def parallel_plot(
    axes: Sequence[Axis], names: Sequence[str], shown: Axis, high_is_good: bool
) -> Figure:
    """The picture, as wide as its axes need, at least as a page.

    Args:
        names: of the lines, the best first.
        shown: colours the lines, dark where good; grey is without.
    """
    space = [_LETTER * max(map(len, _title(axis.name).split("\n"))) + 0.25 for axis in axes]
    with rc_context({"font.size": FONT, "axes.titlesize": FONT}):
        size = (max(PAGE_WIDTH, max(space) * len(axes) + 1.2), 3.6)
        figure = Figure(figsize=size, dpi=DPI, layout="constrained")
        canvas = figure.subplots()
        colors = ScalarMappable(_norm(shown.values), _colormap(high_is_good))
        lines = _draw_lines(canvas, axes, shown, colors)
        _draw_axes(canvas, axes)
        figure.colorbar(colors, ax=canvas, label=shown.name, pad=0.01, aspect=30)
        _add_legend(figure, lines, names)
    return figure


def is_missing(value: Any) -> bool:
    """Whether there is no value: None, NaN or infinite."""
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _numbers(values: np.ndarray, may_be_log: bool) -> tuple[np.ndarray, list[tuple[float, str]]]:
    if values.size == 0:
        return values, []
    low, high = values.min(), values.max()
    if low == high:
        return np.full(len(values), 0.5), [(0.5, _digits(low))]
    log = may_be_log and low > 0 and high / low >= 10
    norm = LogNorm(low, high) if log else Normalize(low, high)
    distinct = np.unique(values)
    if np.diff(norm(distinct)).min() < _GAP:
        inner = (LogLocator(10) if log else MaxNLocator(5)).tick_values(low, high)
        far = [t for t in inner if low < t < high and _GAP < norm(t) < 1 - _GAP]
        distinct = np.array([low, *far, high])
    return np.asarray(norm(values)), [(float(norm(t)), _digits(t)) for t in distinct]


def _digits(number: float) -> str:
    return f"{number:.0f}" if number == round(number) else f"{number:.4g}"


def _categories(labels: list[str]) -> tuple[np.ndarray, list[tuple[float, str]]]:
    distinct = sorted(set(labels))
    steps = max(1, len(distinct) - 1)
    height = {label: i / steps if len(distinct) > 1 else 0.5 for i, label in enumerate(distinct)}
    rare = max(1, math.ceil(len(distinct) * _GAP))  # of hundreds, some
    ticks = [(height[label], _shortened(label)) for label in distinct[::rare]]
    return np.array([height[label] for label in labels]), ticks


def _label(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _shortened(label: str) -> str:
    """Its end, where paths differ."""
    return label if len(label) <= _LONGEST_LABEL else f"…{label[1 - _LONGEST_LABEL :]}"


def _norm(values: Sequence[Any]) -> Normalize:
    known = [value for value in values if not is_missing(value)] or [0]
    low, high = min(known), max(known)
    return Normalize(low, high if high > low else low + 1e-9)


def _colormap(high_is_good: bool) -> Colormap:
    dark_to_light = colormaps["viridis"](np.linspace(0, 0.88, 256))  # not the yellow of no contrast
    return ListedColormap(dark_to_light[::-1] if high_is_good else dark_to_light)


def _draw_lines(
    canvas: Axes, axes: Sequence[Axis], shown: Axis, colors: ScalarMappable
) -> list[Line2D]:
    heights = np.stack([placed(axis).heights for axis in axes])  # (axes, lines)
    many = heights.shape[1] > _MOST_NAMES
    lines = []
    for row, value in enumerate(shown.values):
        best = many and row < _NAMED_OF_MANY
        color = "silver" if is_missing(value) else colors.to_rgba(value)
        width, alpha = (2.2, 1.0) if best else (1.0, 0.6) if many else (1.6, 0.9)
        style = {"lw": width, "alpha": alpha, "zorder": 3 - row / len(shown.values)}
        lines += canvas.plot(heights[:, row], color=color, solid_joinstyle="round", **style)
    return lines


def _draw_axes(canvas: Axes, axes: Sequence[Axis]) -> None:
    box = {"facecolor": "white", "alpha": 0.75, "pad": 0.6, "linewidth": 0}
    for x, axis in enumerate(axes):
        canvas.plot([x, x], [0, 1], color="black", lw=0.8, zorder=4)
        for height, label in placed(axis).ticks:
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
    """A dotted name on two lines."""
    section, dot, key = name.rpartition(".")
    return f"{section}{dot}\n{key}" if dot else name


def _add_legend(figure: Figure, lines: list[Line2D], names: Sequence[str]) -> None:
    few = len(names) <= _MOST_NAMES
    labels = list(names) if few else [f"{name} ({i})" for i, name in enumerate(names, start=1)]
    count = len(names) if few else _NAMED_OF_MANY
    fit = max(1, int(figure.get_figwidth() / (0.5 + _LETTER * max(map(len, labels[:count])))))
    legend = figure.legend(
        lines[:count],
        labels[:count],
        loc="outside lower center",
        ncols=fit,
        frameon=False,
        title="the best first" if few else f"the best of {len(names)}",
        title_fontsize=FONT - 1,
        fontsize=FONT - 1,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
