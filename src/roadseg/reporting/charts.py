"""The tables of plots/ as PNG charts, for a model card, a pull request or a paper."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from roadseg.reporting.figures import (
    DPI,
    FONT,
    MANY_CLASSES,
    PAGE_WIDTH,
    save_figure,
    shorten,
)

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

_STYLE: "dict[RcKeyType, float]" = {
    "font.size": FONT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": FONT + 1,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
}
_TRAIN_COLOR, _VAL_COLOR = "#4c78a8", "#f58518"
_CELL = 0.13  # inches; one line of text
_MANY_DPI = 100  # of a large confusion matrix, which is read on a screen


def save_curves(path: Path, history: pd.DataFrame, best_epoch: int) -> None:
    """Plot cross-entropy of training and validation, and validation mIoU, by epoch.

    `history` has the columns epoch, train_ce, val_ce, val_miou. `best_epoch` is marked by a circle.
    """
    with rc_context(_STYLE):
        figure = _figure(PAGE_WIDTH, 2.3)
        losses, mious = figure.subplots(1, 2)
        losses.plot(
            history["epoch"], history["train_ce"], "o-", c=_TRAIN_COLOR, ms=3, label="train"
        )
        losses.plot(
            history["epoch"], history["val_ce"], "o-", c=_VAL_COLOR, ms=3, label="validation"
        )
        losses.set(title="Cross-entropy", ylabel="nats per pixel")
        losses.set_ylim(bottom=0)
        losses.legend()
        mious.plot(history["epoch"], history["val_miou"], "o-", c=_VAL_COLOR, ms=3)
        best = history.set_index("epoch")["val_miou"][best_epoch]
        mious.plot([best_epoch], [best], "o", ms=8, mfc="none", c=_VAL_COLOR)
        mious.set(title=f"Validation mIoU, best {best:.3f} in epoch {best_epoch}", ylabel="mIoU")
        mious.set_ylim(0, 1)
        for axes in (losses, mious):
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(axis="y", lw=0.3)
        save_figure(figure, path)


def save_class_bars(path: Path, per_class: pd.DataFrame) -> None:
    """Plot the IoU of each class as a bar in its color; missing classes are marked "absent".

    `per_class` has the columns class, iou (NaN where absent), color.
    """
    with rc_context(_STYLE):
        figure = _figure(PAGE_WIDTH, 0.5 + 0.19 * len(per_class))
        axes = figure.subplots()
        values = per_class["iou"]
        rows = range(len(per_class))
        axes.barh(rows, values.fillna(0), color=per_class["color"], edgecolor="black", lw=0.4)
        axes.set_yticks(rows, [shorten(name) for name in per_class["class"]])
        for row, value in enumerate(values):
            text = "absent" if np.isnan(value) else f"{value:.3f}"
            end = 0 if np.isnan(value) else value
            axes.annotate(text, (end, row), (4, 0), textcoords="offset points", va="center")
        axes.invert_yaxis()
        axes.margins(y=0.01)
        axes.set(title="IoU by class, best epoch", xlim=(0, 1.06), xticks=np.linspace(0, 1, 6))
        save_figure(figure, path)


def save_bars(
    path: Path, names: Sequence[str], panels: Mapping[str, tuple[Sequence[float], str]]
) -> None:
    """Plot horizontal bars of `names`, next to each other for each of `panels`.

    Args:
        panels: by title, the values, 0 or more, and the format of the numbers at the bars.
    """
    with rc_context(_STYLE):
        figure = _figure(PAGE_WIDTH, 0.6 + 0.22 * len(names))
        rows = range(len(names))
        all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (title, (values, number)) in zip(all_axes, panels.items(), strict=True):
            bars = axes.barh(rows, values, height=0.7, color=_TRAIN_COLOR)
            axes.bar_label(bars, [number.format(value) for value in values], padding=3)
            axes.set(title=title, xticks=[])
            axes.set_xlim(0, 1.35 * max(values) or 1)  # room for the numbers
            axes.spines["bottom"].set_visible(False)
            axes.tick_params(length=0)
        all_axes[0].set_yticks(rows, names)
        all_axes[0].invert_yaxis()
        save_figure(figure, path)


def save_confusion(path: Path, pairs: pd.DataFrame) -> None:
    """Plot the confusion matrix, in percent of the pixels of each actual class.

    From MANY_CLASSES on, the figure is larger than a page, and colors replace the numbers. `pairs`
    has the columns actual, predicted, share (0..1, NaN where the class does not occur), in class
    order.
    """
    classes = list(dict.fromkeys(pairs["actual"]))
    names = [shorten(name) for name in classes]
    fractions = pairs["share"].to_numpy().reshape(len(names), len(names))
    with rc_context(_STYLE):
        if len(names) < MANY_CLASSES:
            width = min(PAGE_WIDTH, 1.6 + 0.42 * len(names))
            figure = _figure(width, 1.0 + 0.33 * len(names))
            axes = figure.subplots()
            _draw_numbers(axes, fractions)
            axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1, aspect="auto")
            axes.set_xticks(
                range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor"
            )
        else:
            side = _CELL * len(names)
            figure = _figure(side + 4, side + 2.7, _MANY_DPI)
            axes = figure.subplots()
            image = axes.imshow(100 * fractions, cmap="Blues", vmin=0, vmax=100)
            figure.colorbar(image, ax=axes, shrink=0.3, label="percent")
            axes.set_xticks(range(len(names)), names, rotation=90)
            axes.grid(color="gainsboro", lw=0.3)
        axes.set_yticks(range(len(names)), names)
        axes.set(
            xlabel="predicted", ylabel="actual", title="Confusion, percent of each actual class"
        )
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        save_figure(figure, path)


def save_differences(path: Path, differences: pd.DataFrame, a: str, b: str) -> None:
    """Plot the differences between the models `a` and `b` with 95 % intervals, mIoU first.

    Intervals without 0 are colored; a difference without an interval is hollow, and metrics that a
    model lacks are marked "absent". `differences` has the columns metric, difference, low, high.
    """
    many = len(differences) > MANY_CLASSES
    with rc_context(_STYLE):
        height = 1.0 + (_CELL if many else 0.19) * len(differences)
        figure = _figure(PAGE_WIDTH, height, _MANY_DPI if many else DPI)
        axes = figure.subplots()
        axes.axvline(0, c="black", lw=0.6)
        low, high = differences["low"], differences["high"]
        better, worse = low > 0, high < 0
        kinds = {
            "B is significantly better": (better, _TRAIN_COLOR),
            "B is significantly worse": (worse, _VAL_COLOR),
            "no significant difference": (~(better | worse) & low.notna(), "gray"),
        }
        for label, (rows, color) in kinds.items():
            values, y = differences["difference"][rows], differences.index[rows]
            ends = np.stack([values - low[rows], high[rows] - values])
            axes.errorbar(values, y, xerr=ends, fmt="o", c=color, ms=4, lw=1.4, label=label)
        few = differences["difference"].where(low.isna())
        axes.errorbar(few, few.index, fmt="o", c="gray", mfc="none", ms=4, label="too few images")
        for row in differences.index[differences["difference"].isna()]:
            axes.annotate("absent", (0, row), (4, 0), textcoords="offset points", va="center")
        axes.axhline(0.5, c="gray", lw=0.4)  # between mIoU and the classes
        axes.set_yticks(differences.index, [shorten(name) for name in differences["metric"]])
        axes.set_ylim(len(differences) - 0.4, -0.6)
        axes.set(title="Difference in IoU, B - A, with 95 % intervals")
        axes.set_xlabel(f"B - A      A: {shorten(a)}      B: {shorten(b)}")
        axes.grid(axis="x", lw=0.3)
        figure.legend(loc="outside lower center", ncols=4)
        save_figure(figure, path)


def _draw_numbers(axes: Axes, fractions: np.ndarray) -> None:
    for (row, column), fraction in np.ndenumerate(fractions):
        if fraction >= 0.005:
            axes.text(
                column,
                row,
                f"{fraction * 100:.0f}",
                color="white" if fraction > 0.5 else "black",
                ha="center",
                va="center",
                fontsize=FONT - 1,
            )


def _figure(width: float, height: float, dpi: int = DPI) -> Figure:
    """Create a figure with thin margins; sizes in inches."""
    layout = ConstrainedLayoutEngine(w_pad=0.03, h_pad=0.03)
    return Figure(figsize=(width, height), dpi=dpi, layout=layout)
