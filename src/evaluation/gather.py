"""Mean and spread over DVC's experiments: python -m src.evaluation.gather --over split.fold

Of the experiments on the current commit, those that are finished and differ in that one parameter:
all other parameters, the code and whatever else the pipeline reads from outside are the same.
"""

import argparse
import difflib
import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from src.command import run
from src.experiments import Experiment, finished_experiments, shown_by_dvc
from src.files import InputError
from src.pipeline import written_by_stages


def comparable_sets(experiments: list[Experiment], over: str) -> list[list[Experiment]]:
    """Sets of at least 2 experiments that differ in the parameter `over` alone, sorted by it.

    Where two have the same value of it, they are the same run, and the first by name stands.

    Raises:
        InputError: no experiment has that parameter, or no two fit.
    """
    known = sorted({key for experiment in experiments for key in experiment.params})
    if experiments and over not in known:
        close = difflib.get_close_matches(over, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "see params.yaml"
        raise InputError(f"--over {over}: no such parameter; {hint}")
    sets: dict[str, dict[str, Experiment]] = defaultdict(dict)
    for experiment in experiments:
        if over in experiment.params:
            others = {key: v for key, v in experiment.params.items() if key != over}
            same = json.dumps([others, experiment.inputs], sort_keys=True)
            sets[same].setdefault(json.dumps(experiment.params[over]), experiment)
    fit = [list(chosen.values()) for chosen in sets.values() if len(chosen) >= 2]
    if not fit:
        raise InputError(
            f"--over {over}: of {len(experiments)} finished experiments on this commit no two "
            f"differ in it alone; queue some: dvc exp run --queue -S '{over}=range(0,5)'"
        )
    return [sorted(chosen, key=lambda e: _sortable(e.params[over])) for chosen in fit]


def spread(experiments: list[Experiment]) -> dict[str, tuple[float, float, float, float, int]]:
    """Of each figure that all `experiments` have: mean, standard deviation, min, max and n.

    The standard deviation is of a sample, n - 1 in the denominator. Figures sorted by name.
    """
    names = set.intersection(*(set(experiment.figures) for experiment in experiments))
    rows = {}
    for name in sorted(names):
        values = [experiment.figures[name] for experiment in experiments]
        mean, deviation = statistics.fmean(values), statistics.stdev(values)
        rows[name] = (mean, deviation, min(values), max(values), len(values))
    return rows


def table(experiments: list[Experiment], over: str) -> str:
    """The table of `spread` as text, and which experiments it is of."""
    used = [f"{experiment.params[over]} ({experiment.name})" for experiment in experiments]
    rows = spread(experiments)
    width = max(map(len, ["figure", *rows]))
    lines = [f"{over}: {', '.join(used)}"]
    header = ("mean", "standard deviation", "min", "max")
    lines.append(f"{'figure':<{width}}  {'  '.join(f'{h:>18}' for h in header)}  {'n':>4}")
    for name, (*figures, count) in rows.items():
        lines.append(f"{name:<{width}}  {'  '.join(f'{v:>18.6g}' for v in figures)}  {count:>4}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m src.evaluation.gather", description=__doc__)
    parser.add_argument(
        "--over", required=True, metavar="KEY", help="split.fold or train.seed, say"
    )
    over = parser.parse_args(argv).over
    finished = finished_experiments(shown_by_dvc(), written_by_stages(Path("dvc.yaml")))
    sets = comparable_sets(finished, over)
    for number, experiments in enumerate(sets):
        apart = _set_apart(sets, number, over)
        print(("\n" if number else "") + (f"{apart}\n" if apart else "") + table(experiments, over))


def _set_apart(sets: list[list[Experiment]], number: int, over: str) -> str:
    """The other parameters in which the sets differ, with the values of one of them."""
    firsts = [experiments[0].params for experiments in sets]
    own = firsts[number]
    keys = [key for key in own if len({json.dumps(first.get(key)) for first in firsts}) > 1]
    return ", ".join(f"{key} {own[key]}" for key in keys if key != over)


def _sortable(value: Any) -> tuple[bool, Any]:
    number = isinstance(value, int | float)
    return (not number, value if number else str(value))


if __name__ == "__main__":
    run(main)
