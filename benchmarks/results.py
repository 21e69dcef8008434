"""Results of trainings over several seeds, and their differences with intervals."""

import contextlib
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmarks.trainings import Training, stage_arguments
from roadseg.config.class_map import ClassMap
from roadseg.config.json_files import read_model
from roadseg.evaluation.comparison import Source, compare
from roadseg.evaluation.image_confusions import read_image_confusions
from roadseg.evaluation.metric_files import EvaluationMetrics, TrainingMetrics


class Result(NamedTuple):
    """A finished training."""

    metrics: TrainingMetrics
    history: pd.DataFrame
    """A row per epoch, see `HistoryRow`."""
    minutes: float
    """Duration of the stage train, without interruptions but with what they lost."""
    source: Source
    """Confusion matrices of the best model on the validation images."""


def read_confusions(folder: Path, name: str) -> Source:
    """Read the confusion matrices that the stage evaluate wrote to `folder`."""
    return Source(name, read_image_confusions(folder / "image_confusions.csv"))


def evaluate_best(training: Training) -> EvaluationMetrics:
    """Run the stage evaluate on the best model in the directory of `training`."""
    from stages.evaluate import main  # imported late: torch would delay --help and --table

    training.write_params()
    with contextlib.redirect_stdout(sys.stderr):
        main(stage_arguments("evaluate", training))
    return read_model(EvaluationMetrics, training.folder / "evaluate.json")


def read_results(trainings: Mapping[int, Training]) -> dict[int, Result]:
    """Read the results of the trainings that are finished, by seed."""
    return {
        seed: Result(
            metrics=read_model(TrainingMetrics, training.folder / "train.json"),
            history=pd.read_csv(training.folder / "history.csv"),
            minutes=training.seconds() / 60,
            source=read_confusions(training.folder, training.name),
        )
        for seed, training in trainings.items()
        if training.record.exists()
    }


def compare_seeds(
    a: Mapping[int, Result], b: Mapping[int, Result], class_map: ClassMap
) -> pd.DataFrame | None:
    """Compare B with A on the seeds that both have; None if there are none.

    Returns:
        The table of `Comparison`.
    """
    seeds = sorted(a.keys() & b.keys())
    if not seeds:
        return None
    first, second = ([side[seed].source for seed in seeds] for side in (a, b))
    return compare(first, second, class_map.void, class_map.names).table


def format_mean(values: Sequence[float]) -> str:
    """Format mean and sample standard deviation: `0.693 ± 0.006 (3)`, with the number of seeds."""
    if not values:
        return ""
    mean = f"{statistics.mean(values):.3f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.3f} ({len(values)})"


def format_difference(row: Any) -> str:
    """Format the difference and the interval of a row of `Comparison.table`."""
    interval = "no interval" if np.isnan(row.low) else f"{row.low:+.3f} to {row.high:+.3f}"
    return f"{row.difference:+.3f} ({interval})"


def format_range(numbers: Sequence[int]) -> str:
    """Format the smallest and the largest number, or one if they are equal."""
    return " to ".join(dict.fromkeys(map(str, (min(numbers), max(numbers))))) if numbers else ""


def table_lines(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Format a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    escaped = [[cell.replace("|", r"\|") for cell in line] for line in lines]
    return [f"| {' | '.join(line)} |" for line in escaped]
