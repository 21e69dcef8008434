"""Parallel-coordinates plot: one line per experiment, through its value on each axis.

pandas.plotting.parallel_coordinates exists; this one gives each axis its own scale, and allows
categories, logarithmic axes and missing values.
"""

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from roadseg.reporting.figures import DPI, FONT, PAGE_WIDTH

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

_MISSING = -0.1  # position of missing values; an axis spans 0 to 1
_MAX_TICKS = 8  # for more distinct numbers, matplotlib chooses round ticks
_MAX_CATEGORIES = 20  # labels per axis
_MAX_NAMES = 10  # lines in the legend; of more, only the best _NUM_HIGHLIGHTED
_NUM_HIGHLIGHTED = 3  # lines
_MAX_LABEL_LENGTH = 16  # characters
_AXIS_WIDTH = 1.2  # inches
_BOX = {"facecolor": "white", "alpha": 0.75, "pad": 0.6, "linewidth": 0}  # behind labels
_STYLE: "dict[RcKeyType, float]" = {
    "font.size": FONT,
    "ytick.labelsize": FONT - 1.5,
    "legend.frameon": False,
    "legend.fontsize": FONT - 1,
    "legend.title_fontsize": FONT - 1,
}


class Axis(NamedTuple):
    """A parameter or metric."""

    name: str
    values: Sequence[Any]
    """Numbers or categories, one per line; None, NaN and infinity count as missing."""
    allow_log: bool
    """Use a logarithmic scale if all values are positive and span a decade or more."""


def plot_parallel_coordinates(
    axes: Sequence[Axis], names: Sequence[str], color_axis: Axis, higher_is_better: bool
) -> Figure:
    """Plot all `axes` in one figure, which is at least as wide as a page.

    Args:
        names: names of the lines, the best first.
        color_axis: its values give the colors of the lines; a line without a value is gray.
        higher_is_better: whether the highest or the lowest value of `color_axis` is darkest.
    """
    with rc_context(_STYLE):
        size = (max(PAGE_WIDTH, _AXIS_WIDTH * len(axes) + 1.2), 3.6)
        figure = Figure(figsize=size, dpi=DPI, layout=ConstrainedLayoutEngine(w_pad=0.12))
        canvas = figure.subplots()
        # a dotted name takes two lines
        canvas.set_xticks(range(len(axes)), [axis.name.replace(".", ".\n", 1) for axis in axes])
        canvas.tick_params(length=0, labeltop=True, labelbottom=False)
        canvas.set(xlim=(-0.15, len(axes) - 0.6), ylim=(0, 1), yticks=[])
        canvas.spines[:].set_visible(False)
        positions = np.stack([_draw_axis(canvas, x, axis) for x, axis in enumerate(axes)])
        known = [value for value in color_axis.values if not is_missing(value)] or [0]
        colors = ScalarMappable(Normalize(min(known), max(known)), _colormap(higher_is_better))
        lines = _draw_lines(canvas, positions, color_axis.values, colors)
        figure.colorbar(colors, ax=canvas, label=color_axis.name, pad=0.01, aspect=30)
        few = len(names) <= _MAX_NAMES
        labels = names if few else [f"{name} ({i})" for i, name in enumerate(names, start=1)]
        figure.legend(
            lines if few else lines[:_NUM_HIGHLIGHTED],
            labels if few else labels[:_NUM_HIGHLIGHTED],
            loc="outside lower center",
            ncols=5,
            title="best first" if few else f"best of {len(names)}",
        )
    return figure


def is_missing(value: Any) -> bool:
    """Return True for None, NaN and infinity."""
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def _draw_axis(canvas: Axes, x: int, axis: Axis) -> np.ndarray:
    """Draw a vertical axis at `x`.

    Returns:
        (N,) float64, position of each line, 0..1, or _MISSING.
    """
    is_known = [not is_missing(value) for value in axis.values]
    known = [value for value in axis.values if not is_missing(value)]
    scale = canvas.twinx()
    scale.spines[["top", "left", "bottom"]].set_visible(False)
    scale.spines.right.set_position(("data", x))
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
        numbers: np.ndarray = np.array(known, dtype=np.float64)
    else:
        labels = [value if isinstance(value, str) else json.dumps(value) for value in known]
        distinct, numbers = np.unique(labels, return_inverse=True)
    low, high = (numbers.min(), numbers.max()) if known else (0, 0)
    log = axis.allow_log and low > 0 and high / low >= 10
    limits = (low, high) if low < high else (low - 1, high + 1)
    scale.set(yscale="log" if log else "linear", ylim=limits)
    if len(set(numbers)) <= _MAX_TICKS:
        scale.set_yticks(np.unique(numbers))
    scale.yaxis.set_major_formatter("{x:.4g}")
    if numbers.dtype != np.float64:
        shown = range(0, len(distinct), 1 + len(distinct) // _MAX_CATEGORIES)
        scale.set_yticks(shown, [_shorten(distinct[i]) for i in shown])
    scale.minorticks_off()
    for label in scale.get_yticklabels():
        label.set_bbox(_BOX)
    positions = np.full(len(axis.values), _MISSING)
    positions[is_known] = (LogNorm if log else Normalize)(*limits)(numbers)
    if not all(is_known):
        canvas.text(x + 0.03, _MISSING, "none", va="center", fontsize=FONT - 1.5, bbox=_BOX)
    return positions


def _shorten(label: str) -> str:
    """Keep the end of a long label; paths usually differ there."""
    return label if len(label) <= _MAX_LABEL_LENGTH else f"…{label[1 - _MAX_LABEL_LENGTH :]}"


def _colormap(higher_is_better: bool) -> Colormap:
    # without the yellow end of the colormap, which is hard to see on white
    dark_to_light = colormaps["viridis"](np.linspace(0, 0.88, 256))
    return ListedColormap(dark_to_light[::-1] if higher_is_better else dark_to_light)


def _draw_lines(
    canvas: Axes, positions: np.ndarray, values: Sequence[Any], colors: ScalarMappable
) -> list[Line2D]:
    """Draw lines through `positions`, (axes, lines), in the colors of `values`."""
    many = len(values) > _MAX_NAMES
    lines = []
    for row, value in enumerate(values):
        best = many and row < _NUM_HIGHLIGHTED
        color = "silver" if is_missing(value) else colors.to_rgba(value)
        width, alpha = (2.2, 1.0) if best else (1.0, 0.6) if many else (1.6, 0.9)
        lines += canvas.plot(
            positions[:, row],
            color=color,
            lw=width,
            alpha=alpha,
            zorder=3 - row / len(values),
            clip_on=False,
            solid_joinstyle="round",
        )
    return lines
