"""Mean and standard deviation of metrics over experiments that differ in one parameter.

The parameter is usually `split.fold` (cross-validation) or `train.seed`.
"""

import difflib
import json
from collections import defaultdict
from typing import Any

import pandas as pd

from roadseg.experiments.dvc_experiments import Experiment
from roadseg.system.errors import InputError


def group_by_other_params(experiments: list[Experiment], over: str) -> list[list[Experiment]]:
    """Group the finished experiments that differ only in the parameter `over`.

    All other parameters, the code and the other inputs are equal within a group. Each group has at
    least 2 experiments and is sorted by the value of `over`. Experiments with the same value are
    repetitions of one run; only the first by name is used.

    Raises:
        InputError: no experiment has that parameter, or no group has 2 experiments.
    """
    finished = [experiment for experiment in experiments if experiment.state == "finished"]
    known = sorted({key for experiment in finished for key in experiment.params})
    if finished and over not in known:
        close = difflib.get_close_matches(over, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else "see params.yaml"
        raise InputError(f"--over {over}: no such parameter; {hint}")
    groups: dict[str, dict[str, Experiment]] = defaultdict(dict)
    for experiment in finished:
        if over in experiment.params:
            others = {key: value for key, value in experiment.params.items() if key != over}
            group = json.dumps([others, experiment.inputs], sort_keys=True)
            groups[group].setdefault(json.dumps(experiment.params[over]), experiment)
    large = [list(group.values()) for group in groups.values() if len(group) >= 2]
    if not large:
        raise InputError(
            f"--over {over}: no two of {len(finished)} finished experiments differ only in "
            f"this parameter; queue some with: dvc exp run --queue -S '{over}=range(0,5)'"
        )
    return [sorted(group, key=lambda e: _sort_key(e.params[over])) for group in large]


def summarize(experiments: list[Experiment]) -> pd.DataFrame:
    """Summarize the metrics that all `experiments` have, sorted by name.

    Returns:
        Columns mean, std (sample standard deviation, n - 1 in the denominator), min, max, count.
    """
    metrics = pd.DataFrame([experiment.metrics for experiment in experiments])
    names = sorted(set.intersection(*(set(experiment.metrics) for experiment in experiments)))
    return metrics[names].agg(["mean", "std", "min", "max", "count"]).T


def format_summaries(groups: list[list[Experiment]], over: str) -> str:
    """Format one table per group, below the parameters in which the groups differ."""
    return "\n\n".join(_format_group(groups, number, over) for number in range(len(groups)))


def _format_group(groups: list[list[Experiment]], number: int, over: str) -> str:
    group = groups[number]
    lines = [f"{over}: " + ", ".join(f"{e.params[over]} ({e.name})" for e in group)]
    if others := _distinguishing_params(groups, number, over):
        lines.insert(0, others)
    lines.append(summarize(group).to_string(float_format="{:.6g}".format))
    return "\n".join(lines)


def _distinguishing_params(groups: list[list[Experiment]], number: int, over: str) -> str:
    firsts = [group[0].params for group in groups]
    own = firsts[number]
    keys = [key for key in own if len({json.dumps(first.get(key)) for first in firsts}) > 1]
    return ", ".join(f"{key} {own[key]}" for key in keys if key != over)


def _sort_key(value: Any) -> tuple[bool, Any]:
    """Sort numbers by value, before everything else."""
    number = isinstance(value, int | float)
    return (not number, value if number else str(value))
