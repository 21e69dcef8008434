"""Table and plot of the benchmark of pretraining."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from benchmarks.results import (
    Result,
    compare_seeds,
    format_difference,
    format_mean,
    table_lines,
)
from benchmarks.trainings import Training
from roadseg.config.class_map import ClassMap
from roadseg.reporting.figures import DPI, FONT, PAGE_WIDTH, save_figure

SIDES = SCRATCH, PRETRAINED = "from_scratch", "pretrained"
TITLES = {SCRATCH: "from scratch", PRETRAINED: "pretrained"}
COLORS = {SCRATCH: "#4c78a8", PRETRAINED: "#f58518"}


class Group(NamedTuple):
    """The trainings on one number of photographs."""

    num_images: int
    epochs: int
    steps: int
    trainings: Mapping[str, Mapping[int, Training]]
    """By side and seed."""


def epochs_to_reach(scratch: Mapping[int, Result], pretrained: Mapping[int, Result]) -> str:
    """Format how many epochs the pretrained networks need for the best mIoU from scratch.

    This is the mean over the seeds, or how many seeds never reach it.
    """
    found = []
    seeds = scratch.keys() & pretrained.keys()
    for seed in seeds:
        history = pretrained[seed].history
        reached = history["val_miou"] >= scratch[seed].history["val_miou"].max()
        found += [int(history["epoch"][reached].iloc[0])] if reached.any() else []
    if len(found) < len(seeds):
        return f"not reached by {len(seeds) - len(found)} of {len(seeds)}"
    return f"{mean(found):.1f}" if found else ""


def format_table(
    groups: Sequence[Group],
    results: Sequence[Mapping[str, Mapping[int, Result]]],
    class_map: ClassMap,
) -> list[str]:
    """Format mean and standard deviation of the best mIoU of both sides, and their difference."""
    header = ["photographs", "epochs", "steps", *TITLES.values(), "difference (95 % interval)"]
    lines = []
    for group, sides in zip(groups, results, strict=True):
        cells = [str(number) for number in group[:3]]
        for side in SIDES:
            cells.append(format_mean([r.metrics.best_val_miou for r in sides[side].values()]))
        table = compare_seeds(sides[SCRATCH], sides[PRETRAINED], class_map)
        cells.append("" if table is None else format_difference(table.iloc[0]))
        lines.append([*cells, epochs_to_reach(sides[SCRATCH], sides[PRETRAINED])])
    return table_lines([*header, "epochs until pretrained reaches from scratch"], lines)


def result_table(
    groups: Sequence[Group], results: Sequence[Mapping[str, Mapping[int, Result]]]
) -> pd.DataFrame:
    """Return a row per finished training: images, start, seed, epochs, best_epoch, miou."""
    rows = [
        (group.num_images, side, seed, group.epochs, result.metrics.best_epoch,
         result.metrics.best_val_miou)
        for group, sides in zip(groups, results, strict=True)
        for side in SIDES
        for seed, result in sides[side].items()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["images", "start", "seed", "epochs", "best_epoch", "miou"])


def save_plot(path: Path, table: pd.DataFrame) -> None:
    """Plot the mean mIoU against the number of photographs, with standard deviations.

    Args:
        table: as `result_table` returns it.
    """
    with rc_context({"font.size": FONT, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(PAGE_WIDTH / 1.6, 3), dpi=DPI, layout="constrained")
        axes = figure.subplots()
        for side in SIDES:
            mious = table[table["start"] == side].groupby("images")["miou"]
            means, deviations = mious.mean(), mious.std().fillna(0)
            axes.errorbar(
                means.index, means, yerr=deviations, fmt="o-", ms=4, capsize=3, label=TITLES[side],
                c=COLORS[side],
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_xticks(sizes := sorted(set(table["images"])), map(str, sizes))
        axes.minorticks_off()
        axes.set(xlabel="photographs (log scale)", ylabel="validation mIoU")
        axes.set_title("Pretraining on synthetic streets", fontsize=FONT + 1)
        axes.grid(lw=0.3)
        axes.legend(frameon=False)
        save_figure(figure, path)
