"""The tables of plots/ as still pictures, for a model card, a pull request or a paper."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from roadseg.reporting.figures import DPI, FONT, PAGE_WIDTH, save_figure

_STYLE = {
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


def save_curves(path: Path, history: pd.DataFrame, best_epoch: int) -> None:
    """Cross-entropy of training and validation, and validation mIoU, by epoch.

    Args:
        history: columns epoch, train_ce, val_ce, val_miou.
        best_epoch: is marked.
    """
    with rc_context(_STYLE):
        figure, (losses, mious) = _figure(2.3, 1, 2)
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
    """IoU of each class in its colour; a class that does not occur says so.

    Args:
        per_class: columns class, iou (NaN where absent), color.
    """
    with rc_context(_STYLE):
        figure, axes = _figure(0.5 + 0.19 * len(per_class), 1, 1)
        values = per_class["iou"]
        colors = per_class["color"]
        axes.barh(per_class["class"], values.fillna(0), color=colors, edgecolor="black", lw=0.4)
        for row, value in enumerate(values):
            text = "absent" if np.isnan(value) else f"{value:.3f}"
            shown = 0 if np.isnan(value) else value
            axes.annotate(text, (shown, row), (4, 0), textcoords="offset points", va="center")
        axes.invert_yaxis()
        axes.margins(y=0.01)
        axes.set(title="IoU by class, best epoch", xlim=(0, 1.06), xticks=np.linspace(0, 1, 6))
        save_figure(figure, path)


def save_confusion(path: Path, pairs: pd.DataFrame) -> None:
    """The confusion matrix, in percent of each actual class.

    Args:
        pairs: columns actual, predicted, share (0..1, NaN where the class does not occur), in
            class order.
    """
    names = list(dict.fromkeys(pairs["actual"]))
    shares = pairs["share"].to_numpy().reshape(len(names), len(names))
    with rc_context(_STYLE):
        figure, axes = _figure(1.0 + 0.33 * len(names), 1, 1, width=1.6 + 0.42 * len(names))
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.005:
                color = "white" if share > 0.5 else "black"
                place = {"ha": "center", "va": "center", "fontsize": FONT - 1}
                axes.text(column, row, f"{share * 100:.0f}", color=color, **place)
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), names)
        axes.set(
            xlabel="predicted", ylabel="actual", title="Confusion, percent of each actual class"
        )
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        save_figure(figure, path)


def _figure(
    height: float, rows: int, columns: int, width: float = PAGE_WIDTH
) -> tuple[Figure, Axes | np.ndarray]:
    """A figure of thin margins, at most as wide as a page, and its axes; inches."""
    size = (min(width, PAGE_WIDTH), height)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03)
    return figure, figure.subplots(rows, columns)
